"""Prose that only people know: marked blocks of the document, which survive writing it anew."""

from __future__ import annotations

import re

from workbench.errors import UsageError

BLOCKS = ("overview", "trade-offs", "prerequisites", "error-handling", "testing", "contacts", "related", "notes")
_MARK = re.compile(r"<!-- (?:keep: ?(?P<name>[^>]*?)|(?P<end>/keep)) ?-->")


def kept_blocks(text: str) -> dict[str, str]:
    """Name -> what people wrote between ``<!-- keep: NAME -->`` and ``<!-- /keep -->``.

    Raises:
        UsageError: a block is open, nested, twice or has a name that the document has no place for: nothing is lost silently.
    """
    out: dict[str, str] = {}
    name, start = "", 0
    for mark in _MARK.finditer(text):
        if mark["end"]:
            if not name:
                raise _broken("a block ends that did not begin", text, mark.start())
            out[name], name = text[start : mark.start()].strip("\n"), ""
        elif name:
            raise _broken(f"block {name!r} is not closed before another begins", text, mark.start())
        elif mark["name"] not in BLOCKS or mark["name"] in out:
            why = "is there twice" if mark["name"] in out else f"has no place; there are {', '.join(BLOCKS)}"
            raise _broken(f"block {mark['name']!r} {why}", text, mark.start())
        else:
            name, start = mark["name"], mark.end()
    if name:
        raise _broken(f"block {name!r} is not closed", text, start)
    return out


def _broken(what: str, text: str, at: int) -> UsageError:
    line = text.count("\n", 0, at) + 1
    return UsageError(f"Line {line} of the document: {what}.", hint="Mend the marks; nothing was written.")


def block(name: str, kept: dict[str, str], otherwise: str) -> list[str]:
    """The lines of a block: what people wrote, else an invitation."""
    return [f"<!-- keep: {name} -->", kept.get(name) or f"*{otherwise}*", "<!-- /keep -->", ""]
