"""Tables and reports for people: escaped, deterministic, complete."""

from __future__ import annotations

from datetime import UTC, datetime

import pandas as pd
import pyarrow as pa
import pytest

from tests.unit.builder import World
from workbench import notebook
from workbench.notebook.escaping import html_text, markdown_text, visible
from workbench.notebook.headless import REPORT_MIME
from workbench.notebook.publishing import report_bundle
from workbench.notebook.tables import cell_text, table_html
from workbench.problems import loss

HOSTILE = '<script>alert(1)</script>|**b** [x](javascript:1) $a$ `c` \u202e\x1b[31m "q" &amp; <img src=x onerror=1>'


def test_html_of_a_hostile_name_is_text():
    shown = html_text(HOSTILE)
    assert "<" not in shown
    assert "\u202e" not in shown
    assert "\x1b" not in shown


def test_markdown_of_a_hostile_name_is_text():
    shown = markdown_text(HOSTILE)
    assert not set("<>|*`[]()$") & set(shown)


def test_markdown_keeps_ordinary_text():
    assert markdown_text("Group g read 16 messages, 2.5 % of them.") == "Group g read 16 messages, 2.5 % of them."


def test_a_long_text_is_cut_visibly():
    assert visible("x" * 500, 10) == "x" * 10 + "…"


@pytest.mark.parametrize(
    "rows",
    [
        pa.table({"topic": [HOSTILE, "b"], "n": [1, None]}),
        pd.DataFrame({"topic": [HOSTILE, "b"], "n": pd.array([1, None], "Int64")}),
        [{"topic": HOSTILE, "n": 1}, {"topic": "b", "n": None}],
    ],
    ids=["arrow", "pandas", "mappings"],
)
def test_a_table_is_the_same_whatever_it_comes_from(rows):
    html = table_html(rows, title="Topics")
    assert html == table_html([{"topic": HOSTILE, "n": 1}, {"topic": "b", "n": None}], title="Topics")
    assert "<script" not in html
    assert "Topics. 2 rows" in html


def test_a_cut_table_says_how_much_there_is():
    assert "20 of 300 rows" in table_html(pa.table({"n": range(300)}))
    assert "No rows" in table_html(pa.table({"n": pa.array([], pa.int64())}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "-"),
        (float("nan"), "-"),
        (True, "yes"),
        (2**60, str(2**60)),
        (1.5, "1.5"),
        (b"abc", "3 bytes"),
        (["a", "b"], "a, b"),
        (datetime(2026, 1, 2, 3, 4, 5, 678000, UTC), "2026-01-02 03:04:05.678Z"),
    ],
)
def test_values_in_words(value, text):
    assert cell_text(value) == text


def hostile_case():
    world = World(source="in", sinks=[HOSTILE])
    world.flow([f"m{n}" for n in range(20)], lost=["m3"])
    world.put("in", "someone@example.org", key=b"secret")
    world.commit(group=HOSTILE)
    return loss.examine(world.evidence())


def test_a_published_report_is_markdown_and_json_and_escaped():
    case = hostile_case()
    bundle = report_bundle(case.report)
    assert bundle[REPORT_MIME] == case.report.to_dict()
    assert "<script" not in bundle["text/markdown"]
    assert "| lost | 2 |" in bundle["text/markdown"]
    assert bundle["text/plain"] == "loss: warning, 2 of 21 messages lost"


def test_every_count_of_the_report_is_in_its_markdown():
    case = hostile_case()
    text = report_bundle(case.report)["text/markdown"].replace("&#95;", "_")
    assert [name for name in case.report.ledger if f"| {name} |" not in text] == []
    assert [item.code for item in case.report.undecided if item.code not in text] == []
    assert [code for code in case.report.ruled_out if code not in text] == []


def test_rows_are_sealed():
    found = notebook.rows(hostile_case(), "SELECT message_id, key FROM records ORDER BY ALL").to_pylist()
    assert {"key_hash", "message_id"} == set(found[0])
    assert not any("@" in row["message_id"] for row in found)


def test_rows_know_the_ledger():
    found = notebook.rows(hostile_case(), "SELECT count(*) AS n FROM ledger WHERE disposition = 'lost'")
    assert found.to_pylist() == [{"n": 2}]


def test_outside_a_notebook_a_report_is_one_line(capsys):
    notebook.publish(hostile_case())
    assert capsys.readouterr().out == "loss: warning, 2 of 21 messages lost\n"
