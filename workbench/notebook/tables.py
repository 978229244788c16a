"""Tables as HTML: small, escaped, and the same text for the same rows on every machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias

from workbench.notebook.escaping import html_text

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

    Rows: TypeAlias = pa.Table | pd.DataFrame | Sequence[Mapping[str, Any]]

_LEFT = "text-align:left"
_RIGHT = "text-align:right"


def table_html(rows: Rows, *, title: str = "", limit: int = 20) -> str:
    """A table as HTML.

    Args:
        rows: an Arrow table, a DataFrame, or mappings with the same keys.
        title: stands above it.
        limit: rows shown; how many there are in all is always said.
    """
    columns, values, total = _plain(rows, limit)
    numeric = [all(_is_number(row[i]) for row in values) and bool(values) for i in range(len(columns))]
    said = ". ".join(part for part in (title.rstrip("."), _extent(len(values), total)) if part)
    head = _row("th", columns, numeric)
    body = "".join(_row("td", [cell_text(value) for value in row], numeric) for row in values)
    return f"<table><caption>{html_text(said)}</caption><thead>{head}</thead><tbody>{body}</tbody></table>"


def table_text(rows: Rows, *, title: str = "", limit: int = 20) -> str:
    """The same as plain text, for faces without HTML."""
    columns, values, total = _plain(rows, limit)
    lines = [" | ".join(columns), *(" | ".join(cell_text(value) for value in row) for row in values)]
    return "\n".join([*([title] if title else []), *lines, _extent(len(values), total)])


def cell_text(value: Any) -> str:
    """One value in words: a null is a dash, times are UTC, whole numbers get separators unless they name something."""
    if value is None or value != value:  # noqa: PLR0124  NaN is how pandas says null
        return "-"
    if isinstance(value, datetime):
        return value.astimezone(UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3] + "Z"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        return f"{value:,.3f}".rstrip("0").rstrip(".")
    if isinstance(value, bytes):
        return f"{len(value)} bytes"
    if isinstance(value, list | tuple):
        return ", ".join(cell_text(item) for item in value)
    return str(value)


def _plain(rows: Rows, limit: int) -> tuple[list[str], list[list[Any]], int]:
    """Column names, at most ``limit`` rows as plain Python values, and how many rows there are."""
    records, columns = _records(rows, limit)
    return columns, [[_python(record.get(name)) for name in columns] for record in records], len(rows)


def _records(rows: Any, limit: int) -> tuple[list[Mapping[str, Any]], list[str]]:
    if hasattr(rows, "to_pylist"):
        return rows.slice(0, limit).to_pylist(), list(rows.column_names)
    if hasattr(rows, "to_dict"):
        return rows.head(limit).to_dict("records"), [str(name) for name in rows.columns]
    shown = list(rows[:limit])
    return shown, list(dict.fromkeys(name for record in shown for name in record))


def _python(value: Any) -> Any:
    """A NumPy or pandas value as the Python value it stands for."""
    if type(value).__name__ in ("NaTType", "NAType"):
        return None
    if hasattr(value, "to_pydatetime"):
        return value.to_pydatetime()
    if hasattr(value, "tolist"):
        return value.tolist()
    return value


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _extent(shown: int, total: int) -> str:
    if total == 0:
        return "No rows"
    return f"{shown:,} of {total:,} rows" if shown < total else f"{total:,} row{'' if total == 1 else 's'}"


def _row(tag: str, texts: Iterable[str], numeric: Sequence[bool]) -> str:
    cells = (
        f'<{tag} style="{_RIGHT if right else _LEFT}">{html_text(text)}</{tag}>'
        for text, right in zip(texts, numeric, strict=True)
    )
    return f"<tr>{''.join(cells)}</tr>"
