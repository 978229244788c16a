"""What decodes a payload, and why there may be nothing that does."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Decode = Callable[[bytes], Any]  # what stands behind the schema id -> JSON types


class Unknown(Exception):
    """A schema cannot be had; the text says why."""
