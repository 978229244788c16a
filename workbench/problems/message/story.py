"""The story in one sentence, from the same events as the timeline."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from workbench.problems.message.events import Event, clock_text, ordered

if TYPE_CHECKING:
    from workbench.problems.message.life import Life

_TIMES = {1: "once", 2: "twice"}
_ENDS = {
    "waiting": "waiting: {reason}",
    "in_flight": "in flight: {reason}",
    "hidden": "hidden: {reason}",
    "filtered": "not due: {reason}",
    "lost": "lost at {step}: {reason}",
    "never_sent": "never sent: {reason}",
    "unverifiable": "what became of it cannot be said: {reason}",
}


def story(life: Life) -> str:
    """One sentence: sent, read by whom, failed how often, and how it ended."""
    events = ordered(life.events)
    parts = list(_parts(events, life))
    end = _ENDS.get(life.outcome.name, "").format(reason=life.outcome.reason, step=life.outcome.step)
    said = "; ".join([", ".join(parts), end] if parts and end else [", ".join(parts) or end])
    return said[:1].upper() + said[1:] + "."


def _parts(events: list[Event], life: Life) -> Iterator[str]:
    if sent := _first(events, "sent"):
        yield f"sent {clock_text(sent.at_us)} ({sent.where})"
    if refused := _first(events, "refused"):
        yield f"refused {clock_text(refused.at_us)}"
    if read := _first(events, "read"):
        yield f"read {clock_text(read.at_us)} by {read.where}"
    passed = _first(events, "passed")
    if failures := _failures(events, life):
        yield f"failed {_TIMES.get(failures, f'{failures} times')}"
    for step, word in (("retry", "put into retry"), ("dead", "dead-lettered"), ("redriven", "sent back")):
        if found := _first(events, step):
            yield f"{word} {clock_text(found.at_us)} ({found.where})"
    if delivered := _first(events, "delivered"):
        yield f"delivered {clock_text(delivered.at_us)} ({delivered.where})"
    if passed and (life.outcome.name == "lost" or not read):
        yield f"{passed.event} {clock_text(passed.at_us)}"


def _first(events: list[Event], step: str) -> Event | None:
    return next((one for one in events if one.step == step), None)


def _failures(events: list[Event], life: Life) -> int:
    """How often it failed: as its dead letters count, as its spans show, or as often as they tell a time."""
    counted = max((row["attempts"] or row["failures"] or 0 for row in life.records), default=0)
    spans = sum(one.source == "span" and one.failed and one.step in ("read", "failed") for one in events)
    return counted or spans or sum(one.source == "dead letter" for one in events)
