"""JSON documents of dead letters: their members with the very bytes they were written in, and values out of them."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Iterator
from typing import Any

from workbench.dialects import fields
from workbench.dialects.named import READERS

_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()
_SECONDS_END = 10**10  # an epoch time below it is in seconds
_MILLIS_END, _MICROS_END = 10**14, 10**17
_TIMES = frozenset({"timestamp_ms", "at_ms", "first_failure_ms"})

Member = tuple[Any, bytes]


def members(value: bytes | None) -> dict[str, Member]:
    """The members of a JSON object, each with the bytes it was written in; empty when it is not a JSON object."""
    try:
        return dict(_scan((value or b"").decode("utf-8").strip(_SPACE + "\ufeff")))
    except (ValueError, RecursionError, IndexError):
        return {}


def _scan(document: str) -> Iterator[tuple[str, Member]]:
    """Walk over the top level of an object; raises ValueError or IndexError where it is not one."""
    if document[0] != "{" or document[-1] != "}":
        raise ValueError("not an object")
    at = _skip(document, 1)
    while document[at] != "}":
        name, at = _DECODER.raw_decode(document, at)
        at = _skip(document, at)
        if document[at] != ":" or not isinstance(name, str):
            raise ValueError("not a member")
        start = _skip(document, at + 1)
        found, end = _DECODER.raw_decode(document, start)
        yield name, (found, document[start:end].encode("utf-8", "replace"))
        at = _skip(document, end)
        if document[at] == ",":
            at = _skip(document, at + 1)


def _skip(document: str, at: int) -> int:
    while document[at] in _SPACE:
        at += 1
    return at


def text(value: Any) -> str | None:
    """Text that can be stored: JSON may hold half of a surrogate pair, which no encoding can."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def raw_text(value: str | None) -> bytes | None:
    """The bytes of a text."""
    return None if value is None else value.encode("utf-8", "replace")


def number(value: Any, most: int = fields.INT64_MAX) -> int | None:
    """A whole number, written as number or text."""
    if isinstance(value, str):
        return fields.number(value[:40].encode("utf-8", "replace"), most) if value[:1].isdigit() else None
    return fields.within(value, most) if isinstance(value, int) and not isinstance(value, bool) else None


def moment(value: Any) -> int | None:
    """A time: ISO 8601 text, or since 1970 in seconds, milliseconds or smaller units, told by its size."""
    if isinstance(value, float) and abs(value) < fields.INT64_MAX:
        value = round(value * 1000) if value < _SECONDS_END else round(value)
        return number(value)
    at = number(value)
    if at is None:
        return fields.iso_ms(value) if isinstance(value, str) else None
    return milliseconds(at)


def milliseconds(at: int) -> int:
    """A time since 1970 in milliseconds, whatever it was counted in: its size tells seconds from micro- and nanoseconds."""
    if at < _SECONDS_END:
        return at * 1000
    return at if at < _MILLIS_END else at // 1000 if at < _MICROS_END else at // 1_000_000


def read(attribute: str, value: Any) -> Any:
    """A JSON value as an attribute of the normal form; null where it does not fit."""
    if attribute in _TIMES:
        return moment(value)
    if attribute in ("partition", "attempts"):
        return number(value, fields.INT32_MAX)
    if attribute == "offset":
        return number(value)
    if attribute == "stack":
        return stack(value)
    if isinstance(value, int) and not isinstance(value, bool) and attribute == "code":
        return str(value) if abs(value) < fields.INT64_MAX else None
    written = text(value)
    return READERS[attribute](raw_text(written)) if written else None


def stack(value: Any) -> str | None:
    """A stack trace as text: a text, a list of lines, or a list of Java's frames as objects."""
    if not isinstance(value, list):
        return text(value)
    lines = [_frame(one) if isinstance(one, dict) else text(one) for one in value[:2_000]]
    return "\n".join(line for line in lines if line) or None


def _frame(frame: dict[str, Any]) -> str | None:
    owner, method = frame.get("className") or frame.get("declaringClass"), frame.get("methodName")
    where = f"{frame.get('fileName')}:{frame.get('lineNumber')}"
    return text(f"\tat {owner}.{method}({where})") if isinstance(owner, str) and isinstance(method, str) else None


def unpacked(value: str) -> bytes | None:
    """The bytes that a base64 text stands for; null where it is none."""
    try:
        return base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        return None
