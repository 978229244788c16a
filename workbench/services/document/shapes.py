"""Shapes of values: which fields are there, of which types, in which share of a sample; never a value."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

DEEPEST = 6
MOST_FIELDS = 60
# A name that looks like data (an id, an address) is a map's key and may be private.
_NAME = re.compile(r"[A-Za-z_$@][A-Za-z0-9_$@.-]{0,60}\Z")
_DATA = re.compile(r"\d{5,}|[0-9a-f]{8}-[0-9a-f]{4}|@[a-z0-9-]+\.")
ANY = "*"
_TYPES: tuple[tuple[type, str], ...] = (
    (bool, "boolean"), (int, "integer"), (float, "number"), (str, "string"), (list, "array"), (dict, "object"),
)  # fmt: skip


@dataclass
class Shape:
    """What was seen at one place.

    Attributes:
        seen: how often.
        types: JSON types.
        fields: name -> shape of an object's fields; ``*`` stands for names that look like data.
        items: shape of an array's elements; None where there were none.
    """

    seen: int = 0
    types: set[str] = field(default_factory=set)
    fields: dict[str, Shape] = field(default_factory=dict)
    items: Shape | None = None

    def add(self, value: Any, depth: int = 0) -> None:
        """Takes one value in."""
        self.seen += 1
        self.types.add(_type_of(value))
        if depth >= DEEPEST:
            return
        if isinstance(value, dict):
            for name, one in value.items():
                self._field(name).add(one, depth + 1)
        elif isinstance(value, list) and value:
            self.items = self.items or Shape()
            for one in value[:20]:
                self.items.add(one, depth + 1)

    def _field(self, name: str) -> Shape:
        plain = _NAME.match(name) and not _DATA.search(name) and (name in self.fields or len(self.fields) < MOST_FIELDS)
        return self.fields.setdefault(name if plain else ANY, Shape())

    def to_schema(self) -> dict[str, Any]:
        """JSON Schema (2020-12) of what was seen."""
        kinds = sorted(self.types)
        out: dict[str, Any] = {"type": kinds[0] if len(kinds) == 1 else kinds}
        if self.fields:
            named = {name: one for name, one in sorted(self.fields.items()) if name != ANY}
            out["properties"] = {name: one.to_schema() for name, one in named.items()}
            always = [name for name, one in named.items() if one.seen == self.seen]
            out |= {"required": always} if always else {}
            out |= {"additionalProperties": self.fields[ANY].to_schema()} if ANY in self.fields else {}
        if self.items:
            out["items"] = self.items.to_schema()
        return out


def _type_of(value: Any) -> str:
    return next((name for kind, name in _TYPES if isinstance(value, kind)), "null")


def shape_of(values: Iterable[bytes | None]) -> tuple[Shape, int]:
    """(the shape of the values that are JSON, how many are not)."""
    shape, others = Shape(), 0
    for value in values:
        try:
            shape.add(json.loads(value) if value is not None else None)
        except (ValueError, RecursionError):
            others += 1
    return shape, others


def paths(schema: Mapping[str, Any], at: str = "$") -> dict[str, str]:
    """Path -> types of a schema that ``to_schema`` made; a ``?`` marks what is not always there."""
    kinds = schema.get("type", "any")
    out = {at: kinds if isinstance(kinds, str) else " or ".join(kinds)}
    required = set(schema.get("required", ()))
    for name, one in schema.get("properties", {}).items():
        found = paths(one, f"{at}.{name}")
        if name not in required:
            found[f"{at}.{name}"] += "?"
        out |= found
    if "additionalProperties" in schema:
        out |= paths(schema["additionalProperties"], f"{at}.{ANY}")
    if "items" in schema:
        out |= paths(schema["items"], f"{at}[]")
    return out
