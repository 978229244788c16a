"""What becomes of a partition's lag if all goes on as it does: the reader's path, and retention behind it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from workbench.plots.drawing import CALM, INK, LEGEND, LOUD, dressed, empty, moment
from workbench.problems.standing import epoch_ms

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.problems.examination import Examination

_EXPIRY = """
SELECT in_seconds, "offset" FROM expiry WHERE topic = ? AND partition = ? ORDER BY in_seconds
"""
_PAST = """
SELECT at_ms, committed_offset, log_end_offset FROM samples
WHERE topic = ? AND partition = ? AND committed_offset IS NOT NULL ORDER BY at_ms
"""
_STEPS = 24
_BAND = "rgba(91,141,184,0.18)"


def lag_forecast(case: Examination) -> go.Figure:
    """Where the furthest partition's log end, reader and retention will be by the horizon, at the present rates.

    The band around the reader is what the 95 % interval of the lag's trend leaves open. Where retention's line crosses the
    reader's, records begin to be removed unread (at the earliest: segments go whole).

    Args:
        case: a lag examination.
    """
    rows = [row for row in case.report.facts["partitions"] if row["lag"] and row.get("consumed_recently") is not None]
    if not rows:
        return empty("Nothing waits, or its rates are not known: there is nothing to forecast.")
    row = max(rows, key=lambda one: (one["time_lag_seconds"] or 0, one["lag"]))
    figure = _drawn(case, row)
    figure.update_xaxes(title="time (UTC); dotted: now", type="date")
    figure.update_yaxes(title="offset")
    figure.update_layout(showlegend=True, legend=LEGEND)
    return dressed(figure, f"Forecast of partition {row['partition']}, the furthest behind", 440)


def _drawn(case: Examination, row: dict[str, Any]) -> go.Figure:
    import plotly.graph_objects as go

    now_ms = epoch_ms(case.report.facts["collected_at"])
    ahead = [_reach(case, row) * step / _STEPS for step in range(_STEPS + 1)]
    x = [moment(now_ms + round(seconds * 1000)) for seconds in ahead]
    ends = [row["log_end_offset"] + (row["produced_recently"] or 0.0) * seconds for seconds in ahead]
    reader = _path(row, ends, ahead, row["consumed_recently"])
    figure = go.Figure()
    _add_band(figure, row, x, ends, ahead)
    _add_past(figure, case, row)
    figure.add_scatter(x=x, y=ends, name="log end", mode="lines", line={"color": INK, "dash": "dot"})
    figure.add_scatter(x=x, y=reader, name="reader", mode="lines", line={"color": CALM, "width": 3})
    _add_retention(figure, case, row, now_ms)
    figure.add_vline(x=moment(now_ms), line={"color": INK, "width": 1, "dash": "dot"})
    return figure


def _reach(case: Examination, row: dict[str, Any]) -> float:
    """How far ahead to draw: until it has caught up twice over, or to the horizon."""
    horizon = float(case.report.facts["horizon_seconds"])
    catch_up = row.get("catch_up_seconds")
    return max(60.0, min(horizon, 2 * catch_up)) if catch_up else horizon


def _path(row: dict[str, Any], ends: list[float], ahead: list[float], rate: float) -> list[float]:
    return [
        min(end, row["committed_offset"] + max(0.0, rate) * seconds) for end, seconds in zip(ends, ahead, strict=True)
    ]


def _add_band(figure: go.Figure, row: dict[str, Any], x: list[str], ends: list[float], ahead: list[float]) -> None:
    low, high = row.get("slope_low"), row.get("slope_high")
    if low is None or high is None:
        return
    # Lag grows by (sent - read): a lower slope is a faster reader.
    rates = [(row["produced_recently"] or 0.0) - slope for slope in (low, high)]
    fast, slow = (_path(row, ends, ahead, rate) for rate in rates)
    figure.add_scatter(x=x, y=fast, name="fastest", mode="lines", line={"width": 0}, showlegend=False, hoverinfo="skip")
    figure.add_scatter(
        x=x, y=slow, mode="lines", line={"width": 0}, fill="tonexty", fillcolor=_BAND, name="95 % of the trend"
    )


def _add_past(figure: go.Figure, case: Examination, row: dict[str, Any]) -> None:
    if "samples" not in case.evidence.tables:
        return
    past = case.con.execute(_PAST, [row["topic"], row["partition"]]).fetchall()
    x = [moment(at) for at, _, _ in past]
    figure.add_scatter(
        x=x,
        y=[end for _, _, end in past],
        mode="lines",
        line={"color": INK, "dash": "dot"},
        showlegend=False,
        name="log end",
    )
    figure.add_scatter(
        x=x, y=[at for _, at, _ in past], mode="lines+markers", line={"color": CALM}, showlegend=False, name="reader"
    )


def _add_retention(figure: go.Figure, case: Examination, row: dict[str, Any], now_ms: int) -> None:
    if "expiry" not in case.evidence.tables:
        return
    steps = case.con.execute(_EXPIRY, [row["topic"], row["partition"]]).fetchall()
    known = [(seconds, row["log_end_offset"] if offset is None else offset) for seconds, offset in steps]
    figure.add_scatter(
        x=[moment(now_ms + round(seconds * 1000)) for seconds, _ in known],
        y=[offset for _, offset in known],
        name="retention may have removed up to",
        mode="lines+markers",
        marker={"symbol": "x", "size": 7},
        line={"color": LOUD, "dash": "dash", "shape": "hv"},
    )
