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
from workbench.problems.lag.later import LATER
from workbench.problems.lag.members import no_members
from workbench.problems.lag.partitions import Index, Standing, rows_of, standings
from workbench.problems.lag.words import doubts, notes
from workbench.problems.rules import Case, Rule, Ruling
from workbench.report import VERDICT_ORDER, Report
from workbench.tables import table_of

if TYPE_CHECKING:
    import duckdb

    from workbench.problems.collecting import Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

PROBLEM = "lag"

RULES: tuple[Rule, ...] = (no_members,)

_ENTRIES = pa.schema(
    [("entry", pa.int64()), ("topic", pa.string()), ("partition", pa.int32()), ("committed_offset", pa.int64()),
     ("lag", pa.int64()), ("time_lag_seconds", pa.float64()), ("head_ms", pa.int64())]
)  # fmt: skip
_ROWS = (
    "SELECT NULL::VARCHAR AS message_id, 'lagging' AS disposition, a.cause, a.candidates, e.topic, e.partition,"
    ' e.committed_offset AS "offset", to_timestamp(e.head_ms / 1000.0) AS "at"'
    " FROM entries e JOIN attributed a USING (entry)"
)


def collect(sources: Sources, scope: Scope, *, work_dir: Path, progress: Progress | None = None) -> Evidence:
    """Reads how far a group is behind; commits before log ends, so that lag is never negative.

    Args:
        sources: where to read.
        scope: ``group``, and with ``source`` only that topic.
        work_dir: not used; nothing is captured.
        progress: called with what is being done.

    Returns:
        Evidence with tables ``groups``, ``members``, ``committed``, ``offsets``, ``cutoffs`` (the first offset younger than
        the expected latency) and ``heads`` (the first record that is not committed past).

    Raises:
        UsageError: no group is named.
        SourceError: the cluster cannot be reached.

    Reads: ListGroups, DescribeGroups, OffsetFetch, Metadata, ListOffsets, Fetch (one record a partition).
    """
    del work_dir
    from workbench.problems.lag.asking import collect_groups  # clients load only where something is read

    if not scope.group:
        raise UsageError("Lag needs a group.", hint="Add --group GROUP, or --all-groups.")
    return collect_groups(sources, scope, [scope.group], progress)


def collect_all(sources: Sources, scope: Scope, *, progress: Progress | None = None) -> Evidence:
    """The same for all groups in one pass; one record is read only where something may have waited for too long."""
    from workbench.problems.lag.asking import collect_groups

    return collect_groups(sources, scope, None, progress)


def diagnose(evidence: Evidence) -> Report:
    """The lag report of some evidence; reads nothing else, not even the clock."""
    return examine(evidence).report


def examine(evidence: Evidence) -> Examination:
    """``diagnose`` with the lagging partitions at hand."""
    con = evidence.connect(memory_limit=standing.MEMORY_LIMIT)
    seen = _by_group(evidence)
    group = evidence.facts["group"]
    report = _examined(con, evidence, standings(_index(evidence), seen.get(group, ())))
    return Examination(report, con, _ROWS, evidence)


def diagnose_all(evidence: Evidence) -> tuple[Report, ...]:
    """One report a group, worst first, then those that are furthest behind."""
    index, seen = _index(evidence), _by_group(evidence)
    with evidence.connect(memory_limit=standing.MEMORY_LIMIT) as con:
        tables = _tables_by_group(evidence)
        reports = [
            _examined(con, _narrowed(evidence, group, tables), standings(index, seen.get(group, ())))
            for group in evidence.facts["groups"]
        ]
    return tuple(sorted(reports, key=_rank))


def _rank(report: Report) -> tuple[int, int, str]:
    return -VERDICT_ORDER.index(report.verdict), -(report.ledger["offsets_behind"] or 0), report.facts["group"]


def _index(evidence: Evidence) -> Index:
    return Index.of(evidence, standing.epoch_ms(evidence.facts["collected_at"]))


