"""PostgreSQL through ADBC: rows come as Arrow; the session is read-only, and its statements have a time limit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

import pyarrow as pa

from workbench.errors import AccessDenied, SourceUnavailable, UsageError
from workbench.sources.stores.needed import needed
from workbench.sources.stores.reading import Columns, Window
from workbench.sources.stores.statements import Words, nothing_of, quoted, select
from workbench.stores import Store

CONNECT_SECONDS = 10
# A login that is refused has no SQLSTATE.
_LOGIN = ("authentication failed", "no password supplied", "no pg_hba.conf entry", "role ")
# What a server says once rows come, when the driver passes on its words alone.
_SAID = {
    "statement timeout": "57014", "read-only transaction": "25006", "permission denied": "42501", "invalid input": "22P02",
    "out of range": "22003", "division by zero": "22012",
}  # fmt: skip
_READ_ONLY = "-c default_transaction_read_only=on -c statement_timeout={ms} -c TimeZone=UTC"


@contextmanager
def opened(store: Store) -> Iterator[_Opened]:
    """The store, for as long as it is needed."""
    dbapi = needed("adbc_driver_postgresql.dbapi", store)
    with _mapped(store), closing(dbapi.connect(_address(store))) as connection:
        yield _Opened(store, connection)


def _address(store: Store) -> str:
    parts = urlsplit(store.url)
    login = ":".join(quote(one, safe="") for one in (store.username, store.password) if one) if store.username else ""
    place = f"{login}@{parts.netloc}" if login else parts.netloc
    given = dict(parse_qsl(parts.query))
    if store.password and not login:  # the user's name may come from the environment
        given["password"] = store.password
    own = _READ_ONLY.format(ms=round(store.timeout_seconds * 1000))
    options = f"{given['options']} {own}" if "options" in given else own
    query = urlencode({"connect_timeout": CONNECT_SECONDS, **given, "options": options}, quote_via=quote)
    return urlunsplit(("postgresql", place, parts.path, query, ""))


class _Opened:
    def __init__(self, store: Store, connection: Any) -> None:
        self._store, self._connection = store, connection

    def columns(self) -> dict[str, str]:
        with self._connection.cursor() as cursor:
            cursor.execute(nothing_of(self._store.selection(quoted)))
            self._types = {column.name: column.type for column in cursor.fetch_arrow_table().schema}
        return {name: str(kind) for name, kind in self._types.items()}

    def rows(self, columns: Columns, window: Window, limit: int | None) -> Iterator[Any]:
        kind = self._types.get(columns.names.get("at", ""))
        words = Words(quoted, self._store.selection(quoted), _as_text(self._types[columns.names["id"]]), _literal(kind))
        yield from self._batches(select(columns, words, window, limit))

    def removed(self) -> Iterator[Any]:
        selection = f"({self._store.deleted_query})"
        with self._connection.cursor() as cursor:
            cursor.execute(nothing_of(selection))
            names = [(column.name, column.type) for column in cursor.fetch_arrow_table().schema][:2]
        ids, kind = names[0]
        parts = [f"{_as_text(kind)('q.' + quoted(ids))} AS id", *(f"q.{quoted(n)} AS deleted" for n, _ in names[1:])]
        yield from self._batches(f"SELECT {', '.join(parts)} FROM {selection} AS q")

    def _batches(self, statement: str) -> Iterator[Any]:
        with self._connection.cursor() as cursor:
            cursor.execute(statement)
            yield from cursor.fetch_record_batch()


def _as_text(kind: Any) -> Any:
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return lambda column: f"'hex:' || encode({column}, 'hex')"
    return lambda column: f"({column})::text"


def _literal(kind: Any) -> Any:
    """Times with a zone are compared by the server; others are left to the reader, which knows their zone."""
    if kind is None or not pa.types.is_timestamp(kind) or kind.tz is None:
        return None

    def literal(at: datetime) -> str:
        return f"TIMESTAMPTZ '{at.isoformat()}'"

    return literal


@contextmanager
def _mapped(store: Store) -> Iterator[None]:
    """The driver's errors in the workbench's words, by SQLSTATE; the address it names holds no password."""
    try:
        yield
    except (OSError, pa.ArrowException) as error:  # while rows come, Arrow passes on what the driver says
        text = _first_line(error)
        raise _error(store, _state(text), text) from None
    except Exception as error:
        if type(error).__module__.partition(".")[0] != "adbc_driver_manager":
            raise
        raise _error(store, str(getattr(error, "sqlstate", None) or ""), _first_line(error)) from None


def _state(text: str) -> str:
    """The SQLSTATE of what the server said; "" where its words are none of these."""
    return next((state for words, state in _SAID.items() if words in text), "")


def _error(store: Store, state: str, text: str) -> Exception:
    if state[:2] == "28" or (not state and any(words in text for words in _LOGIN)):
        return AccessDenied(
            f"{store.name} refuses the login.", source=store.name, hint="Check username and password of its entry."
        )
    if state == "42501":
        return AccessDenied(f"{store.name} may not be read: {text}.", source=store.name, hint="Grant SELECT on it.")
    if state == "57014":
        return SourceUnavailable(
            f"{store.name} took longer than {store.timeout_seconds:g} s for one query.",
            source=store.name,
            hint="Raise timeout_seconds in its entry, narrow its query, or give it an index on its time.",
            retriable=True,
        )
    if state[:2] in {"42", "22", "0A", "25", "3F"} or ("database" in text and "does not exist" in text):
        return UsageError(f"{store.name} cannot be read: {text}.", hint="Check its entry in workbench.toml.")
    return SourceUnavailable(
        f"{store.name} does not answer: {text}.", source=store.name, hint="Check its url and network.", retriable=True
    )


def _first_line(error: Exception) -> str:
    """What the server said, without what the driver puts around it."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = next((line.partition("ERROR:")[2].strip() for line in lines if "ERROR:" in line), "")
    return (said or " ".join(lines[:2])).split(" Vendor code")[0].split(". SQLSTATE")[0].rstrip(". ")[:300]
