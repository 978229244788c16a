"""The report of a route: the ledger of the first topic's messages over all hops, and each hop's share of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.evidence import Evidence
from workbench.problems import standing
from workbench.problems.examination import Examination, verdict_of
from workbench.problems.hops import copies, losses
from workbench.problems.hops.route import Hop, hops_of
from workbench.problems.parts import parts_of
from workbench.report import Finding, Note, Report, Undecided

if TYPE_CHECKING:
    import duckdb

ROWS = 'SELECT message_id, disposition, cause, candidates, topic, partition, "offset", "at" FROM route_rows'


@dataclass(frozen=True)
class Examined:
    """One hop with its examination."""

    hop: Hop
    found: Examination


def examine_route(problem: str, evidence: Evidence, examine: Callable[[Evidence], Examination]) -> Examination:
    """The examination of a route: each hop as a check of its own, and what they say together.

    Args:
        problem: loss or duplicates.
        evidence: as ``collect_route`` has it.
        examine: examines one hop.
    """
    facts = evidence.facts
    hops = hops_of(facts["source"], facts["group"], facts["through"], facts["sinks"])
    examined = [Examined(hop, examine(part.evidence)) for hop, part in zip(hops, parts_of(evidence), strict=True)]
    con = evidence.connect(memory_limit=standing.MEMORY_LIMIT)
    together = losses if problem == "loss" else copies
    summary = together.summed(con, examined)
    for one in examined:
        one.found.con.close()
    return Examination(_report(problem, evidence, examined, summary), con, ROWS, evidence)


def _report(problem: str, evidence: Evidence, examined: Sequence[Examined], summary: Mapping[str, Any]) -> Report:
    findings = [
        kept
        for number, one in enumerate(examined)
        for finding in one.found.report.findings
        if (kept := _kept(finding, number, one.hop, summary["counts"][number]))
    ]
    findings.sort(key=lambda found: (-found.severity, found.state, -found.count, found.code))
    named = {finding.code for finding in findings}
    undecided = _undecided(examined)
    doubts = [item for item in undecided if item.code == "ledger"]
    ruled_out = [set(one.found.report.ruled_out) for one in examined]
    return Report(
        problem=problem,
        verdict=verdict_of([found.severity.word for found in findings], doubts),
        ledger=summary["ledger"],
        causes=summary["causes"],
        findings=tuple(findings),
        ruled_out=tuple(sorted(set.intersection(*ruled_out) - named)),
        undecided=tuple(undecided),
        notes=tuple(
            Note(note.code, f"{one.hop.label}: {note.summary}") for one in examined for note in one.found.report.notes
        ),
        facts=_facts(evidence),
        sections={"hops": summary["hops"]},
    )


def _kept(finding: Finding, number: int, hop: Hop, counts: Counter[str]) -> Finding | None:
    """A hop's finding with what it counts of the route's own messages; None where it has none of them."""
    mine = counts[finding.code]
    by_entries = finding.count > 0 and not finding.count_is_upper_bound
    if number and by_entries and not mine and not finding.candidates:
        return None
    count = mine if by_entries and mine else finding.count
    carried = f" With those that were carried on: {count:,}." if count > finding.count else ""
    return replace(
        finding,
        count=count,
        subject={**finding.subject, "hop": hop.label},
        summary=f"{hop.label}: {finding.summary}{carried}",
    )


def _undecided(examined: Sequence[Examined]) -> list[Undecided]:
    """What each hop leaves open; the same reason is said once, with all its hops."""
    hops: dict[tuple[str, str], list[str]] = {}
    for one in examined:
        for item in one.found.report.undecided:
            hops.setdefault((item.code, item.reason), []).append(one.hop.label)
    every = len(examined)
    return [
        Undecided(code, reason if len(where) == every else f"{'; '.join(where)}: {reason}")
        for (code, reason), where in hops.items()
    ]


def _facts(evidence: Evidence) -> dict[str, Any]:
    return {name: value for name, value in evidence.facts.items() if name != "parts"}


def register_rows(con: duckdb.DuckDBPyConnection, tables: Sequence[Any]) -> None:
    """Creates ``route_rows`` of the hops' rows, which are Arrow tables of one schema."""
    import pyarrow as pa

    con.register("route_rows_found", pa.concat_tables(tables))
    con.execute("CREATE OR REPLACE TEMP TABLE route_rows AS SELECT * FROM route_rows_found")
    con.unregister("route_rows_found")
