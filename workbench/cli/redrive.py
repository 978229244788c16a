"""``workbench redrive``: sends dead letters back; plan, dry run, send, verify."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.check_options import TargetOptions
from workbench.cli.flattened import flattened
from workbench.cli.redrive_options import ChoiceOptions, LetterOptions, SendOptions, VerifyOptions
from workbench.errors import UsageError

if TYPE_CHECKING:
    from workbench.config import Profile
    from workbench.redrive.plan import Plan
    from workbench.sources import Cluster

app = typer.Typer(no_args_is_help=True, help="Send dead letters back: plan, dry run, send, verify.")

PlanFile = Annotated[Path, typer.Argument(help="The plan's file.")]


@app.command("plan")
@flattened
def plan(
    target_cluster: TargetOptions,
    letters: LetterOptions,
    choice: ChoiceOptions,
    integration: Annotated[str | None, typer.Argument(help="An integration of workbench.toml.")] = None,
    out: Annotated[Path, typer.Option(help="Where to write the plan.")] = Path("plan.json"),
    yes: Annotated[bool, typer.Option("--yes", help="Scan without asking.")] = False,
    confirm_above: Annotated[str, typer.Option(help="Ask before scans above this size.")] = "5GB",
) -> None:
    """Say which dead letters would be sent where, and what is to be known before; writes nothing to the cluster."""
    from workbench.cli import redrive_text
    from workbench.cli.check import size_in_bytes
    from workbench.cli.progress import TerminalProgress
    from workbench.config import load_config
    from workbench.problems.scope import scope_from
    from workbench.redrive.planning import make_plan
    from workbench.sources import connect

    if out.exists():
        raise UsageError(f"{out} exists.", hint="Name another file with --out.")
    named, profile = _target(integration, target_cluster)
    scope = scope_from(named, **load_config().reading(), **letters.given())
    progress = TerminalProgress(size_in_bytes(confirm_above), yes=yes)
    with connect(profile) as sources, _folder() as folder, progress:
        made = make_plan(sources, scope, _choice(choice, scope.source), work_dir=folder, progress=progress)
        principal = sources.cluster.principal
    made.save(out)
    redrive_text.show_plan(made, out, principal)


@app.command("run")
@flattened
def run(file: PlanFile, target_cluster: TargetOptions, sending: SendOptions) -> None:
    """Show what a plan would send; with --execute send it.

    Exit code: 0 done, 1 refused or stopped (the same command goes on), 130 interrupted.
    """
    from workbench.redrive.plan import load_plan
    from workbench.redrive.running import prepared

    given = load_plan(file)
    _, profile = _target(None, target_cluster)
    if sending.execute:
        _permit(profile, given, yes=sending.yes)
    code = (sending.transform, sending.schema)
    with (
        _connected(profile) as cluster,
        _folder() as folder,
        prepared(cluster, given, folder, code) as (spool, change),
    ):
        if sending.execute:
            _execute(cluster, given, spool, change, file=file, sending=sending)
        else:
            _dry(cluster, given, spool, change, values=sending.include_values)


@app.command("verify")
@flattened
def verify(file: PlanFile, target_cluster: TargetOptions, looking: VerifyOptions) -> None:
    """Say of each record of a plan: recovered, back in the dead letters, not seen yet, or lost.

    Exit code: 0 all recovered, 3 not all seen yet, 12 some came back, 13 some are lost or there twice.
    """
    from workbench.cli import redrive_text
    from workbench.config import parse_duration
    from workbench.redrive import verify as verifying
    from workbench.redrive.plan import load_plan

    given = load_plan(file)
    _, profile = _target(None, target_cluster)
    with _connected(profile) as cluster, _folder() as folder:
        found = verifying.verify(
            cluster, given, folder, sinks=tuple(looking.sink or ()),
            expected_latency_seconds=parse_duration(looking.expected_latency), say=_say,
        )  # fmt: skip
    if looking.save:
        found.write_rows(looking.save)
    if looking.format == "json":
        print(json.dumps(found.to_dict(), indent=2))
    else:
        redrive_text.show_verified(found)
    raise typer.Exit(found.exit_code)


def _target(integration: str | None, target: TargetOptions) -> Any:
    return options.target(integration, target.profile, target.bootstrap, target.setting)


def _choice(choice: ChoiceOptions, source: str) -> Any:
    from dataclasses import asdict

    from workbench.redrive.planning import Choice

    given = asdict(choice)
    groups = given.pop("cause_group") or ()
    return Choice(cause_groups=tuple(groups), fallback=source or None, **given)


def _permit(profile: Profile, given: Plan, *, yes: bool) -> None:
    from workbench.redrive.permission import confirm, require_redrive

    require_redrive(profile)
    confirm(profile, sorted(given.targets), _ask if sys.stdin.isatty() else None, yes=yes)


def _ask(question: str) -> str:
    print(question, end="", file=sys.stderr, flush=True)
    return sys.stdin.readline()


def _execute(cluster: Cluster, given: Plan, spool: Any, change: Any, *, file: Path, sending: SendOptions) -> None:
    from workbench.cli import redrive_text
    from workbench.redrive.audit import Audit, audit_file
    from workbench.redrive.running import execute
    from workbench.redrive.sending import producer_settings
    from workbench.redrive.stepping import Pace

    pace = Pace(sending.settle_seconds, sending.pause_seconds, sending.max_refail, sending.rate)
    settings = producer_settings(cluster.profile.kafka)
    topic = sending.audit_topic or cluster.profile.audit_topic
    audit = Audit(audit_file(file), given, settings, topic)
    result = execute(cluster, given, spool, change, pace=pace, audit=audit, say=_say)
    redrive_text.show_result(given, result, file)
    raise typer.Exit(130 if result.interrupted else 0)


def _dry(cluster: Cluster, given: Plan, spool: Any, change: Any, *, values: bool) -> None:
    from workbench.cli import redrive_text
    from workbench.redrive.running import dry_run

    redrive_text.show_dry(given, dry_run(cluster, given, spool, change), values=values)


@contextmanager
def _connected(profile: Profile) -> Iterator[Cluster]:
    from workbench.sources import connect
    from workbench.tables import keep_pandas_out

    keep_pandas_out()
    with connect(profile) as sources:
        yield sources.cluster


@contextmanager
def _folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="workbench-redrive-") as folder:
        yield Path(folder)


def _say(text: str) -> None:
    if sys.stderr.isatty():
        print(text, file=sys.stderr)
