"""The evidence of a route: that of each hop, under ``hN_``."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.evidence import Evidence
from workbench.problems.draft import Draft, Progress, silent
from workbench.problems.hops.route import scopes_of
from workbench.problems.parts import Part

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.problems.scope import Scope
    from workbench.sources import Sources


def collect_route(
    collect: Callable[..., Evidence],
    problem: str,
    sources: Sources,
    scope: Scope,
    *,
    work_dir: Path,
    progress: Progress | None = None,
) -> Evidence:
    """Reads every hop, the first one first: what had come on by then is looked for further down.

    Args:
        collect: reads one hop.
        problem: the check's name.
        sources: where to read.
        scope: of the whole route.
        work_dir: private; must outlive the evidence unless that is saved.
        progress: called with what is being done.

    Raises:
        UsageError, SourceError: as those of one hop.
    """
    say = progress or silent
    draft = Draft(facts={**scope.facts(), "truncated": False})
    made = []
    for number, (hop, mine) in enumerate(scopes_of(scope)):
        say(f"hop {number + 1}: {hop.label}")
        folder = work_dir / f"h{number}"
        folder.mkdir(parents=True)
        found = collect(sources, mine, work_dir=folder, progress=progress)
        part = Part(f"h{number}", hop.label, problem, found)
        draft.tables |= {f"{part.key}_{table}": rows for table, rows in found.tables.items()}
        draft.facts["truncated"] = bool(draft.facts["truncated"]) or bool(found.facts.get("truncated"))
        made.append(part.to_fact())
    draft.facts["parts"] = made
    draft.facts["collected_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    return Evidence(draft.tables, draft.facts, draft.missing)
