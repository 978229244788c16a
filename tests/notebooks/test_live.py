"""The notebooks on a real broker: they find what was planted, and say what ``workbench check`` says."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workbench.problems import checking
from workbench.sandbox.demo import departures
from workbench.sandbox.demo_scenes import plant_scene
from workbench.sandbox.incidents import plant
from workbench.sandbox.incidents.messages import Message
from workbench.sandbox.incidents.sending import Sender, producer
from workbench.sandbox.incidents.truth import Truth
from workbench.services.runs import RunResult, run_notebook

pytestmark = [pytest.mark.kafka, pytest.mark.notebooks]

# What differs between two looks at the same topics.
OF_THE_MOMENT = ("collected_at", "scan_seconds")


@pytest.fixture(scope="module", params=["loss", "duplicates"])
def done(
    request: pytest.FixtureRequest, kafka: str, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Truth, RunResult]:
    folder = tmp_path_factory.mktemp(request.param)
    truth = plant_scene(request.param, kafka, seed=3, folder=folder / "logs")
    return truth, run_notebook(request.param, {"bootstrap": kafka, **truth.options}, folder / "out")


def test_the_notebook_finds_what_was_planted(done: tuple[Truth, RunResult]):
    truth, result = done
    assert departures(truth, result.report or {}) == []
    assert result.exit_code == {"loss": 13, "duplicates": 12}[truth.problem]


def test_its_evidence_leads_to_the_same_report_without_a_broker(done: tuple[Truth, RunResult]):
    truth, result = done
    again = checking.examine(truth.problem, checking.evidence_in(result.folder)).report
    assert again.to_dict() == json.loads((result.folder / "report.json").read_text()) == result.report


def test_check_says_the_same(done: tuple[Truth, RunResult], kafka: str):
    truth, result = done
    flags = [part for name, value in truth.options.items() for part in _flags(name, value)]
    command = [sys.executable, "-m", "workbench", "check", truth.problem, "--bootstrap", kafka, "--format", "json"]
    run = subprocess.run([*command, *flags], check=False, capture_output=True, text=True, timeout=120)
    assert run.returncode == result.exit_code, run.stderr
    assert _lasting(json.loads(run.stdout)) == _lasting(dict(result.report or {}))


def test_every_figure_was_drawn(done: tuple[Truth, RunResult]):
    truth, result = done
    assert len(_figures(result)) == {"loss": 2, "duplicates": 3}[truth.problem]


def test_the_template_runs_as_it_stands(kafka: str, tmp_path: Path):
    truth = plant_scene("duplicates", kafka, seed=4, folder=tmp_path / "logs")
    result = run_notebook("template", {"bootstrap": kafka, "source": truth.options["source"]}, tmp_path / "out")
    assert result.report is not None
    assert result.report["ledger"]["extra_copies"] > 0


def _figures(result: RunResult) -> list[str]:
    """The titles of what was drawn."""
    return [
        output["data"]["application/vnd.plotly.v1+json"]["layout"]["title"]["text"]
        for cell in json.loads(result.notebook.read_text())["cells"]
        for output in cell.get("outputs", [])
        if "application/vnd.plotly.v1+json" in output.get("data", {})
    ]


def _flags(name: str, value: object) -> list[str]:
    flag = "--" + name.replace("_", "-")
    return [part for item in (value if isinstance(value, list) else [value]) for part in (flag, str(item))]


def _lasting(report: dict) -> dict:
    return {**report, "facts": {name: value for name, value in report["facts"].items() if name not in OF_THE_MOMENT}}


def test_the_lag_notebook_says_where_a_group_that_nobody_is_in_stands(kafka: str, tmp_path: Path):
    truth = plant("lag-no-members", kafka, 5, tmp_path / "logs")
    options = [f"{name}={value}" for name, value in truth.options.items() if name not in ("group", "source")]
    given = {"bootstrap": kafka, "group": truth.options["group"], "source": truth.options["source"], "options": options}
    result = run_notebook("lag", given, tmp_path / "out")
    report = dict(result.report or {})
    assert {item["code"]: item["state"] for item in report["findings"]} == dict(truth.findings)
    assert report["ledger"]["offsets_behind"] == truth.ledger["offsets_behind"]
    assert len(_figures(result)) == 4
    assert checking.examine("lag", checking.evidence_in(result.folder)).report.to_dict() == report


def test_the_health_notebook_has_every_check_and_what_changed(kafka: str, tmp_path: Path):
    truth = plant("clean-health", kafka, 5, tmp_path / "logs")
    names = ("source", "sink", "group")
    options = [
        f"expected_latency={truth.options['expected_latency']}",
        f"dead_letters={truth.options['dead_letters'][0]}",
    ]
    given = {"bootstrap": kafka, **{name: truth.options[name] for name in names}, "options": options}
    first = dict(run_notebook("health", given, tmp_path / "first").report or {})
    assert ([part["verdict"] for part in first["reports"]], first["findings"]) == (["ok"] * 4, [])
    Sender(producer(kafka), truth.options["source"]).send(
        Message("late", None, {"messageId": "late", "eventType": "x"})
    )
    time.sleep(3)
    result = run_notebook("health", {**given, "previous": str(tmp_path / "first")}, tmp_path / "second")
    report = dict(result.report or {})
    assert {part["problem"] for part in report["reports"] if part["verdict"] == "critical"} == {"lag"}
    assert result.exit_code == 13
    page = result.html.read_text()
    assert "lag-no-members" in page
    assert "Changed since the last report" in page
    assert {"junit.xml", "metrics.prom", "report.json"} <= {path.name for path in result.folder.iterdir()}
    assert checking.examine("health", checking.evidence_in(result.folder)).report.to_dict() == report
