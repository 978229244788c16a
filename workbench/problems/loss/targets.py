"""Loss at a target that is a table: it refused the row, or the row was there and is gone."""

from __future__ import annotations

from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity

# Missing in a sink that is a table or files; in one that does not say which rows were deleted.
_AT_STORE = "list_has_any(missing_sinks, (SELECT coalesce(list(topic), []) FROM stores))"
MAY_BE_GONE = "list_has_any(missing_sinks, (SELECT coalesce(list(topic), []) FROM stores WHERE NOT knows_removed))"
_GONE = (
    "EXISTS (SELECT 1 FROM gone g WHERE g.message_id = entries.message_id AND list_contains(missing_sinks, g.topic))"
)

# Words in which databases and their clients say that a value does not fit, the first that fits names the kind. Only words
# that are theirs: "out of range", "overflow", "cannot be null" or "already exists" alone are said by everybody.
_KINDS = {
    "a unique constraint": r"duplicate (key|entry)|unique (constraint|index|key|violation)|violation of (unique|primary) key"
    r"|uniqueviolation|sqlstate\W{0,9}23505",
    "a foreign key": r"foreign ?key|sqlstate\W{0,9}23503",
    "a column that must not be null": r"not[- ]null constraint|null value in column|column .{1,80} cannot be null|ora-01400"
    r"|cannot insert (the value )?null|null not allowed for column|notnullviolation|doesn.t have a default value"
    r"|sqlstate\W{0,9}23502",
    "a check constraint": r"check constraint|checkviolation|exclusion constraint|constraint failed|violates .{1,40} constraint"
    r"|integrity ?(error|constraint)|dataintegrityviolation|org\.hibernate\.[\w.]*constraintviolation|sqlstate\W{0,9}23\w{3}",
    "a type or length": r"too long for (type|column)|value too large for column|data truncat|binary data would be truncated"
    r"|invalid input syntax for|(smallint|integer|bigint|real|double precision|numeric value|timestamp) out of range"
    r"|out of range (for type|value for column)|field value out of range|numeric field overflow|arithmetic overflow error"
    r"|incorrect .{1,40} value|invalid json text|datatype mismatch|cannot cast type|cannot be cast to type"
    r"|conversion failed when converting|is of type .{1,40} but expression is of type"
    r"|(sqlalchemy|psycopg|pymysql|mysqldb|asyncpg|django)[\w.]*dataerror|ora-(01438|12899|01722|01861|01840|01843)"
    r"|sqlstate\W{0,9}22\w{3}",
}
_REFUSED = "|".join(_KINDS.values())
_REJECTED = (
    f"(in_source AND passed IS NOT FALSE AND {_AT_STORE} AND NOT log_dead AND NOT ({_GONE})"
    f" AND regexp_matches(coalesce(log_error, ''), '{_REFUSED}', 'i'))"
)
AT_TARGET = f"({_REJECTED} OR ({_AT_STORE} AND {_GONE}))"


@rule("loss-target-rejected", Severity.CRITICAL)
def target_rejected(case: Case) -> Ruling:
    """The table that messages are written to refused the row, by a constraint or a type, and the service went on.

    Confirmed where a message is missing in a sink that is a table or files, and the service's log holds an error for it in the
    words that databases have for a constraint or a type that does not fit. Undecided without the service's log while messages
    are missing there. Ruled out where that log holds no such error, or no sink is a table.
    """
    if not case.count(_AT_STORE):
        return RULED_OUT
    count = case.count(_REJECTED)
    if not count:
        return RULED_OUT if case.has("service_log") else Ruling(undecided="needs the service's log (--service-log)")
    return Ruling(
        claims=(Claim("confirmed", _REJECTED),),
        summary=f"{{count}} messages were refused by {_names(case, _REJECTED)}, and the service went on: {_kinds(case)}.",
        subject={"topic": str(case.facts["source"])},
        tables=("records", "service_log"),
    )


@rule("loss-target-deleted", Severity.CRITICAL)
def target_deleted(case: Case) -> Ruling:
    """The message was written to the table, and its row was deleted afterwards.

    Confirmed where a message is missing in a sink that is a table, and the table says that its row was there: its ``deleted``
    column is set, or ``deleted_query`` (an audit table, a history) finds the id. Undecided where messages are missing in a
    table that says nothing of deleted rows. Ruled out where it says that these were not, or no sink is a table.
    """
    found = f"{_AT_STORE} AND {_GONE}"
    if case.count(found):
        return Ruling(
            claims=(Claim("confirmed", found),),
            summary=f"{{count}} messages had been written to {_names(case, found)}, and their rows were deleted afterwards.",
            subject={"topic": str(case.facts["source"])},
            tables=("records", "removed_rows"),
        )
    if case.count(f"{MAY_BE_GONE} AND NOT {_REJECTED}"):
        return Ruling(undecided="needs to know which rows were deleted: write deleted or deleted_query into its entry")
    return RULED_OUT


def _names(case: Case, where: str) -> str:
    """The tables that lack these messages, at most three of them."""
    rows = case.rows(
        "SELECT DISTINCT s.topic FROM stores s JOIN entries ON list_contains(entries.missing_sinks, s.topic)"
        f" WHERE {where} ORDER BY s.topic LIMIT 3"
    )
    return ", ".join(row["topic"] for row in rows)


def _kinds(case: Case) -> str:
    """How often which kind of refusal; the errors themselves hold content."""
    whens = " ".join(f"WHEN regexp_matches(log_error, '{words}', 'i') THEN '{kind}'" for kind, words in _KINDS.items())
    rows = case.rows(
        f"SELECT CASE {whens} END AS kind, count(*) AS n FROM entries WHERE {_REJECTED} GROUP BY ALL ORDER BY n DESC, kind"
    )
    return ", ".join(f"{row['kind']} ({row['n']:,})" for row in rows)
