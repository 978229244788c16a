"""Headers that say a record was sent back from a dead-letter topic."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import TypeVar

from workbench.dialects import fields
from workbench.dialects.model import Headers

PLAN = "workbench-redrive-plan"
ORIGIN = "workbench-redrive-origin"
COUNT = "workbench-redrive-count"
LETTER = "workbench-redrive-letter"
AT = "workbench-redrive-at"
# The headers that this workbench writes: plan, true origin, how often sent back, the dead letter it is made of, when.
OWN = frozenset({PLAN, ORIGIN, COUNT, LETTER, AT})
# Home-made names, lower case, separators as "-", a leading "x-" taken off.
_COUNTS = frozenset(
    {
        "replay-count",
        "replays",
        "redrive-count",
        "redrives",
        "redelivery-count",
        "reprocess-count",
        "resend-count",
        "dlq-replay-count",
        "dlq-redrive-count",
        "dlt-replay-count",
        "dlq-reprocess-count",
    }
)
_MARKS = re.compile(r"(?:dlq-|dlt-)?(?:redrive|redriven|replay|replayed|reprocessed)(?:-(.*))?\Z")


T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Redrive:
    """What the headers of a record say about its being sent back. Null: not said.

    Attributes:
        origin_topic: topic of the record that was sent back, as its headers name it.
        origin_partition: its partition.
        origin_offset: its offset.
        replay_count: how often it was sent back so far; at least 1 where only a mark says that it was.
        plan: identity of the redrive plan (this workbench's own headers only).
        letter: coordinates ``topic/partition/offset`` of the dead letter that it was made of (own headers only).
    """

    origin_topic: str | None = None
    origin_partition: int | None = None
    origin_offset: int | None = None
    replay_count: int | None = None
    plan: str | None = None
    letter: str | None = None


def redrive_of(headers: Headers) -> Redrive | None:
    """Read the headers of a redrive: this workbench's own, else the common home-made ones; None where there are none.

    A name that comes again counts by its last value: the newest redrive. A count of 0 is no redrive.
    """
    own = {name: raw for name, raw in headers if name in OWN}
    if own:
        topic, partition, offset = _coordinates(own.get(ORIGIN))
        count = fields.number(own.get(COUNT), fields.INT32_MAX)
        letter = own.get(LETTER) if None not in _coordinates(own.get(LETTER)) else None
        plan = fields.text(own.get(PLAN))
        return Redrive(topic, partition, offset, 1 if count is None else count, plan, fields.text(letter))
    return _home_made(headers)


def _coordinates(raw: bytes | None) -> tuple[str | None, int | None, int | None]:
    """``topic/partition/offset``; all or nothing."""
    parts = (raw or b"").split(b"/")
    if len(parts) != 3:
        return None, None, None
    topic, partition, offset = fields.topic(parts[0]), fields.partition(parts[1]), fields.number(parts[2])
    return (topic, partition, offset) if None not in (topic, partition, offset) else (None, None, None)


@lru_cache(maxsize=4096)
def _short(name: str) -> str:
    return "-".join(fields.words(name)).removeprefix("x-")


def is_redrive_name(name: str) -> bool:
    """Whether a header of this name says something about a redrive."""
    return name in OWN or _short(name) in _COUNTS or _MARKS.match(_short(name)) is not None


def _home_made(headers: Headers) -> Redrive | None:
    count: int | None = None
    marked = False
    origin: dict[str, bytes | None] = {}
    for name, raw in headers:
        short = _short(name)
        mark = None if short in _COUNTS else _MARKS.match(short)
        if short in _COUNTS:
            read = fields.number(raw, fields.INT32_MAX)
            count = count if read is None else read
        elif mark:
            marked = marked or _says_yes(raw)
            origin[mark[1] or ""] = raw
    if not count and not (marked and count is None):
        return None
    return Redrive(
        _first(origin, fields.topic, "origin-topic", "original-topic", "source-topic"),
        _first(origin, fields.partition, "origin-partition", "original-partition", "source-partition"),
        _first(origin, fields.number, "origin-offset", "original-offset", "source-offset"),
        count or 1,
    )


def _says_yes(raw: bytes | None) -> bool:
    return raw is not None and raw.strip().lower() not in {b"", b"0", b"false", b"no"}


def _first(origin: dict[str, bytes | None], read: Callable[[bytes | None], T | None], *names: str) -> T | None:
    return next((read(origin[name]) for name in names if name in origin), None)
