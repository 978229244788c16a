"""How firmly a ledger stands: what was not read, not identified or not known, said the same way in every problem."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from workbench.evidence import Evidence
from workbench.problems.accounting import offsets_by_topic
from workbench.problems.places import NEVER_MS, unread_topics
from workbench.problems.rules import Case
from workbench.report import Note, Report, Undecided

# Resident memory of a whole check stays well below 1.5 GiB with this; DuckDB spills what does not fit.
MEMORY_LIMIT = "700MB"

NO_ROWS = (
    "SELECT NULL::VARCHAR AS message_id, NULL::VARCHAR AS disposition, NULL::VARCHAR AS cause, NULL::VARCHAR AS candidates,"
    ' NULL::VARCHAR AS topic, NULL::INTEGER AS partition, NULL::BIGINT AS "offset", NULL::TIMESTAMPTZ AS "at" WHERE false'
)

# Source records without an id, those that a dead letter names by coordinates taken out. A tombstone has no id to lose.
_UNIDENTIFIED = """
SELECT p.role, count(*) AS records, count(*) FILTER (coalesce(r.due, true) AND r.value_size IS NOT NULL AND NOT EXISTS (
           SELECT 1 FROM records d JOIN places q ON q.topic = d.topic WHERE q.role = 'dead_letters'
           AND d.origin_topic = r.topic AND d.origin_partition = r.partition AND d.origin_offset = r.offset)) AS in_doubt
FROM records r JOIN places p ON p.topic = r.topic
WHERE r.message_id IS NULL AND coalesce(r.is_aborted, false) = false GROUP BY p.role ORDER BY p.role
"""


def unread(case: Case) -> dict[str, str]:
    """Topics that were not read, or not to their end -> why."""
    return unread_topics(case.con, case.evidence)


def group_known(case: Case) -> bool:
    """Whether the group's commits are at hand and the group exists."""
    return case.has("committed") and case.facts.get("group_exists") is not False


def unidentified(case: Case) -> dict[str, tuple[int, int]]:
    """Role -> (records without an id, of those in doubt)."""
    return {row["role"]: (row["records"], row["in_doubt"]) for row in case.rows(_UNIDENTIFIED)}


def doubts(case: Case) -> tuple[Undecided, ...]:
    """What keeps the ledger from being established, whatever was found."""
    out = [Undecided("ledger", f"topic {topic}: {why}") for topic, why in unread(case).items()]
    facts = case.facts
    if facts["group"] and facts.get("group_exists") is False:
        near = facts.get("groups_near") or []
        hint = f"; did you mean {', '.join(near)}?" if near else ""
        out.append(Undecided("ledger", f"group {facts['group']} does not exist on this cluster{hint}"))
    elif facts["group"] and not case.has("committed"):
        why = case.evidence.missing.get("committed", "not collected")
        out.append(Undecided("ledger", f"the commits of group {facts['group']} are not known: {why}"))
    out += _unmatched(case)
    in_doubt = unidentified(case).get("source", (0, 0))[1]
    if in_doubt:
        out.append(
            Undecided(
                "ledger",
                f"{in_doubt:,} records of {facts['source']} carry no id ({facts.get('id_from')}) and cannot be accounted for: "
                "choose another --id-from, or take them out with --where",
            )
        )
    return tuple(out)


_SETTLED = """
SELECT count(*) AS messages FROM records r WHERE r.topic = source_topic() AND r.message_id IS NOT NULL
AND coalesce(r.due, true) AND coalesce(r.is_aborted, false) = false AND coalesce(r.timestamp_ms, 0) < ?
"""
_MATCHED = """
SELECT count(*) AS rows, count(*) FILTER (EXISTS (
    SELECT 1 FROM records s WHERE s.topic = source_topic() AND s.message_id = r.message_id)) AS matched
FROM records r WHERE r.topic = ? AND r.message_id IS NOT NULL
"""


