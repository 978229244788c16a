"""``workbench check``: collect and diagnose one problem."""

from __future__ import annotations

import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.check_options import Format, RunOptions, ScopeOptions, SubjectOptions, TargetOptions
from workbench.cli.flattened import flattened
from workbench.errors import UsageError

if TYPE_CHECKING:
    from workbench.config import Profile
    from workbench.evidence import Evidence
    from workbench.problems.examination import Examination
    from workbench.problems.scope import Scope


@flattened
def check(
    problem: Annotated[str, typer.Argument(help="loss, duplicates, lag, dlq, message or health.")],
    target: TargetOptions,
    scope: ScopeOptions,
    subject: SubjectOptions,
    run: RunOptions,
    integration: Annotated[str | None, typer.Argument(help="An integration of workbench.toml.")] = None,
    message_id: Annotated[str | None, typer.Option(help="message: its id.")] = None,
) -> None:
    """Check an integration: workbench check loss --bootstrap HOST:PORT --source A --sink B --group G.

    Exit code: 0 ok or info, 3 undecided, 12 warning, 13 critical; 1 and 2 are errors.
    """
    from workbench.problems import checking
    from workbench.tables import keep_pandas_out

    keep_pandas_out()
    checking.problem(problem)  # an unknown one is refused before anything is read
    named = {name: value for name, value in {**subject.given(), "message_id": message_id}.items() if value}
    if named and problem != "message":
        raise UsageError(
            f"--{next(iter(named)).replace('_', '-')} is for message alone.", hint="See workbench message."
        )
    if run.all_groups:
        from workbench.cli.all_groups import check_all_groups

        check_all_groups(problem, target, scope, run, integration)
    examine(problem, target, {**scope.given(), **named}, run, integration)


def examine(
    problem: str, target: TargetOptions, options_given: dict[str, Any], run: RunOptions, integration: str | None
) -> None:
    """Collects, or opens what was saved; diagnoses, prints, and ends with the verdict's exit code."""
    from workbench.config import load_config
    from workbench.problems import checking
    from workbench.problems.health.scopes import scopes_from
    from workbench.problems.scope import scope_from

    if run.evidence:
        _refuse_live(target.profile, target.bootstrap, integration)
        loaded = checking.rejudged(checking.evidence_in(run.evidence), options_given)
        _finish(checking.examine(problem, loaded), run, "evidence")
    named, profile = options.target(integration, target.profile, target.bootstrap, target.setting)
    if run.history:
        if not run.history.is_dir():
            raise UsageError(
                f"There is no folder {run.history}.", hint="Name the folder that workbench watch --out writes to."
            )
        profile = replace(profile, history=str(run.history))
    work_dir = Path(tempfile.mkdtemp(prefix="workbench-check-"))
    try:
        chosen: Scope | dict[str, Scope]
        if problem == "health":
            chosen = scopes_from(load_config(), profile.name, named, **options_given)
        else:
            chosen = scope_from(named, **load_config().reading(), **options_given)
        found = _collect(problem, profile, chosen, work_dir, run)
        _finish(checking.examine(problem, found), run, profile.name)
    finally:
        checking.remove(work_dir)


def _refuse_live(*given: str | None) -> None:
    if any(given):
        raise UsageError("--evidence needs no cluster.", hint="Leave out --profile, --bootstrap and the integration.")


def _collect(
    problem: str, profile: Profile, scope: Scope | dict[str, Scope], work_dir: Path, run: RunOptions
) -> Evidence:
    from workbench.cli.progress import TerminalProgress
    from workbench.problems import checking
    from workbench.sources import connect

    progress = TerminalProgress(size_in_bytes(run.confirm_above), yes=run.yes)
    with connect(profile) as sources, progress:
        found: Evidence = checking.problem(problem).collect(sources, scope, work_dir=work_dir, progress=progress)
    return found


def _finish(examination: Examination, run: RunOptions, profile: str) -> None:
    from workbench.problems import checking
    from workbench.sealing import Seal

    if run.save:
        checking.save(examination, run.save, Seal.of_store(profile))
    report = examination.report
    if run.format is Format.json:
        print(report.to_json())
    else:
        from workbench.cli import rendering

        rendering.show(report, markdown=run.format is Format.markdown)
        if run.save:
            print(f"Saved to {run.save}", file=sys.stderr)
    raise typer.Exit(report.exit_code)


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def size_in_bytes(text: str) -> int:
    """The bytes of ``500MB`` or ``5GB``.

    Raises:
        UsageError: it is no size.
    """
    number = text.strip().upper().removesuffix("B")
    unit = number[-1:] if number[-1:].isalpha() else ""
    try:
        return round(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, KeyError):
        raise UsageError(f"--confirm-above is {text!r}.", hint="Write for example 500MB or 5GB.") from None
