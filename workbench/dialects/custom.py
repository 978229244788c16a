"""Dialects of one's own: ``[dialects.NAME]`` of workbench.toml says where each attribute of a dead letter is.

[dialects.billing]
topics = ["billing-failures*"]
origin_topic = "header:X-From"
origin_offset = "header:X-Offset"
exception_class = "json:$.problem.kind"
message = "json:$.problem.text"
payload = "json:$.original"
"""

from __future__ import annotations

import difflib
import fnmatch
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from workbench.dialects import documents
from workbench.dialects.model import DeadLetter, Record
from workbench.dialects.named import READERS, letter_of
from workbench.errors import ConfigError

Decoder = Callable[[Record], DeadLetter | None]

# Key of workbench.toml -> attribute of the normal form's hop.
KEYS = {
    "origin_topic": "topic",
    "origin_partition": "partition",
    "origin_offset": "offset",
    "origin_timestamp": "timestamp_ms",
    "group": "group",
    "stage": "stage",
    "executing_class": "executing_class",
    "exception_class": "exception_class",
    "message": "message",
    "stack": "stack",
    "code": "code",
    "attempts": "attempts",
    "failed_at": "at_ms",
    "first_failed_at": "first_failure_ms",
}
_OTHERS = ("topics", "payload", "payload_encoding")
_PLACE = re.compile(r"(header|json|text):(.+)", re.DOTALL)
_PATH = re.compile(r"\$(?:\.[^.\[\]]+)+\Z")


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a value is: a header's last value, a member of the JSON value, or always the same text."""

    kind: str
    name: str

    def bytes_of(self, record: Record) -> bytes | None:
        if self.kind == "header":
            return next((raw for name, raw in reversed(record.headers) if name == self.name), None)
        return self.name.encode() if self.kind == "text" else None


def check_dialect(name: str, table: Mapping[str, Any]) -> None:
    """Checks one table of workbench.toml.

    Raises:
        ConfigError: an unknown key, a value that is no place, or nothing that could mark a dead letter.
    """
    where = f"dialects.{name}"
    for key, value in table.items():
        if key not in KEYS and key not in _OTHERS:
            near = difflib.get_close_matches(key, [*KEYS, *_OTHERS], 1)
            hint = f"Did you mean {near[0]!r}?" if near else f"Known are {', '.join(sorted([*KEYS, *_OTHERS]))}."
            raise ConfigError(f"unknown key {key!r} in [{where}].", hint=hint)
        if key == "topics":
            if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                raise ConfigError(f"{where}.topics must be a list of topic names (* stands for anything).")
        elif key == "payload_encoding":
            if value not in ("text", "base64"):
                raise ConfigError(f"{where}.payload_encoding must be text or base64.")
        else:
            _place(f"{where}.{key}", value)
    if not any(str(table.get(key, "")).startswith(("header:", "json:")) for key in KEYS):
        raise ConfigError(
            f"{where} names no header and no JSON member.", hint='For example message = "header:X-Error".'
        )


def _place(where: str, value: Any) -> _Place:
    found = _PLACE.match(value) if isinstance(value, str) else None
    if not found or (found[1] == "json" and not _PATH.match(found[2])):
        raise ConfigError(f"{where} is {value!r}.", hint="Write header:NAME, json:$.member.member or text:WORD.")
    return _Place(found[1], found[2])


def own_dialects(tables: Mapping[str, Mapping[str, Any]]) -> tuple[Decoder, ...]:
    """The decoders of checked tables, in their order."""
    return tuple(_decoder(name, table) for name, table in tables.items())


def _decoder(name: str, table: Mapping[str, Any]) -> Decoder:
    places = {KEYS[key]: _place(key, value) for key, value in table.items() if key in KEYS}
    payload = _place("payload", table["payload"]) if "payload" in table else None
    packed = table.get("payload_encoding") == "base64"
    topics = table.get("topics", ())

    def decode(record: Record) -> DeadLetter | None:
        if topics and not any(fnmatch.fnmatchcase(record.topic or "", one) for one in topics):
            return None
        document = (
            documents.members(record.value) if any(p.kind == "json" for p in (*places.values(), payload) if p) else {}
        )
        found = {attribute: _value(attribute, place, record, document) for attribute, place in places.items()}
        told = any(found[attribute] is not None for attribute, place in places.items() if place.kind != "text")
        if not told:
            return None
        letter = letter_of(name, [{key: value for key, value in found.items() if value is not None}])
        return (
            letter if payload is None else replace(letter, payload=_payload(payload, record, document, packed=packed))
        )

    return decode


def _value(attribute: str, place: _Place, record: Record, document: Mapping[str, documents.Member]) -> Any:
    if place.kind == "json":
        content, _ = _member(place.name, document)
        return None if content is None else documents.read(attribute, content)
    return READERS[attribute](place.bytes_of(record))


def _payload(place: _Place, record: Record, document: Mapping[str, documents.Member], *, packed: bool) -> bytes | None:
    content, raw = _member(place.name, document) if place.kind == "json" else (None, place.bytes_of(record))
    if isinstance(content, str):
        raw = documents.raw_text(content)
    if not packed or raw is None:
        return raw
    return documents.unpacked(raw.decode("ascii", "replace"))


def _member(path: str, document: Mapping[str, documents.Member]) -> tuple[Any, bytes | None]:
    """What stands at a path, with the bytes it was written in; nulls where nothing does."""
    at = document
    *outer, last = path.split(".")[1:]
    for name in outer:
        at = documents.members(at[name][1]) if name in at else {}
    return at.get(last, (None, None))
