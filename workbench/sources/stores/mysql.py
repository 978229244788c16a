"""MySQL and MariaDB through PyMySQL: rows as the server sends them, in a read-only transaction with a time limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit

from workbench.errors import AccessDenied, SourceUnavailable, UsageError
from workbench.sources.stores.needed import needed
from workbench.sources.stores.objects import batch_of
from workbench.sources.stores.reading import Columns, Window
from workbench.sources.stores.statements import FETCHED_ROWS, Words, nothing_of, select
from workbench.stores import Store

CONNECT_SECONDS = 10
# Error numbers of the server and of the client, and what they mean here.
_DENIED, _NO_RIGHT, _TOO_LONG = {1044, 1045, 1698}, {1142, 1143}, {1969, 3024}
_WRONG = {1049, 1054, 1064, 1146, 1792, 1052, 1247}


@contextmanager
def opened(store: Store) -> Iterator[_Opened]:
    """The store, for as long as it is needed."""
    pymysql = needed("pymysql", store)
    parts = urlsplit(store.url)
    with _mapped(store, pymysql):
        connection = pymysql.connect(
            host=parts.hostname or "localhost",
            port=parts.port or 3306,
            user=store.username or None,
            password=store.password,
            database=parts.path.strip("/") or None,
            connect_timeout=CONNECT_SECONDS,
            read_timeout=store.timeout_seconds + CONNECT_SECONDS,
            cursorclass=pymysql.cursors.SSCursor,
            charset="utf8mb4",
        )
        with closing(connection):
            yield _Opened(store, connection)


class _Opened:
    def __init__(self, store: Store, connection: Any) -> None:
        self._store, self._connection = store, connection
        self._run("SET SESSION TRANSACTION READ ONLY")
        self._run("SET SESSION time_zone = '+00:00'")
        # MariaDB's limit, then MySQL's; each server knows one of the two.
        for limit in (
            f"max_statement_time = {store.timeout_seconds}",
            f"max_execution_time = {int(store.timeout_seconds * 1000)}",
        ):
            with suppress(Exception):
                self._run(f"SET SESSION {limit}")

    def _run(self, statement: str) -> None:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)

    def columns(self) -> dict[str, str]:
        return self._columns_of(self._store.selection(_quoted))

    def _columns_of(self, selection: str) -> dict[str, str]:
        from pymysql.constants import FIELD_TYPE

        names = {value: name.lower() for name, value in vars(FIELD_TYPE).items() if isinstance(value, int)}
        names |= {FIELD_TYPE.VAR_STRING: "varchar", FIELD_TYPE.STRING: "char", FIELD_TYPE.BLOB: "text"}
        with self._connection.cursor() as cursor:
            cursor.execute(nothing_of(selection))
            return {column[0]: names.get(column[1], "") for column in cursor.description}

    def rows(self, columns: Columns, window: Window, limit: int | None) -> Iterator[Any]:
        kind = self.columns().get(columns.names.get("at", ""), "")
        at = _literal if kind in {"timestamp", "datetime"} and self._store.timezone == "UTC" else None
        words = Words(_quoted, self._store.selection(_quoted), str, at)
        yield from self._batches(select(columns, words, window, limit))

    def removed(self) -> Iterator[Any]:
        selection = f"({self._store.deleted_query})"
        names = list(self._columns_of(selection))[:2]
        parts = [f"q.{_quoted(name)} AS {role}" for role, name in zip(("id", "deleted"), names, strict=False)]
        yield from self._batches(f"SELECT {', '.join(parts)} FROM {selection} AS q")

    def _batches(self, statement: str) -> Iterator[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            names = [column[0] for column in cursor.description]
            while rows := cursor.fetchmany(FETCHED_ROWS):
                yield batch_of(names, rows)


def _quoted(name: str) -> str:
    return "`" + name.replace("`", "``") + "`"


def _literal(at: datetime) -> str:
    return f"'{at.replace(tzinfo=None).isoformat(sep=' ')}'"


@contextmanager
def _mapped(store: Store, pymysql: Any) -> Iterator[None]:
    """The driver's errors in the workbench's words, by their numbers."""
    try:
        yield
    except pymysql.err.Error as error:
        number = error.args[0] if error.args and isinstance(error.args[0], int) else 0
        text = str(error.args[-1] if error.args else error).splitlines()[0][:300].rstrip(". ")
        raise _error(store, number, text) from None


def _error(store: Store, number: int, text: str) -> Exception:
    if number in _DENIED:
        return AccessDenied(
            f"{store.name} refuses the login.", source=store.name, hint="Check username and password of its entry."
        )
    if number in _NO_RIGHT:
        return AccessDenied(f"{store.name} may not be read: {text}.", source=store.name, hint="Grant SELECT on it.")
    if number in _TOO_LONG:
        return SourceUnavailable(
            f"{store.name} took longer than {store.timeout_seconds:g} s for one query.",
            source=store.name,
            hint="Raise timeout_seconds in its entry, narrow its query, or give it an index on its time.",
            retriable=True,
        )
    if number in _WRONG:
        return UsageError(f"{store.name} cannot be read: {text}.", hint="Check its entry in workbench.toml.")
    return SourceUnavailable(
        f"{store.name} does not answer: {text}.", source=store.name, hint="Check its url and network.", retriable=True
    )
