"""From evidence to lives: which records are one message, what is known beside them, and what happened when."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.evidence import Evidence
from workbench.problems.message import timeline
from workbench.problems.message.events import Event
from workbench.problems.message.outcome import Ground, Outcome, Row, missing_sinks, outcome_of, sorted_copies
from workbench.problems.places import unread_topics
from workbench.problems.standing import epoch_ms
from workbench.problems.unread import create_unread
from workbench.report import Note

if TYPE_CHECKING:
    import duckdb

# Timestamps of clients need not rise with offsets: so much older than the oldest record left a message may have been there.
DISORDER_MS = 600_000


@dataclass(frozen=True)
class Life:
    """One message: its records, in the order of their times; what became of it; what happened to it."""

    records: tuple[Row, ...]
    outcome: Outcome
    events: tuple[Event, ...]
    notes: tuple[Note, ...]


def lives(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> list[Life]:
    """The messages of the evidence, at least one: what was looked for and not found has a life, too."""
    ground = ground_of(con, evidence)
    tables = {name: _rows(con, evidence, name) for name in timeline.TABLES}
    records = sorted(_rows(con, evidence, "records"), key=_when)
    mine, mates = ([row for row in records if row["matched"] is own] for own in (True, False))
    groups = list(grouped(mine)) or [[]]
    single = len(groups) == 1
    return [_life(group, mates, tables, ground, evidence, single=single) for group in groups]


def _life(
    records: list[Row], mates: list[Row], tables: Mapping[str, list[Row]], ground: Ground, evidence: Evidence,
    *, single: bool,
) -> Life:  # fmt: skip
    told = timeline.about(records, tables, all_of=single)
    produced = [_with_time(row) for row in told["spans"] if row["kind"] == "producer" and _is_sent_here(row, ground)]
    copies = sorted_copies(records, ground, told["sent_log"], produced)
    outcome = outcome_of(copies, ground)
    near = [row for row in mates if row["topic"] in missing_sinks(copies, ground) and not row["message_id"]]
    if near and outcome.name in ("lost", "never_sent"):
        outcome = Outcome(
            "unverifiable", f"a record of its trace without an id lies in {near[0]['topic']}: it may be its copy"
        )
    events = timeline.events_of(records, told, ground, evidence.facts)
    return Life(tuple(records), outcome, tuple(events), tuple(_notes(copies, records, mates, outcome)))


def _with_time(span: Row) -> Row:
    started = span["started_us"]
    return {**span, "at_ms": None if started is None else started // 1000}


def _is_sent_here(span: Row, ground: Ground) -> bool:
    """Whether a producer's span is about the source; one without a destination may be."""
    return span["destination"] in (None, ground.source)


def _notes(copies: Any, records: Sequence[Row], mates: Sequence[Row], outcome: Outcome) -> Iterable[Note]:
    if len(copies.source) > 1:
        yield Note(
            "sent-again", f"It is {len(copies.source):,} times in the source: `workbench check duplicates` says why."
        )
    at_sinks: dict[str, int] = {}
    for row in copies.sink:
        at_sinks[row["topic"]] = at_sinks.get(row["topic"], 0) + 1
    for topic, count in at_sinks.items():
        if count > 1:
            yield Note("delivered-again", f"It is {count:,} times at {topic}: `workbench check duplicates` says why.")
    if copies.dead and outcome.name == "delivered":
        yield Note("dead-lettered-too", f"It is also in {copies.dead[0]['topic']}, {len(copies.dead):,} times.")
    if any(row["replay_count"] for row in records):
        yield Note("sent-back", "It was sent back after it had been dead-lettered.")
    if outcome.name == "lost":
        yield Note("cause", "`workbench check loss` over the same topics names the cause.")
    if mates:
        yield Note("same-trace", f"{len(mates):,} records of its traces under other ids are not counted as its copies.")


def grouped(records: list[Row]) -> Iterable[list[Row]]:
    """Records that are one message: by equal id, or because one says that it comes from the other."""
    linked = _linked(records)
    groups: dict[int, list[Row]] = {}
    for number, row in enumerate(records):
        groups.setdefault(linked[number], []).append(row)
    return groups.values()


def _linked(records: Sequence[Row]) -> list[int]:
    """For each record the number of the first one of its message."""
    first = list(range(len(records)))

    def find(number: int) -> int:
        while first[number] != number:
            first[number] = first[first[number]]
            number = first[number]
        return number

    seen: dict[Any, int] = {}
    for number, row in enumerate(records):
        origin = (row["origin_topic"], row["origin_partition"], row["origin_offset"])
        for name in (row["message_id"], (row["topic"], row["partition"], row["offset"]), origin):
            if name is not None and None not in (name if isinstance(name, tuple) else ()):
                one, other = find(number), find(seen.setdefault(name, number))
                first[max(one, other)] = min(one, other)
    return [find(number) for number in range(len(records))]