def _unmatched(case: Case) -> Iterable[Undecided]:
    """Sinks that are stores and hold nothing of the source: the wrong column looks like this.

    A quiet system does too: nothing is doubted where no message is old enough to be there, or none is missing.
    """
    if case.ledger.get("lost", 1) == 0 or not _settled(case):
        return
    for name, said in (case.facts.get("stores") or {}).items():
        if name == case.facts["source"] or not case.facts["source"]:
            continue
        row = case.rows(_MATCHED, [name])[0]
        if row["rows"] and not row["matched"]:
            yield Undecided(
                "ledger",
                f"none of the {row['rows']:,} ids in {name} (column {said['id']}) is one of {case.facts['source']}: "
                'if that is the wrong column, write id = "COLUMN" into its entry',
            )


def _settled(case: Case) -> int:
    """Messages of the source that are old enough to be in every sink."""
    latency_ms = round(float(case.facts.get("expected_latency_seconds") or 0) * 1000)
    before_ms = epoch_ms(str(case.facts["collected_at"])) - latency_ms
    return int(case.rows(_SETTLED, [before_ms])[0]["messages"])


def notes(case: Case) -> Iterable[Note]:
    """Notes that every problem makes."""
    for role, (records, _) in unidentified(case).items():
        yield Note(
            "unidentified", f"{records:,} {role.replace('_', '-')} records carry no id and are outside the ledger."
        )
    damaged = case.evidence.facts.get("log_lines_skipped") or {}
    for name, reasons in damaged.items():
        for reason, count in reasons.items():
            yield Note("lines-skipped", f"{count:,} lines of the {name} were skipped: {reason}.")
    for name, said in (case.facts.get("stores") or {}).items():
        yield from _store_notes(name, said)
    for one in case.facts.get("undecoded") or ():
        yield Note("undecoded", f"{one['records']:,} records of {one['topic']} {_as_written(one)}: {one['why']}.")
    for subject, why in sorted(case.evidence.missing.items()):
        yield Note("not-collected", f"{subject}: {why}.")


def _as_written(one: Mapping[str, Any]) -> str:
    if one["schema_id"] is None:
        return f"cannot be decoded as {one['format']}"
    return f"with schema {one['schema_id']} cannot be decoded"


def _store_notes(name: str, said: Mapping[str, Any]) -> Iterable[Note]:
    if said["id_type"] and not _is_text(said["id_type"]):
        yield Note(
            "ids-as-text", f"The ids of {name} ({said['id']}) are {said['id_type']}; they are compared as texts."
        )
    if said["unreadable_times"]:
        yield Note("unreadable-times", f"{said['unreadable_times']:,} rows of {name} have a time that is none.")
    for reason, count in said["skipped"].items():
        yield Note("lines-skipped", f"{count:,} of {name} were skipped: {reason}.")


def _is_text(kind: str) -> bool:
    return any(word in kind.lower() for word in ("char", "text", "string", "str", "opaque"))


def facts(case: Case) -> dict[str, Any]:
    """The evidence's facts for the report, with what was counted outside the ledger."""
    counted = unidentified(case)
    return {
        **{name: value for name, value in case.facts.items() if name != "log_lines_skipped"},
        "unidentified": counted.get("source", (0, 0))[0],
        "unidentified_at_sink": counted.get("sink", (0, 0))[0],
        "offsets": offsets_by_topic(case),
    }


def nothing_read(problem: str, ledger: Iterable[str], evidence: Evidence) -> Report:
    """The report where no record could be read at all: everything unknown, never 0."""
    why = evidence.missing.get("records", "no records were collected")
    return Report(
        problem=problem,
        verdict="undecided",
        ledger=dict.fromkeys(ledger),
        undecided=(Undecided("ledger", why),),
        facts=dict(evidence.facts),
    )


def epoch_ms(text: str) -> int:
    """Epoch milliseconds of an ISO time."""
    return round(datetime.fromisoformat(text).timestamp() * 1000)


def utc_text(at_ms: int | None) -> str:
    """An epoch time for people."""
    if at_ms is None:
        return "its beginning"
    if at_ms >= NEVER_MS:
        return "nothing at all (a partition was emptied)"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
