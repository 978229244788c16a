"""Record batches of format 2 in the bytes of a Fetch response: their heads and checksums."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Any, NamedTuple

from workbench.capture.wire.codecs import CODEC_BITS, LARGEST_BODY, Codecs, TooLarge, codec_name
from workbench.capture.wire.errors import DamagedBatch, NotForWire

HEAD = struct.Struct(">qiibIhiqqqhii")
HEAD_BYTES = HEAD.size  # 61
LENGTH_AT = 12  # the length counts what comes behind it
MAGIC_AT = 16
CHECKED_FROM = 21  # the checksum covers what comes behind it
RECORDS_AT = HEAD_BYTES - CHECKED_FROM
LARGEST_OFFSET = (1 << 63) - 1

APPEND_TIME, TRANSACTIONAL, CONTROL = 0x08, 0x10, 0x20


class Batch(NamedTuple):
    """Head of one batch, and its bytes.

    Attributes:
        base_offset: offset that its records count from.
        last_offset: of its last record when it was written; the next batch comes behind it.
        records: how many it holds now.
        leader_epoch: of the leader that wrote it; negative: not known.
        attributes: codec and flags.
        crc: CRC-32C of ``checked``.
        first_ms: timestamp that its records count from, milliseconds.
        max_ms: of its latest record, milliseconds; with append time, of all.
        producer_id: of an idempotent or transactional producer; -1 for others.
        producer_epoch: of that producer id; -1 for none.
        base_sequence: sequence of its first record; -1 for none.
        checked: everything from the attributes on.
    """

    base_offset: int
    last_offset: int
    records: int
    leader_epoch: int
    attributes: int
    crc: int
    first_ms: int
    max_ms: int
    producer_id: int
    producer_epoch: int
    base_sequence: int
    checked: bytes

    @property
    def is_control(self) -> bool:
        """Whether it holds transaction markers or the like, which nobody reads as records."""
        return bool(self.attributes & CONTROL)

    @property
    def is_transactional(self) -> bool:
        """Whether it belongs to a transaction; its marker does too."""
        return bool(self.attributes & TRANSACTIONAL)

    @property
    def append_ms(self) -> int | None:
        """The brokers' timestamp of all its records, milliseconds; None where senders set their own."""
        return self.max_ms if self.attributes & APPEND_TIME else None


@dataclass(frozen=True)
class Split:
    """What one partition of a response holds.

    Attributes:
        batches: whole ones, in order.
        cut: bytes of the batch that the end of the response has cut; 0 for none.
        damage: what is wrong behind the batches; None for nothing.
    """

    batches: list[Batch]
    cut: int = 0
    damage: DamagedBatch | None = None


def split(data: bytes, topic: str, partition: int, offset: int) -> Split:
    """The batches of a response that reach to ``offset`` or further.

    Args:
        data: records of one partition as they came.
        topic: for errors.
        partition: for errors.
        offset: that was asked for.

    Raises:
        NotForWire: a message of format 0 or 1.
    """
    found: list[Batch] = []
    at, left = 0, len(data)
    while left > MAGIC_AT:
        length = int.from_bytes(data[at + 8 : at + LENGTH_AT], "big", signed=True)
        why = _wrong(data[at + MAGIC_AT], length, topic)
        if why:
            return Split(found, damage=DamagedBatch(topic, partition, offset, why))
        size = LENGTH_AT + length
        if size > left:
            return Split(found, cut=size)
        batch = _batch(data, at, size)
        if not _in_order(batch, found):
            return Split(found, damage=DamagedBatch(topic, partition, offset, "the offsets of a batch are damaged"))
        if batch.last_offset >= offset:
            found.append(batch)
            offset = batch.last_offset + 1
        at, left = at + size, left - size
    return Split(found, cut=HEAD_BYTES if left else 0)


def _wrong(magic: int, length: int, topic: str) -> str:
    if magic in {0, 1}:
        raise NotForWire(f"topic {topic} has messages of the old format {magic}")
    if magic != 2:
        return f"unknown record format {magic}"
    return "" if length >= HEAD_BYTES - LENGTH_AT else f"a batch of {length} bytes"


def _in_order(batch: Batch, before: list[Batch]) -> bool:
    lowest = before[-1].last_offset + 1 if before else 0
    return lowest <= batch.base_offset <= batch.last_offset <= LARGEST_OFFSET


def _batch(data: bytes, at: int, size: int) -> Batch:
    (base, _length, epoch, _magic, crc, attributes, last_delta, first_ms, max_ms,
     producer, producer_epoch, sequence, count) = HEAD.unpack_from(data, at)  # fmt: skip
    checked = data[at + CHECKED_FROM : at + size]
    return Batch(
        base,
        base + last_delta,
        count,
        epoch,
        attributes,
        crc,
        first_ms,
        max_ms,
        producer,
        producer_epoch,
        sequence,
        checked,
    )


def body(batch: Batch, topic: str, partition: int, codecs: Codecs) -> Any:
    """The records of a batch, checked and decompressed: a buffer.

    Raises:
        DamagedBatch: the checksum does not fit, the codec cannot read it, or too much would come out.
    """
    import google_crc32c

    if google_crc32c.value(batch.checked) != batch.crc:
        raise DamagedBatch(topic, partition, batch.base_offset, "the checksum (CRC-32C) does not fit")
    data = memoryview(batch.checked)[RECORDS_AT:]
    name = codec_name(batch.attributes)
    if name == "unknown":
        raise DamagedBatch(topic, partition, batch.base_offset, f"unknown codec {batch.attributes & CODEC_BITS}")
    try:
        return codecs.decompressed(name, data)
    except TooLarge as error:
        why = f"it claims to expand to more than {LARGEST_BODY >> 20} MiB"
        raise DamagedBatch(topic, partition, batch.base_offset, why) from error
    except Exception as error:  # the codecs raise their own; all mean that the bytes are damaged
        raise DamagedBatch(topic, partition, batch.base_offset, f"{name} cannot decompress it") from error
