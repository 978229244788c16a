"""Home-made headers: names that people give to origin and error, matched by their words. All of it is a guess."""

from __future__ import annotations

import dataclasses
import re
from typing import Any

from workbench.dialects import documents
from workbench.dialects.meanings import meaning
from workbench.dialects.model import DeadLetter, Record
from workbench.dialects.named import READERS, head_of, letter_of

_ORIGIN = ("topic", "partition", "offset", "timestamp_ms")
_TIMES = ("timestamp_ms", "at_ms", "first_failure_ms")
# "ValueError", "java.lang.IllegalStateException", "Shop.Orders.Broken": a name that says so, or one of at least three parts.
_CLASS = re.compile(
    r"(?:[A-Za-z_$][\w$]*(?:\.|::|\\))*[A-Z][\w$]*(?:Exception|Error|Fault|Throwable)\Z"
    r"|(?:[A-Za-z_$][\w$]*(?:\.|::|\\)){2,}[A-Z][\w$]*\Z"
)
_WORD = re.compile(r"[A-Za-z][\w.-]{2,60}\Z")
_NOT_GUESSED = frozenset({"dialect", "hops", "payload", "guessed", "is_retry"})


def home_made(record: Record) -> DeadLetter | None:
    """Origin and error under home-made names such as ``x-original-topic``, ``dlq-reason``, ``error``, ``exception``.

    A repeated name counts once for the origin (the first is the true one) and once for the failure (the last).
    """
    first: dict[str, Any] = {}
    last: dict[str, Any] = {}
    marks, words = False, set[str]()
    for name, raw in record.headers:
        found = meaning(name)
        if found is None or (read := READERS[found.attribute](raw)) is None:
            continue
        values = _opened(read) if found.attribute == "message" else {found.attribute: _in_ms(found.attribute, read)}
        words |= {text for text in (values.get("message"),) if text and _WORD.match(text)}
        for attribute, value in values.items():
            first.setdefault(attribute, value)
            last[attribute] = value
        marks = marks or found.marks
    if len(words) == 1 and "code" not in last and "message" in last:
        _tell_code(first, last, words.pop())
    return all_guessed(guess(first, last, "headers")) if marks else None


def _tell_code(first: dict[str, Any], last: dict[str, Any], word: str) -> None:
    """A reason in one word beside one in a sentence is the application's word for it."""
    told = [text for text in (last["message"], first["message"]) if text != word]
    if told:
        first["message"] = last["message"] = told[0]
        first["code"] = last["code"] = word


def _opened(message: str) -> dict[str, Any]:
    """What an error header says: a text, or a JSON object with class, message and more."""
    inner = documents.members(message.encode("utf-8", "replace")) if message.startswith("{") else {}
    named = ((meaning(f"error-{name}"), content) for name, (content, _) in inner.items())
    found = {one.attribute: documents.read(one.attribute, content) for one, content in named if one}
    return {name: value for name, value in found.items() if value is not None} or {attribute_of(message): message}


def attribute_of(message: str) -> str:
    """What an error's text is: a message, or nothing but the name of an exception."""
    return "exception_class" if _CLASS.match(message.strip()) else "message"


def _in_ms(attribute: str, value: Any) -> Any:
    return documents.milliseconds(value) if attribute in _TIMES else value


def guess(first: dict[str, Any], last: dict[str, Any], dialect: str) -> DeadLetter:
    """The normal form out of guessed attributes: the origin from the first ones, the failure from the last ones."""
    values = {**last, **{name: first[name] for name in (*_ORIGIN, "first_failure_ms") if name in first}}
    if not values.get("exception_class"):
        values["exception_class"], values["message"] = head_of(values.get("message"))
    letter = letter_of(dialect, [values])
    return dataclasses.replace(letter, first_failure_ms=values.get("first_failure_ms"))


def all_guessed(letter: DeadLetter) -> DeadLetter:
    """The same with everything that is known marked as guessed."""
    known = (n.name for n in dataclasses.fields(letter) if n.name not in _NOT_GUESSED)
    return dataclasses.replace(letter, guessed=tuple(n for n in known if getattr(letter, n) is not None))
