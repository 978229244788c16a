"""Heads of record batches as rows: who wrote them, in which transaction, and what became of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import pyarrow as pa

from workbench.capture.schema import BATCHES
from workbench.capture.wire.batches import HEAD_BYTES, RECORDS_AT, Batch
from workbench.capture.wire.codecs import codec_name
from workbench.capture.wire.transactions import Marker


class Head(NamedTuple):
    """A batch, its marker if it is a control batch, and whether its transaction was aborted."""

    batch: Batch
    marker: Marker | None
    is_aborted: bool


def heads_batch(heads: Sequence[Head], topic: str, partition: int) -> Any:
    """A RecordBatch of schema ``BATCHES``."""
    rows = [_row(head, topic, partition) for head in heads]
    columns = zip(*rows, strict=True) if rows else [()] * len(BATCHES)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, BATCHES, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=BATCHES)


def _row(head: Head, topic: str, partition: int) -> tuple[Any, ...]:
    batch, marker, is_aborted = head
    identified = batch.producer_id >= 0
    return (
        topic,
        partition,
        batch.base_offset,
        batch.last_offset,
        batch.records,
        batch.leader_epoch if batch.leader_epoch >= 0 else None,
        batch.producer_id if identified else None,
        batch.producer_epoch if identified else None,
        batch.base_sequence if identified and batch.base_sequence >= 0 else None,
        batch.is_transactional,
        batch.is_control,
        is_aborted,
        marker.kind if marker else None,
        marker.coordinator_epoch if marker else None,
        codec_name(batch.attributes),
        batch.crc,
        HEAD_BYTES - RECORDS_AT + len(batch.checked),
        batch.first_ms if batch.append_ms is None else None,
        batch.max_ms,
    )
