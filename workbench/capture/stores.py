"""Rows of a store as rows of a capture: a table or files stand in the ledger where a topic would.

The store's name stands for the topic, 0 for the partition, and a row's number, in the order in which it was read, for the
offset. A row has no key, value or headers; its time is when it was written, if the store says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workbench.capture.derive import LONGEST_ID
from workbench.capture.parts import write_parquet
from workbench.capture.schema import OUTCOME
from workbench.capture.spec import Role
from workbench.sources.stores import Columns, Window, read_store, removed_rows
from workbench.stores import Store

# Rows that a store says are gone: its soft deletes, and what its deleted_query finds. at_ms is null where it does not say when.
REMOVED = pa.schema([("topic", pa.string()), ("message_id", pa.string()), ("at_ms", pa.int64())])


@dataclass
class StoreCapture:
    """What was read of one store.

    Attributes:
        files: Parquet files of the capture's schema.
        removed: Parquet files of schema ``REMOVED``.
        rows: how many rows it has, those that are gone left out.
        gone: rows that are.
        truncated: there are more rows than the limit allowed.
        columns: what was read of it, and what was odd.
        published_up_to: number of the last row that was handed over; None where the store does not say.
        unpublished_before: rows before that one that were not.
        unpublished: all rows that were not.
    """

    columns: Columns
    files: list[Path] = field(default_factory=list)
    removed: list[Path] = field(default_factory=list)
    rows: int = 0
    gone: int = 0
    truncated: bool = False
    published_up_to: int | None = None
    unpublished_before: int = 0
    unpublished: int = 0

    def outcome(self, name: str) -> dict[str, Any]:
        """The row of the table ``scan``."""
        return dict(
            zip(OUTCOME.names, (name, 0, 0, self.rows + self.truncated, self.rows, self.rows, 0, None, self.truncated),
                strict=True)
        )  # fmt: skip

    def facts(self, store: Store) -> dict[str, Any]:
        """What a report says of the store."""
        return {
            "kind": store.kind,
            "rows": self.rows,
            "removed_rows": self.gone,
            "knows_removed": bool(store.deleted or store.deleted_query),
            "id": self.columns.names["id"],
            "id_type": self.columns.id_type,
            "time": self.columns.names.get("at"),
            "ordered": "order" in self.columns.names,
            "unreadable_times": self.columns.unreadable_times,
            "skipped": dict(self.columns.skipped),
            "keeps_seconds": store.keeps_seconds,
            "published_up_to": self.published_up_to,
            "unpublished_before": self.unpublished_before,
        }


def capture_store(
    store: Store,
    role: Role,
    folder: Path,
    schema: pa.Schema,
    *,
    window: Window | None = None,
    limit: int | None = None,
    told: Callable[[int], None] | None = None,
) -> StoreCapture:
    """Reads a store into Parquet files of a capture's schema.

    Args:
        store: what to read.
        role: what it is in the integration.
        folder: for the files; private.
        schema: of the capture.
        window: times that matter.
        limit: at most so many rows.
        told: called with the rows read so far.

    Raises:
        UsageError: a column does not exist.
        SourceUnavailable, AccessDenied: it does not answer, or may not be read.

    Reads: one SELECT in a read-only session (two with ``deleted_query``), or the files.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    found = StoreCapture(Columns({}))
    name = hashlib.sha256(store.name.encode()).hexdigest()[:16]  # a store's name is no file's name
    asked = None if limit is None else limit + 1
    for number, batch in enumerate(read_store(store, window, limit=asked, columns=found.columns)):
        rows = _within(batch, found, limit)
        there = rows.filter(pc.invert(rows["deleted"]))
        _note_gone(rows.filter(rows["deleted"]), store, found, folder / f"{name}-gone-{number:06}.parquet")
        path = folder / f"{name}-{number:06}.parquet"
        write_parquet(pa.Table.from_batches([_captured(there, store, role, schema, found)]), path)
        found.files.append(path)
        if told:
            told(found.rows)
    for number, batch in enumerate(removed_rows(store)):
        _note_gone(batch, store, found, folder / f"{name}-removed-{number:06}.parquet")
    return found


def _within(batch: Any, found: StoreCapture, limit: int | None) -> Any:
    """The batch up to the limit; one row more was asked for, to see whether there are more."""
    if limit is None or found.rows + found.gone + batch.num_rows <= limit:
        return batch
    found.truncated = True
    return batch.slice(0, limit - found.rows - found.gone)


def _note_gone(batch: Any, store: Store, found: StoreCapture, path: Path) -> None:
    if not batch.num_rows:
        return
    arrays = [pa.repeat(pa.scalar(store.name), batch.num_rows), _shortened(batch["message_id"]), batch["deleted_ms"]]
    write_parquet(pa.Table.from_arrays(arrays, schema=REMOVED), path)
    found.removed.append(path)
    found.gone += batch.num_rows


def _captured(rows: Any, store: Store, role: Role, schema: pa.Schema, found: StoreCapture) -> Any:
    """Rows in the capture's schema, numbered on from those before."""
    count, first = rows.num_rows, found.rows
    offsets = pa.array(range(first, first + count), pa.int64())
    ids = _shortened(rows["message_id"])
    _note_published(rows["published"], offsets, found)
    found.rows += count
    made = {
        "role": pa.repeat(pa.scalar(role), count),
        "topic": pa.repeat(pa.scalar(store.name), count),
        "partition": pa.repeat(pa.scalar(0, pa.int32()), count),
        "offset": offsets,
        "timestamp_ms": rows["timestamp_ms"],
        "value_size": pa.repeat(pa.scalar(0, pa.int32()), count),
        "message_id": ids,
        "due": pa.repeat(pa.scalar(True), count),
        "decoded": pa.repeat(pa.scalar(True), count),
        "is_aborted": pa.repeat(pa.scalar(False), count),
    }
    arrays = [made[one.name] if one.name in made else pa.nulls(count, one.type) for one in schema]
    return pa.RecordBatch.from_arrays(arrays, schema=schema)


def _note_published(published: Any, offsets: Any, found: StoreCapture) -> None:
    """Rows not handed over count once a later one was: a relay has gone past them."""
    if published.null_count == len(published):
        return
    done = offsets.filter(published)
    if len(done):
        last = done[-1].as_py()
        upto = last - offsets[0].as_py() + 1
        found.published_up_to = last
        found.unpublished_before = found.unpublished + upto - len(done)
    elif found.published_up_to is None:
        found.published_up_to = -1
    found.unpublished += len(published) - len(done)


def _shortened(ids: Any) -> Any:
    """Ids as in captures of topics: those that are too long by their hash."""
    if not pc.any(pc.greater(pc.utf8_length(ids), LONGEST_ID)).as_py():
        return ids
    return pa.array(list(_each_shortened(ids.to_pylist())), pa.string())


def _each_shortened(ids: list[str | None]) -> Iterator[str | None]:
    for one in ids:
        long = one is not None and len(one) > LONGEST_ID
        yield f"sha256:{hashlib.sha256(str(one).encode()).hexdigest()}" if long else one
