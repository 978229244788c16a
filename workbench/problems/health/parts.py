"""The checks that a health report is made of, and how their evidence lies in one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import SourceError, UsageError
from workbench.evidence import Evidence
from workbench.problems import checking
from workbench.problems.parts import Part
from workbench.report import Report, Undecided

if TYPE_CHECKING:
    from workbench.problems.draft import Draft, Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources


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


def judged(part: Part) -> Report:
    """A part's report, with the name of its integration among its facts."""
    if part.error is not None:
        report = Report(part.problem, "undecided", {}, undecided=(Undecided("ledger", part.error),))
    else:
        examined = checking.examine(part.problem, part.evidence)
        examined.con.close()
        report = examined.report
    return replace(report, facts={**report.facts, "integration": part.integration})
