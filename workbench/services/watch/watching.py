"""The loop: a look each interval, kept; what cannot be seen is a gap that is counted, not an end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import SourceError
from workbench.services.watch.looking import Look, look
from workbench.sources.history.writer import HistoryWriter

if TYPE_CHECKING:
    from workbench.sources import Cluster

FORGET_EVERY = 360  # looks between two removals of what is too old


@dataclass
class Watching:
    """How a watch goes.

    Attributes:
        looks: looks that were kept.
        gaps: looks that failed, because the cluster did not answer.
        last: the newest look; None before the first.
        gap: why the newest look failed; "" where it did not.
    """

    looks: int = 0
    gaps: int = 0
    last: Look | None = None
    gap: str = ""
    stopping: threading.Event = field(default_factory=threading.Event)


def watch(
    cluster: Cluster,
    folder: Path,
    told: Callable[[Watching], None],
    *,
    groups: Sequence[str] = (),
    topics: Sequence[str] = (),
    interval_seconds: float = 10.0,
    keep_seconds: float = 7 * 86_400.0,
    looks: int | None = None,
    watching: Watching | None = None,
) -> Watching:
    """Looks at a cluster until ``watching.stopping`` is set, or so many times; how it went.

    Args:
        cluster: read only.
        folder: where looks are kept.
        told: called after each look.
        groups: which; none named are all.
        topics: only these; none named are all.
        interval_seconds: from the beginning of one look to that of the next; a look that takes longer is followed at once.
        keep_seconds: how long looks are kept.
        looks: how many to take; None: no end.
        watching: whose ``stopping`` ends it.

    Raises:
        UsageError: the folder cannot be written to.
    """
    state = watching or Watching()
    with HistoryWriter(folder) as writer:
        due = time.monotonic()
        while not state.stopping.is_set():
            _once(cluster, writer, state, groups, topics)
            told(state)
            if looks is not None and state.looks + state.gaps >= looks:
                break
            if (state.looks + state.gaps) % FORGET_EVERY == 1:
                writer.forget(round((time.time() - keep_seconds) * 1000))
            due = max(due + interval_seconds, time.monotonic())
            state.stopping.wait(due - time.monotonic())
    return state


def _once(
    cluster: Cluster, writer: HistoryWriter, state: Watching, groups: Sequence[str], topics: Sequence[str]
) -> None:
    try:
        found = look(cluster, groups, topics)
    except SourceError as error:
        state.gaps += 1
        state.gap = str(error).rstrip(".")
        return
    writer.add(found.at_ms, found.rows)
    state.looks += 1
    state.last, state.gap = found, ""
