"""What all figures share: inks, slots of time, heat maps, and the dress without a background."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import plotly.graph_objects as go

INK = "#7a828e"  # at least 3.9 : 1 on white and on JupyterLab's dark grey
GRID = "rgba(122,130,142,0.25)"
CALM, LOUD = "#5b8db8", "#d1495b"
SCALE = ((0.0, "#f0b67f"), (0.5, "#e0703f"), (1.0, "#a3122a"))
PATTERNS = ("", "/", "x", ".", "-", "|", "+", "\\")
PALETTE = ("#5b8db8", "#e0703f", "#6a9f58", "#b07aa1", "#c9a227", "#4f9d9d", "#a3122a", "#7a828e")

LEGEND = {"orientation": "h", "x": 1, "xanchor": "right", "y": 1.01, "yanchor": "bottom"}  # above, where no axis is

MAX_BUCKETS = 40
MAX_LINES = 40  # partitions drawn
NICE_SECONDS = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 30, 60, 300, 600, 1800, 3600, 10800, 21600, 43200, 86400)


def grid(times_ms: Sequence[int]) -> tuple[int, float]:
    """Start (epoch milliseconds) and width (seconds) of at most 40 time slots of a round width."""
    low, high = min(times_ms), max(times_ms)
    wanted = max((high - low) / 1000 / (MAX_BUCKETS - 1), NICE_SECONDS[0])
    width = next((nice for nice in NICE_SECONDS if nice >= wanted), 86400 * math.ceil(wanted / 86400))
    return int(low // (width * 1000) * width * 1000), width


def binned(rows: Sequence[tuple[Any, int, int]], start: int, width: float) -> dict[tuple[Any, int], int]:
    """Entries (line, epoch ms, count) summed by line and time slot."""
    out: dict[tuple[Any, int], int] = {}
    for line, ms, count in rows:
        cell = (line, int((ms - start) // (width * 1000)))
        out[cell] = out.get(cell, 0) + count
    return out


def heat(
    values: list[list[int | None]],
    x: Sequence[Any],
    y: Sequence[str],
    said: list[list[str]] | None = None,
    unit: str = "messages",
) -> go.Figure:
    """A heat map whose cells bear their numbers where there are few; a null cell is empty."""
    import plotly.graph_objects as go

    few = len(x) <= 30
    return go.Figure(
        go.Heatmap(
            z=values,
            x=list(x),
            y=list(y),
            colorscale=SCALE,
            zmin=0,
            xgap=2,
            ygap=2,
            text=said or [[f"{count:,}" if count else "" for count in row] for row in values],
            texttemplate="%{z:,}" if few else "",
            hovertemplate="%{y}, %{x}: %{text}<extra></extra>",
            hoverongaps=False,
            colorbar={"title": {"text": unit}, "outlinewidth": 0, "thickness": 12},
        )
    )


def at(start: int, width: float, column: int) -> str:
    """The middle of a time slot, as text that plotly reads as UTC."""
    return moment(start + (column + 0.5) * width * 1000)


def moment(at_ms: float) -> str:
    """A time in epoch ms as text that plotly reads as UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S.%f")[:-3]


def span(width: float) -> str:
    """A width in seconds in its largest whole unit."""
    if width < 1:
        return f"{width * 1000:g} ms"
    for unit, seconds in (("d", 86400), ("h", 3600), ("min", 60)):
        if width >= seconds:
            return f"{width / seconds:g} {unit}"
    return f"{width:g} s"


def empty(said: str) -> go.Figure:
    """A figure that only says something."""
    import plotly.graph_objects as go

    figure = go.Figure()
    figure.update_xaxes(visible=False)
    figure.update_yaxes(visible=False)
    return dressed(figure, said, 120)


def dressed(figure: go.Figure, title: str, height: int) -> go.Figure:
    """The figure with its title, and without a background of its own."""
    figure.update_layout(
        template=None,
        title={"text": title, "x": 0, "xanchor": "left", "font": {"size": 16}},
        meta={"description": title},
        height=height,
        margin={"l": 20, "r": 20, "t": 50, "b": 40},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        font={"color": INK, "size": 13},
    )
    figure.update_xaxes(gridcolor=GRID, zeroline=False, automargin=True)
    figure.update_yaxes(gridcolor=GRID, zeroline=False, automargin=True)
    return figure
