"""Burrow's evaluation of a window of commits, as ``core/internal/evaluator/caching.go`` states it, rule by rule.

Faults of it that are known are answered by ``judged``, which says ``undecided`` or ``keeping_pace`` where Burrow would say
something that the window does not bear: see the table in ``docs/lag.md``.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

OK, WARNING, STALLED, STOPPED, REWOUND = "ok", "growing", "stalled", "stopped", "rewound"
INTERVALS = 10  # Burrow's default number of commits in a window
MIN_DISTANCE_MS = 1000  # and the least time between two of them
FEWEST = 3


class Commit(NamedTuple):
    """One commit of a window: when, to where, and the lag it had then (None: the log's end was not known)."""

    at_ms: int
    offset: int
    lag: int | None


def evaluate(window: Sequence[Commit], ends: Sequence[int], current_lag: int, now_ms: int, allowed_lag: int = 0) -> str:
    """What Burrow's evaluator says of one partition.

    Args:
        window: commits, oldest first, at least one.
        ends: recent log ends, in any order.
        current_lag: offsets behind now.
        now_ms: the present, epoch milliseconds.
        allowed_lag: at most so much is no lag.
    """
    if current_lag <= allowed_lag:
        return OK
    if is_stopped(window, now_ms) and not was_at_end(window, ends):
        return STOPPED
    back = rewound_at(window)
    if back > 0 and not has_recovered(window, back):
        return REWOUND
    if always_behind(window, allowed_lag):
        if is_stalled(window):
            return STALLED
        if never_less(window):
            return WARNING
    return OK


def always_behind(window: Sequence[Commit], allowed_lag: int = 0) -> bool:
    """Rule 1: the lag was above what is allowed at every commit whose lag is known."""
    return all(one.lag is None or one.lag > allowed_lag for one in window)


def rewound_at(window: Sequence[Commit]) -> int:
    """Rule 2: the index of the first commit that lies before the one ahead of it; -1 where there is none."""
    return next((n for n in range(1, len(window)) if window[n].offset < window[n - 1].offset), -1)


def has_recovered(window: Sequence[Commit], index: int) -> bool:
    """Rule 2, second part: whether a later commit reached the one before the rewind."""
    return any(one.offset >= window[index - 1].offset for one in window[index:])


def is_stopped(window: Sequence[Commit], now_ms: int) -> bool:
    """Rule 3: the last commit is longer ago than the window is long."""
    # Burrow's present is in whole seconds.
    return now_ms // 1000 * 1000 - window[-1].at_ms > window[-1].at_ms - window[0].at_ms


def is_stalled(window: Sequence[Commit]) -> bool:
    """Rule 4: all commits say the same offset."""
    return all(one.offset == window[0].offset for one in window)


def never_less(window: Sequence[Commit]) -> bool:
    """Rule 5: no known lag is less than the known lag before it."""
    known = [one.lag for one in window if one.lag is not None]
    return all(later >= earlier for earlier, later in itertools.pairwise(known))


def was_at_end(window: Sequence[Commit], ends: Sequence[int]) -> bool:
    """The last commit reached one of the recent log ends."""
    return any(end <= window[-1].offset for end in ends)


def thinned(commits: Sequence[Commit]) -> list[Commit]:
    """The window that Burrow would keep: of commits closer than a second the later, and of all the last ten."""
    kept: list[Commit] = []
    for one in commits:
        if len(kept) > 1 and one.at_ms - kept[-2].at_ms < MIN_DISTANCE_MS:
            kept[-1] = one
        else:
            kept.append(one)
    return kept[-INTERVALS:]


def judged(
    window: Sequence[Commit], ends: Sequence[int], current_lag: int, now_ms: int, interval_ms: float | None
) -> str:
    """The evaluation with Burrow's known faults answered.

    Args:
        window: as for ``evaluate``; may be empty.
        ends: as for ``evaluate``.
        current_lag: offsets behind now.
        now_ms: the present.
        interval_ms: the group's usual time between two commits; None: not known.

    Returns:
        As ``evaluate``, or ``undecided`` (fewer than three commits: a cold start), or ``keeping_pace`` (the lag is constant
        while the offsets advance). A commit that is due only later by the group's habit is not ``stopped``.
    """
    if current_lag <= 0:
        return OK
    if len(window) < FEWEST:
        return "undecided"
    said = evaluate(window, ends, current_lag, now_ms)
    if said == STOPPED and interval_ms is not None and now_ms - window[-1].at_ms <= 2 * interval_ms:
        return OK
    known = [one.lag for one in window if one.lag is not None]
    if said == WARNING and len(set(known)) <= 1:
        return "keeping_pace" if known else "undecided"
    return said
