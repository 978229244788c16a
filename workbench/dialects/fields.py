"""Bytes of headers into values: total functions, null for whatever does not fit."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

INT32_MAX = 2**31 - 1
INT64_MAX = 2**63 - 1
_DIGITS = re.compile(rb"\s*([0-9]{1,19})\s*\Z")
_PRINTABLE = re.compile(rb"[ -~]*\Z")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_SEPARATORS = re.compile(r"[^a-z0-9]+")
_TOPIC = re.compile(r"[A-Za-z0-9._-]{1,249}\Z")
_TIMESTAMP_TYPES = {"createtime": "create", "logappendtime": "append"}


def text(raw: bytes | None) -> str | None:
    """UTF-8 text; damaged bytes become U+FFFD, so that it can always be stored."""
    return None if raw is None else raw.decode("utf-8", "replace")


def topic(raw: bytes | None) -> str | None:
    """A topic's name; null when it cannot be one, so that it is safe wherever names of topics are."""
    name = text(raw)
    return name if name is not None and _TOPIC.match(name) and name not in {".", ".."} else None


def number(raw: bytes | None, most: int = INT64_MAX) -> int | None:
    """A number from 0 to most, as decimal text or as 4 or 8 big-endian bytes.

    Bytes that are all printable are text, "null" and "12345678" alike: read as binary they would be partitions above
    500 million.
    """
    if raw is None:
        return None
    digits = _DIGITS.match(raw)
    if digits:
        return within(int(digits[1]), most)
    if len(raw) not in {4, 8} or _PRINTABLE.match(raw):
        return None
    return within(int.from_bytes(raw, "big", signed=True), most)


def binary(raw: bytes | None, most: int = INT64_MAX) -> int | None:
    """A number from 0 to most as 1 to 8 big-endian bytes, shortest form allowed (Java's BigInteger)."""
    if raw is None or not 1 <= len(raw) <= 8:
        return None
    return within(int.from_bytes(raw, "big", signed=True), most)


def within(value: int, most: int) -> int | None:
    """The value where it is from 0 to most, else null: -1 means "none" in every framework."""
    return value if 0 <= value <= most else None


def partition(raw: bytes | None) -> int | None:
    """A partition's number, as text or binary."""
    return number(raw, INT32_MAX)


def timestamp_type(raw: bytes | None) -> str | None:
    """``create`` or ``append`` for Java's names of the timestamp types."""
    return _TIMESTAMP_TYPES.get((text(raw) or "").strip().lower())


def iso_ms(value: str) -> int | None:
    """An ISO 8601 time as milliseconds since 1970, UTC where it names no zone; null when it is not one."""
    try:
        # Java writes nanoseconds; Python reads at most microseconds.
        moment = datetime.fromisoformat(re.sub(r"(\.\d{6})\d+", r"\1", value.strip()[:64]))
        moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
        return within(round(moment.timestamp() * 1000), INT64_MAX)
    except (ValueError, OverflowError):
        return None


def moment_ms(raw: bytes | None) -> int | None:
    """A time as ISO 8601 text, or milliseconds since 1970 as text or binary."""
    found = number(raw)
    return found if found is not None or raw is None else iso_ms(raw[:64].decode("utf-8", "replace"))


def sets(pairs: Iterable[tuple[str, bytes | None]]) -> Iterator[dict[str, bytes | None]]:
    """Split repeated headers into sets, in order: a new set begins where a name comes again."""
    current: dict[str, bytes | None] = {}
    for name, value in pairs:
        if name in current:
            yield current
            current = {}
        current[name] = value
    if current:
        yield current


def words(name: str) -> list[str]:
    """The words of a header's name in lower case: ``X-Original_topicName`` is x, original, topic, name."""
    return [word for word in _SEPARATORS.split(_CAMEL.sub("-", name[:80]).lower()) if word]


def stripped(headers: Iterable[tuple[str, bytes | None]], prefix: str) -> list[tuple[str, bytes | None]]:
    """The headers that begin with the prefix, without it, in order."""
    return [(name[len(prefix) :], value) for name, value in headers if name.startswith(prefix)]


def last(headers: Iterable[tuple[str, bytes | None]], name: str) -> bytes | None:
    """The last value of a name, as Kafka's ``lastHeader``; null where there is none."""
    found = None
    for one, value in headers:
        if one == name:
            found = value
    return found
