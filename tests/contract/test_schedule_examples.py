"""deploy/schedule: the examples name commands, options and parameters that exist, and are what their programs read."""

from __future__ import annotations

import ast
import configparser
import shlex
from pathlib import Path

import pytest
import typer

from tests.contract.repository import ROOT
from workbench.cli import app
from workbench.report import EXIT_CODES
from workbench.services.parameters import declared_parameters
from workbench.services.runs import find_notebook, read_notebook
from workbench.services.schedule import trigger_of

FOLDER = ROOT / "deploy" / "schedule"
CRON_LINE = (FOLDER / "workbench.crontab").read_text().splitlines()[-1]


def unit(name: str) -> configparser.ConfigParser:
    found = configparser.ConfigParser(strict=False, interpolation=None)
    found.optionxform = str  # type: ignore[assignment,method-assign]
    found.read(FOLDER / name)
    return found


def command_of_cron() -> list[str]:
    return shlex.split(CRON_LINE.partition("&&")[2])


def command_of_systemd() -> list[str]:
    return shlex.split(unit("workbench-health.service")["Service"]["ExecStart"])


@pytest.mark.parametrize("command", [command_of_cron(), command_of_systemd()], ids=["cron", "systemd"])
def test_the_commands_are_ours_with_options_that_exist(command: list[str]) -> None:
    assert command[:2] == ["workbench", "schedule"]
    found = typer.main.get_command(app).commands["schedule"]  # type: ignore[attr-defined]
    made = found.make_context("it", command[2:])
    assert (made.params["once"], made.params["notebook"]) == (True, "health")
    trigger_of(made.params["cron"])


def test_the_crontab_runs_when_it_says() -> None:
    assert trigger_of(" ".join(CRON_LINE.split()[:5])) is not None


def test_verdicts_are_no_failures_of_the_unit() -> None:
    service = unit("workbench-health.service")["Service"]
    assert set(map(int, service["SuccessExitStatus"].split())) == set(EXIT_CODES.values()) - {0}
    assert unit("workbench-health.timer")["Timer"]["Persistent"] == "true"


def test_the_dag_parses_and_gives_the_notebook_what_it_takes() -> None:
    tree = ast.parse((FOLDER / "airflow_health.py").read_text())
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    (run,) = [call for call in calls if getattr(call.func, "id", "") == "PapermillOperator"]
    values = {word.arg: ast.literal_eval(word.value) for word in run.keywords}
    notebook = find_notebook(Path(values["input_nb"]).stem)
    assert set(values["parameters"]) <= set(declared_parameters(read_notebook(notebook)))
    assert (ROOT / Path(values["input_nb"]).relative_to("/workbench")).is_file()
