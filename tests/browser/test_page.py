"""The HTML page of a run, in a real browser that has no network: it draws its figures and obeys nothing a message says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output
from plotly.utils import PlotlyJSONEncoder

from tests.unit.builder import NOW_MS, World
from workbench import plots
from workbench.notebook.publishing import report_bundle
from workbench.notebook.tables import table_html
from workbench.problems import loss
from workbench.services.page import FIGURE_MIME, notebook_page

pytestmark = pytest.mark.browser

HOSTILE = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"


@pytest.fixture(scope="module")
def dom(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the page has become after its scripts ran."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(notebook_page(executed(), "Page"), encoding="utf-8")
    return loaded(path)


def executed():
    world = World(sinks=[HOSTILE])
    for n in range(200):
        world.put("in", f"m{n}", partition=n % 3, timestamp_ms=NOW_MS - 3_600_000 + n * 1000, event_type=HOSTILE)
    for partition in range(3):
        world.commit(partition=partition, group=HOSTILE)
    case = loss.examine(world.evidence())
    figures = [plots.dispositions(case), plots.loss_over_time_and_partition(case)]
    bundles = [
        report_bundle(case.report),
        {"text/html": table_html([{HOSTILE: HOSTILE}], title=HOSTILE)},
        *({FIGURE_MIME: figure.to_plotly_json()} for figure in figures),
        # What a careless library could put there: the page's policy has to hold where escaping does not.
        {"text/html": HOSTILE},
    ]
    outputs = [new_output("display_data", data=plain(bundle)) for bundle in bundles]
    return new_notebook(cells=[new_code_cell("look", outputs=outputs)])


def plain(bundle: dict) -> dict:
    """Figures as the JSON that a notebook file holds."""
    return json.loads(json.dumps(bundle, cls=PlotlyJSONEncoder))


def loaded(path: Path) -> str:
    browser = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if browser is None:
        pytest.fail("These tests need Chromium: apt-get install chromium")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--virtual-time-budget=10000"]
    nowhere = ["--proxy-server=127.0.0.1:9", f"--user-data-dir={path.parent / 'profile'}"]
    done = subprocess.run(
        [browser, *flags, *nowhere, "--dump-dom", path.as_uri()],
        check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    return done.stdout


def test_every_figure_is_drawn(dom: str):
    assert dom.count('class="wb-figure js-plotly-plot"') == 2
    assert dom.count('class="main-svg"') >= 2
    assert "Lost messages over time and partition" in dom


def test_nothing_that_a_message_carries_is_run(dom: str):
    assert re.findall(r"<title>(.*?)</title>", dom)[0] == "Page"


def test_the_verdict_is_there(dom: str):
    assert "200 of 200 messages lost" in dom
