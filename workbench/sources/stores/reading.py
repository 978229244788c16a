"""Reading a store: its rows as ids, times and marks, in batches; bounded memory, one statement, nothing written."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.compute as pc

from workbench.errors import UsageError
from workbench.sources.stores.values import marks, times_ms
from workbench.stores import Store

# Where ids usually are, the likeliest first; compared without regard to case and underscores.
ID_NAMES = ("messageid", "eventid", "id")

# One row a row of the store. Null: message_id where the row has none; times where there are none or they are unreadable;
# published where the store has no such column.
ROWS = pa.schema(
    [
        ("message_id", pa.string()),
        ("timestamp_ms", pa.int64()),
        ("deleted", pa.bool_()),
        ("deleted_ms", pa.int64()),
        ("published", pa.bool_()),
    ]
)


@dataclass(frozen=True)
class Window:
    """Times of the rows that matter, epoch milliseconds; None is open. Rows without a time always do."""

    since_ms: int | None = None
    until_ms: int | None = None


@dataclass
class Columns:
    """What was read of a store, and what was odd about it.

    Attributes:
        names: role (id, at, order, deleted, published) -> column.
        id_type: the id column's type, as the store calls it.
        skipped: reason -> rows, or lines, that were left out.
        unreadable_times: rows whose time is none.
    """

    names: Mapping[str, str]
    id_type: str = ""
    skipped: Counter[str] = field(default_factory=Counter)
    unreadable_times: int = 0


class Opened(Protocol):
    """A store that answers; each kind has a module with ``opened(store)``, a context manager that gives one."""

    def columns(self) -> dict[str, str]:
        """Column -> its type, as the store calls it."""

    def rows(self, columns: Columns, window: Window, limit: int | None) -> Iterator[Any]:
        """Batches with the columns that ``columns.names`` has, named by their roles; ids are texts."""

    def removed(self) -> Iterator[Any]:
        """Batches of rows that are gone: ``id``, and ``at`` where the query says when."""


def opened(store: Store) -> AbstractContextManager[Opened]:
    """Opens a store.

    Raises:
        ConfigError: what reads it is not installed.
        SourceUnavailable: it does not answer.
        AccessDenied: its login is refused.
    """
    found: AbstractContextManager[Opened] = import_module(f"workbench.sources.stores.{store.kind}").opened(store)
    return found


def read_store(
    store: Store, window: Window | None = None, *, limit: int | None = None, columns: Columns | None = None
) -> Iterator[Any]:
    """The rows of a store as record batches of schema ``ROWS``, in the order of its ``order`` column, if it has one.

    Args:
        store: what to read.
        window: rows outside are left out where the store can do that itself.
        limit: at most so many rows.
        columns: filled with what was read, and what was odd.

    Raises:
        UsageError: a column does not exist; the hint names those that do.
        SourceUnavailable, AccessDenied: it does not answer, or may not be read.

    Reads: one SELECT in a read-only session, or the files.
    """
    with opened(store) as source:
        found = chosen_columns(store, source.columns())
        if columns is not None:
            columns.names, columns.id_type = found.names, found.id_type
            found = columns
        for batch in source.rows(found, window or Window(), limit):
            yield _row_batch(batch, store, found)


def removed_rows(store: Store) -> Iterator[Any]:
    """Ids that the store says are gone, by its ``deleted_query``: batches of schema ``ROWS``."""
    if not store.deleted_query:
        return
    with opened(store) as source:
        for batch in source.removed():
            yield _row_batch(batch, store, Columns({}))


def chosen_columns(store: Store, known: Mapping[str, str]) -> Columns:
    """Role -> column, as the store's entry says; the id under one of its usual names where that says nothing.

    Raises:
        UsageError: a column is not there.
    """
    folded = {name.lower().replace("_", "").replace("-", ""): name for name in reversed(list(known))}
    asked = {
        "id": store.id or next((folded[name] for name in ID_NAMES if name in folded), ""),
        "at": store.time,
        "order": store.order,
        "deleted": store.deleted,
        "published": store.published,
    }
    for role, name in asked.items():
        key = {"at": "time"}.get(role, role)
        if not name and role == "id":
            raise UsageError(f"{store.name} has no column that looks like a message id.", hint=_has(known, key))
        if name and name not in known and not (store.kind == "files" and _is_path(name, known)):
            raise UsageError(f"{store.name} has no column {name!r} ({key}).", hint=_has(known, key))
    return Columns({role: name for role, name in asked.items() if name}, id_type=known.get(asked["id"], ""))


def _is_path(name: str, known: Mapping[str, str]) -> bool:
    """Whether a name leads into a column, as ``data.id``."""
    return "." in name and name.partition(".")[0] in known


def _has(known: Mapping[str, str], key: str) -> str:
    shown = ", ".join(list(known)[:20]) + (", ..." if len(known) > 20 else "")
    return f'It has {shown}: write {key} = "COLUMN" into its entry in workbench.toml.'


def _row_batch(batch: Any, store: Store, columns: Columns) -> Any:
    """A batch as the store gave it, in the schema ``ROWS``."""
    names, rows = batch.schema.names, batch.num_rows
    deleted = batch["deleted"] if "deleted" in names else None
    at = pa.nulls(rows, pa.int64()) if "at" not in names else times_ms(batch["at"], store.timezone)
    if "at" in names:
        columns.unreadable_times += at.null_count - batch["at"].null_count
    made = {
        "message_id": _ids(batch["id"]),
        "timestamp_ms": at,
        "deleted": pa.repeat(pa.scalar(False), rows) if deleted is None else marks(deleted),
        "deleted_ms": pa.nulls(rows, pa.int64()) if deleted is None else _marked_at(deleted, store.timezone),
        "published": marks(batch["published"]) if "published" in names else pa.nulls(rows, pa.bool_()),
    }
    return pa.RecordBatch.from_arrays([_plain(made[one.name]) for one in ROWS], schema=ROWS)


def _marked_at(column: Any, timezone: str) -> Any:
    """When a mark was set; null where it only says that it was."""
    temporal = pa.types.is_temporal(column.type) or pa.types.is_string(column.type)
    return times_ms(column, timezone) if temporal else pa.nulls(len(column), pa.int64())


def _ids(column: Any) -> Any:
    """Ids as texts; none is empty."""
    text = column.cast(pa.string())
    return pc.if_else(pc.equal(text, ""), pa.scalar(None, pa.string()), text)


def _plain(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
