"""From captured records to evidence: what of their headers tells the story, and none of their content."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from workbench.capture.schema import CAPTURE
from workbench.capture.tracing import trace_ids_of
from workbench.dialects import DeadLetter, decode, own_dialects, redrive_of
from workbench.evidence import Parquet

# Names only: whatever else stands there may be content.
_NAME = re.compile(r"[A-Za-z_$][\w$.<>:-]{0,199}\Z")
_INT64 = (1 << 63) - 1

# A record without its key and content, and what its headers say of traces, failures and redrives. Null: not said. matched:
# it is one of the message's own, not another one of its traces.
RECORDS = pa.schema(
    [
        *(column for column in CAPTURE if column.name != "key"),
        ("trace_ids", pa.list_(pa.string())),
        ("attempts", pa.int64()),
        ("failures", pa.int64()),
        ("first_failure_ms", pa.int64()),
        ("last_failure_ms", pa.int64()),
        ("exception_class", pa.string()),
        ("failed_group", pa.string()),
        ("matched", pa.bool_()),
    ]
)


def record_rows(files: Sequence[Path], dialects: Mapping[str, Mapping[str, Any]]) -> Iterator[dict[str, Any]]:
    """The rows of ``RECORDS`` for captured files, in their order.

    Args:
        files: of a capture with values.
        dialects: the user's own, as in ``[dialects.NAME]``.
    """
    import pyarrow.parquet as pq

    own = own_dialects(dialects)
    for path in files:
        for batch in pq.ParquetFile(path).iter_batches(batch_size=2_000):
            for row in batch.to_pylist():
                yield _row(row, own)


def _row(row: Mapping[str, Any], own: Sequence[Any]) -> dict[str, Any]:
    headers = [(pair["name"], pair["value"]) for pair in row["headers"] or ()]
    at = row["timestamp_ms"] if row["timestamp_type"] == "create" else None
    marked = row["role"] in ("dead_letters", "retry") or row["dialect"] is not None
    letter = decode(headers, row["value"], row["topic"], timestamp_ms=at, own=own) if marked else None
    redrive = redrive_of(headers)
    kept = {name: row[name] for name in RECORDS.names if name in row}
    return {
        **kept,
        "replay_count": row["replay_count"] if redrive is None else redrive.replay_count,
        "trace_ids": trace_ids_of(headers)[:10],
        **_failure(letter),
    }


def _failure(letter: DeadLetter | None) -> dict[str, Any]:
    if letter is None:
        letter = DeadLetter(dialect="")
    name = letter.exception_class
    return {
        "attempts": _within(letter.attempts),
        "failures": len(letter.hops) or None,
        "first_failure_ms": _within(letter.first_failure_ms),
        "last_failure_ms": _within(letter.last_failure_ms),
        "exception_class": name if name and _NAME.match(name) else None,
        "failed_group": letter.group if letter.group and _NAME.match(letter.group) else None,
    }


def _within(value: int | None) -> int | None:
    return value if value is not None and 0 <= value <= _INT64 else None


def write_records(rows: Sequence[Mapping[str, Any]], file: Path) -> Parquet:
    """The rows as a Parquet file for this user alone."""
    import pyarrow.parquet as pq

    columns = [pa.array([row[field.name] for row in rows], field.type) for field in RECORDS]
    pq.write_table(pa.Table.from_arrays(columns, schema=RECORDS), file, compression="zstd")
    file.chmod(0o600)
    return Parquet((file,), RECORDS)
