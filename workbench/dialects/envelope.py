"""The JSON envelope: the original message, the error and the history in the value of the dead letter itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from workbench.dialects import fields
from workbench.dialects.exceptions import chain_of, parse_head
from workbench.dialects.model import DeadLetter, Hop, Record, from_hops

_MARK = b'"originalMessage"'
_SPACE = " \t\r\n"
_DECODER = json.JSONDecoder()


def json_envelope(record: Record) -> DeadLetter | None:
    """``originalMessage``, ``error`` {message, stack, timestamp}, ``metadata`` {attempts, firstFailure, lastFailure}.

    A string is the original value's text; any other JSON is cut out of the bytes as it stands, and then ``payload`` is
    marked as guessed, since spaces and order may have been the original's or not.
    """
    if record.value is None or _MARK not in record.value:
        return None
    members = _members(record.value)
    error, metadata = members.get("error", (None,))[0], members.get("metadata", (None,))[0]
    if "originalMessage" not in members or not (isinstance(error, dict) or isinstance(metadata, dict)):
        return None
    original, raw = members["originalMessage"]
    error, metadata = (part if isinstance(part, dict) else {} for part in (error, metadata))
    hop = _hop(error, metadata)
    return from_hops(
        "json_envelope",
        [hop],
        payload=None if original is None else _bytes(original) if isinstance(original, str) else raw,
        attempts=_number(metadata.get("attempts"), fields.INT32_MAX),
        first_failure_ms=_moment(metadata.get("firstFailure")),
        last_failure_ms=hop.at_ms,
        guessed=() if original is None or isinstance(original, str) else ("payload",),
    )


def _hop(error: Mapping[str, Any], metadata: Mapping[str, Any]) -> Hop:
    """One hop out of the parts; origin coordinates are optional, under the names people give them."""
    stack = _text(error.get("stack"))
    chain = chain_of(stack)
    named = _first(error, "exceptionClass", "class", "type", "name", "code")
    message = _text(error.get("message"))
    head = parse_head(message or "") if not named and not chain else None
    lasted = _moment(metadata.get("lastFailure"))
    return Hop(
        topic=fields.topic(_bytes(_first(metadata, "originalTopic", "sourceTopic", "topic"))),
        partition=_number(_any(metadata, "originalPartition", "sourcePartition", "partition"), fields.INT32_MAX),
        offset=_number(_any(metadata, "originalOffset", "sourceOffset", "offset")),
        timestamp_ms=_moment(_any(metadata, "originalTimestamp", "sourceTimestamp")),
        group=_first(metadata, "consumerGroup", "group", "groupId"),
        stage=_first(metadata, "stage") or _first(error, "stage"),
        exception_class=named or (chain[0].exception_class if chain else head.exception_class if head else None),
        message=message,
        stack=stack,
        at_ms=lasted if lasted is not None else _moment(error.get("timestamp")),
    )


def _members(value: bytes) -> dict[str, tuple[Any, bytes]]:
    """The members of a JSON object, each with the bytes it was written in; empty when it is not a JSON object."""
    try:
        return dict(_scan(value.decode("utf-8").strip(_SPACE + "\ufeff")))
    except (ValueError, RecursionError, IndexError):
        return {}


def _scan(document: str) -> Iterator[tuple[str, tuple[Any, bytes]]]:
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


def _any(found: Mapping[str, Any], *names: str) -> Any:
    """The first member that is there and not null."""
    return next((found[name] for name in names if found.get(name) is not None), None)


def _first(found: Mapping[str, Any], *names: str) -> str | None:
    """The first member that is a text and not empty."""
    return next((_text(found[name]) for name in names if isinstance(found.get(name), str) and found[name]), None)


def _text(value: Any) -> str | None:
    """Text that can be stored: JSON may hold half of a surrogate pair, which no encoding can."""
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _bytes(value: str | None) -> bytes | None:
    return None if value is None else value.encode("utf-8", "replace")


def _number(value: Any, most: int = fields.INT64_MAX) -> int | None:
    """A whole number, written as number or text."""
    if isinstance(value, str):
        return fields.number(value[:40].encode("utf-8", "replace"), most) if value[:1].isdigit() else None
    return fields.within(value, most) if isinstance(value, int) and not isinstance(value, bool) else None


def _moment(value: Any) -> int | None:
    """A time: ISO 8601 text, or epoch in milliseconds (in seconds where it is too small for that)."""
    if isinstance(value, float) and abs(value) < fields.INT64_MAX:
        value = round(value * 1000) if value < 1e11 else round(value)
    at = _number(value)
    if at is None:
        return fields.iso_ms(value) if isinstance(value, str) else None
    return at * 1000 if at < 10**10 else at
