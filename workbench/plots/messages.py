"""Figures of messages: where they are, when they went missing, were doubled or given up, and the life of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.notebook.escaping import html_text
from workbench.plots.drawing import (
    CALM,
    INK,
    LOUD,
    MAX_LINES,
    PALETTE,
    PATTERNS,
    at,
    binned,
    dressed,
    empty,
    grid,
    heat,
    span,
)  # fmt: skip

if TYPE_CHECKING:
    import plotly.graph_objects as go

    from workbench.problems.examination import Examination

_NOTHING = 0.6  # where a logarithmic axis begins: a bar of this length is none


def dispositions(case: Examination) -> go.Figure:
    """How many entries of the ledger ended where; logarithmic, so that seven among a million are seen."""
    import plotly.graph_objects as go

    ledger = case.report.ledger
    names = [name for name, count in ledger.items() if count is not None][::-1]
    counts = [int(ledger[name] or 0) for name in names]
    alarming = {"lost", "extra_copies", "reprocessed"}
    bars = go.Bar(
        x=[max(count, _NOTHING) for count in counts],
        y=names,
        orientation="h",
        text=[f"{count:,}" for count in counts],
        textposition="outside",
        cliponaxis=False,
        marker={
            "color": [LOUD if name in alarming else CALM for name in names],
            "pattern": {"shape": ["/" if name in alarming else "" for name in names]},
        },
        hovertemplate="%{y}: %{text}<extra></extra>",
    )
    figure = go.Figure(bars)
    figure.update_xaxes(
        type="log",
        dtick=1,
        title="messages (logarithmic)",
        range=[math.log10(_NOTHING), math.log10(max([*counts, 10])) + 0.5],
    )
    return dressed(figure, "Where the messages are", 90 + 30 * len(names))


def life(case: Examination) -> go.Figure:
    """A message's life as a Gantt chart: a line a place, a bar for what lasted, a mark for what happened at once."""
    import plotly.graph_objects as go

    rows = [row for row in case.report.sections["timeline"] if row["at"]]
    if not rows:
        return empty("No event of this message bears a time.")
    lanes = list(dict.fromkeys(_lane(row) for row in rows))
    figure = go.Figure()
    for failed, name in ((False, "went well"), (True, "failed")):
        lasting = [row for row in rows if row["failed"] == failed and row["duration_seconds"]]
        moments = [row for row in rows if row["failed"] == failed and not row["duration_seconds"]]
        colour = LOUD if failed else CALM
        if lasting:
            figure.add_trace(_bars(lasting, name, colour, "/" if failed else ""))
        if moments:
            figure.add_trace(_marks(moments, name, colour, "x" if failed else "circle"))
    figure.update_xaxes(type="date", title="time (UTC, by the clock of whoever wrote it)")
    figure.update_yaxes(categoryorder="array", categoryarray=[html_text(lane) for lane in lanes[::-1]])
    figure.update_layout(barmode="overlay", showlegend=False)
    return dressed(figure, "The message's life", 150 + 34 * len(lanes))


def _lane(row: dict[str, Any]) -> str:
    """The place of an event without what differs from record to record."""
    lane = str(row["where"]).split(", offset ")[0]
    return lane.rsplit("/", 2)[0] if row["source"] in ("record", "dead letter") else lane


def _bars(rows: Sequence[dict[str, Any]], name: str, colour: str, pattern: str) -> go.Bar:
    import plotly.graph_objects as go

    return go.Bar(
        name=name,
        base=[row["at"] for row in rows],
        x=[row["duration_seconds"] * 1000 for row in rows],
        y=[html_text(_lane(row)) for row in rows],
        orientation="h",
        text=[html_text(row["event"]) for row in rows],
        marker={"color": colour, "pattern": {"shape": pattern}},
        hovertemplate="%{text}<br>%{base}, %{x:,.3f} ms<extra></extra>",
    )


def _marks(rows: Sequence[dict[str, Any]], name: str, colour: str, symbol: str) -> go.Scatter:
    import plotly.graph_objects as go

    return go.Scatter(
        name=name,
        x=[row["at"] for row in rows],
        y=[html_text(_lane(row)) for row in rows],
        mode="markers",
        text=[html_text(row["event"]) for row in rows],
        marker={"color": colour, "symbol": symbol, "size": 11, "line": {"width": 1, "color": INK}},
        hovertemplate="%{text}<br>%{x}<extra></extra>",
    )


