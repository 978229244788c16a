"""Figures of a group's lag: where and since when it is behind, how fast it moves, and how old what waits is."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from workbench.notebook.escaping import html_text
from workbench.plots.drawing import CALM, INK, LEGEND, LOUD, MAX_LINES, dressed, empty, heat, moment

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.problems.examination import Examination

Place = tuple[str, int]

_SAMPLES = """
SELECT topic, partition, at_ms, committed_offset, log_end_offset FROM samples
WHERE committed_offset IS NOT NULL AND log_end_offset IS NOT NULL ORDER BY topic, partition, at_ms
"""
_CHANGES = 'SELECT at_ms, joined, "left", removed FROM generations WHERE at_ms >= ? ORDER BY at_ms'
_MOST_CHANGES = 60  # lines drawn
_NO_PAST = "Nothing is known of the group's past."


def lag_over_time_and_partition(case: Examination) -> go.Figure:
    """How many offsets each partition was behind at the moments that were looked at; the worst 40 partitions.

    Args:
        case: a lag examination.
    """
    behind = _behind(case)
    if not behind:
        return empty(_NO_PAST)
    moments = sorted({at for points in behind.values() for at, _, _ in points})
    worst = sorted(behind, key=lambda place: -max(end - at for _, at, end in behind[place]))[:MAX_LINES]
    drawn = sorted(worst)
    lags = {place: {at: max(0, end - offset) for at, offset, end in behind[place]} for place in drawn}
    figure = heat(
        [[lags[place].get(at) for at in moments] for place in drawn],
        _labels(moments),
        [_name(place, drawn) for place in drawn],
        said=[[_offsets(lags[place].get(at)) for at in moments] for place in drawn],
        unit="offsets behind",
    )
    # Moments are densest near now: columns of one width with their times, not an axis on which the last ones vanish.
    figure.update_xaxes(title="moment (UTC), densest near now", type="category", nticks=8)
    figure.update_yaxes(type="category", autorange="reversed")
    left_out = len(behind) - len(drawn)
    more = f" (the {left_out} partitions with the least lag are not drawn)" if left_out else ""
    return dressed(figure, f"Lag over time and partition{more}", 190 + 30 * len(drawn))


def lag_and_rates(case: Examination) -> go.Figure:
    """The group's whole lag over time, and under it what was sent and what was read a second; changes of members are marked.

    Args:
        case: a lag examination.
    """
    from plotly.subplots import make_subplots

    behind = _behind(case)
    if not behind or all(len(points) < 2 for points in behind.values()):
        return empty(_NO_PAST)
    times, offsets, ends = _totals(behind)
    lags = [max(0, end - offset) for offset, end in zip(offsets, ends, strict=True)]
    wide = _apart(times)
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.08)
    x = [moment(at) for at in times]
    figure.add_scatter(x=x, y=lags, name="behind", mode="lines+markers", line={"color": LOUD, "width": 2}, row=1, col=1)
    for name, values, colour, dash in (("sent", ends, INK, "dot"), ("read", offsets, CALM, "solid")):
        figure.add_scatter(
            x=[x[at] for at in wide[1:]],
            y=_rates(times, values, wide),
            name=name,
            mode="lines",
            line={"color": colour, "dash": dash, "shape": "vh"},
            row=2,
            col=1,
        )
    _mark_changes(figure, case, times[0])
    figure.update_yaxes(title="offsets behind", rangemode="tozero", row=1, col=1)
    figure.update_yaxes(title="offsets a second", rangemode="tozero", row=2, col=1)
    figure.update_xaxes(title="time (UTC); dashed: members joined or left", type="date", row=2, col=1)
    figure.update_layout(showlegend=True, legend=LEGEND)
    return dressed(figure, "Lag, and the rates that make it", 460)


def time_lags(case: Examination) -> go.Figure:
    """How old what waits is, by two clocks, for the partitions that are furthest behind.

    *Age of the next record* is by its timestamp; *since the log passed the commit* is interpolated between the moments that
    were looked at, with its error. The expected latency is drawn as a line.

    Args:
        case: a lag examination.
    """
    import plotly.graph_objects as go

    rows = [row for row in case.report.facts["partitions"] if row["time_lag_seconds"] or row.get("passed_seconds")]
    if not rows:
        return empty("Nothing waits.")
    worst = sorted(rows, key=lambda row: -max(row["time_lag_seconds"] or 0, row.get("passed_seconds") or 0))[:MAX_LINES]
    places = [(row["topic"], row["partition"]) for row in worst]
    names = [_name(place, places) for place in places]
    figure = go.Figure()
    for title, key, colour, shape in (
        ("age of the next record", "time_lag_seconds", LOUD, "/"),
        ("since the log passed the commit", "passed_seconds", CALM, ""),
    ):
        values = [row.get(key) for row in worst]
        figure.add_bar(
            x=values, y=names, name=title, orientation="h", marker={"color": colour, "pattern": {"shape": shape}},
            text=["" if value is None else f"{value:,.1f} s" for value in values], textposition="outside", cliponaxis=False,
            error_x={"array": [row.get("passed_error_seconds") for row in worst], "color": INK}
            if key == "passed_seconds" else None,
        )  # fmt: skip
    figure.add_vline(x=case.report.facts["expected_latency_seconds"], line={"color": INK, "dash": "dash"})
    figure.update_xaxes(title="seconds; dashed: the expected latency", rangemode="tozero")
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_layout(barmode="group", showlegend=True, legend=LEGEND)
    return dressed(figure, "How old what waits is", 220 + 46 * len(worst))


def _behind(case: Examination) -> dict[Place, list[tuple[int, int, int]]]:
    """Place -> (moment in epoch ms, committed offset, log end), oldest first."""
    out: dict[Place, list[tuple[int, int, int]]] = defaultdict(list)
    if "samples" in case.evidence.tables:
        for topic, partition, at_ms, committed, end in case.con.execute(_SAMPLES).fetchall():
            out[topic, partition].append((at_ms, committed, end))
    return dict(out)


def _totals(behind: Mapping[Place, Sequence[tuple[int, int, int]]]) -> tuple[list[int], list[int], list[int]]:
    """(moments at which all partitions are known, the sums of their commits, the sums of their log ends)."""
    seen: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for points in behind.values():
        for at, offset, end in points:
            seen[at].append((offset, end))
    times = sorted(at for at, found in seen.items() if len(found) == len(behind))
    offsets = [sum(offset for offset, _ in seen[at]) for at in times]
    return times, offsets, [sum(end for _, end in seen[at]) for at in times]


def _apart(times: Sequence[int]) -> list[int]:
    """Which moments are far enough apart for a rate between them: a twentieth of the whole time."""
    kept = [0] if times else []
    for at in range(1, len(times)):
        if times[at] - times[kept[-1]] >= (times[-1] - times[0]) / 20:
            kept.append(at)
    return kept


def _rates(times: Sequence[int], values: Sequence[int], kept: Sequence[int]) -> list[float]:
    return [
        (values[later] - values[earlier]) / max((times[later] - times[earlier]) / 1000, 0.001)
        for earlier, later in pairwise(kept)
    ]


def _labels(moments: Sequence[int]) -> list[str]:
    """Times of day where all are of one day."""
    texts = [moment(at) for at in moments]
    return [text[11:] for text in texts] if len({text[:10] for text in texts}) == 1 else texts


def _mark_changes(figure: go.Figure, case: Examination, since_ms: int) -> None:
    if "generations" not in case.evidence.tables:
        return
    changes = [row for row in case.con.execute(_CHANGES, [since_ms]).fetchall() if row[1] or row[2] or row[3]]
    for at_ms, joined, left, removed in changes[-_MOST_CHANGES:]:
        said = "removed" if removed else f"+{joined or 0} -{left or 0}"
        figure.add_vline(
            x=moment(at_ms), line={"color": INK, "width": 1, "dash": "dash"}, row="all", col=1,
            **({"annotation_text": said, "annotation_font_size": 10} if len(changes) <= 12 else {}),
        )  # fmt: skip


def _name(place: Place, among: Sequence[Place]) -> str:
    one_topic = len({topic for topic, _ in among}) == 1
    return f"partition {place[1]}" if one_topic else html_text(f"{place[0]}/{place[1]}")


def _offsets(lag: int | None) -> str:
    return "" if lag is None else f"{lag:,} offsets behind"
