"""What is sent for a dead letter: the message as it was, and headers that say where it comes from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

from workbench.dialects import is_marking, original_headers
from workbench.dialects.redrive import AT, COUNT, LETTER, ORIGIN, OWN, PLAN
from workbench.redrive.dead_letters import Dialects
from workbench.redrive.plan import HOME_MADE, UNWRAP, Plan, Row
from workbench.redrive.reading import Raw

Headers = tuple[tuple[str, bytes | None], ...]


@dataclass(frozen=True, slots=True)
class Record:
    """A record about to be sent: what a transformation gets, and what it gives back (see ``dataclasses.replace``).

    Attributes:
        topic: the target.
        partition: its partition; a change of the key does not change it.
        key, value: bytes as they were in the dead letter, an envelope taken off.
        headers: pairs in order; what the dead-lettering added is gone unless the plan keeps it.
        timestamp_ms: the dead letter's time; the copy gets the time of its sending.
        origin: ``topic/partition/offset`` of the message as it was first sent; null when nothing says so.
        letter: ``topic/partition/offset`` of the dead letter.
    """

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Headers
    timestamp_ms: int | None
    origin: str | None
    letter: str


def outgoing(row: Row, raw: Raw, headers: str, dialects: Dialects) -> Record:
    """The record of a plan's row, before any transformation and without the redrive's own headers.

    Args:
        row: of the plan.
        raw: the dead letter.
        headers: ``strip`` or ``keep``.
        dialects: the plan's.
    """
    value = dialects.message(raw, row.topic) if row.flags & UNWRAP else raw.value
    kept = kept_headers(raw.headers, headers, dialects, home_made=bool(row.flags & HOME_MADE))
    at = raw.timestamp_ms if raw.timestamp_type >= 0 else None
    return Record(row.target, row.target_partition, raw.key, value, tuple(kept), at, row.origin, row.letter)


def kept_headers(
    headers: Sequence[tuple[str, bytes | None]], mode: str, dialects: Dialects, *, home_made: bool
) -> list[tuple[str, bytes | None]]:
    """The headers that go along: without those of an earlier redrive, and with ``strip`` without the dead-lettering's."""
    if mode == "keep":
        return [pair for pair in headers if pair[0] not in OWN]
    dropped = is_marking if home_made else _is_dialect
    own = OWN | dialects.header_names
    return [pair for pair in headers if pair[0] not in own and not dropped(pair[0])]


def dropped_early(rows: Sequence[Row], mode: str, dialects: Dialects) -> Callable[[str], bool] | None:
    """Which header names none of some rows sends or needs; null where each record's headers must be looked at."""
    if mode == "keep" or any(row.flags & (UNWRAP | HOME_MADE) for row in rows):
        return None
    return partial(_goes, OWN | dialects.header_names)


def _goes(own: frozenset[str], name: str) -> bool:
    return name in own or _is_dialect(name)


@lru_cache(maxsize=8192)
def _is_dialect(name: str) -> bool:
    return not original_headers([(name, None)])


def own_headers(plan: Plan, row: Row, at: bytes) -> list[tuple[str, bytes | None]]:
    """The headers that mark a copy as sent back.

    Args:
        plan: whose run it is.
        row: what is sent.
        at: the time, ISO 8601.
    """
    origin: list[tuple[str, bytes | None]] = [(ORIGIN, row.origin.encode())] if row.origin else []
    return [
        (PLAN, plan.id.encode()),
        *origin,
        (LETTER, row.letter.encode()),
        (COUNT, b"%d" % (row.replays + 1)),
        (AT, at),
    ]
