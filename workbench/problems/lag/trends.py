"""How a partition moved through its window: rates, its trend with a confidence interval, since when it is behind."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from statistics import NormalDist, median
from typing import Any

from workbench.problems.lag.burrow import Commit, judged, thinned
from workbench.problems.lag.series import Point, Series

FEWEST_POINTS = 5
CONFIDENCE = 0.95
RECENT = 3  # the last third of what is looked at


@dataclass(frozen=True)
class Motion:
    """One partition's movement; unknown is None.

    Attributes:
        samples: moments at which both the commit and the log's end are known.
        history: which source told them: commits, watch, prometheus, snapshots.
        behind_since_ms: since when its time lag exceeds the expected latency; None: it does not, or not known.
        since_before: it was behind already when the window began.
        passed_seconds: how long ago the log's end passed the committed offset (interpolated).
        passed_error_seconds: at most so far off: the time between the two samples around it; None: passed for so long at
            least, since before the window.
        slope_per_second: trend of the lag since it is behind, offsets a second (Theil-Sen), with its interval ``slope_low``
            to ``slope_high`` (95 %).
        produced_per_second, consumed_per_second: since it is behind.
        produced_before, consumed_before: in the window before that.
        produced_recently, consumed_recently: in the last third of the time since then.
        produced_at_most: the largest rate over any tenth of the window.
        catch_up_seconds: until nothing is behind at the present rates; None: never, or not known.
        standing_seconds: how long the commit has not moved while records waited; 0: it moves.
        last_advance_ms: when a commit last moved forward.
        state: Burrow's evaluation with its faults answered: ok, growing, stalled, stopped, rewound, keeping_pace, undecided.
    """

    samples: int = 0
    history: str | None = None
    behind_since_ms: int | None = None
    since_before: bool = False
    passed_seconds: float | None = None
    passed_error_seconds: float | None = None
    slope_per_second: float | None = None
    slope_low: float | None = None
    slope_high: float | None = None
    produced_per_second: float | None = None
    consumed_per_second: float | None = None
    produced_before: float | None = None
    consumed_before: float | None = None
    produced_recently: float | None = None
    consumed_recently: float | None = None
    produced_at_most: float | None = None
    catch_up_seconds: float | None = None
    standing_seconds: float | None = None
    last_advance_ms: int | None = None
    state: str = "undecided"

    def to_dict(self) -> dict[str, Any]:
        """JSON types; numbers with three digits behind the point."""
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in vars(self).items()}


NOTHING = Motion()


def motion(
    series: Series,
    commits: Sequence[tuple[int, int | None]],
    *,
    head_ms: int | None,
    latency_ms: float,
    interval_ms: float | None,
) -> Motion:
    """The movement of one partition.

    Args:
        series: its samples.
        commits: (time, offset; None: removed) as the group made them, oldest first; none where only samples are known.
        head_ms: when the next record was written; None: not known, or nothing waits.
        latency_ms: a longer time lag is lag.
        interval_ms: the group's usual time between two commits.
    """
    if not series.points:
        return NOTHING
    last = series.points[-1]
    lag = last.end - last.offset
    since, before = series.behind_since(latency_ms)
    passed = series.passed(last)
    span = series.after(since if lag > 0 else None)
    low, mid, high = _slope(span) if lag > 0 else (None, None, None)
    recent = span.last(RECENT)
    earlier = series.until(since) if since is not None and not before else Series(())
    standing, advanced = _standing(commits, series, head_ms)
    window = thinned([Commit(at, offset, series.lag_at(at, offset)) for at, offset in commits if offset is not None])
    return Motion(
        samples=len(series.points),
        history=series.history,
        behind_since_ms=since if lag > 0 else None,
        since_before=before and lag > 0,
        passed_seconds=None if passed is None or lag <= 0 else (last.at_ms - passed[0]) / 1000,
        passed_error_seconds=None if passed is None or passed[1] is None or lag <= 0 else passed[1] / 1000,
        slope_per_second=mid,
        slope_low=low,
        slope_high=high,
        **_rates(span, earlier, recent),
        produced_at_most=series.largest_rate(),
        catch_up_seconds=_catch_up(lag, recent),
        standing_seconds=standing if lag > 0 else 0.0,
        last_advance_ms=advanced,
        state=judged(window, [point.end for point in series.points[-10:]], lag, last.at_ms, interval_ms),
    )


def _rates(span: Series, earlier: Series, recent: Series) -> dict[str, Any]:
    """Offsets a second that are produced and consumed, since it is behind, before that, and lately."""
    spans = {"per_second": span, "before": earlier, "recently": recent}
    return {f"produced_{when}": part.rate("end") for when, part in spans.items()} | {
        f"consumed_{when}": part.rate("offset") for when, part in spans.items()
    }


def _slope(span: Series) -> tuple[float | None, float | None, float | None]:
    """(low, slope, high) of the lag over time."""
    if len(span.points) < FEWEST_POINTS:
        return None, None, None
    points = [((point.at_ms - span.points[0].at_ms) / 1000, float(point.end - point.offset)) for point in span.points]
    return theil_sen(points)


def theil_sen(points: Sequence[tuple[float, float]]) -> tuple[float | None, float | None, float | None]:
    """(low, slope, high): the median of the slopes of all pairs, with Sen's 95 % interval; None without two times.

    The same numbers as ``scipy.stats.theilslopes``, which takes seconds to load for the few points that there are.
    """
    slopes = sorted((y - b) / (x - a) for n, (x, y) in enumerate(points) for a, b in points[:n] if x != a)
    if not slopes:
        return None, None, None
    count = len(points)
    ties = Counter(value for _, value in points).values()
    spread = count * (count - 1) * (2 * count + 5) - sum(k * (k - 1) * (2 * k + 5) for k in ties)
    reach = NormalDist().inv_cdf(0.5 + CONFIDENCE / 2) * sqrt(max(0.0, spread / 18))
    low = max(0, round((len(slopes) - reach) / 2) - 1)
    high = min(len(slopes) - 1, round((len(slopes) + reach) / 2))
    return slopes[low], median(slopes), slopes[high]


def _catch_up(lag: int, recent: Series) -> float | None:
    produced, consumed = recent.rate("end"), recent.rate("offset")
    if lag <= 0:
        return 0.0
    if produced is None or consumed is None or consumed <= produced:
        return None
    return lag / (consumed - produced)


def _standing(
    commits: Sequence[tuple[int, int | None]], series: Series, head_ms: int | None
) -> tuple[float | None, int | None]:
    """(seconds without a step forward while records waited, time of the last step)."""
    steps = [(at, offset) for at, offset in commits if offset is not None] or [
        (point.at_ms, point.offset) for point in series.points
    ]
    if not steps:
        return None, None
    advanced, value = steps[0][0], steps[0][1]
    for at, offset in steps[1:]:
        if offset > value:
            advanced = at
        value = offset
    if head_ms is None:
        return None, advanced
    return max(0.0, (series.points[-1].at_ms - max(advanced, head_ms)) / 1000), advanced


def points_of(rows: Sequence[dict[str, Any]]) -> Series:
    """The series of one partition from rows of ``samples``; rows where something is unknown are left out."""
    known = [row for row in rows if row["committed_offset"] is not None and row["log_end_offset"] is not None]
    history = next((row["history"] for row in known if row["history"] != "now"), None)
    # A commit above the end that the timestamps tell means that the end is told late: clocks of senders, or linger.
    made = [
        Point(row["at_ms"], row["committed_offset"], max(row["log_end_offset"], row["committed_offset"]))
        for row in known
    ]
    return Series(tuple(sorted(made)), history)
