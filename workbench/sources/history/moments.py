"""Which past moments are looked at: many close to now, fewer further back."""

from __future__ import annotations

MOMENTS = 32


def moments(since_ms: int, until_ms: int, count: int = MOMENTS) -> list[int]:
    """Moments of a window, ever further apart towards its beginning, both ends among them.

    A window of an hour has its last moments two seconds apart and its first two minutes: what began just now shows, and
    what was before shows too.
    """
    span = max(0, until_ms - since_ms)
    found = {until_ms - round(span * (step / (count - 1)) ** 2) for step in range(count)}
    return sorted(found)