def _by_group(evidence: Evidence, name: str = "committed") -> dict[str, list[dict[str, Any]]]:
    out: dict[str, list[dict[str, Any]]] = {}
    for row in rows_of(evidence, name):
        out.setdefault(row["group"], []).append(row)
    return out


def _tables_by_group(evidence: Evidence) -> dict[str, dict[str, list[dict[str, Any]]]]:
    return {name: _by_group(evidence, name) for name in ("groups", "members") if name in evidence.tables}


def _narrowed(evidence: Evidence, group: str, tables: Mapping[str, Mapping[str, list[dict[str, Any]]]]) -> Evidence:
    """One group's part of the evidence of all; the tables that rules query stay whole on the connection."""
    small: dict[str, Any] = {}
    for name, by_group in tables.items():
        whole = evidence.table(name)
        if whole is not None:
            small[name] = table_of(whole.schema, [tuple(row.values()) for row in by_group.get(group, ())])
    return replace(evidence, tables={**evidence.tables, **small}, facts={**evidence.facts, "group": group})


def _examined(con: duckdb.DuckDBPyConnection, evidence: Evidence, seen: Sequence[Standing]) -> Report:
    lagging = [item for item in seen if item.lagging]
    rulings: dict[Rule, Ruling] = {item: Ruling() for item in RULES}
    case = Case(con, evidence, ledger(seen), len(lagging))
    rows = [
        (n, p.topic, p.partition, p.committed_offset, p.lag, p.time_lag_seconds, p.head_ms)
        for n, p in enumerate(lagging)
    ]
    if lagging or len(evidence.facts["groups"]) == 1:
        con.register("lagging", table_of(_ENTRIES, rows))
        con.execute("CREATE OR REPLACE TEMP TABLE entries AS SELECT * FROM lagging")
        rulings = {item: item.rule_on(case) if lagging else Ruling() for item in RULES}
        settled = attribution.attribute(case, rulings)
    else:
        settled = attribution.Attribution({}, {}, {}, 0, 0, 0)
    return _report(case, rulings, settled, seen)


def _report(
    case: Case, rulings: dict[Rule, Ruling], settled: attribution.Attribution, seen: Sequence[Standing]
) -> Report:
    findings = [found for item in rulings if (found := attribution.finding_of(item, rulings[item], settled))]
    findings.sort(key=lambda found: (-found.severity, found.state, -found.count, found.code))
    open_entries = settled.undetermined + settled.unexplained
    ruled_out, undecided = attribution.outcome_lists(
        rulings, findings, LATER, open_entries=settled.confirmed < case.entries
    )
    in_doubt = doubts(case, seen, open_entries)
    said = notes(case, seen)
    worst = verdict_of([found.severity.word for found in findings], in_doubt)
    starting = not seen and not in_doubt
    hidden_facts = ("groups", "group_failures")
    return Report(
        problem=PROBLEM,
        verdict="info" if worst == "ok" and starting else worst,
        ledger=case.ledger,
        causes={**{code: n for code, n in sorted(settled.counts.items()) if n}, "undetermined": open_entries},
        findings=tuple(findings),
        ruled_out=ruled_out,
        undecided=(*in_doubt, *undecided),
        notes=said,
        facts={
            **{name: value for name, value in case.facts.items() if name not in hidden_facts},
            "lagging_partitions": case.entries,
            "partitions": [item.to_dict() for item in seen],
        },
    )


def ledger(seen: Sequence[Standing]) -> dict[str, int | None]:
    """The ledger of a group's partitions; what no scan has told apart is null, unless nothing is left to tell apart."""
    lag, expired, hidden = (_total([getattr(p, name) for p in seen]) for name in ("lag", "expired", "hidden"))
    rest = None if lag is None or expired is None or hidden is None else lag - expired - hidden
    within = dict.fromkeys(("readable", "control", "aborted", "compacted"), 0 if rest == 0 else None)
    return {"offsets_behind": lag, **within, "expired": expired, "hidden": hidden}


def _total(values: Sequence[int | None]) -> int | None:
    """Their sum; None where one is unknown, or where there is nothing to sum."""
    known = [value for value in values if value is not None]
    return sum(known) if known and len(known) == len(values) else None
