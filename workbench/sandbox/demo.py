"""The demo: faults planted in a real Kafka, found by the notebooks, compared with what was planted.

``python -m workbench.sandbox.demo`` starts a broker, plants two scenes (``--integration``: also runs the
reference integration and breaks it), runs
``notebooks/loss.ipynb`` and ``notebooks/duplicates.ipynb`` headless on all of it, prints ledgers, verdicts and the paths of
the pages, and stops what it started. It ends with 0 only if the reports say exactly what was planted.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from workbench.errors import SandboxError, WorkbenchError
from workbench.sandbox import kafka, mock
from workbench.sandbox.demo_integration import broken_integration
from workbench.sandbox.demo_scenes import SCENES, plant_scene
from workbench.sandbox.incidents.truth import Truth

RUN_SECONDS = 150
COSTS = (
    "The demo goes on with the mock broker inside librdkafka. What that costs:",
    "no topic settings, so that retention, compaction and size limits cannot be judged: undecided, not ok;",
    "no states of groups and no list of open transactions; nothing is kept on disk; groups take long to form.",
)
WORST = {"loss": "critical", "duplicates": "warning"}


@dataclass(frozen=True)
class Outcome:
    """What a notebook found, beside what was planted.

    Attributes:
        truth: what was planted.
        report: the notebook's ``report.json``.
        page: its HTML page.
    """

    truth: Truth
    report: Mapping[str, Any]
    page: Path

    @property
    def departures(self) -> list[str]:
        """Where the report is not what was planted; empty when it is right."""
        return departures(self.truth, self.report)


def departures(truth: Truth, report: Mapping[str, Any]) -> list[str]:
    """Where a report departs from the truth, one sentence each."""
    causes = {code: count for code, count in report["causes"].items() if count}
    findings = {item["code"]: item["state"] for item in report["findings"]}
    pairs = [
        *((f"ledger entry {name}", count, report["ledger"].get(name)) for name, count in truth.ledger.items()),
        ("causes", dict(truth.causes), causes),
        ("findings", dict(truth.findings), findings),
        ("verdict", "ok" if truth.clean else WORST[truth.problem], report["verdict"]),
    ]
    return [f"{what}: planted {planted}, found {found}" for what, planted, found in pairs if planted != found]


class Teller:
    """Says what is being done, with the seconds since the start."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._started = time.monotonic()

    def __call__(self, sentence: str) -> None:
        """One line."""
        self._console.print(
            f"[dim]{time.monotonic() - self._started:6.1f} s[/dim]  {sentence}", highlight=False, soft_wrap=True
        )


def run_demo(console: Console, out: Path, seed: int, *, integration: bool = False, without_kafka: bool = False) -> int:
    """The whole demo; returns the exit code.

    Raises:
        SandboxError: the broker could not start, or a scene could not be planted.
    """
    tell = Teller(console)
    with tempfile.TemporaryDirectory(prefix="workbench-demo-") as logs, _broker(tell, without_kafka) as broker:
        on_mock = isinstance(broker, mock.MockKafka)
        tell(f"a broker answers at {broker.bootstrap}; planting faults in real traffic")
        truths = _plant_all(broker.bootstrap, seed, Path(logs), on_mock=on_mock)
        for truth in truths:
            tell(f"planted {truth.problem}: {_in_words(truth.causes)}")
        if integration and not on_mock:
            tell("running the reference integration, with metrics and traces")
            truths += broken_integration(broker.bootstrap, seed, Path(logs) / "integration", tell)
        outcomes = _run_all(truths, broker.bootstrap, out, tell)
    tell("the broker is stopped")
    for outcome in outcomes:
        _show(console, outcome)
    return _conclude(console, outcomes)


def _broker(tell: Teller, without_kafka: bool) -> kafka.Kafka | mock.MockKafka:
    """Apache Kafka, or where it cannot be had librdkafka's mock, with words about what that costs."""
    if not without_kafka:
        tell("starting Apache Kafka")
        try:
            return kafka.start(say=tell)
        except SandboxError as error:
            tell(f"[bold yellow]Kafka cannot be started[/bold yellow]: {escape(f'{error} {error.hint}')}")
    for sentence in COSTS:
        tell(f"  {sentence}")
    return mock.start_mock()


def _plant_all(bootstrap: str, seed: int, folder: Path, *, on_mock: bool) -> list[Truth]:
    """Both scenes at once: planting is mostly waiting."""
    with ThreadPoolExecutor(len(SCENES)) as pool:
        planting = [pool.submit(plant_scene, name, bootstrap, seed, folder / name, on_mock=on_mock) for name in SCENES]
        return [item.result() for item in planting]


