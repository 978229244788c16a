"""The statement that reads a store's rows, in the words that its database knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from workbench.sources.stores.reading import Columns, Window

FETCHED_ROWS = 50_000  # at once


@dataclass(frozen=True)
class Words:
    """What differs between databases.

    Attributes:
        quoted: an identifier in its quotes.
        selection: what stands behind FROM.
        as_text: an expression as text, bytes as hexadecimal digits.
        at: a time as a literal that compares with the time column; None where it cannot be compared there.
    """

    quoted: Callable[[str], str]
    selection: str
    as_text: Callable[[str], str]
    at: Callable[[datetime], str] | None


def select(columns: Columns, words: Words, window: Window, limit: int | None) -> str:
    """The SELECT of a store's rows, in their order if they have one; columns are named by their roles."""
    names = {role: f"q.{words.quoted(name)}" for role, name in columns.names.items()}
    ids = words.as_text(names["id"])
    parts = [f"{ids} AS id", *(f"{names[role]} AS {role}" for role in ("at", "deleted", "published") if role in names)]
    return " ".join(
        filter(
            None,
            (
                f"SELECT {', '.join(parts)} FROM {words.selection} AS q",
                _where(names.get("at"), words, window),
                f"ORDER BY {names['order']}" if "order" in names else "",
                f"LIMIT {int(limit)}" if limit is not None else "",
            ),
        )
    )


def _where(at: str | None, words: Words, window: Window) -> str:
    if at is None or words.at is None:
        return ""
    bounds = [
        f"{at} {sign} {words.at(datetime.fromtimestamp(ms / 1000, UTC))}"
        for sign, ms in ((">=", window.since_ms), ("<", window.until_ms))
        if ms is not None
    ]
    return f"WHERE ({' AND '.join(bounds)}) OR {at} IS NULL" if bounds else ""


def nothing_of(selection: str) -> str:
    """A statement that gives the columns and no row."""
    return f"SELECT * FROM {selection} AS q WHERE 1 = 0"


def quoted(name: str) -> str:
    """An identifier in SQL's own quotes."""
    return '"' + name.replace('"', '""') + '"'
