"""The rhythm of a group: when it had members and when not, and how often it commits."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

SAME_MOMENT_MS = 100
RUNS = 3  # a rhythm shows in two pauses at least, between three runs
LATE = 1.5  # as late as half a period is still the rhythm
UNEVEN = 3.0
RECENT_COMMITS = 50


@dataclass(frozen=True)
class Rhythm:
    """What a group's history says about its habits; times in epoch ms, unknown is None.

    Attributes:
        runs: (start, end or None while it runs) of the times in which it had members.
        emptied_ms: since when it has none; None: it has some, or never had any.
        up_since_ms: since when it has members without a break.
        removed_ms: when the group was deleted or expired, if it was and did not come back.
        next_run_ms: until when the next run is due by habit; None: there is no habit.
        longest_run_ms: the longest of the finished runs of such a habit.
        interval_ms: usual time between two commits, if that is regular.
        last_commit_ms: when it last committed anything.
        generations: (time, number) of its generations with members.
    """

    runs: tuple[tuple[int, int | None], ...] = ()
    emptied_ms: int | None = None
    up_since_ms: int | None = None
    removed_ms: int | None = None
    next_run_ms: float | None = None
    longest_run_ms: int | None = None
    interval_ms: float | None = None
    last_commit_ms: int | None = None
    generations: tuple[tuple[int, int | None], ...] = ()

    def rebalances(self, since_ms: int, now_ms: int) -> int:
        """How many generations began in a time.

        By their numbers where these are known: a generation that ended before all members had an assignment leaves no record.
        """
        after = [number for at, number in self.generations if at >= since_ms]
        if not after or None in after:
            return len(after)
        at, before = next(
            ((at, number) for at, number in reversed(self.generations) if at < since_ms), (since_ms, None)
        )
        # One that began long before says nothing of when those in between were.
        near = before is not None and at >= 2 * since_ms - now_ms
        first = (before if near else (after[0] or 0) - 1) or 0
        return max(len(after), (after[-1] or 0) - first)


def rhythm(generations: Iterable[Mapping[str, Any]], commits: Iterable[Mapping[str, Any]]) -> Rhythm:
    """The rhythm that rows of ``generations`` and ``commit_history`` show."""
    rows = sorted(generations, key=lambda row: row["log_offset"])
    runs = _runs(rows)
    times = _moments([row["at_ms"] for row in commits if not row["removed"]])
    due, longest = _habit(runs)
    return Rhythm(
        runs=tuple(runs),
        emptied_ms=runs[-1][1] if runs else None,
        up_since_ms=runs[-1][0] if runs and runs[-1][1] is None else None,
        removed_ms=rows[-1]["at_ms"] if rows and rows[-1]["removed"] else None,
        next_run_ms=due,
        longest_run_ms=longest,
        interval_ms=_interval(times),
        last_commit_ms=times[-1] if times else None,
        generations=tuple((row["at_ms"], row["generation"]) for row in rows if row["members"] and not row["removed"]),
    )


def _runs(rows: Sequence[Mapping[str, Any]]) -> list[tuple[int, int | None]]:
    runs: list[tuple[int, int | None]] = []
    for row in rows:
        running = bool(runs) and runs[-1][1] is None
        if row["members"] and not running:
            runs.append((row["at_ms"], None))
        elif not row["members"] and running:
            runs[-1] = (runs[-1][0], row["at_ms"])
    return runs


def _habit(runs: Sequence[tuple[int, int | None]]) -> tuple[float | None, int | None]:
    """(until when the next run is due, longest finished run); None without a rhythm."""
    starts = [start for start, _ in runs]
    periods = [later - earlier for earlier, later in itertools.pairwise(starts)]
    if len(runs) < RUNS or max(periods) > UNEVEN * max(1, min(periods)):
        return None, None
    finished = [end - start for start, end in runs if end is not None]
    pauses = [start - end for (_, end), (start, _) in itertools.pairwise(runs) if end is not None]
    due = starts[-1] + LATE * max(periods)
    # A service that is restarted now and then has short pauses: a long one is no habit of its.
    ended = runs[-1][1]
    return (due if ended is None else min(due, ended + 2 * max(pauses))), max(finished, default=0)


def _moments(times: Iterable[int]) -> list[int]:
    """Times of commits, those of one moment once, the newest fifty."""
    out: list[int] = []
    for at in sorted(times):
        if not out or at - out[-1] > SAME_MOMENT_MS:
            out.append(at)
    return out[-RECENT_COMMITS:]


def _interval(times: Sequence[int]) -> float | None:
    gaps = sorted(later - earlier for earlier, later in itertools.pairwise(times))
    if len(gaps) < 2:
        return None
    usual = median(gaps)
    return float(usual) if gaps[int(0.8 * (len(gaps) - 1))] <= 2 * usual else None
