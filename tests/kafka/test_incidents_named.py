"""Planted incidents on a real broker: the report says exactly what was planted, live and from saved evidence."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.planting import of_each_run
from workbench.config import profile_from_options
from workbench.problems import checking
from workbench.problems.scope import scope_from
from workbench.report import Report
from workbench.sandbox.incidents import INCIDENTS, Incident
from workbench.sandbox.incidents.living import end_all
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.kafka import Kafka, start
from workbench.sources import connect

pytestmark = [pytest.mark.kafka, pytest.mark.incidents]


@pytest.fixture(autouse=True)
def nobody_left() -> Iterator[None]:
    """Members and senders that an incident leaves at work end with its test."""
    yield
    end_all()


def differences(truth: Truth, report: Report) -> list[str]:
    """Where a report departs from the truth; empty when it is right."""
    out = [
        f"ledger {name}: planted {count}, found {report.ledger.get(name)}"
        for name, count in truth.ledger.items()
        if (report.ledger.get(name) or 0) != count
    ]
    causes = {code: count for code, count in report.causes.items() if count}
    wanted = {code: count for code, count in truth.causes.items() if count}
    if causes != wanted:
        out.append(f"causes: planted {wanted}, found {causes}")
    findings = {item.code: item.state for item in report.findings}
    if findings != dict(truth.findings):
        out.append(f"findings: planted {dict(truth.findings)}, found {findings}")
    if truth.clean and report.verdict not in ("ok", "info"):
        out.append(f"clean, but the verdict is {report.verdict}: {[item.reason for item in report.undecided]}")
    out += [
        f"fact {name}: {value} != {report.facts.get(name)}"
        for name, value in truth.facts.items()
        if report.facts.get(name) != value
    ]
    out += [f"note {code} is missing" for code in truth.notes if code not in {note.code for note in report.notes}]
    return out


@pytest.fixture(scope="session")
def clusters(kafka: str) -> Iterator[Callable[[Incident], tuple[str, Kafka | None]]]:
    """Gives an incident the brokers that it needs; those of the same kind share them."""
    started: dict[tuple[int, str], Kafka] = {}

    def of(item: Incident) -> tuple[str, Kafka | None]:
        if not item.special:
            return kafka, None
        kind = (item.nodes, str(sorted(item.settings.items())))
        started.setdefault(kind, start(nodes=item.nodes, settings=item.settings))
        return started[kind].bootstrap, started[kind]

    yield of
    for cluster in started.values():
        cluster.stop()


@pytest.mark.parametrize("name", of_each_run(sorted(INCIDENTS)))
def test_the_report_says_what_was_planted(
    clusters: Callable[[Incident], tuple[str, Kafka | None]], tmp_path: Path, name: str
) -> None:
    kafka, cluster = clusters(INCIDENTS[name])
    truth = INCIDENTS[name].plant(kafka, seed=1, folder=tmp_path / "logs", cluster=cluster)
    scope = scope_from(**truth.options)
    with connect(profile_from_options(kafka, {})) as sources:
        evidence = checking.problem(truth.problem).collect(sources, scope, work_dir=tmp_path / "work")
    examination = checking.examine(truth.problem, evidence)
    report = examination.report
    assert differences(truth, report) == [], report.to_json()
    saved = checking.save(examination, tmp_path / "saved")
    again = checking.examine(truth.problem, checking.evidence_in(saved)).report
    assert again == report
    assert json.loads((saved / "report.json").read_text()) == json.loads(report.to_json())


def test_the_command_line_says_the_same(kafka: str, tmp_path: Path) -> None:
    truth = INCIDENTS["consumer-dropped"].plant(kafka, seed=2, folder=tmp_path / "logs")
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "check", truth.problem, "--bootstrap", kafka, "--format", "json", *_options(truth)],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert done.returncode == {"critical": 13, "warning": 12}[report["verdict"]], done.stderr
    assert {item["code"]: item["state"] for item in report["findings"]} == truth.findings
    assert (report["version"], report["problem"]) == (1, "loss")


def _options(truth: Truth) -> list[str]:
    out: list[str] = []
    for name, value in truth.options.items():
        flag = "--" + name.replace("_", "-")
        out += _flags(flag, value)
    return out


def _flags(flag: str, value: Any) -> list[str]:
    if value is True:
        return [flag]
    if isinstance(value, dict):
        return [part for key, text in value.items() for part in (flag, f"{key}={text}")]
    if isinstance(value, list | tuple):
        return [part for item in value for part in (flag, str(item))]
    return [flag, str(value)]
