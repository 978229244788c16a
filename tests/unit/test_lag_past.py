"""How a group came to where it is: series, trends, rhythm, and what is no lag after all."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import theilslopes

from workbench.problems.lag.rhythm import rhythm
from workbench.problems.lag.series import Point, Series
from workbench.problems.lag.trends import motion, points_of, theil_sen
from workbench.sources.history import committed_at, moments, sampled

SECOND = 1000


def series(*points):
    return Series(tuple(Point(at * SECOND, offset, end) for at, offset, end in points), "commits")


def test_moments_reach_from_end_to_end_and_are_densest_near_now():
    found = moments(0, 3_600_000)
    assert (found[0], found[-1]) == (0, 3_600_000)
    gaps = [later - earlier for earlier, later in itertools.pairwise(found)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[-1] < 5_000


def test_commits_of_an_earlier_topic_are_left_out():
    rows = [
        {"topic": "in", "partition": 0, "topic_id": topic_id, "at_ms": at, "committed_offset": at}
        for at, topic_id in ((1, "old"), (2, "new"), (3, None))
    ]
    assert committed_at(rows, {"in": "new"}) == {("in", 0): [(2, 2), (3, 3)]}
    assert committed_at(rows, {}) == {}


def test_a_sample_takes_the_last_commit_before_it():
    made = {("in", 0): [(10, 5), (20, None), (30, 7)]}
    ends = {5: {("in", 0): 5}, 15: {("in", 0): 8}, 25: {("in", 0): 8}, 35: {}}
    assert [(s.at_ms, s.committed_offset, s.log_end_offset) for s in sampled(made, ends)] == [
        (5, None, 5), (15, 5, 8), (25, None, 8), (35, 7, None)]  # fmt: skip


def test_the_end_passed_an_offset_between_two_samples():
    found = series((0, 0, 0), (10, 0, 100), (20, 50, 100))
    at, error = found.passed(found.points[-1])
    assert (at, error) == (5_000.0, 10_000)
    assert found.passed(Point(0, 200, 300)) is None


def test_passed_before_the_window_is_at_least_so_long():
    found = series((0, 0, 10), (10, 0, 20))
    assert found.passed(found.points[-1]) == (0.0, None)


def test_since_when_it_is_behind():
    found = series((0, 0, 0), (10, 100, 100), (20, 100, 200), (30, 100, 300), (40, 100, 400))
    since, before = found.behind_since(5_000)
    assert (since, before) == (20_000, False)
    assert found.behind_since(60_000) == (None, False)
    assert series((0, 0, 100), (10, 0, 100)).behind_since(-1)[1] is True


def grown(*, per_second=10.0, read=5.0, seconds=20):
    return series(*((at, round(at * read), round(at * per_second)) for at in range(seconds + 1)))


def test_a_growing_lag_has_a_slope_whose_interval_lies_above_zero():
    found = motion(grown(), [], head_ms=10_000, latency_ms=1_000, interval_ms=None)
    assert found.slope_low > 0
    assert found.slope_per_second == pytest.approx(5.0, abs=0.2)
    assert found.catch_up_seconds is None


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 20), min_size=5, max_size=33))
def test_the_slope_is_scipy_s(values):
    points = [(float(at), float(value)) for at, value in enumerate(values)]
    theirs = theilslopes([value for _, value in points], [at for at, _ in points], 0.95)
    assert theil_sen(points) == pytest.approx((theirs.low_slope, theirs.slope, theirs.high_slope))


def test_a_lag_that_falls_is_caught_up_in_time():
    falling = series(*((at, at * 10, 200) for at in range(11)))
    found = motion(falling, [], head_ms=0, latency_ms=1_000, interval_ms=None)
    assert found.catch_up_seconds == pytest.approx(10.0)
    assert found.slope_high < 0


def test_one_sample_says_nothing_of_trends():
    found = motion(series((0, 0, 10)), [], head_ms=0, latency_ms=1_000, interval_ms=None)
    assert (found.slope_per_second, found.produced_per_second, found.state) == (None, None, "undecided")
    assert motion(Series(()), [], head_ms=None, latency_ms=1, interval_ms=None).samples == 0


def test_a_commit_stands_since_it_moved_last_or_since_something_waits():
    points = series(*((at, 5, 5 + at) for at in range(11)))
    assert motion(points, [(0, 5), (9_000, 5)], head_ms=4_000, latency_ms=1, interval_ms=None).standing_seconds == 6.0
    moved = motion(points, [(0, 3), (7_000, 5)], head_ms=4_000, latency_ms=1, interval_ms=None)
    assert (moved.standing_seconds, moved.last_advance_ms) == (3.0, 7_000)


def test_a_commit_above_the_end_counts_as_no_lag():
    (point,) = points_of(
        [{"at_ms": 1, "committed_offset": 9, "log_end_offset": 7, "history": "commits"}]
    ).points  # fmt: skip
    assert point.end - point.offset == 0


def generations(*rows):
    return [
        {"log_offset": n, "at_ms": at * SECOND, "generation": n, "members": members, "removed": removed}
        for n, (at, members, removed) in enumerate(rows)
    ]


def numbered(*rows):
    """Generations by second and number, each with a member."""
    return rhythm(
        [
            {**row, "generation": n}
            for row, (_, n) in zip(generations(*((at, 1, 0) for at, _ in rows)), rows, strict=True)
        ],
        [],
    )


def test_rebalances_that_left_no_record_count_by_the_numbers_of_those_that_did():
    assert numbered((10, 1), (13, 3), (16, 5), (19, 6)).rebalances(14 * SECOND, 20 * SECOND) == 3
    assert numbered((10, 1), (13, None), (16, 5), (19, 6)).rebalances(14 * SECOND, 20 * SECOND) == 2
    assert numbered((16, 1), (19, 2)).rebalances(14 * SECOND, 20 * SECOND) == 2
    assert numbered((10, 1), (13, 3)).rebalances(14 * SECOND, 20 * SECOND) == 0


def test_rebalances_of_long_before_do_not_count():
    assert numbered((-900, 1), (16, 40)).rebalances(14 * SECOND, 20 * SECOND) == 1


def commits(*times):
    return [{"at_ms": at * SECOND, "removed": False} for at in times]


def test_a_job_that_ran_three_times_is_due_again():
    found = rhythm(generations((0, 0, 0), (10, 1, 0), (12, 0, 0), (20, 1, 0), (22, 0, 0), (30, 1, 0), (32, 0, 0)), [])
    assert found.emptied_ms == 32 * SECOND
    assert found.next_run_ms == 45 * SECOND
    assert found.longest_run_ms == 2 * SECOND


def test_a_service_that_was_restarted_has_no_habit_of_long_pauses():
    rows = ((0, 1, 0), (1000, 0, 0), (1002, 1, 0), (2000, 0, 0), (2002, 1, 0), (3000, 0, 0))
    assert rhythm(generations(*rows), []).next_run_ms == 3004 * SECOND


def test_two_runs_are_no_rhythm():
    assert rhythm(generations((10, 1, 0), (12, 0, 0), (20, 1, 0), (22, 0, 0)), []).next_run_ms is None


def test_a_removed_group_is_known_as_such():
    assert rhythm(generations((0, 1, 0), (5, 0, 0), (9, 0, 1)), []).removed_ms == 9 * SECOND
    assert rhythm(generations((0, 1, 0), (5, 0, 1), (9, 1, 0)), []).removed_ms is None


def test_regular_commits_have_an_interval_and_irregular_ones_none():
    assert rhythm([], commits(0, 30, 60, 91, 120)).interval_ms == 30 * SECOND
    assert rhythm([], commits(0, 1, 2, 60, 61, 190, 400)).interval_ms is None
