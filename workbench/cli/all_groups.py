"""``workbench check lag --all-groups``: every group of a cluster in one pass, worst first."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import typer

from workbench.cli import options
from workbench.errors import UsageError
from workbench.report import EXIT_CODES, REPORT_VERSION, worst

if TYPE_CHECKING:
    from workbench.cli.check_options import RunOptions, ScopeOptions, TargetOptions
    from workbench.report import Report


def check_all_groups(
    problem: str, target: TargetOptions, scope: ScopeOptions, run: RunOptions, integration: str | None
) -> NoReturn:
    """Checks all groups and prints the ranked reports.

    Raises:
        UsageError: it is not the lag check, or an option asks for one group.
    """
    from workbench.problems import lag
    from workbench.problems.scope import scope_from
    from workbench.sources import connect

    if problem != lag.PROBLEM:
        raise UsageError("--all-groups is an option of `workbench check lag`.", hint="Leave it out.")
    if run.evidence or run.save or scope.group:
        raise UsageError(
            "--all-groups takes neither --group nor --save nor --evidence.",
            hint="Save one group: --group GROUP --save.",
        )
    named, profile = options.target(integration, target.profile, target.bootstrap, target.setting)
    given = {**scope.given(), "expected_latency": scope.expected_latency or (named.expected_latency if named else None)}
    with connect(profile) as sources:
        reports = lag.diagnose_all(lag.collect_all(sources, scope_from(**given)))
    if run.format == "json":
        print(
            json.dumps(wrapped(reports), allow_nan=False)
        )  # without line breaks: of thousands of groups they cost seconds
    else:
        from workbench.cli import rendering

        rendering.show_groups(reports, markdown=run.format == "markdown")
    raise typer.Exit(EXIT_CODES[worst(report.verdict for report in reports)])


def wrapped(reports: Sequence[Report]) -> dict[str, object]:
    """The JSON contract of several reports: version, the worst verdict, the reports worst first."""
    verdict = worst(report.verdict for report in reports)
    return {"version": REPORT_VERSION, "verdict": verdict, "reports": [report.to_dict() for report in reports]}
