"""How far behind is a group? Offsets and ages of each partition; each lagging partition with its cause."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.errors import UsageError
from workbench.evidence import Evidence
from workbench.problems import attribution, standing
from workbench.problems.examination import Examination, verdict_of
from workbench.problems.lag.brokers import broker, hanging_transaction
from workbench.problems.lag.entries import entries_table
from workbench.problems.lag.ledger import ledger, scanned
from workbench.problems.lag.members import idle_members, no_members, rebalance_storm
from workbench.problems.lag.partitions import Index, Row, Slices, grouped, rows_of
from workbench.problems.lag.rates import bulk_load, burst, hot_partition, slow_processing, throughput_deficit
from workbench.problems.lag.retention import retention_risk
from workbench.problems.lag.situation import Situation, situation
from workbench.problems.lag.stuck import commit_stuck, fetch_limit, paused, poison_pill
from workbench.problems.lag.words import doubts, notes
from workbench.problems.rules import Case, Rule, Ruling
from workbench.report import VERDICT_ORDER, Report
from workbench.tables import table_of

if TYPE_CHECKING:
    import duckdb

    from workbench.problems.draft import Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

PROBLEM = "lag"

RULES: tuple[Rule, ...] = (
    broker,
    hanging_transaction,
    no_members,
    idle_members,
    rebalance_storm,
    poison_pill,
    fetch_limit,
    paused,
    commit_stuck,
    hot_partition,
    slow_processing,
    bulk_load,
    burst,
    throughput_deficit,
    retention_risk,
)
_BEHIND = pa.schema(
    [("topic", pa.string()), ("partition", pa.int32()), ("committed_offset", pa.int64()), ("lag", pa.int64()),
     ("produced", pa.float64()), ("consumed", pa.float64())]
)  # fmt: skip
_ROWS = (
    "SELECT NULL::VARCHAR AS message_id, 'lagging' AS disposition, a.cause, a.candidates, e.topic, e.partition,"
    ' e.committed_offset AS "offset", to_timestamp(e.head_ms / 1000.0) AS "at"'
    " FROM entries e JOIN attributed a USING (entry)"
)


def collect(sources: Sources, scope: Scope, *, work_dir: Path, progress: Progress | None = None) -> Evidence:
    """Reads how far a group is behind, and how it came to that; commits before log ends, so that lag is never negative.

    Args:
        sources: where to read.
        scope: ``group``, and with ``source`` only that topic.
        work_dir: private folder for the records that wait; used up to the end of the diagnosis.
        progress: called with what is being done.

    Returns:
        Evidence with tables ``groups``, ``members``, ``committed``, ``offsets``, ``cutoffs`` (the first offset younger than
        the expected latency), ``heads`` (the first record that is not committed past), ``topics``, ``configs``,
        ``samples`` (commit and log end at past moments), ``unbegun`` (partitions that are overdue for a first commit),
        ``commit_history``, ``generations``, ``group_members``, ``expiry`` (how far retention will have come), and of what
        waits ``records``, ``batches``, ``scan``.

    Raises:
        UsageError: no group is named.
        SourceError: the cluster cannot be reached.

    Reads: ListGroups, DescribeGroups, OffsetFetch, Metadata, ListOffsets, DescribeConfigs, DescribeLogDirs, Fetch (bounded).
    """
    from workbench.problems.lag.asking import collect_group  # clients load only where something is read

    if not scope.group:
        raise UsageError("Lag needs a group.", hint="Add --group GROUP, or --all-groups.")
    return collect_group(sources, scope, work_dir, progress)


def collect_all(sources: Sources, scope: Scope, *, progress: Progress | None = None) -> Evidence:
    """The same for all groups in one pass; one record is read only where something may have waited for too long."""
    from workbench.problems.lag.asking import collect_groups

    return collect_groups(sources, scope, progress)


def diagnose(evidence: Evidence) -> Report:
    """The lag report of some evidence; reads nothing else, not even the clock."""
    return examine(evidence).report


def examine(evidence: Evidence) -> Examination:
    """``diagnose`` with the lagging partitions at hand."""
    con = evidence.connect(memory_limit=standing.MEMORY_LIMIT)
    index, group = _index(evidence), evidence.facts["group"]
    seen = grouped(rows_of(evidence, "committed"), "group")
    commits = (*seen.get(group, ()), *rows_of(evidence, "unbegun"))
    report = _examined(con, evidence, index, situation(evidence, index, commits))
    return Examination(report, con, _ROWS, evidence)


def diagnose_all(evidence: Evidence) -> tuple[Report, ...]:
    """One report a group, worst first, then those that are furthest behind."""
    index, tables = _index(evidence), _tables_by_group(evidence)
    with evidence.connect(memory_limit=standing.MEMORY_LIMIT) as con:
        reports = [
            _examined(con, one, index, situation(one, index, commits))
            for group in evidence.facts["groups"]
            for one, commits in [_narrowed(evidence, group, index, tables)]
        ]
    return tuple(sorted(reports, key=_rank))


def _rank(report: Report) -> tuple[int, int, str]:
    return -VERDICT_ORDER.index(report.verdict), -(report.ledger["offsets_behind"] or 0), report.facts["group"]


def _index(evidence: Evidence) -> Index:
    return Index.of(evidence, standing.epoch_ms(evidence.facts["collected_at"]))


def _tables_by_group(evidence: Evidence) -> dict[str, Slices]:
    return {name: Slices.by_group(evidence.table(name)) for name in ("groups", "members", "committed")}


def _narrowed(evidence: Evidence, group: str, index: Index, tables: Mapping[str, Slices]) -> tuple[Evidence, list[Row]]:
    """One group's part of the evidence of all, and its commits; what rules query stays whole on the connection."""
    mine = {name: found for name, one in tables.items() if (found := one.of(group)) is not None}
    commits = mine["committed"].to_pylist() if "committed" in mine else []
    heads, whole = index.heads_of(commits), evidence.table("heads")
    if whole is not None:
        mine["heads"] = table_of(whole.schema, [tuple(row.values()) for row in heads]) if heads else whole.slice(0, 0)
    return replace(evidence, tables={**evidence.tables, **mine}, facts={**evidence.facts, "group": group}), commits