def loss_over_time_and_partition(case: Examination) -> go.Figure:
    """When, by the time in the source, and in which source partitions messages went missing.

    Args:
        case: a loss examination; its ``records`` say how many messages were due in each cell.
    """
    lost = _lost(case)
    if not lost:
        return empty("No message is lost.")
    start, width = grid([row[1] for row in lost])
    due = _due_in_cells(case, start, width)
    return _heat_map(binned(lost, start, width), due, start, width)


def copies_over_time(case: Examination) -> go.Figure:
    """When extra copies were written, stacked by their cause."""
    rows = _query(
        case,
        "WITH chosen AS (SELECT coalesce(cause, 'unexplained') AS line, epoch_ms(\"at\") AS ms FROM ledger"
        f' WHERE "at" IS NOT NULL AND {_COPIES}), {_THIN}',
    )
    if not rows:
        return empty("There is no extra copy.")
    return _stacked(rows, "extra copies", "Extra copies over time")


def copies_by_partition_pair(case: Examination) -> go.Figure:
    """Where the extra copies lie against where the first copy lies: off the diagonal, something repartitioned.

    Args:
        case: a duplicates examination; each extra copy is paired with the first record of its id in the same topic.
    """
    pairs = _query(case, _PAIRS)
    if not pairs:
        return empty("There is no extra copy.")
    firsts, copies = (sorted({pair[i] for pair in pairs})[:MAX_LINES] for i in (0, 1))
    counts = {(first, copy): count for first, copy, count in pairs}
    values = [[counts.get((first, copy)) for copy in copies] for first in firsts]
    figure = heat(values, [f"partition {name}" for name in copies], [f"partition {name}" for name in firsts])
    figure.update_xaxes(title="the copy lies in", type="category")
    figure.update_yaxes(title="the first record lies in", type="category")
    return dressed(figure, "Extra copies by partition", 150 + 34 * len(firsts))


def _stacked(rows: list[tuple[Any, ...]], what: str, title: str) -> go.Figure:
    """Bars over time, stacked by the name in the first column; the second is epoch milliseconds."""
    import plotly.graph_objects as go

    start, width = grid([row[1] for row in rows])
    figure = go.Figure()
    for index, name in enumerate(sorted({row[0] for row in rows})):
        bins = binned([row for row in rows if row[0] == name], start, width)
        figure.add_bar(
            x=[at(start, width, column) for _, column in bins],
            y=list(bins.values()),
            width=width * 900,
            name=html_text(name),
            marker={
                "color": PALETTE[index % len(PALETTE)],
                "pattern": {"shape": PATTERNS[index % len(PATTERNS)]},
            },
            hovertemplate="%{x}: %{y:,}<extra>%{fullData.name}</extra>",
        )
    figure.update_layout(barmode="stack", showlegend=True, legend={"orientation": "h", "y": -0.25})
    figure.update_yaxes(title=f"{what} in {span(width)}", rangemode="tozero")
    return dressed(figure, title, 380)


def dead_letters_over_time(case: Examination) -> go.Figure:
    """When dead letters failed, stacked by their cause group: bursts are outages or deployments, a steady stream a rule.

    Args:
        case: a dlq examination.
    """
    rows = _query(case, f"WITH {_GROUP_NAMES}, chosen AS ({_GROUP_ROWS}), {_THIN}")
    if not rows:
        return empty("There is no dead letter.")
    return _stacked(rows, "dead letters", "Dead letters over time, by cause group")


def cause_groups_over_time(case: Examination) -> go.Figure:
    """A line of cells for each of the largest cause groups: when it began, how dense it is, whether it goes on.

    Args:
        case: a dlq examination.
    """
    rows = _query(case, f"WITH {_GROUP_NAMES}, chosen AS ({_GROUP_ROWS}), {_THIN}")
    if not rows:
        return empty("There is no dead letter.")
    start, width = grid([row[1] for row in rows])
    bins = binned(rows, start, width)
    groups = sorted({row[0] for row in rows})
    columns = range(max(slot for _, slot in bins) + 1)
    values = [[bins.get((group, column)) for column in columns] for group in groups]
    figure = heat(values, [at(start, width, column) for column in columns], [html_text(group) for group in groups])
    figure.update_xaxes(title=f"time of failure (UTC), {span(width)} a column")
    figure.update_yaxes(type="category", autorange="reversed")
    return dressed(figure, "Cause groups over time", 170 + 30 * len(groups))


