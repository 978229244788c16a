"""Reads dead-letter topics record by record into the normal form, in names and numbers only."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench.capture import CaptureSpec, PartitionRange
from workbench.capture.readers import open_reader
from workbench.dialects import DeadLetter, decode, own_dialects, redrive_of
from workbench.evidence import Parquet
from workbench.problems.dlq.causes import Cause, Grouper

# What the cause of a letter says; filled in when all letters are read, since templates need them all.
_OF_CAUSE = (
    "fingerprint", "grouped_by", "exception_class", "frame", "stage", "kind", "code", "template",
)  # fmt: skip
# tenant numbers the tenants of one reading, so that they can be counted and not read.
_READ = pa.schema(
    [
        ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()), ("at_ms", pa.int64()),
        ("dialect", pa.string()), ("guessed", pa.list_(pa.string())), ("origin_topic", pa.string()),
        ("origin_partition", pa.int32()), ("origin_offset", pa.int64()), ("group", pa.string()),
        ("cause", pa.int32()), ("attempts", pa.int32()),
        ("first_failure_ms", pa.int64()), ("last_failure_ms", pa.int64()), ("hops", pa.int32()),
        ("replay_count", pa.int32()), ("header_bytes", pa.int64()), ("has_cause", pa.bool_()), ("has_payload", pa.bool_()),
        ("readable", pa.bool_()), ("schema_id", pa.int32()), ("trace_id", pa.string()), ("app_version", pa.string()),
        ("producer", pa.string()), ("tenant", pa.int32()), ("text", pa.string()),
    ]
)  # fmt: skip
LETTERS = pa.schema([
    *(field for field in _READ if field.name not in ("cause", "text")), *((name, pa.string()) for name in _OF_CAUSE),
])  # fmt: skip
_INT32, _INT64 = (1 << 31) - 1, (1 << 63) - 1
_LONGEST_TEXT = 2_000  # characters of an exception's text that are kept, where values are
_LARGEST_PARSED = 64 << 10  # bytes of a payload that is looked at
_PLAIN = re.compile(r"[A-Za-z0-9][\w.:/+-]{0,99}\Z")
_TRACE = re.compile(rb"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
# Header names, lower case with "-" between words and no leading "x-".
_HEADERS: dict[str, str] = {
    **dict.fromkeys(
        ("app-version", "application-version", "service-version", "release", "build-version", "build", "deployment-version",
         "consumer-version", "handler-version", "processor-version", "git-sha", "git-commit"), "app_version"),
    **dict.fromkeys(
        ("producer", "producer-id", "producer-name", "service", "service-name", "app", "app-name", "application", "sender",
         "client-id", "source-service", "source-app", "ce-source", "spring-application-name"), "producer"),
    **dict.fromkeys(("tenant", "tenant-id", "customer-id", "account-id", "organisation-id", "organization-id"), "tenant"),
    **dict.fromkeys(("traceparent", "b3-traceid"), "trace_id"),
}  # fmt: skip


def read_letters(
    settings: Mapping[str, Any],
    scan: Sequence[Mapping[str, Any]],
    file: Path,
    *,
    dialects: Mapping[str, Mapping[str, Any]] | None = None,
    include_texts: bool = False,
) -> Parquet:
    """The dead letters of the scanned ranges, as rows of ``LETTERS`` in a Parquet file.

    Args:
        settings: librdkafka settings that reach the cluster.
        scan: rows of the evidence table ``scan``, of dead-letter topics only.
        file: where to write.
        dialects: the user's own.
        include_texts: keep the exceptions' texts, in a column ``text``.

    Raises:
        SourceUnavailable: the client library gave up.

    Reads: Fetch.
    """
    import pyarrow.parquet as pq

    decoding = _Decoding(own_dialects(dialects or {}), include_texts=include_texts)
    reader = open_reader(settings, CaptureSpec(topics=()), "read_uncommitted")
    scratch = file.with_name(file.name + ".partial")
    try:
        with pq.ParquetWriter(scratch, _READ, compression="zstd") as writer:
            for topic, ranges in _ranges(scan).items():
                for chunk in reader.read(topic, ranges, {"headers", "value", "timestamp"}, lambda: False):
                    if chunk.batch is not None:
                        writer.write_batch(decoding.batch(chunk.batch, topic))
    finally:
        reader.close()
    schema = LETTERS.append(pa.field("text", pa.string())) if include_texts else LETTERS
    _with_causes(scratch, file, schema, decoding.grouper.causes())
    scratch.unlink()
    file.chmod(0o600)
    return Parquet((file,), schema)


def _ranges(scan: Sequence[Mapping[str, Any]]) -> dict[str, list[PartitionRange]]:
    by_topic: dict[str, list[PartitionRange]] = {}
    for row in scan:
        ends = (row["start_offset"], row["next_offset"], row["next_offset"])
        by_topic.setdefault(row["topic"], []).append(PartitionRange(row["topic"], row["partition"], *ends))
    return by_topic


def _with_causes(scratch: Path, file: Path, schema: pa.Schema, causes: Sequence[Cause]) -> None:
    """Writes the rows anew, with what their causes' numbers stand for."""
    import pyarrow.parquet as pq

    columns = zip(*causes, strict=True) if causes else ([],) * len(_OF_CAUSE)
    said = {name: pa.array(column, pa.string()) for name, column in zip(Cause._fields, columns, strict=True)}
    said["grouped_by"] = said.pop("reason")
    with pq.ParquetWriter(file, schema, compression="zstd") as writer:
        for batch in pq.ParquetFile(scratch).iter_batches(batch_size=65_536):
            rows = {name: said[name].take(batch["cause"]) for name in _OF_CAUSE}
            arrays = [rows[field.name] if field.name in rows else batch[field.name] for field in schema]
            writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))


