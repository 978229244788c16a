"""The checks that a health report is made of, and how their evidence lies in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import SourceError, UsageError
from workbench.evidence import Evidence
from workbench.problems import checking
from workbench.report import Report, Undecided

if TYPE_CHECKING:
    from workbench.problems.draft import Draft, Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources


@dataclass(frozen=True)
class Part:
    """One check of one integration.

    Attributes:
        key: what its tables' names begin with, in the health report's evidence.
        integration: its name; "" where topics were named instead.
        problem: loss, duplicates, lag or dlq.
        evidence: its own; empty where it could not be collected.
        error: why it could not be, else None.
    """

    key: str
    integration: str
    problem: str
    evidence: Evidence
    error: str | None = None

    def to_fact(self) -> dict[str, Any]:
        """What the health report's facts hold of it; its tables lie beside."""
        return {
            "key": self.key,
            "integration": self.integration,
            "problem": self.problem,
            "facts": dict(self.evidence.facts),
            "missing": dict(self.evidence.missing),
            "error": self.error,
        }


def problems_of(scope: Scope) -> tuple[str, ...]:
    """The checks that a scope has enough for: loss needs a sink, lag a group, dlq dead letters."""
    wanted = {"loss": bool(scope.sinks), "duplicates": True, "lag": bool(scope.group), "dlq": bool(scope.dead_letters)}
    return tuple(problem for problem, possible in wanted.items() if possible)


def collect_parts(
    sources: Sources, scopes: Mapping[str, Scope], draft: Draft, work_dir: Path, progress: Progress
) -> None:
    """Adds the evidence of every check of every scope; one that fails is kept with its reason, the others go on."""
    wanted = [(name, scope, problem) for name, scope in scopes.items() for problem in problems_of(scope)]
    made = []
    for number, (name, scope, problem) in enumerate(wanted):
        progress(f"{name or scope.source}: {problem}")
        folder = work_dir / f"p{number}"
        folder.mkdir(parents=True)
        try:
            found, error = checking.problem(problem).collect(sources, scope, work_dir=folder, progress=progress), None
        except (SourceError, UsageError) as failure:
            found, error = Evidence(facts=scope.facts()), str(failure).rstrip(".")
        part = Part(f"p{number}", name, problem, found, error)
        draft.tables |= {f"{part.key}_{table}": rows for table, rows in found.tables.items()}
        made.append(part.to_fact())
    draft.facts["parts"] = made


def parts_of(evidence: Evidence) -> list[Part]:
    """The parts that a health report's evidence holds."""
    return [
        Part(
            fact["key"],
            fact["integration"],
            fact["problem"],
            Evidence(
                {
                    name.removeprefix(f"{fact['key']}_"): table
                    for name, table in evidence.tables.items()
                    if name.startswith(f"{fact['key']}_")
                },
                fact["facts"],
                fact["missing"],
            ),
            fact["error"],
        )
        for fact in evidence.facts["parts"]
    ]


def judged(part: Part) -> Report:
    """A part's report, with the name of its integration among its facts."""
    if part.error is not None:
        report = Report(part.problem, "undecided", {}, undecided=(Undecided("ledger", part.error),))
    else:
        examined = checking.examine(part.problem, part.evidence)
        examined.con.close()
        report = examined.report
    return replace(report, facts={**report.facts, "integration": part.integration})
