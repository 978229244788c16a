"""Record batches of format 2, written by the book: what the wire reader must read back."""

from __future__ import annotations

import struct
from dataclasses import dataclass, field

import cramjam
import google_crc32c

CODECS = {"none": 0, "gzip": 1, "snappy": 2, "lz4": 3, "zstd": 4, "snappy-plain": 2}
BIG = 1 << 63


@dataclass(frozen=True)
class Record:
    value: bytes | None
    key: bytes | None = None
    headers: tuple[tuple[bytes, bytes | None], ...] = ()
    timestamp: int = 0
    delta: int | None = None


@dataclass(frozen=True)
class Crafted:
    records: tuple[Record, ...]
    base_offset: int = 0
    codec: str = "none"
    append_ms: int | None = None
    base_ms: int = 1_700_000_000_000
    epoch: int = 3
    control: bool = False
    last_delta: int | None = None
    producer_id: int = 7
    transactional: bool = False
    extra: dict[str, int] = field(default_factory=dict)


def varint(number: int) -> bytes:
    raw = ((number << 1) ^ (number >> 63)) & (2 * BIG - 1)
    out = bytearray()
    while raw > 0x7F:
        out.append(raw & 0x7F | 0x80)
        raw >>= 7
    out.append(raw)
    return bytes(out)


def sized(data: bytes | None) -> bytes:
    return varint(-1) if data is None else varint(len(data)) + data


def encode_record(record: Record, index: int, base_ms: int) -> bytes:
    delta = index if record.delta is None else record.delta
    body = b"\0" + varint(record.timestamp - base_ms) + varint(delta) + sized(record.key) + sized(record.value)
    body += varint(len(record.headers)) + b"".join(sized(name) + sized(value) for name, value in record.headers)
    return varint(len(body)) + body


def compress(codec: str, data: bytes) -> bytes:
    if codec == "none":
        return data
    if codec == "snappy-plain":
        return bytes(cramjam.snappy.compress_raw(data))
    if codec == "snappy":
        blocks = [bytes(cramjam.snappy.compress_raw(data[at : at + 100])) for at in range(0, len(data), 100)]
        framed = b"".join(struct.pack(">i", len(block)) + block for block in blocks)
        return b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1) + framed
    return bytes(getattr(cramjam, codec).compress(data))


def encode(batch: Crafted, body: bytes | None = None) -> bytes:
    """The bytes of a batch; ``body`` replaces its records, before compression."""
    if body is None:
        body = b"".join(encode_record(one, index, batch.base_ms) for index, one in enumerate(batch.records))
    deltas = [index if one.delta is None else one.delta for index, one in enumerate(batch.records)]
    last = (deltas[-1] if deltas else 0) if batch.last_delta is None else batch.last_delta
    attributes = CODECS[batch.codec] | (8 if batch.append_ms is not None else 0) | (32 if batch.control else 0)
    attributes |= 16 if batch.transactional else 0
    times = [one.timestamp for one in batch.records]
    newest = batch.append_ms if batch.append_ms is not None else max(times, default=batch.base_ms)
    checked = struct.pack(
        ">hiqqqhii",
        attributes,
        last,
        batch.base_ms,
        newest,
        batch.producer_id,
        0,
        0,
        batch.extra.get("count", len(batch.records)),
    ) + compress(batch.codec, body)
    tail = struct.pack(">ibI", batch.epoch, 2, google_crc32c.value(checked)) + checked
    return struct.pack(">qi", batch.base_offset, len(tail)) + tail


def marker(kind: int, base_offset: int, producer_id: int, coordinator_epoch: int = 4) -> Crafted:
    """The control batch that ends a transaction: 0 abort, 1 commit."""
    record = Record(struct.pack(">hi", 0, coordinator_epoch), struct.pack(">hh", 0, kind))
    return Crafted((record,), base_offset, control=True, transactional=True, producer_id=producer_id)
