"""Windows of commits as Burrow's own test table has them (its kinds, restated), and where we say something else."""

from __future__ import annotations

import pytest

from workbench.problems.lag import burrow
from workbench.problems.lag.burrow import Commit


def window(offsets, lags, times=None):
    at = times or [100_000 * (n + 1) for n in range(len(offsets))]
    return [Commit(*row) for row in zip(at, offsets, lags, strict=True)]


MOVING, RISING = [1000, 2000, 3000, 4000, 5000], [50, 100, 150, 200, 250]
FAST = [1512224618356 + 1000 * n for n in range(15)]
# what, window, recent log ends, lag now, seconds now, allowed lag, what Burrow says
CASES = [
    ("zero lag somewhere", window(MOVING, [0, 50, 100, 150, 200]), [5200], 200, 600, 0, "ok"),
    ("as long ago as the window is long", window(MOVING, [0, 50, 100, 150, 200]), [5200], 200, 900, 0, "ok"),
    ("longer ago than the window is long", window(MOVING, [0, 50, 100, 150, 200]), [5200], 200, 1000, 0, "stopped"),
    ("stopped, never at the end", window(MOVING, RISING), [5250], 250, 1000, 0, "stopped"),
    ("same offsets, but zero lag at first", window([1000] * 5, [0, 50, 100, 150, 200]), [1200], 200, 600, 0, "ok"),
    ("same offsets, lag grows", window([1000] * 5, [100, 150, 200, 250, 300]), [1300], 300, 600, 0, "stalled"),
    ("same offsets, lag stays", window([1000] * 5, [100] * 5), [1100], 100, 600, 0, "stalled"),
    (
        "set back and there again",
        window([1000, 2000, 3000, 2000, 4000], [100, 150, 200, 1250, 300]),
        [4300],
        300,
        600,
        0,
        "ok",
    ),
    ("no lag now", window(MOVING, RISING), [5250], 0, 1000, 0, "ok"),
    ("stopped with new records", window(range(15), [0] * 15, FAST), [931, 900, 700], 931, 1512224650, 0, "stopped"),
    ("stopped, but at the end a moment ago", window(range(15), [0] * 15, FAST), [15, 14, 14], 1, 1512224650, 0, "ok"),
    ("lags that are not known do not count", window([1000, 1500, 2000], [0, None, 50]), [5700], 200, 500, 0, "ok"),
    ("stopped within the allowed lag", window([1000, 2000, 2000], [2, 1, 1]), [2001], 1, 550, 1, "ok"),
    ("stalled above the allowed lag", window([1000] * 5, [100, 150, 200, 250, 300]), [1300], 300, 600, 50, "stalled"),
    ("moves, lag never less", window(MOVING, RISING), [5250], 250, 600, 0, "growing"),
    ("moves, lag stays", window(MOVING, [100] * 5), [5100], 100, 600, 0, "growing"),
    ("moves, lag less once", window(MOVING, [100, 150, 140, 150, 200]), [5200], 200, 600, 0, "ok"),
    ("set back", window([1000, 2000, 3000, 500, 600], [100, 150, 200, 2750, 2800]), [3400], 2800, 600, 0, "rewound"),
    ("one commit, long ago", window([1000], [5]), [1005], 5, 600, 0, "stopped"),
]


@pytest.mark.parametrize("case", CASES, ids=[case[0] for case in CASES])
def test_the_evaluation_is_burrow_s(case):
    _, commits, ends, lag, now, allowed, said = case
    assert burrow.evaluate(commits, ends, lag, now * 1000, allowed) == said


DIFFERENT = {
    "moves, lag stays": "keeping_pace",
    "one commit, long ago": "undecided",
}


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case[5]], ids=[case[0] for case in CASES if not case[5]]
)
def test_ours_differs_only_where_it_is_listed(case):
    name, commits, ends, lag, now, _, said = case
    assert burrow.judged(commits, ends, lag, now * 1000, None) == DIFFERENT.get(name, said)


def test_slow_but_regular_commits_are_not_stopped():
    late = window([10, 20, 30], [5, 5, 5], [0, 30_000, 60_000])
    assert burrow.evaluate(late, [36], 6, 121_000) == "stopped"
    assert burrow.judged(late, [36], 6, 115_000, 30_000.0) != "stopped"
    assert burrow.judged(late, [36], 6, 121_000, 30_000.0) == "stopped"


def test_of_commits_within_a_second_the_last_is_kept():
    kept = burrow.thinned([Commit(at, at, 0) for at in range(0, 20_000, 100)])
    assert len(kept) == burrow.INTERVALS
    assert kept[-1].at_ms == 19_900
