"""Dead letters as their dialects say, those of the user's own among them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

from workbench.dialects import DeadLetter, decode, own_dialects
from workbench.dialects.table import ENVELOPES
from workbench.redrive.reading import Raw


class Dialects:
    """What the tables of workbench.toml and the known dialects make of a record.

    Args:
        tables: ``[dialects.NAME]``, as the plan holds them.
    """

    def __init__(self, tables: Mapping[str, Mapping[str, Any]]) -> None:
        self.tables = tables
        self._own = own_dialects(tables)

    def decode(self, raw: Raw, topic: str) -> DeadLetter | None:
        """The dead letter in the normal form; None where nothing marks it."""
        at = raw.timestamp_ms if raw.timestamp_type == 0 else None
        return decode(raw.headers, raw.value, topic, timestamp_ms=at, own=self._own)

    def wraps(self, letter: DeadLetter | None) -> bool:
        """Whether the message is inside of the record's value, or nowhere: then the value itself is not the message."""
        if letter is None:
            return False
        return (
            letter.payload is not None
            or letter.dialect in ENVELOPES
            or "payload" in self.tables.get(letter.dialect, {})
        )

    def message(self, raw: Raw, topic: str) -> bytes | None:
        """The message's value; null for a tombstone, and where an envelope holds none."""
        letter = self.decode(raw, topic)
        return letter.payload if letter and self.wraps(letter) else raw.value

    @cached_property
    def header_names(self) -> frozenset[str]:
        """Headers that the user's own dialects read, and so the dead-lettering wrote."""
        places = [str(place) for table in self.tables.values() for place in table.values() if isinstance(place, str)]
        return frozenset(place.removeprefix("header:") for place in places if place.startswith("header:"))
