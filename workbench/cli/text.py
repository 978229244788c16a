"""Text for terminals: what comes from messages, topic names or brokers is shown, never obeyed."""

from __future__ import annotations

import unicodedata


def plain(text: str) -> str:
    """The text with control characters, terminal escapes and bidirectional marks made visible."""
    return "".join(_shown(char) for char in text)


def _shown(char: str) -> str:
    if char == "\n" or not unicodedata.category(char).startswith("C"):
        return char
    return char.encode("unicode_escape").decode("ascii")
