"""Reads dead-letter topics record by record into the normal form, in names and numbers only."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench.capture import CaptureSpec, PartitionRange
from workbench.capture.readers import open_reader
from workbench.dialects import DeadLetter, decode, redrive_of
from workbench.evidence import Parquet
from workbench.problems.dlq.causes import cause_of

LETTERS = pa.schema(
    [
        ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("at_ms", pa.int64()),
        ("dialect", pa.string()), ("guessed", pa.list_(pa.string())), ("origin_topic", pa.string()),
        ("origin_partition", pa.int32()), ("origin_offset", pa.int64()), ("group", pa.string()),
        ("fingerprint", pa.string()), ("grouped_by", pa.string()), ("exception_class", pa.string()),
        ("frame", pa.string()), ("stage", pa.string()), ("kind", pa.string()), ("attempts", pa.int32()),
        ("first_failure_ms", pa.int64()), ("last_failure_ms", pa.int64()), ("hops", pa.int32()),
        ("replay_count", pa.int32()), ("header_bytes", pa.int64()), ("has_cause", pa.bool_()), ("has_payload", pa.bool_()),
    ]
)  # fmt: skip
_INT32, _INT64 = (1 << 31) - 1, (1 << 63) - 1


def read_letters(settings: Mapping[str, Any], scan: Sequence[Mapping[str, Any]], file: Path) -> Parquet:
    """The dead letters of the scanned ranges, as rows of ``LETTERS`` in a Parquet file.

    Args:
        settings: librdkafka settings that reach the cluster.
        scan: rows of the evidence table ``scan``, of dead-letter topics only.
        file: where to write.

    Raises:
        SourceUnavailable: the client library gave up.

    Reads: Fetch.
    """
    import pyarrow.parquet as pq

    by_topic: dict[str, list[PartitionRange]] = {}
    for row in scan:
        ends = (row["start_offset"], row["next_offset"], row["next_offset"])
        by_topic.setdefault(row["topic"], []).append(PartitionRange(row["topic"], row["partition"], *ends))
    reader = open_reader(settings, CaptureSpec(topics=()), "read_uncommitted")
    try:
        with pq.ParquetWriter(file, LETTERS, compression="zstd") as writer:
            for topic, ranges in by_topic.items():
                want = {"headers", "value", "timestamp"}
                for chunk in reader.read(topic, ranges, want, lambda: False):
                    if chunk.batch is not None:
                        writer.write_batch(_decoded(chunk.batch, topic))
    finally:
        reader.close()
    file.chmod(0o600)
    return Parquet((file,), LETTERS)


def _decoded(batch: Any, topic: str) -> Any:
    rows = list(_rows(batch, topic))
    columns = zip(*rows, strict=True) if rows else [()] * len(LETTERS)
    arrays = [pa.array(column, field.type) for column, field in zip(columns, LETTERS, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=LETTERS)


def _rows(batch: Any, topic: str) -> Iterator[tuple[Any, ...]]:
    names = ("partition", "offset", "timestamp_ms", "timestamp_type", "headers", "value", "is_aborted")
    for partition, offset, at, kind, pairs, value, aborted in zip(*(batch[n].to_pylist() for n in names), strict=True):
        if not aborted:
            headers = [(pair["name"], pair["value"]) for pair in pairs or ()]
            letter = decode(headers, value, topic, timestamp_ms=at if kind == 0 else None)
            redrive = redrive_of(headers)
            size = sum(len(name) + len(content or b"") for name, content in headers)
            replays = redrive.replay_count if redrive else None
            told = (replays, size, _has_cause(letter), _payload(letter, value))
            yield (topic, partition, offset, at, *_columns(letter), *told)


def _has_cause(letter: DeadLetter | None) -> bool:
    return letter is not None and any((letter.exception_class, letter.message, letter.stack, letter.stage))


def _payload(letter: DeadLetter | None, value: bytes | None) -> bool:
    return bool((letter.payload if letter and letter.payload is not None else value) or b"")


def _columns(letter: DeadLetter | None) -> tuple[Any, ...]:
    cause = cause_of(letter)
    names = (cause.fingerprint, cause.reason, cause.exception_class, cause.frame, cause.stage, cause.kind)
    if letter is None:
        return (None, [], None, None, None, None, *names, None, None, None, 0)
    origin = (letter.origin_topic, _within(letter.origin_partition, _INT32), _within(letter.origin_offset, _INT64))
    times = (_within(letter.first_failure_ms, _INT64), _within(letter.last_failure_ms, _INT64))
    hops = len(letter.hops)
    return (
        letter.dialect,
        list(letter.guessed),
        *origin,
        letter.group,
        *names,
        _within(letter.attempts, _INT32),
        *times,
        hops,
    )


def _within(value: int | None, most: int) -> int | None:
    """Numbers out of messages may be anything."""
    return value if value is not None and -most <= value <= most else None