def _run_all(truths: Sequence[Truth], bootstrap: str, out: Path, tell: Teller) -> list[Outcome]:
    """All notebooks at once, each in a process of its own, by the command that users type."""
    running = [(truth, _started(truth, bootstrap, _folder(out, truth))) for truth in truths]
    for truth, _ in running:
        tell(f"running notebooks/{truth.problem}.ipynb headless on {truth.incident}")
    try:
        return [_finished(truth, process, _folder(out, truth), tell) for truth, process in running]
    finally:
        for _, process in running:
            process.kill()
            process.wait()


def _folder(out: Path, truth: Truth) -> Path:
    own = truth.incident == f"demo-{truth.problem}"
    return out / truth.problem if own else out / truth.incident.removeprefix("demo-") / truth.problem


def _started(truth: Truth, bootstrap: str, folder: Path) -> subprocess.Popen[str]:
    given = [f"bootstrap={bootstrap}", *_parameters(truth.options)]
    parameters = [part for text in given for part in ("-p", text)]
    command = [sys.executable, "-m", "workbench.cli", "run", truth.problem, *parameters, "--out", str(folder)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


def _parameters(options: Mapping[str, Any]) -> list[str]:
    """Options of a check as NAME=VALUE; a list gives one each."""
    values = [
        (name, item) for name, value in options.items() for item in (value if isinstance(value, list) else [value])
    ]
    return [f"{name}={value}" for name, value in values]


def _finished(truth: Truth, process: subprocess.Popen[str], folder: Path, tell: Teller) -> Outcome:
    try:
        _, said = process.communicate(timeout=RUN_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SandboxError(f"notebooks/{truth.problem}.ipynb took longer than {RUN_SECONDS} s.") from error
    report = folder / "report.json"
    if not report.is_file():
        raise SandboxError(f"notebooks/{truth.problem}.ipynb failed: {said.strip()}", hint=f"Read {folder}.")
    tell(f"notebooks/{truth.problem}.ipynb on {truth.incident} is done")
    return Outcome(truth, json.loads(report.read_text()), folder / f"{truth.problem}.html")


def _show(console: Console, outcome: Outcome) -> None:
    report, truth = outcome.report, outcome.truth
    console.print(f"\n[bold]{truth.problem}[/bold] ({truth.incident}): {report['verdict']}", highlight=False)
    console.print(_table("ledger", truth.ledger, report["ledger"]))
    console.print(_table("causes", truth.causes, {code: n for code, n in report["causes"].items() if n}))


def _table(title: str, planted: Mapping[str, int], found: Mapping[str, int | None]) -> Table:
    table = Table("", "planted", "found", "", title=title, title_justify="left")
    for column in table.columns[1:3]:
        column.justify = "right"
    for name in dict.fromkeys((*planted, *found)):
        wanted, got = planted.get(name), found.get(name)
        mark = "" if wanted is None else "=" if wanted == got else "[bold red]differs[/bold red]"
        table.add_row(name, _number(wanted), _number(got), mark)
    return table


def _number(count: int | None) -> str:
    return "-" if count is None else f"{count:,}"


def _conclude(console: Console, outcomes: Sequence[Outcome]) -> int:
    console.print("\nReports, to open in a browser:")
    for outcome in outcomes:
        console.print(f"  {outcome.page}", highlight=False, soft_wrap=True)
    wrong = [
        f"{outcome.truth.problem} ({outcome.truth.incident}): {text}"
        for outcome in outcomes
        for text in outcome.departures
    ]
    for text in wrong:
        console.print(f"[bold red]Not what was planted.[/bold red] {escape(text)}", highlight=False)
    if not wrong:
        console.print("\n[bold green]The reports say exactly what was planted.[/bold green]")
    return 1 if wrong else 0


def _in_words(causes: Mapping[str, int]) -> str:
    return ", ".join(f"{count} by {code}" for code, count in causes.items())


def main(arguments: Sequence[str]) -> int:
    """The demo with its errors in words."""
    parser = argparse.ArgumentParser(prog="demo", description="Plants faults in a real Kafka, then finds them.")
    parser.add_argument("seed", nargs="?", type=int, default=1, help="of all that is drawn [1]")
    parser.add_argument("--integration", action="store_true", help="also run the reference integration, and break it")
    parser.add_argument(
        "--mock", action="store_true", help="on librdkafka's mock broker, as where Kafka cannot be fetched"
    )
    given = parser.parse_args(arguments)
    console = Console()
    out = Path("out") / f"demo-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"
    try:
        return run_demo(console, out, given.seed, integration=given.integration, without_kafka=given.mock)
    except WorkbenchError as error:
        console.print(f"[bold red]Error:[/bold red] {escape(f'{error} {error.hint}')}", highlight=False)
        return error.exit_code


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