def _examined(con: duckdb.DuckDBPyConnection, evidence: Evidence, index: Index, now: Situation) -> Report:
    lagging = [item for item in now.seen if item.lagging]
    rulings: dict[Rule, Ruling] = {item: Ruling() for item in RULES}
    case = Case(con, evidence, ledger(now.seen, scanned(con, evidence, now.seen)), len(lagging), _numbers(now))
    settled = attribution.Attribution({}, {}, {}, 0, 0, 0)
    if lagging or len(evidence.facts["groups"]) == 1:
        con.register("lagging", entries_table(evidence, now, index))
        con.execute("CREATE OR REPLACE TEMP TABLE entries AS SELECT * FROM lagging")
        con.register("behind", table_of(_BEHIND, _behind(now)))
        rulings = {item: item.rule_on(case) if lagging or item is hanging_transaction else Ruling() for item in RULES}
        settled = attribution.attribute(case, rulings)
    return _report(case, rulings, settled, now)


def _numbers(now: Situation) -> dict[str, int]:
    """What rules ask of the whole group."""
    moved = [now.motion(item) for item in now.seen]
    before, since = (_sum(one, moved) for one in ("consumed_before", "consumed_per_second"))
    sent_before, sent = (_sum(one, moved) for one in ("produced_before", "produced_per_second"))
    return {
        "collected_ms": now.now_ms,
        "hidden": sum(1 for one in now.seen if one.lagging is None and one.hidden),
        "partitions": len(now.seen),
        "partitions_fed": sum(1 for one in moved if (one.produced_per_second or 0) > 0),
        "consumed_fell": int(bool(before) and since < 0.6 * before),
        "produced_rose": int(bool(sent_before) and sent > 2 * sent_before),
    }


def _sum(name: str, moved: Sequence[Any]) -> float:
    return sum(getattr(one, name) or 0.0 for one in moved)


def _behind(now: Situation) -> list[tuple[Any, ...]]:
    """The lagging partitions with the rates that a forecast goes on with."""
    return [
        (item.topic, item.partition, item.committed_offset, item.lag, moved.produced_recently, moved.consumed_recently)
        for item in now.seen
        if item.lagging
        for moved in [now.motion(item)]
    ]


def _report(case: Case, rulings: dict[Rule, Ruling], settled: attribution.Attribution, now: Situation) -> Report:
    findings = [found for item in rulings if (found := attribution.finding_of(item, rulings[item], settled))]
    findings.sort(key=lambda found: (-found.severity, found.state, -found.count, found.code))
    open_entries = settled.undetermined + settled.unexplained
    ruled_out, undecided = attribution.outcome_lists(rulings, findings)
    in_doubt = doubts(case, now, open_entries)
    worst = verdict_of([found.severity.word for found in findings], in_doubt)
    starting = (not now.seen or bool(now.excuses)) and not in_doubt
    return Report(
        problem=PROBLEM,
        verdict="info" if worst == "ok" and starting else worst,
        ledger=case.ledger,
        causes={**{code: n for code, n in sorted(settled.counts.items()) if n}, "undetermined": open_entries},
        findings=tuple(findings),
        ruled_out=ruled_out,
        undecided=(*in_doubt, *undecided),
        notes=notes(case, now),
        facts=_facts(case, now),
    )


def _facts(case: Case, now: Situation) -> dict[str, Any]:
    hidden_facts = ("groups", "group_failures")
    return {
        **{name: value for name, value in case.facts.items() if name not in hidden_facts},
        "lagging_partitions": case.entries,
        "commit_interval_seconds": None if now.habits.interval_ms is None else now.habits.interval_ms / 1000,
        "generations_seen": len(now.habits.generations),
        "partitions": [{**item.to_dict(), **(now.motion(item).to_dict() if now.motions else {})} for item in now.seen],
    }
