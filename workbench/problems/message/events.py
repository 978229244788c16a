"""The timeline: everything that evidence says about a message, in the order of its times, each with the gap to its cause.

Clocks differ, so an effect may bear an earlier time than its cause: the list stays in the order of the times as they were
written, and such a gap is negative and named, never straightened.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

MOST_EVENTS = 1_000
_LAST_US = 253_402_300_799_999_999  # the end of the year 9999

# What is kept first where a timeline is cut, and what comes first among equal times.
RANKS = ("record", "dead letter", "commit", "sent log", "service log", "span", "span event")


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened.

    Attributes:
        at_us: microseconds since 1970, UTC, by ``clock``; null where the evidence bears no time.
        event: what, in a few words.
        where: coordinates, service, or file and line.
        source: which evidence says so, of ``RANKS``.
        clock: whose clock it is.
        key: names it for those that follow from it.
        after: key of its cause; null: it has none, or none is known.
        duration_us: how long it took; null where it is a moment, or not known.
        failed: it says that something went wrong.
        step: the part of the way that it belongs to, for the story: sent, read, retry, dead, redriven, delivered, passed.
    """

    at_us: int | None
    event: str
    where: str
    source: str
    clock: str
    key: str
    after: str | None = None
    duration_us: int | None = None
    failed: bool = False
    step: str | None = None


def ordered(events: Iterable[Event]) -> list[Event]:
    """By time, those without one last."""
    placed = (
        replace(one, at_us=None) if one.at_us is not None and not 0 <= one.at_us <= _LAST_US else one for one in events
    )
    return sorted(
        placed, key=lambda one: (one.at_us is None, one.at_us or 0, RANKS.index(one.source), one.where, one.event)
    )


def shortened(events: Sequence[Event]) -> list[Event]:
    """At most ``MOST_EVENTS``: records before spans, failures before the rest; the order is kept."""
    if len(events) <= MOST_EVENTS:
        return list(events)
    worth = sorted(range(len(events)), key=lambda i: (RANKS.index(events[i].source), not events[i].failed, i))
    return [events[number] for number in sorted(worth[:MOST_EVENTS])]


def gaps(events: Iterable[Event]) -> dict[str, float]:
    """Key -> seconds since its cause, negative where the clocks disagree; only where both times are known."""
    known = {one.key: one for one in events}
    out = {}
    for one in known.values():
        cause = known.get(one.after or "")
        if cause is not None and one.at_us is not None and cause.at_us is not None:
            out[one.key] = round((one.at_us - cause.at_us) / 1e6, 6)
    return out


def skews(events: Sequence[Event], since: Mapping[str, float]) -> dict[tuple[str, str], float]:
    """(clock, clock of the cause) -> seconds that the first is behind at least."""
    known = {one.key: one for one in events}
    out: dict[tuple[str, str], float] = {}
    for key, gap in since.items():
        if gap < 0:
            pair = (known[key].clock, known[known[key].after or ""].clock)
            out[pair] = max(out.get(pair, 0.0), -gap)
    return out


def rows(events: Sequence[Event], since: Mapping[str, float]) -> list[dict[str, Any]]:
    """The timeline as in the JSON contract."""
    named = {one.key: one.event for one in events}
    return [
        {
            "at": iso(one.at_us),
            "event": one.event,
            "where": one.where,
            "gap_seconds": since.get(one.key),
            "after": named.get(one.after or ""),
            "duration_seconds": None if one.duration_us is None else one.duration_us / 1e6,
            "failed": one.failed,
            "source": one.source,
        }
        for one in events
    ]


def iso(at_us: int | None) -> str | None:
    """An ISO time in UTC."""
    if at_us is None:
        return None
    return (
        datetime.fromtimestamp(at_us // 1_000_000, UTC)
        .replace(microsecond=at_us % 1_000_000)
        .isoformat(timespec="microseconds")
    )


def clock_text(at_us: int | None) -> str:
    """A time of the day for a sentence."""
    return "at an unknown time" if at_us is None else f"at {(iso(at_us) or '')[11:23]}"
