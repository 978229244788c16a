"""What became of transactions, from one read: the aborted list of a fetch, and the markers in the log.

A response to a read_committed fetch names each aborted transaction that overlaps it by its producer and first offset; the
transaction ends at that producer's next abort marker. This is how Kafka's own consumer decides what to hide.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterable
from typing import NamedTuple

from workbench.capture.wire.batches import Batch
from workbench.capture.wire.errors import DamagedBatch

MARKERS = {0: "abort", 1: "commit"}
KEY_BYTES = 4  # version, type
VALUE_BYTES = 6  # version, coordinator epoch


class Marker(NamedTuple):
    """A control record: ``kind`` is abort or commit, null for other control records (leader changes, snapshots)."""

    kind: str | None
    coordinator_epoch: int | None


class Aborted:
    """Which batches of one response belong to aborted transactions; asked in their order."""

    def __init__(self, transactions: Iterable[tuple[int, int]], below: int) -> None:
        """Begins a response.

        Args:
            transactions: (first offset, producer id) of aborted transactions.
            below: batches from this offset on are not judged: they were not stable when the scan began.
        """
        self._ahead = list(transactions)
        heapq.heapify(self._ahead)
        self._below = below
        self._open: set[int] = set()

    def is_aborted(self, batch: Batch, marker: Marker | None) -> bool:
        """Whether the records of a batch were aborted; ``marker`` is given for control batches."""
        while self._ahead and self._ahead[0][0] <= batch.last_offset:
            self._open.add(heapq.heappop(self._ahead)[1])
        if batch.is_control:
            if marker is not None and marker.kind == "abort":
                self._open.discard(batch.producer_id)
            return False
        return batch.is_transactional and batch.producer_id in self._open and batch.base_offset < self._below


def marker_of(batch: Batch, body: bytes | memoryview, topic: str, partition: int) -> Marker:
    """The control record of a control batch.

    Raises:
        DamagedBatch: it is none.
    """
    if batch.records <= 0 or not batch.is_transactional:
        return Marker(None, None)  # compaction leaves empty ones; a quorum's own records are not transactional
    try:
        at = _skip(body, 0) + 1  # length, attributes
        at = _skip(body, _skip(body, at))  # time, offset
        key, at = _sized(body, at)
        value, _ = _sized(body, at)
    except IndexError as error:
        raise DamagedBatch(topic, partition, batch.base_offset, "a transaction marker is cut") from error
    kind = MARKERS.get(int.from_bytes(key[2:4], "big", signed=True)) if len(key) >= KEY_BYTES else None
    epoch = int.from_bytes(value[2:6], "big", signed=True) if len(value) >= VALUE_BYTES else None
    return Marker(kind, epoch if kind else None)


def _skip(data: bytes | memoryview, at: int) -> int:
    return _varint(data, at)[1]


def _varint(data: bytes | memoryview, at: int) -> tuple[int, int]:
    raw = shift = 0
    while True:
        byte = data[at]
        at += 1
        raw |= (byte & 0x7F) << shift
        if byte < 0x80:
            return (raw >> 1) ^ -(raw & 1), at
        shift += 7
        if shift > 63:
            raise IndexError


def _sized(data: bytes | memoryview, at: int) -> tuple[bytes, int]:
    size, at = _varint(data, at)
    if size < 0:
        return b"", at
    if at + size > len(data):
        raise IndexError
    return bytes(data[at : at + size]), at + size
