"""Formats that need no schema: JSON, texts, and numbers of fixed width."""

from __future__ import annotations

import json
from typing import Any


def json_document(payload: bytes) -> Any:
    """A JSON text."""
    return json.loads(payload)


def text(payload: bytes) -> str:
    """A text in UTF-8."""
    return payload.decode()


def integer(payload: bytes) -> int:
    """A whole number as Java's serializers write it: 2, 4 or 8 bytes, the highest first."""
    if len(payload) not in {2, 4, 8}:
        raise ValueError("it has another width")
    return int.from_bytes(payload, "big", signed=True)