class _Decoding:
    """Decodes the records of one reading; numbers causes and tenants as they come."""

    def __init__(self, own: Sequence[Any], *, include_texts: bool) -> None:
        self.grouper = Grouper()
        self._own = own
        self._include_texts = include_texts
        self._tenants: dict[bytes, int] = {}
        self._meanings: dict[str, str | None] = {}

    def batch(self, batch: Any, topic: str) -> Any:
        rows = list(self._rows(batch, topic))
        columns = zip(*rows, strict=True) if rows else [()] * len(_READ)
        arrays = [pa.array(column, field.type) for column, field in zip(columns, _READ, strict=True)]
        return pa.RecordBatch.from_arrays(arrays, schema=_READ)

    def _rows(self, batch: Any, topic: str) -> Iterator[tuple[Any, ...]]:
        names = ("partition", "offset", "timestamp_ms", "timestamp_type", "value", "is_aborted")
        plain = (batch[name].to_pylist() for name in names)
        for headers, partition, offset, at, kind, value, aborted in zip(_pairs(batch["headers"]), *plain, strict=True):
            if not aborted:
                letter = decode(headers, value, topic, timestamp_ms=at if kind == 0 else None, own=self._own)
                yield (topic, partition, offset, at, *self._columns(letter, headers, value))

    def _columns(
        self, letter: DeadLetter | None, headers: list[tuple[str, bytes | None]], value: bytes | None
    ) -> tuple[Any, ...]:
        payload = letter.payload if letter and letter.payload is not None else value
        redrive = redrive_of(headers)
        size = sum(len(name) + len(content or b"") for name, content in headers)
        schema_id, readable = _looked(payload)
        about = self._about(headers)
        return (
            *_origin(letter),
            self.grouper.number(letter),
            *_history(letter),
            redrive.replay_count if redrive else None,
            size,
            letter is not None
            and any((letter.exception_class, letter.message, letter.stack, letter.stage, letter.code)),
            bool(payload),
            readable,
            schema_id,
            about.get("trace_id"),
            about.get("app_version"),
            about.get("producer"),
            about.get("tenant"),
            (letter.message or "")[:_LONGEST_TEXT] if letter and self._include_texts else None,
        )

    def _about(self, headers: list[tuple[str, bytes | None]]) -> dict[str, Any]:
        out: dict[str, Any] = {}
        for name, raw in headers:
            if name not in self._meanings:
                self._meanings[name] = _meaning(name)
            attribute = self._meanings[name]
            if attribute == "tenant" and raw:
                out[attribute] = (
                    self._tenants.setdefault(raw, len(self._tenants)) if len(self._tenants) < 100_000 else None
                )
            elif attribute and raw:
                out[attribute] = _trace(raw) if attribute == "trace_id" else _plain(raw)
        return out


def _meaning(name: str) -> str | None:
    short = "-".join(re.findall(r"[a-z0-9]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "-", name[:60]).lower()))
    return _HEADERS.get(short.removeprefix("x-"))


def _trace(raw: bytes) -> str | None:
    found = _TRACE.fullmatch(raw)
    return found[1].decode() if found else None


def _plain(raw: bytes) -> str | None:
    text = raw[:101].decode("utf-8", "replace")
    return text if _PLAIN.match(text) else None


def _pairs(column: Any) -> Iterator[list[tuple[str, bytes | None]]]:
    """The headers of each record; names and values are taken out of Arrow in one go."""
    flat = column.flatten()
    pairs = list(zip(flat.field("name").to_pylist(), flat.field("value").to_pylist(), strict=True))
    at = 0
    for length in column.value_lengths().to_pylist():
        yield pairs[at : at + (length or 0)]
        at += length or 0


def _looked(payload: bytes | None) -> tuple[int | None, bool | None]:
    """(schema id of a registry, whether it is JSON that can be read; null where it never was to be)."""
    if not payload or len(payload) > _LARGEST_PARSED:
        return None, None
    if payload[0] == 0 and len(payload) > 5:
        return int.from_bytes(payload[1:5], "big", signed=True), None
    try:
        json.loads(payload)
    except (ValueError, RecursionError):
        return None, False
    return None, True


def _origin(letter: DeadLetter | None) -> tuple[Any, ...]:
    if letter is None:
        return (None, [], None, None, None, None)
    place = (letter.origin_topic, _within(letter.origin_partition, _INT32), _within(letter.origin_offset, _INT64))
    return (letter.dialect, list(letter.guessed), *place, letter.group)


def _history(letter: DeadLetter | None) -> tuple[Any, ...]:
    if letter is None:
        return (None, None, None, 0)
    times = (_within(letter.first_failure_ms, _INT64), _within(letter.last_failure_ms, _INT64))
    return (_within(letter.attempts, _INT32), *times, len(letter.hops))


def _within(value: int | None, most: int) -> int | None:
    """Numbers out of messages may be anything."""
    return value if value is not None and -most <= value <= most else None
