"""A partition's samples in order, and the questions that are asked of them."""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass
from typing import Literal, NamedTuple


class Point(NamedTuple):
    """Where a group stood at a moment: time in epoch ms, committed offset, log end."""

    at_ms: int
    offset: int
    end: int


@dataclass(frozen=True)
class Series:
    """Points in the order of time.

    Attributes:
        points: them.
        history: which source told them.
    """

    points: tuple[Point, ...]
    history: str | None = None

    def rate(self, what: Literal["end", "offset"]) -> float | None:
        """Offsets a second from the first point to the last; None for fewer than two, or no time between them."""
        if len(self.points) < 2 or self.points[-1].at_ms == self.points[0].at_ms:
            return None
        first, last = self.points[0], self.points[-1]
        moved = last.end - first.end if what == "end" else last.offset - first.offset
        return moved / ((last.at_ms - first.at_ms) / 1000)

    def after(self, at_ms: int | None) -> Series:
        """The part from a moment on, with the point before it; all of it for None."""
        if at_ms is None:
            return self
        first = max(0, bisect_left(self.points, at_ms, key=lambda point: point.at_ms) - 1)
        return Series(self.points[first:], self.history)

    def until(self, at_ms: int) -> Series:
        """The part up to a moment."""
        return Series(tuple(point for point in self.points if point.at_ms <= at_ms), self.history)

    def last(self, share: int) -> Series:
        """The last part of its time: one of so many; at least three points where there are so many."""
        if len(self.points) < 3:
            return self
        first, last = self.points[0].at_ms, self.points[-1].at_ms
        begun = min(last - (last - first) // share, self.points[-3].at_ms)
        return Series(tuple(point for point in self.points if point.at_ms >= begun), self.history)

    def largest_rate(self) -> float | None:
        """The largest rate at which the end moved over any tenth of the time."""
        if len(self.points) < 2:
            return None
        width = max(1, (self.points[-1].at_ms - self.points[0].at_ms) // 10)
        best, first = 0.0, 0
        for at, point in enumerate(self.points):
            while first < at and point.at_ms - self.points[first + 1].at_ms >= width:
                first += 1
            seconds = (point.at_ms - self.points[first].at_ms) / 1000
            if seconds * 1000 >= width:
                best = max(best, (point.end - self.points[first].end) / seconds)
        return best

    def passed(self, point: Point) -> tuple[float, float | None] | None:
        """(when the end passed a point's committed offset, at most so many ms off); None where it never did.

        The error is None where that was before the first point: it is passed for that long at least.
        """
        before: Point | None = None
        for one in self.points:
            if one.end > point.offset:
                if before is None:
                    return float(one.at_ms), None
                share = (point.offset - before.end) / (one.end - before.end)
                width = one.at_ms - before.at_ms
                return before.at_ms + share * width, float(width)
            before = one
        return None

    def behind_since(self, latency_ms: float) -> tuple[int | None, bool]:
        """(since when the time lag exceeds a latency without a break up to now, whether since before the window)."""
        since: int | None = None
        for at in range(len(self.points) - 1, -1, -1):
            point = self.points[at]
            passed = self.passed(point)
            if passed is None or point.at_ms - passed[0] <= latency_ms or point.end <= point.offset:
                return since, False
            since = point.at_ms
        return since, since is not None

    def lag_at(self, at_ms: int, offset: int) -> int | None:
        """Offsets behind at a moment, the end interpolated; None outside the series."""
        at = bisect_left(self.points, at_ms, key=lambda point: point.at_ms)
        if at >= len(self.points) or (at == 0 and self.points[0].at_ms != at_ms):
            return None
        later = self.points[at]
        earlier = self.points[at - 1] if at else later
        width = later.at_ms - earlier.at_ms
        share = (at_ms - earlier.at_ms) / width if width else 1.0
        return max(0, round(earlier.end + share * (later.end - earlier.end)) - offset)
