"""``workbench watch``: keeps a history of groups and logs."""

from __future__ import annotations

import signal
import sys
from collections import deque
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli import options
from workbench.cli.text import plain
from workbench.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.services.watch import Watching

_TREND_LOOKS = 12
_MOST_SHOWN = 40


def watch(
    *,
    profile: Annotated[str | None, typer.Option(help="A profile of workbench.toml.")] = None,
    bootstrap: Annotated[str | None, typer.Option(help="HOST:PORT of a broker, instead of a profile.")] = None,
    setting: Annotated[list[str] | None, typer.Option("-X", help="With --bootstrap: librdkafka KEY=VALUE.")] = None,
    group: Annotated[list[str] | None, typer.Option(help="Only these groups; repeatable.")] = None,
    topic: Annotated[list[str] | None, typer.Option(help="Only these topics; repeatable.")] = None,
    interval: Annotated[str, typer.Option(help="Between two looks, for example 10s.")] = "10s",
    keep: Annotated[str, typer.Option(help="How long looks are kept, for example 7d.")] = "7d",
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder for the looks [the profile's history, or history].")
    ] = None,
    once: Annotated[bool, typer.Option("--once", help="Look once and end.")] = False,
    live: Annotated[bool, typer.Option("--live", help="Show the groups that are furthest behind.")] = False,
) -> None:
    """Look at groups and logs again and again, and keep it as history: workbench watch --profile P --out history.

    `workbench check lag --history FOLDER` takes it where the group's commits cannot be read. Reading only. Ctrl-C or SIGTERM
    ends it.
    """
    from workbench.config import parse_duration
    from workbench.services.watch import Watching
    from workbench.services.watch import watch as run
    from workbench.sources import connect

    _, target = options.target(None, profile, bootstrap, setting)
    folder = out or Path(target.history or "history")
    every, kept = parse_duration(interval), parse_duration(keep)
    if every < 1:
        raise UsageError(f"--interval is {interval}.", hint="Use one second or more.")
    state = Watching()
    signal.signal(signal.SIGINT, lambda *_: state.stopping.set())
    signal.signal(signal.SIGTERM, lambda *_: state.stopping.set())
    with connect(target) as sources, ExitStack() as stack:
        told = _live(stack) if live else _say
        run(
            sources.cluster, folder, told, groups=group or (), topics=topic or (), interval_seconds=every, keep_seconds=kept,
            looks=1 if once else None, watching=state,
        )  # fmt: skip
    print(f"{state.looks:,} looks kept in {folder}, {state.gaps:,} failed", file=sys.stderr)
    raise typer.Exit(0 if state.looks else 1)


def _say(state: Watching) -> None:
    """A line for the first look, and one whenever the cluster goes or comes back."""
    if state.gap:
        print(f"gap {state.gaps}: {plain(state.gap)}", file=sys.stderr, flush=True)
    elif state.last and state.looks == 1:
        groups = {row.group for row in state.last.rows} - {None}
        print(f"watching {len(groups):,} groups", file=sys.stderr, flush=True)
        for subject, why in sorted(state.last.failures.items())[:5]:
            print(f"not seen: {plain(subject)}: {plain(why)}", file=sys.stderr, flush=True)


def _live(stack: ExitStack) -> Callable[[Watching], None]:
    from rich.console import Console
    from rich.live import Live

    shown = stack.enter_context(Live(console=Console(), auto_refresh=False, screen=False))
    before: deque[tuple[int, dict[str, int]]] = deque(maxlen=_TREND_LOOKS)

    def told(state: Watching) -> None:
        if state.last and (not before or before[-1][0] != state.last.at_ms):
            before.append((state.last.at_ms, state.last.lag()))
        shown.update(_table(state, before), refresh=True)

    return told


def _table(state: Watching, before: deque[tuple[int, dict[str, int]]]) -> Any:
    """Groups, those that are furthest behind first, with how their lag moved over the last looks."""
    from rich.table import Table
    from rich.text import Text

    table = Table(title=f"{state.looks:,} looks, {state.gaps:,} gaps" + (f": {plain(state.gap)}" if state.gap else ""))
    for name, side in (("group", "left"), ("lag", "right"), ("a minute", "right"), ("", "left")):
        table.add_column(name, justify=side)  # type: ignore[arg-type]
    if not before:
        return table
    (first_ms, first), (last_ms, last) = before[0], before[-1]
    minutes = (last_ms - first_ms) / 60_000
    for group, lag in sorted(last.items(), key=lambda one: (-one[1], one[0]))[:_MOST_SHOWN]:
        slope = (lag - first[group]) / minutes if minutes and group in first else None
        moves = "" if slope is None else "growing" if slope > 0 else "shrinking" if slope < 0 else "steady"
        table.add_row(Text(plain(group)), f"{lag:,}", "" if slope is None else f"{slope:+,.0f}", moves)
    return table
