"""From raw records to the rows that are kept: ids, hashes, sizes and verdicts of expressions, computed in DuckDB.

Only what a capture asks for is computed; a value is parsed only when something needs its JSON. Whatever comes from a
message is data here: it meets SQL as columns of a registered table, never as text of a statement.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workbench.capture.events import TYPE_PATHS, VERSION_PATHS, event_columns
from workbench.capture.expressions import mentions, quoted
from workbench.capture.origins import ALWAYS, origin_columns, with_payloads
from workbench.capture.schema import RAW, capture_schema, header_lists
from workbench.capture.spec import CaptureSpec, IdFrom, TopicSpec
from workbench.sources.formats import Decoder

LONGEST_ID = 512
ROWS_A_QUERY = 16_384


@dataclass(frozen=True)
class Plan:
    """What to compute for the records of one topic."""

    spec: CaptureSpec
    topic: TopicSpec

    @property
    def where(self) -> str | None:
        """The predicate, for the topic whose records are due."""
        return self.spec.where if self.topic.role == "source" else None

    @property
    def expressions(self) -> list[str]:
        """All expressions of users that are computed here."""
        return [text for text in (self.where, self.spec.business_key, self.spec.compare) if text]

    def names(self, column: str) -> bool:
        """Whether an expression may look at a column."""
        return any(mentions(text, column) for text in self.expressions)

    @cached_property
    def needs_json(self) -> bool:
        """Whether values have to be parsed."""
        asked = self.topic.id_from.kind == "json" or "event" in self.spec.want
        return asked or self.names("value")

    @cached_property
    def raw_columns(self) -> set[str]:
        """The optional raw columns that a reader has to fill."""
        want, kind = self.spec.want, self.topic.id_from.kind
        out = {"timestamp", "value"}
        if "key" in want or kind == "key" or self.names("key"):
            out.add("key")
        if (
            want & {"headers", "event", "origin"}
            or kind == "header"
            or self.spec.include_values
            or self.names("headers")
        ):
            out.add("headers")
        looked_at = self.spec.match.columns if self.spec.match else set()
        return out | looked_at | (want & {"leader_epoch"}) | ({"key"} if self.spec.include_values else set())

    @cached_property
    def paths(self) -> list[str]:
        """JSON paths to extract in one go."""
        out = [self.topic.id_from.name] if self.topic.id_from.kind == "json" else []
        return [*out, *TYPE_PATHS, *VERSION_PATHS] if "event" in self.spec.want else out


class Deriver:
    """Turns raw batches of one topic into rows of the capture schema; owns one DuckDB connection."""

    def __init__(self, spec: CaptureSpec, topic: TopicSpec, registry: Mapping[str, Any] | None = None) -> None:
        from workbench.dialects import own_dialects
        from workbench.evidence import connect_duckdb

        self.plan = Plan(spec, topic)
        self.schema = capture_schema(spec.include_values)
        self._queries = [capture_query(self.plan, trusting=trusting) for trusting in (True, False)]
        self._con = connect_duckdb(threads=1, memory_limit="1GB")
        self._dialects = own_dialects(spec.dialects)
        self._decoder = Decoder(topic.value_format, topic.key_format, registry)

    def close(self) -> None:
        """Frees the connections."""
        self._decoder.close()
        self._con.close()

    def __call__(self, batches: Sequence[Any]) -> Any:
        """A pyarrow.Table of the capture schema, in the order of the raw batches; only what matches, if anything has to."""
        tables = (pa.Table.from_batches(block, schema=RAW) for block in _blocks(batches))
        done = [rows for raw in tables if (rows := self._rows(raw)) is not None]
        return pa.concat_tables(done) if done else self.schema.empty_table()

    def _rows(self, raw: Any) -> Any | None:
        match = self.plan.spec.match
        if match is None:
            return self._derived(raw.combine_chunks())
        raw = match.candidates(raw, self.plan.topic).combine_chunks()
        return match.kept(self._derived(raw), raw) if raw.num_rows else None

    def _derived(self, raw: Any) -> Any:
        names, contents = header_lists(raw["headers"].combine_chunks())
        self._con.register("raw", self._prepared(raw, names, contents, self.plan))
        columns = _taken_over(raw, names, self.plan) | self._computed()
        columns["schema_id"] = self._decoder.schema_ids(_array(raw["value"]))
        columns["message_id"] = self._second_look(raw, columns["message_id"])
        if "event" in self.plan.spec.want:
            columns |= event_columns(names, contents, columns)
        if "origin" in self.plan.spec.want:
            columns |= origin_columns(names, raw, self.plan.topic, self._dialects)
        arrays = [_as(columns.get(field.name), field.type, raw.num_rows) for field in self.schema]
        return pa.Table.from_arrays(arrays, schema=self.schema)

    def _second_look(self, raw: Any, ids: Any) -> Any:
        """Ids of the records that had none in the usual place, from the other places and from inside dead letters."""
        if not ids.null_count:
            return ids
        topic = self.plan.topic
        for one in topic.others:
            ids = self._filled(raw, ids, one)
        if topic.role in ALWAYS and ids.null_count:
            inner = with_payloads(raw, topic.topic, self._dialects)
            for one in (topic.id_from, *topic.others, IdFrom("json", "$.messageId")):
                ids = self._filled(inner, ids, one) if one.kind == "json" else ids
        return ids

    def _filled(self, raw: Any, ids: Any, one: IdFrom) -> Any:
        missing = pc.is_null(ids)
        some = raw.filter(missing)
        if not some.num_rows:
            return ids
        plan = Plan(CaptureSpec(topics=(), want=frozenset()), replace(self.plan.topic, id_from=one))
        names, contents = header_lists(some["headers"].combine_chunks())
        self._con.register("raw", self._prepared(some, names, contents, plan))
        found = self._con.sql(capture_query(plan)).to_arrow_table()["message_id"]
        return pc.replace_with_mask(_array(ids), _array(missing), _array(found))

    def _prepared(self, raw: Any, names: Any, contents: Any, plan: Plan) -> Any:
        """The raw table as the query names it: contents apart from what expressions of users may name."""
        columns = {name: raw[name] for name in ("topic", "partition", "offset", "timestamp_ms", "timestamp_type")}
        return pa.table(
            {
                **columns,
                "raw_key": self._decoder.keys(_array(raw["key"])),
                "raw_value": raw["value"],
                "raw_text": self._texts(raw["value"]) if plan.needs_json else pa.nulls(raw.num_rows, pa.string()),
                "names": names,
                "contents": contents,
            }
        )

    def _texts(self, values: Any) -> Any:
        decoded = self._decoder.texts(_array(values))
        return _text(values) if decoded is None else decoded

    def _computed(self) -> dict[str, Any]:
        import duckdb

        try:
            rows = self._con.sql(self._queries[0]).to_arrow_table()
        except duckdb.InvalidInputException:
            # Some value is not JSON. Where one is, more follow: from here on none is trusted.
            self._queries = self._queries[-1:]
            rows = self._con.sql(self._queries[0]).to_arrow_table()
        return {name: rows[name] for name in rows.column_names}


def _blocks(batches: Sequence[Any]) -> Iterator[list[Any]]:
    """Neighbours that are worth a query of their own; copying large batches together costs more than it saves."""
    block: list[Any] = []
    for batch in batches:
        if batch.num_rows:
            block.append(batch)
        if sum(one.num_rows for one in block) >= ROWS_A_QUERY:
            yield block
            block = []
    if block:
        yield block


def _array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _as(column: Any, kind: pa.DataType, rows: int) -> Any:
    if column is None:
        return pa.nulls(rows, kind)
    return column if column.type == kind else column.cast(kind)


def _taken_over(raw: Any, names: Any, plan: Plan) -> dict[str, Any]:
    """What needs no query: columns as they are, their sizes, constants."""
    want, spec, count = plan.spec.want, plan.spec, raw.num_rows
    timed = pc.greater_equal(raw["timestamp_type"], 0)
    out = {
        "role": pa.repeat(pa.scalar(plan.topic.role), count),
        **{name: raw[name] for name in ("topic", "partition", "offset")},
        "leader_epoch": raw["leader_epoch"] if "leader_epoch" in want else None,
        "timestamp_ms": pc.if_else(timed, raw["timestamp_ms"], pa.scalar(None, pa.int64())),
        "timestamp_type": pc.take(
            pa.array(["create", "append", None]), pc.if_else(timed, raw["timestamp_type"], pa.scalar(2, pa.int8()))
        ),
        "key_size": pc.binary_length(raw["key"]) if "key" in plan.raw_columns else None,
        "value_size": pc.binary_length(raw["value"]),
        "key": raw["key"] if "key" in want or spec.include_values else None,
        "header_names": names if "headers" in want or spec.include_values else None,
        "is_aborted": pc.fill_null(raw["is_aborted"], fill_value=False) if "aborted" in want else None,
    }
    return out | ({"value": raw["value"], "headers": raw["headers"]} if spec.include_values else {})


def _text(values: Any) -> Any:
    """Values as strings, null where they are not UTF-8; one look at all of them when all are."""
    try:
        return values.cast(pa.string())
    except pa.ArrowInvalid:
        return pa.array([_decoded(value) for value in values.to_pylist()], pa.string())


def _decoded(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def capture_query(plan: Plan, *, trusting: bool = False) -> str:
    """SELECT over the registered table ``raw``, one output row each, in order.

    Three layers: what expressions may name (``COLUMNS``), then expressions and ids, then the columns that are kept.

    Args:
        plan: what to compute.
        trusting: takes every text for JSON, which saves a parse; the query fails when one is not.
    """
    document = "raw_text" if trusting and not plan.names("value") else "value"
    named = f"SELECT *, {', '.join(_offered(plan, parsed=document == 'value'))} FROM raw"
    found = f"json_extract_string({document}, {_paths(plan.paths)})" if plan.paths else "NULL::VARCHAR"
    located = f"SELECT *, {document} AS document, {found} AS found FROM ({named})"
    computed = (
        f"SELECT *, {_identity(plan)} AS identity, {_scalar(plan.where)} AS is_due, "
        f"{_scalar(plan.spec.business_key)}::VARCHAR AS business, {_scalar(plan.spec.compare)}::VARCHAR AS compared "
        f"FROM ({located})"
    )
    return f"SELECT {', '.join(_columns(plan))} FROM ({computed})"


def _columns(plan: Plan) -> list[str]:
    want, spec = plan.spec.want, plan.spec
    undecoded = "raw_value IS NOT NULL AND document IS NULL" if plan.needs_json else "false"
    out = [
        f"{_SHORTENED} AS message_id",
        f"{_due(plan, undecoded)} AS due",
        f"NOT ({undecoded}) AS decoded",
    ]
    hashed = {
        "value_hash": "raw_value" if "value_hash" in want else None,
        "business_key_hash": "business" if spec.business_key else None,
        "compare_hash": "compared" if spec.compare else None,
    }
    out += [f"CASE WHEN {c} IS NOT NULL THEN hash({c}) END AS {name}" for name, c in hashed.items() if c]
    # Texts from the JSON as columns of their own; named by their path, as event_columns asks for them.
    events = [*TYPE_PATHS, *VERSION_PATHS] if "event" in want else []
    first = len(plan.paths) - len(events)
    return [*out, *(f'found[{first + number}] AS "{path}"' for number, path in enumerate(events, 1))]


def _paths(paths: list[str]) -> str:
    """One path gives a text, several a list of texts."""
    return quoted(paths[0]) if len(paths) == 1 else f"[{', '.join(map(quoted, paths))}]"


def _offered(plan: Plan, *, parsed: bool) -> list[str]:
    """The columns that expressions may name; null where none does."""
    at = "try(make_timestamptz(CASE WHEN timestamp_type >= 0 THEN timestamp_ms END * 1000))"
    return [
        f"{'try_cast(raw_text AS JSON)' if parsed and plan.needs_json else 'NULL::JSON'} AS value",
        f"{'try(decode(raw_key))' if plan.names('key') else 'NULL::VARCHAR'} AS key",
        f"{_HEADER_MAP if plan.names('headers') else 'NULL::MAP(VARCHAR, VARCHAR)'} AS headers",
        f"{at if plan.names('timestamp') else 'NULL::TIMESTAMPTZ'} AS timestamp",
    ]


# The last header of a name counts, as in Kafka's lastHeader; a value that is not UTF-8 is null.
_HEADER_MAP = (
    "map(list_distinct(names), list_transform(list_distinct(names), "
    "lambda name: try(decode(contents[-list_position(list_reverse(names), name)]))))"
)


# No id is empty, and none is so long that a ledger of millions suffers.
_SHORTENED = (
    f"CASE WHEN length(identity) > {LONGEST_ID} THEN 'sha256:' || sha256(identity) ELSE nullif(identity, '') END"
)


def _identity(plan: Plan) -> str:
    id_from = plan.topic.id_from
    if id_from.kind == "header":
        return _bytes_as_id(_header(id_from.name))
    if id_from.kind == "key":
        return _bytes_as_id("raw_key")
    if id_from.kind == "coordinates":
        return """topic || '/' || "partition" || '/' || "offset\""""
    # Numbers become their text. Objects, arrays and booleans identify nothing; a text that only looks like one
    # ("{550e8400-...}") does: its type is asked for only then.
    is_text = f"json_type(document, {quoted(id_from.name)}) = 'VARCHAR'"
    text = "found" if len(plan.paths) == 1 else "found[1]"
    return f"CASE WHEN left({text}, 1) IN ('{{', '[', 't', 'f') AND NOT {is_text} THEN NULL ELSE {text} END"


def _bytes_as_id(blob: str) -> str:
    """Text as it is; bytes that are no text, or hold control characters (binary numbers), as hex digits."""
    text = f"try(decode({blob}))"
    return (
        f"CASE WHEN NOT regexp_matches({text}, '[\\x00-\\x1f\\x7f]') THEN {text} "
        f"WHEN {blob} IS NOT NULL THEN 'hex:' || lower(hex({blob})) END"
    )


def _header(name: str) -> str:
    """The bytes of the last header of this name, as Kafka's ``lastHeader``."""
    return f"contents[-list_position(list_reverse(names), {quoted(name)})]"


def _due(plan: Plan, undecoded: str) -> str:
    """False where the predicate fails. A value that cannot be decoded cannot fail a predicate about it."""
    if plan.where is None:
        return "true"
    excused = undecoded if mentions(plan.where, "value") else "false"
    return f"(coalesce(is_due, false) OR ({excused}))"


def _scalar(expression: str | None) -> str:
    """A user's expression over a record; null where it fails for this record."""
    return "NULL" if expression is None else f"try(({expression}))"
