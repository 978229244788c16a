"""The options of ``workbench redrive``, by what they are about."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

Texts = list[str] | None


@dataclass(frozen=True)
class LetterOptions:
    """Which dead letters are looked at: fields of ``problems.scope.Scope``."""

    dead_letters: Annotated[Texts, typer.Option(help="A dead-letter topic; repeatable.")] = None
    sink: Annotated[
        Texts, typer.Option(help="Where processed messages are: what is there is not sent; repeatable.")
    ] = None
    id_from: Annotated[
        str | None, typer.Option(help="auto, header:NAME, json:$.path, key or coordinates [default: auto].")
    ] = None
    sink_id_from: Annotated[str | None, typer.Option(help="The same for sinks.")] = None
    since: Annotated[str | None, typer.Option(help="ISO time, or 15m, 2h, 3d ago.")] = None
    until: Annotated[str | None, typer.Option(help="ISO time, or 15m, 2h, 3d ago.")] = None
    limit: Annotated[int | None, typer.Option(help="Read at most so many records.")] = None

    def given(self) -> dict[str, Any]:
        """The options by name, as ``scope_from`` takes them."""
        return asdict(self)


@dataclass(frozen=True)
class ChoiceOptions:
    """Which of them are sent, and how: the fields of ``redrive.planning.Choice``."""

    cause_group: Annotated[
        Texts, typer.Option(help="Fingerprint of a cause group, or its beginning; repeatable [all].")
    ] = None
    where: Annotated[str | None, typer.Option(help="DuckDB predicate over the message in a dead letter.")] = None
    target: Annotated[str | None, typer.Option(help="Topic to send to [default: where each message was first].")] = None
    max_replays: Annotated[int, typer.Option(help="Leave out what was sent back so often already.")] = 2
    headers: Annotated[str, typer.Option(help="strip or keep the headers that the dead-lettering added.")] = "strip"
    transform: Annotated[
        str | None, typer.Option(help="path.py:function, or a DuckDB expression that gives the new value.")
    ] = None
    schema: Annotated[str | None, typer.Option(help="FILE.json or path.py:Model: what values must fit to be sent.")] = (
        None
    )
    exclude_stale: Annotated[
        bool, typer.Option("--exclude-stale", help="Leave out what a newer record of its key made old.")
    ] = False
    isolation: Annotated[
        str | None, typer.Option(help="What the target's readers use: read_committed or read_uncommitted.")
    ] = None


@dataclass(frozen=True)
class SendOptions:
    """How a run sends."""

    execute: Annotated[bool, typer.Option("--execute", help="Send; without it nothing is written.")] = False
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for the topic's name on production.")] = False
    transform: Annotated[str | None, typer.Option(help="The plan's function, named again: a plan runs no code.")] = None
    schema: Annotated[str | None, typer.Option(help="The plan's model, named again: a plan runs no code.")] = None
    rate: Annotated[float | None, typer.Option(min=0.01, help="Copies a second at most.")] = None
    settle_seconds: Annotated[
        float, typer.Option(min=0, help="Wait after each step before looking what came back; 0 does not look.")
    ] = 10.0
    pause_seconds: Annotated[float, typer.Option(min=0, help="Pause between two steps.")] = 0.0
    max_refail: Annotated[
        float, typer.Option(min=0, max=1, help="Stop when a larger share came back, in all or of a cause group.")
    ] = 0.1
    include_values: Annotated[bool, typer.Option("--include-values", help="Show keys and values in the diff.")] = False
    audit_topic: Annotated[str | None, typer.Option(help="Also write the audit to this topic.")] = None


@dataclass(frozen=True)
class VerifyOptions:
    """What a verification looks at."""

    sink: Annotated[Texts, typer.Option(help="Where recovered messages are, besides the plan's sinks.")] = None
    expected_latency: Annotated[str, typer.Option(help="How long processing may take.")] = "5m"
    save: Annotated[Path | None, typer.Option(help="Write a JSON line for each record to this file.")] = None
    format: Annotated[str, typer.Option(help="table or json.")] = "table"
