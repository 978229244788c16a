"""Figures: right numbers, escaped names, no background of their own, small whatever the size of the topic."""

from __future__ import annotations

import json

import pytest

from tests.unit.builder import NOW_MS, World
from tests.unit.lag_world import Group, line
from tests.unit.message_world import MessageWorld
from workbench import plots
from workbench.evidence import Evidence
from workbench.problems import duplicates, lag, loss, message
from workbench.problems.examination import Examination
from workbench.report import Report

HOUR_MS = 3_600_000


def lossy(lost: int = 12, partitions: int = 3) -> Examination:
    world = World()
    for n in range(300):
        at = {"partition": n % partitions, "timestamp_ms": NOW_MS - HOUR_MS + n * 1000}
        world.put("in", f"m{n}", **at)
        if n >= lost:
            world.put("out", f"m{n}", partition=n % partitions)
    for partition in range(partitions):
        world.commit(partition=partition)
    return loss.examine(world.evidence())


def doubled() -> Examination:
    world = World()
    for n in range(60):
        world.put("in", f"m{n}", partition=n % 2, key=b"k")
    for n in range(7):
        world.put("in", f"m{n}", partition=0, timestamp_ms=NOW_MS - HOUR_MS + 60_000 * n, key=b"k")
    return duplicates.examine(world.evidence())


def lived() -> Examination:
    world = MessageWorld()
    world.source()
    world.put("out", "m", timestamp_ms=NOW_MS - HOUR_MS + 3_000)
    world.commit()
    world.span(NOW_MS - HOUR_MS + 100, destination="in", partition=0, offset=0, service="<b>mailer</b>")
    world.span(NOW_MS - HOUR_MS + 200, status="error", name="send")
    return message.examine(world.evidence())


def behind(partitions: int = 3) -> Examination:
    """A group that reads 10 a second of 20 that are sent, on each partition; it began 200 offsets behind."""
    return lag.examine(Group(*((line(20, 200), line(10)) for _ in range(partitions))).evidence())


ALL = [
    (plots.dispositions, lossy),
    (plots.loss_over_time_and_partition, lossy),
    (plots.loss_over_time_and_partition, lambda: lossy(lost=0)),
    (plots.dispositions, doubled),
    (plots.copies_over_time, doubled),
    (plots.copies_by_partition_pair, doubled),
    (plots.life, lived),
    (plots.lag_over_time_and_partition, behind),
    (plots.lag_and_rates, behind),
    (plots.time_lags, behind),
    (plots.lag_forecast, behind),
]


def test_a_life_has_a_line_a_place_and_each_event_once():
    figure = json.loads(plots.life(lived()).to_json())
    drawn = [text for trace in figure["data"] for text in trace["text"]]
    assert sorted(drawn) == ["delivered", "process", "send, failed", "sent"]
    assert set(figure["layout"]["yaxis"]["categoryarray"]) == {"in", "out", "&lt;b&gt;mailer&lt;/b&gt;", "mailer"}


def test_lost_messages_add_up():
    figure = plots.loss_over_time_and_partition(lossy()).to_plotly_json()
    cells = [count for line in figure["data"][0]["z"] for count in line if count is not None]
    assert sum(cells) == 12
    assert list(figure["data"][0]["y"]) == ["partition 0", "partition 1", "partition 2"]
    assert any("lost of" in text for line in figure["data"][0]["text"] for text in line)


def test_the_last_column_of_the_lag_is_the_ledger():
    case = behind()
    cells = plots.lag_over_time_and_partition(case).to_plotly_json()["data"][0]["z"]
    assert sum(line[-1] for line in cells) == case.report.ledger["offsets_behind"] == 3 * 800


def test_rates_are_those_of_the_whole_group():
    traces = {trace["name"]: trace for trace in plots.lag_and_rates(behind()).to_plotly_json()["data"]}
    assert list(traces["sent"]["y"]) == pytest.approx([60.0] * len(traces["sent"]["y"]), abs=2)
    assert list(traces["read"]["y"]) == pytest.approx([30.0] * len(traces["read"]["y"]), abs=2)


def test_the_forecast_goes_on_at_the_present_rates():
    case = behind(partitions=1)
    traces = {trace["name"]: list(trace["y"]) for trace in plots.lag_forecast(case).to_plotly_json()["data"]}
    horizon = case.report.facts["horizon_seconds"]
    assert traces["reader"][0] == 600
    assert traces["reader"][-1] == pytest.approx(600 + 10 * horizon, rel=0.05)
    assert traces["log end"][-1] == pytest.approx(1400 + 20 * horizon, rel=0.05)


def test_a_group_without_a_past_has_a_figure_that_says_so():
    group = Group((line(0, 10), line(0, 10)))
    group.without.add("samples")
    case = lag.examine(group.evidence())
    titles = [
        draw(case).to_plotly_json()["layout"]["title"]["text"] for draw in (plots.lag_and_rates, plots.lag_forecast)
    ]
    assert titles[0] == "Nothing is known of the group's past."
    assert "nothing to forecast" in titles[1]


def test_copies_add_up():
    case = doubled()
    bars = plots.copies_over_time(case).to_plotly_json()["data"]
    assert sum(sum(bar["y"]) for bar in bars) == case.report.ledger["extra_copies"] == 7
    pairs = plots.copies_by_partition_pair(case).to_plotly_json()["data"][0]
    assert [list(line) for line in pairs["z"]] == [[4], [3]]


@pytest.mark.parametrize(("draw", "make"), ALL)
def test_a_figure_reads_on_light_and_dark_pages(draw, make):
    layout = draw(make()).to_plotly_json()["layout"]
    assert layout["paper_bgcolor"] == layout["plot_bgcolor"] == "rgba(0,0,0,0)"
    assert layout["meta"]["description"] == layout["title"]["text"]


@pytest.mark.parametrize(("draw", "make"), ALL)
def test_a_figure_is_the_same_for_the_same_evidence(draw, make):
    assert draw(make()).to_json() == draw(make()).to_json()


def test_colour_is_not_the_only_signal():
    bars = plots.dispositions(lossy()).to_plotly_json()["data"][0]
    assert next(iter(bars["text"])) == "12"
    assert next(iter(bars["marker"]["pattern"]["shape"])) == "/"


def made(query: str) -> Examination:
    """An examination whose ledger is made by a query: as large as one likes."""
    evidence = Evidence(facts={"source": "in"})
    return Examination(Report("loss", "critical", {"lost": 1}), evidence.connect(), query, evidence)


MILLION = """
SELECT 'm' || range AS message_id, '{disposition}' AS disposition, {cause} AS cause, NULL::VARCHAR AS candidates,
  'in' AS topic, (range % 500)::INTEGER AS partition, range AS "offset", make_timestamptz(range * 7000000) AS "at"
FROM range(1000000)"""


def test_a_million_losses_make_a_small_figure():
    figure = plots.loss_over_time_and_partition(made(MILLION.format(disposition="lost", cause="'x'")))
    drawn = figure.to_plotly_json()["data"][0]
    assert len(drawn["y"]) <= 40
    assert len(drawn["x"]) <= 41
    assert "460 partitions" in figure.to_plotly_json()["layout"]["title"]["text"]
    assert len(figure.to_json()) < 200_000


def test_names_from_messages_are_text():
    query = MILLION.replace("1000000)", "1000)").format(disposition="extra_copy", cause="'<b>x</b>'")
    shown = json.loads(plots.copies_over_time(made(query)).to_json())["data"][0]["name"]
    assert shown == "&lt;b&gt;x&lt;/b&gt;"
