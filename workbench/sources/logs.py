"""Logs that users bring: the sent log (what the producer believes) and the service log, JSON Lines of any length.

A file is read in blocks of whole lines, decoded and typed in DuckDB. A damaged line is counted by reason and left out; it
never ends the reading. Fields nobody knows are ignored.
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import IO, TYPE_CHECKING

import pyarrow as pa

from workbench.errors import UsageError
from workbench.evidence import connect_duckdb

if TYPE_CHECKING:
    import duckdb

SENT_LOG_SCHEMA = pa.schema(
    [("message_id", pa.string()), ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()),
     ("size_bytes", pa.int64()), ("at_ms", pa.int64()), ("timestamp_ms", pa.int64()), ("acked", pa.bool_()),
     ("committed", pa.bool_()), ("error", pa.string()), ("line", pa.int64())]
)  # fmt: skip
SERVICE_LOG_SCHEMA = pa.schema(
    [("at_ms", pa.int64()), ("level", pa.string()), ("event", pa.string()), ("error", pa.string()),
     ("message_id", pa.string()), ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()),
     ("duration_ms", pa.float64()), ("line", pa.int64())]
)  # fmt: skip

# Column -> the fields that may hold it, the first that is there wins.
FIELDS: Mapping[str, tuple[str, ...]] = {
    "message_id": ("id", "messageId", "message_id"),
    "at_ms": ("at", "timestamp", "time"),
    "timestamp_ms": ("timestamp_ms", "record_timestamp", "recordTimestamp", "create_time", "createTime", "timestamp"),
    "size_bytes": ("size_bytes", "bytes"),
    "topic": ("topic",),
    "partition": ("partition",),
    "offset": ("offset",),
    "acked": ("acked",),
    "committed": ("committed",),
    "error": ("error",),
    "level": ("level",),
    "event": ("event",),
    "duration_ms": ("duration_ms", "durationMs", "elapsed_ms", "took_ms", "processing_ms"),
}

_BLOCK_BYTES = 8 * 1024 * 1024
_LONGEST_ID = 512  # as in captures: longer ids are told apart by their hash
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class LogRead:
    """A log as a table.

    Attributes:
        table: one row a usable line, in the file's order.
        skipped: reason -> lines left out, and ``... unreadable`` -> lines kept with that field null.
    """

    table: pa.Table
    skipped: Mapping[str, int] = field(default_factory=dict)


def read_sent_log(path: Path, names: Mapping[str, str] | None = None) -> LogRead:
    """What a producer says it sent.

    Args:
        path: JSON Lines; ``id`` or ``messageId`` in each line, the rest optional: ``topic``, ``partition``, ``offset``
            (as acknowledged), ``size_bytes`` or ``bytes``, ``at`` (when it was sent: ISO time or epoch milliseconds),
            ``record_timestamp`` (the record's own time, where the producer set one), ``acked``, ``committed``, ``error``.
        names: column -> field name in this file, where it differs.

    Returns:
        message_id string (never null), topic, partition int32, offset, size_bytes, at_ms, timestamp_ms int64, acked,
        committed bool, error string (null: not said), line int64 (from 1).

    Raises:
        UsageError: the file cannot be read at all.

    Reads: the file.
    """
    return _read(Path(path), SENT_LOG_SCHEMA, names or {}, needs_id=True)


def read_service_log(path: Path, names: Mapping[str, str] | None = None) -> LogRead:
    """What a service wrote while it worked.

    Args:
        path: JSON Lines with any of ``at``, ``level``, ``event``, ``error``, ``id`` or ``messageId``, ``topic``,
            ``partition``, ``offset``, ``duration_ms`` (how long a record took).
        names: column -> field name in this file, where it differs.

    Returns:
        at_ms int64, level, event, error, message_id, topic string, partition int32, offset int64, duration_ms float64
        (null: not said), line int64 (from 1).

    Raises:
        UsageError: the file cannot be read at all.

    Reads: the file.
    """
    return _read(Path(path), SERVICE_LOG_SCHEMA, names or {}, needs_id=False)


def _read(path: Path, schema: pa.Schema, names: Mapping[str, str], *, needs_id: bool) -> LogRead:
    counts: Counter[str] = Counter()
    tables: list[pa.Table] = []
    query = _query(schema, names, needs_id=needs_id)
    connection = connect_duckdb(threads=2)
    try:
        with path.open("rb") as file:
            for first, lines in _blocks(file, counts):
                tables.append(_decoded(connection, query.format(first=first), lines, counts).cast(schema))
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}.", hint="Give a JSON Lines file.") from None
    finally:
        connection.close()
    table = pa.concat_tables(tables) if tables else pa.Table.from_batches([], schema)
    return LogRead(table, {reason: count for reason, count in counts.items() if count})


def _blocks(file: IO[bytes], counts: Counter[str]) -> Iterator[tuple[int, list[bytes]]]:
    """(number of the first line, whole lines) of about 8 MiB each; a longer line is dropped in pieces, never held."""
    number, rest = 1, file.read(len(_BYTE_ORDER_MARK)).removeprefix(_BYTE_ORDER_MARK)
    dropping = False
    while data := file.read(_BLOCK_BYTES):
        if dropping:
            _, found, data = data.partition(b"\n")
            if not found:
                continue
            dropping, number = False, number + 1
        whole, found, rest = (rest + data).rpartition(b"\n")
        if found:
            lines = whole.split(b"\n")
            yield number, lines
            number += len(lines)
        elif len(rest) > _BLOCK_BYTES:
            counts["line longer than 8 MiB"] += 1
            dropping, rest = True, b""
    if rest:
        yield number, rest.split(b"\n")


def _decoded(connection: duckdb.DuckDBPyConnection, query: str, lines: list[bytes], counts: Counter[str]) -> pa.Table:
    connection.register("block", _as_table(lines))
    connection.execute(f"CREATE OR REPLACE TEMP TABLE found AS {query}")
    for reason, count in connection.execute(_COUNT).fetchall():
        counts[reason] += count
    return connection.table("found").filter("damage IS NULL").order("line").project(_KEPT).to_arrow_table()


_KEPT = "* EXCLUDE (damage, doubts)"
_COUNT = """
SELECT damage, count(*) FROM found WHERE damage IS NOT NULL AND damage <> '' GROUP BY damage
UNION ALL SELECT doubt, count(*) FROM (SELECT unnest(doubts) AS doubt FROM found WHERE damage IS NULL)
WHERE doubt IS NOT NULL GROUP BY doubt
"""


def _as_table(lines: list[bytes]) -> pa.Table:
    """Lines as one binary column, from buffers: making an array of Python objects would import pandas."""
    offsets = array("i", accumulate(map(len, lines), initial=0))
    raw = pa.Array.from_buffers(pa.binary(), len(lines), [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(lines))])
    return pa.Table.from_arrays([raw], ["raw"])


def _query(schema: pa.Schema, names: Mapping[str, str], *, needs_id: bool) -> str:
    """Types each line; ``damage`` says why it is left out ('' for an empty line), ``doubts`` which fields are lost."""
    fields = {name: (names[name],) if name in names else FIELDS[name] for name in schema.names if name != "line"}
    # All fields of a line are taken out in one go: it is parsed once.
    paths = list(dict.fromkeys(path for candidates in fields.values() for path in candidates))
    place = {path: number for number, path in enumerate(paths, start=1)}
    texts = {name: _first(f"said[{place[path]}]" for path in candidates) for name, candidates in fields.items()}
    texts["message_id"] = _first(_id_text(place[path]) for path in fields["message_id"])
    typed = ", ".join(f"{_TYPED.get(name, str)(text)} AS {_quoted(name)}" for name, text in texts.items())
    doubts = ", ".join(
        f"CASE WHEN {_quoted(name)} IS NULL AND {texts[name]} IS NOT NULL THEN '{name} unreadable' END"
        for name in texts
        if name in _TYPED and name != "message_id"
    )
    no_id = "WHEN message_id IS NULL THEN 'no id' " if needs_id else ""
    wanted = "[" + ", ".join(map(_path, paths)) + "]"
    return f"""
WITH numbered AS (SELECT row_number() OVER () + {{first}} - 1 AS line, try(decode(raw)) AS text FROM block),
     parsed AS (SELECT line, text, CASE WHEN json_valid(text) THEN text END AS j FROM numbered),
     taken AS (SELECT *, json_type(j) AS kind, json_extract_string(j, {wanted}) AS said, json_type(j, {wanted}) AS kinds
               FROM parsed),
     typed AS (SELECT line, text, j, kind, said, {typed} FROM taken)
SELECT {", ".join(_quoted(name) for name in schema.names)},
       CASE WHEN text IS NULL THEN 'not UTF-8' WHEN trim(text, E' \\t\\r') = '' THEN '' WHEN j IS NULL THEN 'not JSON'
            WHEN kind <> 'OBJECT' THEN 'not a JSON object' {no_id}END AS damage,
       [{doubts}] AS doubts
FROM typed
"""


def _first(texts: Iterable[str]) -> str:
    return f"coalesce({', '.join(texts)}, NULL)"


def _id_text(place: int) -> str:
    """Texts and numbers identify; objects, arrays, booleans and empty texts do not."""
    kinds = "('VARCHAR', 'UBIGINT', 'BIGINT', 'HUGEINT', 'UHUGEINT', 'DOUBLE')"
    return f"CASE WHEN kinds[{place}] IN {kinds} THEN nullif(said[{place}], '') END"


def _id(text: str) -> str:
    return f"CASE WHEN length({text}) > {_LONGEST_ID} THEN 'sha256:' || sha256({text}) ELSE {text} END"


def _whole(kind: str) -> Callable[[str], str]:
    return lambda text: f"CASE WHEN try_cast({text} AS {kind}) >= 0 THEN try_cast({text} AS {kind}) END"


def _moment(text: str) -> str:
    """Epoch milliseconds as they are; ISO times, UTC where they name no zone."""
    number = f"try_cast(floor(try_cast({text} AS DOUBLE)) AS BIGINT)"
    return f"coalesce({number}, epoch_ms(try_cast(replace({text}, ',', '.') AS TIMESTAMPTZ)))"


def _truth(text: str) -> str:
    return f"CASE lower({text}) WHEN 'true' THEN true WHEN 'false' THEN false END"


_TYPED: Mapping[str, Callable[[str], str]] = {
    "message_id": _id,
    "partition": _whole("INTEGER"),
    "offset": _whole("BIGINT"),
    "size_bytes": _whole("BIGINT"),
    "at_ms": _moment,
    "timestamp_ms": _moment,
    "duration_ms": lambda text: f"try_cast({text} AS DOUBLE)",
    "acked": _truth,
    "committed": _truth,
}


def _path(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return _literal(f'$."{escaped}"')


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


def _literal(text: str) -> str:
    return "'" + text.replace("'", "''").replace("{", "{{").replace("}", "}}") + "'"
