"""What a store is: an entry ``[sql.NAME]`` or ``[files.NAME]`` of workbench.toml, checked."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Literal
from urllib.parse import unquote, urlsplit, urlunsplit
from zoneinfo import ZoneInfo

from workbench.config import expanded, nearest, parse_duration
from workbench.errors import ConfigError

Kind = Literal["postgresql", "mysql", "sqlite", "files"]

_PREFIXES = ("sql:", "files:")
_SCHEMES: Mapping[str, Kind] = {
    "postgresql": "postgresql", "postgres": "postgresql", "mysql": "mysql", "mariadb": "mysql", "sqlite": "sqlite",
}  # fmt: skip
_SELECTS = re.compile(r"\s*(select|with|values|table)\b", re.IGNORECASE)
_FORMATS = ("parquet", "csv", "jsonl")


@dataclass(frozen=True)
class Store:
    """A table, a query or files that messages come from or go to; ``repr`` shows no secret.

    Attributes:
        name: as options call it: ``sql:NAME``, ``files:NAME`` or ``files:PATTERN``.
        kind: what it is read with.
        url: of the database, without credentials; "" for files.
        path: of the files: a path, a pattern, or an address that fsspec knows.
        username, password: of the database's login.
        table, query: what is read, one of the two.
        id: column with the message id; "" takes the first of the usual names that is there.
        time: column with the time a row was written, or "" where there is none.
        order: column whose order is that of the rows, or "" where there is none; equal times are no order.
        deleted: column that is set where a row was taken out of use (a time, or true), or "".
        deleted_query: query of rows that are gone: the id, and perhaps when.
        published: for a source: column that is set once a row was handed over (a time, or true), or "".
        timezone: of times without one.
        format: of files; "" goes by their names.
        timeout_seconds: how long one query may take.
        keeps_seconds: after how long rows are removed, so that older messages cannot be verified; None: never.
    """

    name: str
    kind: Kind
    url: str = ""
    path: str = ""
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    table: str = ""
    query: str = ""
    id: str = ""
    time: str = ""
    order: str = ""
    deleted: str = ""
    deleted_query: str = ""
    published: str = ""
    timezone: str = "UTC"
    format: str = ""
    timeout_seconds: float = 60.0
    keeps_seconds: float | None = None

    def selection(self, quoted: Callable[[str], str]) -> str:
        """What is read, as SQL that may stand behind FROM; ``quoted`` puts a name into the database's quotes."""
        return f"({self.query})" if self.query else ".".join(map(quoted, self.table.split(".")))


def is_store(name: str) -> bool:
    """Whether a source or sink is a store; no topic's name holds a colon."""
    return name.startswith(_PREFIXES)


def store_of(name: str, sections: Mapping[str, Mapping[str, Any]]) -> Store:
    """The store that an option names.

    Args:
        name: ``sql:NAME``, ``files:NAME``, or ``files:PATTERN`` for files without an entry.
        sections: the tables ``sql`` and ``files`` of workbench.toml.

    Raises:
        ConfigError: there is no such entry, or one of its keys does not fit.
    """
    section, _, key = name.partition(":")
    known = sections.get(section) or {}
    if key not in known:
        if section == "files" and re.search(r"[./*]", key):
            return Store(name, "files", path=key)
        hint = nearest(key, known) or f"Write it into workbench.toml, under [{section}.{key or 'NAME'}]."
        raise ConfigError(f"There is no entry [{section}.{key}] in workbench.toml.", hint=hint)
    where = f"{section}.{key}"
    table = expanded(known[key], where)
    return (_database if section == "sql" else _files)(name, table, where)


_SHARED = frozenset({"id", "time", "deleted", "timezone", "keeps"})
_SQL_KEYS = _SHARED | {
    "url", "username", "password", "table", "query", "order", "published", "deleted_query", "timeout_seconds",
}  # fmt: skip
_FILE_KEYS = _SHARED | {"path", "format"}


def _database(name: str, table: Mapping[str, Any], where: str) -> Store:
    _known(table, _SQL_KEYS, where)
    url = str(table.get("url") or "")
    scheme = url.partition(":")[0].partition("+")[0].lower()
    if scheme not in _SCHEMES:
        hint = 'url = "postgresql://HOST:5432/DATABASE", "mysql://HOST:3306/DATABASE" or "sqlite:///PATH".'
        raise ConfigError(f"[{where}] names no database that can be read.", hint=hint)
    if bool(table.get("table")) == bool(table.get("query")):
        raise ConfigError(f"[{where}] must have either a table or a query.", hint='table = "schema.name"')
    if table.get("published") and not table.get("order"):
        raise ConfigError(
            f"[{where}] has published, but no order.", hint='Add order = "COLUMN", one that numbers its rows.'
        )
    for key in ("query", "deleted_query"):
        _check_query(str(table.get(key) or ""), f"{where}.{key}")
    return _without_login(Store(name, _SCHEMES[scheme], **_fields(table, where)))


def _without_login(store: Store) -> Store:
    """The store with a login that stood in its address, as a variable may hold it, apart from the address."""
    parts = urlsplit(store.url)
    if "@" not in parts.netloc:
        return store
    login, _, place = parts.netloc.rpartition("@")
    username, _, password = (unquote(one) for one in login.partition(":"))
    return replace(
        store,
        url=urlunsplit(parts._replace(netloc=place)),
        username=store.username or username,
        password=store.password or password,
    )


def _files(name: str, table: Mapping[str, Any], where: str) -> Store:
    _known(table, _FILE_KEYS, where)
    if not table.get("path"):
        raise ConfigError(f"[{where}] names no path.", hint='path = "exports/*.parquet"')
    if table.get("format", "parquet") not in _FORMATS:
        raise ConfigError(f"{where}.format is {table['format']!r}.", hint=f"Known are {', '.join(_FORMATS)}.")
    return Store(name, "files", **_fields(table, where))


def _known(table: Mapping[str, Any], allowed: frozenset[str], where: str) -> None:
    for key in table:
        if key not in allowed:
            hint = nearest(key, allowed) or f"Known are {', '.join(sorted(allowed))}."
            raise ConfigError(f"unknown key {key!r} in [{where}].", hint=hint)


def _check_query(query: str, where: str) -> None:
    """Refuses what is no query; the session that runs it may not write either."""
    if query and not _SELECTS.match(query):
        raise ConfigError(f"{where} is not a query.", hint="Write one SELECT; nothing else is run.")


def _fields(table: Mapping[str, Any], where: str) -> dict[str, Any]:
    kinds = {item.name: item.type for item in fields(Store)}
    out: dict[str, Any] = {key: value for key, value in table.items() if key != "keeps"}
    for key, value in out.items():
        numeric = kinds[key] == "float"
        if not isinstance(value, int | float if numeric else str) or isinstance(value, bool):
            raise ConfigError(f"{where}.{key} must be a {'number' if numeric else 'text'}.")
    for key in ("query", "deleted_query"):
        if key in out:
            out[key] = out[key].strip().rstrip(";")
    try:
        ZoneInfo(out.get("timezone", "UTC"))
    except (OSError, ValueError, KeyError):
        raise ConfigError(f"{where}.timezone is {out['timezone']!r}.", hint='For example "Europe/Berlin".') from None
    if "keeps" in table:
        out["keeps_seconds"] = parse_duration(str(table["keeps"]))
    return out