def ground_of(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> Ground:
    """What is known beside the records; a table that is missing makes its part unknown."""
    facts = evidence.facts
    offsets = _rows(con, evidence, "offsets")
    create_unread(con, evidence)
    unread = unread_topics(con, evidence) if "scan" in evidence.tables else dict(evidence.missing)
    if "records" not in evidence.tables:
        why = evidence.missing.get("records", "no records were collected")
        unread = {**dict.fromkeys(_topics(facts), why), **unread}
    return Ground(
        sinks=tuple(facts["sinks"]),
        any_sink=bool(facts["any_sink"]),
        uncommitted=facts["isolation"] == "read_uncommitted",
        committed=_committed(con, evidence),
        why_no_commits=_why_no_commits(evidence),
        stable={_place(row): row["last_stable_offset"] for row in offsets if row["last_stable_offset"] is not None},
        starts={_place(row): row["log_start_offset"] for row in offsets if row["log_start_offset"] is not None},
        unread=unread,
        reach=_reach(offsets, _rows(con, evidence, "beginnings")),
        elsewhere=(*facts["retry_topics"], *facts["dead_letters"]),
        compacted=_compacted(con, evidence),
        source=facts["source"],
        windowed=_windowed(facts),
        too_young_ms=epoch_ms(facts["collected_at"]) - round(facts["expected_latency_seconds"] * 1000),
        not_searched=_not_searched(evidence),
    )


def _topics(facts: Mapping[str, Any]) -> list[str]:
    return [facts["source"], *facts["sinks"], *facts["retry_topics"], *facts["dead_letters"]]


def _place(row: Row) -> tuple[str, int]:
    return row["topic"], row["partition"]


def _committed(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> dict[int, int] | None:
    if "committed" not in evidence.tables or evidence.facts.get("group_exists") is False:
        return None
    return {
        row["partition"]: row["committed_offset"]
        for row in _rows(con, evidence, "committed")
        if row["topic"] == evidence.facts["source"] and row["committed_offset"] is not None
    }


def _why_no_commits(evidence: Evidence) -> str:
    if evidence.facts.get("group") and evidence.facts.get("group_exists") is False:
        return f"group {evidence.facts['group']} does not exist"
    return evidence.missing.get("committed", "they were not collected")


def _reach(offsets: Sequence[Row], beginnings: Sequence[Row]) -> dict[str, int]:
    """Topic -> epoch ms from which on it surely holds everything; far in the future where that is not known."""
    never = (1 << 62) - 1
    first = {_place(row): row for row in beginnings}
    out: dict[str, int] = {}
    for row in offsets:
        start = row["log_start_offset"]
        if start is None or start == 0:
            continue
        at_ms = (first.get(_place(row)) or {}).get("timestamp_ms")
        appended = (first.get(_place(row)) or {}).get("timestamp_type") == "LogAppendTime"
        reach = never if at_ms is None else at_ms + (0 if appended else DISORDER_MS)
        out[row["topic"]] = max(out.get(row["topic"], 0), reach)
    return out


def _compacted(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> frozenset[str]:
    policies = (row for row in _rows(con, evidence, "configs") if row["name"] == "cleanup.policy")
    return frozenset(row["topic"] for row in policies if "compact" in (row["value"] or ""))


def _windowed(facts: Mapping[str, Any]) -> str:
    if facts.get("window"):
        low, high = facts["window"]
        return f"only records of {low} to {high} were searched: search again without --around"
    if facts.get("since") or facts.get("until"):
        return "only a part of the source was searched: search again without --since and --until"
    return ""


def _not_searched(evidence: Evidence) -> str:
    if evidence.facts.get("truncated"):
        return "the search was cut by its limits"
    if "configs" not in evidence.tables:
        return "whether its topics are compacted is not known"
    return ""


def _when(row: Row) -> tuple[Any, ...]:
    at = row["timestamp_ms"]
    return at is None, at or 0, row["topic"], row["partition"], row["offset"]


def _rows(con: duckdb.DuckDBPyConnection, evidence: Evidence, name: str) -> list[Row]:
    if name not in evidence.tables:
        return []
    cursor = con.execute(f'SELECT * FROM "{name}"')
    names = [column[0] for column in cursor.description or []]
    return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
