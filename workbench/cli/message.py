"""``workbench message``: where is this message, and what happened to it?"""

from __future__ import annotations

from dataclasses import asdict
from typing import Annotated

import typer

from workbench.cli.check import examine
from workbench.cli.check_options import RunOptions, ScopeOptions, SubjectOptions, TargetOptions
from workbench.cli.flattened import flattened
from workbench.errors import UsageError


@flattened
def message(
    target: TargetOptions,
    scope: ScopeOptions,
    subject: SubjectOptions,
    run: RunOptions,
    message_id: Annotated[str | None, typer.Argument(metavar="[ID]", help="The message's id.")] = None,
    integration: Annotated[str | None, typer.Argument(help="An integration of workbench.toml.")] = None,
) -> None:
    """Tell one message's life: workbench message ID, or with --key, --trace or --at instead of the id.

    Searches the topics of the integration, or those that are named: --source, --sink, --dead-letters, or --topic (the first
    is the source, the others are where copies are due). With --around only near that time.

    Exit code: 0 delivered or on its way, 3 it cannot be said, 12 dead-lettered or never sent, 13 lost; 1 and 2 are errors.
    """
    from workbench.tables import keep_pandas_out

    keep_pandas_out()
    if message_id and not integration and any((subject.key, subject.trace, subject.at)):
        message_id, integration = None, message_id  # the only argument: the message is named by an option
    named = {**scope.given(), **subject.given(), "message_id": message_id}
    if run.evidence:
        if message_id or any(asdict(subject).values()):
            raise UsageError("--evidence holds one message already.", hint="Leave out the id, --key, --trace and --at.")
    elif not any((integration, target.bootstrap, scope.source, subject.topic)):
        integration = _only_integration()
    examine("message", target, named, run, integration)


def _only_integration() -> str | None:
    """The integration of workbench.toml where there is just one."""
    from workbench.config import load_config

    known = sorted(load_config().integrations)
    if len(known) > 1:
        raise UsageError("Which integration?", hint=f"workbench message ID NAME, where NAME is {' or '.join(known)}.")
    return known[0] if known else None
