"""SQLite: a file, opened for reading only; by Python's own module, since a column may hold values of any type."""

from __future__ import annotations

import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from workbench.errors import SourceUnavailable, UsageError
from workbench.sources.stores.objects import batch_of
from workbench.sources.stores.reading import Columns, Window
from workbench.sources.stores.statements import FETCHED_ROWS, Words, nothing_of, quoted, select
from workbench.stores import Store

_STEPS = 100_000  # of SQLite's machine between two looks at the clock


@contextmanager
def opened(store: Store) -> Iterator[_Opened]:
    """The store, for as long as it is needed."""
    path = Path(re.sub(r"^sqlite:(//)?/?(?=/)|^sqlite:(///)?", "", store.url)).absolute()
    if not path.is_file():
        raise UsageError(f"{store.name}: there is no file {path.name}.", hint='Write url = "sqlite:///FULL/PATH".')
    with _mapped(store), closing(sqlite3.connect(f"file:{quote(str(path))}?mode=ro", uri=True)) as connection:
        connection.execute("PRAGMA query_only = ON")
        yield _Opened(store, connection)


class _Opened:
    def __init__(self, store: Store, connection: sqlite3.Connection) -> None:
        self._store, self._connection = store, connection

    def columns(self) -> dict[str, str]:
        cursor = self._run(nothing_of(self._store.selection(quoted)))
        names = [column[0] for column in cursor.description]
        return dict.fromkeys(names, "") | self._declared()

    def _declared(self) -> dict[str, str]:
        if not self._store.table:
            return {}
        name = self._store.table.rpartition(".")[2]
        rows = self._connection.execute("SELECT name, type FROM pragma_table_info(?)", [name]).fetchall()
        return {name: kind.lower() for name, kind in rows}

    def rows(self, columns: Columns, window: Window, limit: int | None) -> Iterator[Any]:
        words = Words(quoted, self._store.selection(quoted), _as_text, None)
        yield from self._batches(select(columns, words, window, limit))

    def removed(self) -> Iterator[Any]:
        cursor = self._run(nothing_of(f"({self._store.deleted_query})"))
        names = [column[0] for column in cursor.description][:2]
        parts = [f"{_as_text('q.' + quoted(names[0]))} AS id", *(f"q.{quoted(name)} AS deleted" for name in names[1:])]
        yield from self._batches(f"SELECT {', '.join(parts)} FROM ({self._store.deleted_query}) AS q")

    def _run(self, statement: str) -> sqlite3.Cursor:
        deadline = time.monotonic() + self._store.timeout_seconds
        self._connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        return self._connection.execute(statement)

    def _batches(self, statement: str) -> Iterator[Any]:
        cursor = self._run(statement)
        names = [column[0] for column in cursor.description]
        while rows := cursor.fetchmany(FETCHED_ROWS):
            yield batch_of(names, rows)


def _as_text(column: str) -> str:
    return f"CASE typeof({column}) WHEN 'blob' THEN 'hex:' || lower(hex({column})) ELSE CAST({column} AS TEXT) END"


@contextmanager
def _mapped(store: Store) -> Iterator[None]:
    """SQLite's errors in the workbench's words."""
    try:
        yield
    except sqlite3.Error as error:
        text = str(error)
        if "interrupted" in text:
            raise SourceUnavailable(
                f"{store.name} took longer than {store.timeout_seconds:g} s for one query.",
                source=store.name,
                hint="Raise timeout_seconds in its entry, or narrow its query.",
            ) from None
        if any(word in text for word in ("no such", "syntax", "one statement", "ambiguous", "near ")):
            raise UsageError(
                f"{store.name} cannot be read: {text}.", hint="Check its entry in workbench.toml."
            ) from None
        raise SourceUnavailable(
            f"{store.name} cannot be read: {text}.", source=store.name, hint="Check the file of its url."
        ) from None
