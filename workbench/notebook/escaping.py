"""Hostile text made harmless for HTML and Markdown; topic names, ids and event types come from messages."""

from __future__ import annotations

import html
import re
import unicodedata

_LONGEST = 200

# Everything Markdown, its tables, or the notebook's mathematics could read as markup.
_MARKUP = re.compile(r"[\\`*_{}\[\]()#+!|~$<>&\"'^=]|(?<=\s)[-:.](?=\s)|://|www\.|@")


def visible(text: str, longest: int = _LONGEST) -> str:
    """The text on one line, cut, with control and direction characters shown as their code."""
    shown = "".join(char if _prints(char) else f"\\u{ord(char):04x}" for char in text[:longest])
    return shown + "…" if len(text) > longest else shown


def html_text(text: str) -> str:
    """The text for HTML content and quoted attributes."""
    return html.escape(visible(text), quote=True)


def markdown_text(text: str) -> str:
    """The text for Markdown, wherever it stands: what could be markup becomes a character reference."""
    return _MARKUP.sub(lambda found: "".join(f"&#{ord(char)};" for char in found.group()), visible(text, 2_000))


def _prints(char: str) -> bool:
    # Control, format (bidirectional overrides, zero width), surrogates, private, unassigned, line breaks.
    return unicodedata.category(char) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
