"""Fields of coordinator records: big-endian, in Kafka's plain and flexible encodings, never read past their end."""

from __future__ import annotations

import base64
import struct
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


class Damaged(ValueError):
    """Bytes that do not hold what their version says."""


class Fields:
    """Reads one field after the other; ``flexible`` means compact lengths and tagged fields."""

    def __init__(self, data: bytes, *, flexible: bool = False) -> None:
        self._data, self._at, self.flexible = data, 0, flexible

    def _take(self, size: int) -> bytes:
        if size < 0 or size > len(self._data) - self._at:
            raise Damaged("a field reaches beyond the end of its record")
        self._at += size
        return self._data[self._at - size : self._at]

    def _number(self, form: str) -> int:
        return int(struct.unpack(form, self._take(struct.calcsize(form)))[0])

    def int8(self) -> int:
        """One signed byte."""
        return self._number(">b")

    def int16(self) -> int:
        """Two signed bytes."""
        return self._number(">h")

    def int32(self) -> int:
        """Four signed bytes."""
        return self._number(">i")

    def int64(self) -> int:
        """Eight signed bytes."""
        return self._number(">q")

    def uuid(self) -> str:
        """A topic id, as Kafka's tools print it."""
        return base64.urlsafe_b64encode(self._take(16)).decode().rstrip("=")

    def unsigned(self) -> int:
        """An unsigned varint of at most 32 bits."""
        value = shift = 0
        while shift < 35:
            byte = self._take(1)[0]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
            shift += 7
        raise Damaged("a number is too long")

    def blob(self) -> bytes | None:
        """Bytes behind their length; None for null."""
        size = self.unsigned() - 1 if self.flexible else self.int32()
        return None if size == -1 else self._take(size)

    def text(self) -> str | None:
        """A string behind its length; None for null."""
        size = self.unsigned() - 1 if self.flexible else self.int16()
        return None if size == -1 else self._take(size).decode(errors="replace")

    def array(self, one: Callable[[Fields], T]) -> list[T]:
        """Elements behind their number; none for null."""
        count = self.unsigned() - 1 if self.flexible else self.int32()
        if count > len(self._data) - self._at:
            raise Damaged("more elements than bytes")
        return [one(self) for _ in range(max(count, 0))]

    def tagged(self, known: dict[int, Callable[[Fields], T]]) -> dict[int, T]:
        """The known tagged fields; others are skipped."""
        out: dict[int, T] = {}
        for _ in range(self.unsigned() if self.flexible else 0):
            tag, size = self.unsigned(), self.unsigned()
            inner = Fields(self._take(size), flexible=True)
            if tag in known:
                out[tag] = known[tag](inner)
        return out