# The largest groups by name, all others as one line.
_GROUP_NAMES = """
sized AS (SELECT fingerprint, count(*) AS n, any_value(coalesce(exception_class, code, stage, 'unknown cause')) AS said
          FROM dead GROUP BY fingerprint ORDER BY n DESC, fingerprint LIMIT 7)"""
_GROUP_ROWS = """
SELECT coalesce(s.said || ' (' || s.fingerprint || ')', 'other causes') AS line, d.failed_ms AS ms
FROM dead d LEFT JOIN sized s USING (fingerprint) WHERE d.failed_ms IS NOT NULL"""

_COPIES = "disposition IN ('extra_copy', 'reprocessed')"

# Entries of ``chosen`` (line, ms) in at most some thousand time slots.
_THIN = """
edges AS (SELECT min(ms) AS low, greatest((max(ms) - min(ms)) // 4000, 1) AS step FROM chosen)
SELECT line, low + (ms - low) // step * step AS slot, count(*) FROM chosen, edges GROUP BY ALL ORDER BY ALL
"""

_PAIRS = f"""
WITH copies AS (SELECT message_id, topic, partition FROM ledger WHERE {_COPIES}),
firsts AS (
    SELECT message_id, topic, arg_min(partition, (timestamp_ms, partition, "offset")) AS partition
    FROM records SEMI JOIN copies USING (message_id, topic) GROUP BY ALL)
SELECT f.partition, c.partition, count(*) FROM copies c JOIN firsts f USING (message_id, topic)
GROUP BY ALL ORDER BY ALL
"""


def _query(case: Examination, query: str) -> list[tuple[Any, ...]]:
    case.con.execute(f"CREATE OR REPLACE TEMP VIEW ledger AS {case.rows_sql}")
    return case.con.execute(query).fetchall()


def _lost(case: Examination) -> list[tuple[Any, int, int]]:
    """(partition, milliseconds, messages) of the lost messages whose time is known."""
    lost = "disposition = 'lost' AND \"at\" IS NOT NULL"
    return _query(
        case, f'WITH chosen AS (SELECT partition AS line, epoch_ms("at") AS ms FROM ledger WHERE {lost}), {_THIN}'
    )


def _due_in_cells(case: Examination, start: int, width: float) -> dict[tuple[Any, int], int]:
    """How many due records each cell of the heat map has in the source."""
    if "records" not in case.evidence.tables:
        return {}
    rows = case.con.execute(
        "SELECT partition, CAST(floor((timestamp_ms - $start) / $width) AS INTEGER) AS slot, count(*) FROM records"
        " WHERE topic = $topic AND due AND timestamp_ms >= $start GROUP BY ALL",
        {"start": start, "width": width * 1000, "topic": case.evidence.facts["source"]},
    ).fetchall()
    return {(partition, slot): count for partition, slot, count in rows}


def _heat_map(lost: dict[tuple[Any, int], int], due: dict[tuple[Any, int], int], start: int, width: float) -> go.Figure:
    partitions = _worst_lines(lost)
    columns = range(max(slot for _, slot in lost) + 1)
    values = [[lost.get((line, column)) for column in columns] for line in partitions]
    said = [[_share(lost.get((line, slot)), due.get((line, slot))) for slot in columns] for line in partitions]
    names = ["partition unknown" if line is None else f"partition {line}" for line in partitions]
    figure = heat(values, [at(start, width, column) for column in columns], names, said)
    figure.update_xaxes(title=f"time in the source (UTC), {span(width)} a column")
    figure.update_yaxes(type="category", autorange="reversed")
    left_out = len({line for line, _ in lost}) - len(partitions)
    more = f" (the {left_out} partitions with the fewest losses are not drawn)" if left_out else ""
    return dressed(figure, f"Lost messages over time and partition{more}", 170 + 30 * len(partitions))


def _worst_lines(lost: dict[tuple[Any, int], int]) -> list[Any]:
    """The partitions to draw, in their order; at most 40, those with the most losses."""
    totals: dict[Any, int] = {}
    for (line, _), count in lost.items():
        totals[line] = totals.get(line, 0) + count
    kept = sorted(totals, key=lambda line: -totals[line])[:MAX_LINES]
    return sorted(kept, key=lambda line: (line is None, line))


def _share(lost: int | None, due: int | None) -> str:
    return "" if lost is None else f"{lost:,} lost of {due:,} due" if due else f"{lost:,} lost"
