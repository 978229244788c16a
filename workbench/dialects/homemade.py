"""Home-made headers: names that people give to origin and error, matched by their words. All of it is a guess."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache
from typing import Any

from workbench.dialects import fields
from workbench.dialects.exceptions import chain_of, parse_head, unwrapped
from workbench.dialects.model import DeadLetter, Hop, Record, from_hops

# Words that say whose header it is, not what it holds. Those of the second set also mark a dead letter.
_NOISE = frozenset({"x", "kafka", "msg", "message", "record", "header", "event", "letter", "queue"})
_OWNER = frozenset({"dlq", "dlt", "dlx", "dead", "deadletter"})
_FIRST = frozenset({"original", "origin", "orig", "source", "src", "originating"})

Reader = Callable[[bytes | None], Any]


def _count(raw: bytes | None) -> int | None:
    return fields.number(raw, fields.INT32_MAX)


# words left after noise -> attribute and how to read it
_FIELDS: dict[str, tuple[str, Reader]] = {
    "group": ("group", fields.text),
    "group id": ("group", fields.text),
    "consumer group": ("group", fields.text),
    "stage": ("stage", fields.text),
    "error": ("message", fields.text),
    "error text": ("message", fields.text),
    "error reason": ("message", fields.text),
    "failure reason": ("message", fields.text),
    "reason": ("message", fields.text),
    "exception": ("message", fields.text),
    "cause": ("message", fields.text),
    "error class": ("exception_class", fields.text),
    "error type": ("exception_class", fields.text),
    "error name": ("exception_class", fields.text),
    "error code": ("exception_class", fields.text),
    "exception class": ("exception_class", fields.text),
    "exception class name": ("exception_class", fields.text),
    "exception type": ("exception_class", fields.text),
    "exception name": ("exception_class", fields.text),
    "exception fqcn": ("exception_class", fields.text),
    "stack": ("stack", fields.text),
    "stacktrace": ("stack", fields.text),
    "stack trace": ("stack", fields.text),
    "error stack": ("stack", fields.text),
    "error stacktrace": ("stack", fields.text),
    "error stack trace": ("stack", fields.text),
    "exception stacktrace": ("stack", fields.text),
    "exception stack trace": ("stack", fields.text),
    "attempts": ("attempts", _count),
    "attempt": ("attempts", _count),
    "attempt count": ("attempts", _count),
    "delivery attempts": ("attempts", _count),
    "retries": ("attempts", _count),
    "retry count": ("attempts", _count),
    "retry attempts": ("attempts", _count),
    "failed at": ("last_failure_ms", fields.moment_ms),
    "failure timestamp": ("last_failure_ms", fields.moment_ms),
    "error timestamp": ("last_failure_ms", fields.moment_ms),
    "error time": ("last_failure_ms", fields.moment_ms),
    "first failure": ("first_failure_ms", fields.moment_ms),
    "last failure": ("last_failure_ms", fields.moment_ms),
}
_ORIGIN: dict[str, tuple[str, Reader]] = {
    "topic": ("topic", fields.topic),
    "partition": ("partition", fields.partition),
    "offset": ("offset", fields.number),
    "timestamp": ("timestamp_ms", fields.moment_ms),
}
# These alone do not say "dead letter": services put them on healthy records too.
_WEAK = frozenset({"attempts", "group", "stage"})


@lru_cache(maxsize=4096)
def meaning(name: str) -> tuple[str, Reader, bool] | None:
    """What a header's name says: attribute, reader, and whether it marks a dead letter all by itself."""
    if len(name) > 80:
        return None
    words = fields.words(name)
    owned = any(word in _OWNER for word in words)
    kept = [word for word in words if word not in _OWNER and word not in _NOISE]
    first = bool(kept) and kept[0] in _FIRST
    bare = " ".join(kept[1:] if first else kept)
    if bare in _ORIGIN and (first or owned):
        # "original-topic" marks; a lone offset or timestamp does not: connectors and bridges copy those.
        return (*_ORIGIN[bare], owned or bare == "topic")
    found = _FIELDS.get(bare) or _FIELDS.get(_full(words))
    return (*found, owned or found[0] not in _WEAK) if found else None


def _full(words: list[str]) -> str:
    """The texts "error message" and "exception message" name the message, though "message" is noise elsewhere."""
    kept = [word for word in words if word not in _OWNER and word != "x"]
    return "error text" if kept in (["error", "message"], ["exception", "message"], ["failure", "message"]) else ""


def home_made(record: Record) -> DeadLetter | None:
    """Origin and error under home-made names such as ``x-original-topic``, ``dlq-reason``, ``error``, ``exception``.

    A repeated name counts once for the origin (the first is the true one) and once for the failure (the last).
    """
    first: dict[str, Any] = {}
    last: dict[str, Any] = {}
    marks = False
    for name, raw in record.headers:
        found = meaning(name)
        if found is None or (read := found[1](raw)) is None:
            continue
        first.setdefault(found[0], read)
        last[found[0]] = read
        marks = marks or found[2]
    return _letter(first, last) if marks else None


def _letter(first: dict[str, Any], last: dict[str, Any]) -> DeadLetter:
    stack = last.get("stack")
    exception_class, message = _exception(last.get("exception_class"), last.get("message"), stack)
    origin = {name: first.get(name) for name, _ in _ORIGIN.values()}
    hop = Hop(
        **origin,
        group=last.get("group"),
        stage=last.get("stage"),
        exception_class=exception_class,
        message=message,
        stack=stack,
        at_ms=last.get("last_failure_ms"),
    )
    letter = from_hops(
        "headers",
        [hop],
        attempts=last.get("attempts"),
        first_failure_ms=first.get("first_failure_ms"),
        last_failure_ms=hop.at_ms,
    )
    return _all_guessed(letter)


def _exception(named: str | None, message: str | None, stack: str | None) -> tuple[str | None, str | None]:
    """Class and message: from their headers, else from "class: message", else from the stack."""
    head = parse_head(message) if message and not named else None
    if head and (head.message is not None or "." in head.exception_class):
        named, message = head.exception_class, head.message
    chain = chain_of(stack)
    if not named and chain:
        named, message = chain[0].exception_class, message or chain[0].message
    return unwrapped(named, None, message, stack)


def _all_guessed(letter: DeadLetter) -> DeadLetter:
    known = {"dialect", "hops", "payload", "guessed", "is_retry"}
    guessed = [
        n.name for n in dataclasses.fields(letter) if n.name not in known and getattr(letter, n.name) is not None
    ]
    return dataclasses.replace(letter, guessed=tuple(guessed))
