"""JSON envelopes: the original message, the error and the history in the value of the dead letter itself."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from workbench.dialects import documents, fields
from workbench.dialects.documents import Member, members, moment, number, raw_text, text
from workbench.dialects.exceptions import chain_of, parse_head
from workbench.dialects.homemade import all_guessed, attribute_of, guess
from workbench.dialects.meanings import meaning
from workbench.dialects.model import DeadLetter, Hop, Record, from_hops

_MARK = b'"originalMessage'
_TEXT, _PACKED = "originalMessage", "originalMessageBase64"


def json_envelope(record: Record) -> DeadLetter | None:
    """``originalMessage``, ``error`` {message, stack, timestamp}, ``metadata`` {attempts, firstFailure, lastFailure}.

    A string is the original value's text; any other JSON is cut out of the bytes as it stands, and then ``payload`` is
    marked as guessed, since spaces and order may have been the original's or not. Bytes that are no text stand in
    ``originalMessageBase64``, beside a null or alone; what is no base64 is kept as its text, marked as guessed.
    """
    if record.value is None or _MARK not in record.value:
        return None
    found = members(record.value)
    error, metadata = found.get("error", (None,))[0], found.get("metadata", (None,))[0]
    if not found.keys() & {_TEXT, _PACKED} or not (isinstance(error, dict) or isinstance(metadata, dict)):
        return None
    payload, guessed = _original(found)
    error, metadata = (part if isinstance(part, dict) else {} for part in (error, metadata))
    hop = _hop(error, metadata)
    return from_hops(
        "json_envelope",
        [hop],
        payload=payload,
        attempts=number(metadata.get("attempts"), fields.INT32_MAX),
        first_failure_ms=moment(metadata.get("firstFailure")),
        last_failure_ms=hop.at_ms,
        guessed=guessed,
    )


def _original(found: Mapping[str, Member]) -> tuple[bytes | None, tuple[str, ...]]:
    """The original value, and whether it is a guess."""
    original, raw = found.get(_TEXT, (None, b""))
    packed = found.get(_PACKED, (None,))[0]
    if original is None and isinstance(packed, str):
        unpacked = documents.unpacked(packed)
        return (raw_text(packed), ("payload",)) if unpacked is None else (unpacked, ())
    if original is None or isinstance(original, str):
        return (None if original is None else raw_text(original)), ()
    return raw, ("payload",)


def _hop(error: Mapping[str, Any], metadata: Mapping[str, Any]) -> Hop:
    """One hop out of the parts; origin coordinates are optional, under the names people give them."""
    stack = text(error.get("stack"))
    chain = chain_of(stack)
    named = _first(error, "exceptionClass", "class", "type", "name")
    message = text(error.get("message"))
    head = parse_head(message or "") if not named and not chain else None
    lasted = moment(metadata.get("lastFailure"))
    return Hop(
        topic=fields.topic(raw_text(_first(metadata, "originalTopic", "sourceTopic", "topic"))),
        partition=number(_any(metadata, "originalPartition", "sourcePartition", "partition"), fields.INT32_MAX),
        offset=number(_any(metadata, "originalOffset", "sourceOffset", "offset")),
        timestamp_ms=moment(_any(metadata, "originalTimestamp", "sourceTimestamp")),
        group=_first(metadata, "consumerGroup", "group", "groupId"),
        stage=_first(metadata, "stage") or _first(error, "stage"),
        exception_class=named or (chain[0].exception_class if chain else head.exception_class if head else None),
        message=message,
        stack=stack,
        at_ms=lasted if lasted is not None else moment(error.get("timestamp")),
        code=documents.read("code", error.get("code")),
    )


def _any(found: Mapping[str, Any], *names: str) -> Any:
    """The first member that is there and not null."""
    return next((found[name] for name in names if found.get(name) is not None), None)


def _first(found: Mapping[str, Any], *names: str) -> str | None:
    """The first member that is a text and not empty."""
    return next((text(found[name]) for name in names if isinstance(found.get(name), str) and found[name]), None)


# Only a document with a member named like this is looked at any further.
_TELLING = re.compile(
    rb'"[A-Za-z_.-]{0,30}(?:error|exception|fail|reason|fault|throwable|stack|traceback|originalMessage)[A-Za-z_.-]{0,30}"\s*:',
    re.IGNORECASE,
)
_ERRORS = frozenset({"error", "errors", "exception", "failure", "fault", "throwable", "err", "problem", "cause"})
_STRONG = _ERRORS | {"stack", "stacktrace", "trace", "traceback", "failed"}
_ORIGINS = frozenset({"original", "origin", "source", "src", "kafka", "record", "position", "coordinates", "input"})
_ABOUT = frozenset({"metadata", "meta", "context", "info", "details", "dlq", "dead", "headers", "failed", "attributes"})
_PAYLOADS = frozenset(
    {"message", "event", "payload", "value", "record", "data", "body", "content", "msg", "bytes", "string"}
)
_WHOSE = frozenset({"original", "orig", "raw", "failed", "source", "rejected", "input", "bad", "dead", "invalid"})
_PACKED_TEXT = re.compile(r"(?:[A-Za-z0-9+/]{4}){2,}(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")
_WHOSE_PLACE = frozenset({"kafka", "record", "message", "msg"})
_NESTED = ("data", "detail", "payload", "message", "body", "deadLetter", "dead_letter")
_DEPTH = 3
# How sure a document has to look: a reason and a payload alone are what business events have too.
_ENOUGH = 3


@dataclass
class _Looks:
    """What a document looks like: attributes, first and last ones, its payload, and how sure that is."""

    first: dict[str, Any] = field(default_factory=dict)
    last: dict[str, Any] = field(default_factory=dict)
    payload: bytes | None = None
    has_payload: bool = False
    score: int = 0
    error: bool = False

    def take(self, attribute: str, value: Any) -> None:
        if value is not None:
            self.first.setdefault(attribute, value)
            self.last[attribute] = value


def any_envelope(record: Record) -> DeadLetter | None:
    """Envelopes of any shape: a payload beside an error, under the names people give them; all of it is a guess."""
    if record.value is None or not _TELLING.search(record.value):
        return None
    looks = _looked(record.value, 0)
    if looks is None:
        return None
    letter = all_guessed(guess(looks.first, looks.last, "envelope"))
    if not looks.has_payload:
        return letter
    return replace(letter, payload=looks.payload, guessed=(*letter.guessed, "payload"))


def _looked(value: bytes, depth: int) -> _Looks | None:
    found = members(value)
    looks = _Looks()
    for name, (content, _) in found.items():
        _look(looks, name, content)
    _take_place(looks, found)
    _take_payload(looks, found)
    if looks.error and looks.score >= _ENOUGH:
        return looks
    inner = (
        (found[name][1] for name in _NESTED if isinstance(found.get(name, (None,))[0], dict)) if depth < _DEPTH else ()
    )
    return next((one for raw in inner if (one := _looked(raw, depth + 1))), None)


def _look(looks: _Looks, name: str, content: Any) -> None:
    """One member at the top: a value that its name explains, or a section of such values."""
    words = set(fields.words(name))
    if isinstance(content, list) and words & _ERRORS and content and isinstance(content[0], dict | str):
        content = content[0]
    if isinstance(content, dict):
        for inner, what in content.items() if words & (_ERRORS | _ORIGINS | _ABOUT) else ():
            _look_inside(looks, words, inner, what)
        return
    _note(looks, name, words, content)


def _look_inside(looks: _Looks, section: set[str], name: str, content: Any) -> None:
    prefix = "error" if section & _ERRORS else "original" if section & _ORIGINS else "dlq"
    words = set(fields.words(name))
    named = name if words & (_STRONG | _WHOSE) or meaning(f"{prefix}-{name}") is None else f"{prefix}-{name}"
    if isinstance(content, dict) and words & (_ERRORS | _ORIGINS):
        whose = "error" if words & _ERRORS else "original"
        for inner, what in content.items():
            _note(looks, f"{whose}-{inner}", {whose}, what)
    _note(looks, named, words | ({"error"} if prefix == "error" else set()), content)


def _note(looks: _Looks, name: str, words: set[str], content: Any) -> None:
    found = meaning(name)
    if found is None or (value := documents.read(found.attribute, content)) is None:
        return
    attribute = attribute_of(value) if found.attribute == "message" else found.attribute
    if attribute not in looks.last:
        looks.score += _worth(attribute, words, first=found.first)
        looks.error = looks.error or attribute in ("message", "exception_class", "stack", "code")
    looks.take(attribute, value)


def _worth(attribute: str, words: set[str], *, first: bool) -> int:
    if attribute in ("message", "exception_class", "stack", "code"):
        return 2 if words & _STRONG else 1
    return 1 if first or attribute in ("attempts", "at_ms", "first_failure_ms") else 0


def _take_place(looks: _Looks, found: Mapping[str, Member]) -> None:
    """Bare coordinates at the top, ``topic`` or ``kafka_topic``: a topic with an offset or a partition is the origin."""
    bare = {" ".join(w for w in fields.words(name) if w not in _WHOSE_PLACE): name for name in reversed(list(found))}
    if "topic" in bare and ("offset" in bare or "partition" in bare):
        for name in ("topic", "partition", "offset"):
            _note(looks, f"original-{name}", set(), found.get(bare.get(name, ""), (None,))[0])


def _take_payload(looks: _Looks, found: Mapping[str, Member]) -> None:
    for name, sure in _payload_names(found):
        content, raw = found[name]
        if content is None and not sure:
            continue
        looks.score += 2 if sure else 1
        looks.has_payload = True
        if isinstance(content, dict) and (inner := _record_in(looks, raw)):
            content, raw = inner
        packed = name.lower().endswith(("base64", "b64")) or str(found.get("encoding", ("",))[0]).lower() == "base64"
        looks.payload = _payload(content, raw, packed=packed)
        return


def _payload_names(found: Mapping[str, Member]) -> Iterator[tuple[str, bool]]:
    """Members that may hold the payload, the surest first, and whether their name says that it is the original's."""
    worded = {name: fields.words(name.removesuffix("Base64").removesuffix("B64")) for name in found}
    taken = {name for name in found if (known := meaning(name)) and known.attribute not in ("message", "timestamp_ms")}
    named = [n for n, words in worded.items() if set(words) & _PAYLOADS and not set(words) & _ERRORS and n not in taken]
    yield from ((name, True) for name in named if worded[name][0] in _WHOSE)
    yield from ((name, True) for name in found if worded[name] in (["raw"], ["original"]))
    for word in ("payload", "value", "record", "message", "event", "body", "data", "content"):
        yield from ((name, False) for name in named if worded[name] in ([word], [word, "string"], [word, "bytes"]))


def _record_in(looks: _Looks, raw: bytes) -> Member | None:
    """The value of a whole record that stands in an envelope with its coordinates."""
    inner = members(raw)
    if "topic" not in inner or not ("offset" in inner or "partition" in inner):
        return None
    _take_place(looks, inner)
    looks.take("timestamp_ms", moment(inner.get("timestamp", (None,))[0]))
    return next((inner[name] for name in ("value", "payload", "data", "body", "message") if name in inner), None)


def _payload(content: Any, raw: bytes, *, packed: bool) -> bytes | None:
    if content is None:
        return None
    if not isinstance(content, str):
        return raw
    unpacked = documents.unpacked(content) if packed or _PACKED_TEXT.fullmatch(content) else None
    if unpacked is None or not (packed or _is_document(unpacked)):
        return raw_text(content)
    return unpacked


def _is_document(data: bytes) -> bool:
    """Whether bytes are a JSON object or list: a text that stands for some in base64 is hardly meant otherwise."""
    try:
        return data[:1] in {b"{", b"["} and isinstance(json.loads(data), dict | list)
    except (ValueError, RecursionError):
        return False
