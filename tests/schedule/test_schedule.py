"""Schedules: real processes and real HTTP; runs are kept, ended, caught up, pruned, told, and shown offline."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import nbformat
import psutil
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from workbench.cli.schedule import webhooks_of
from workbench.config import Config
from workbench.errors import ConfigError, UsageError
from workbench.services.schedule import Plan, missed, serve, trigger_of
from workbench.services.schedule.metrics import serve_metrics
from workbench.services.schedule.page import write_page
from workbench.services.schedule.shelf import FAILED, Run, Shelf
from workbench.services.schedule.telling import tell

pytestmark = pytest.mark.notebooks

REPORT = """from workbench import notebook
from workbench.report import Report
sections = {"reports": [], "signals": []}
report = notebook.publish(Report("health", verdict, {"checks": 0}, sections=sections))"""
SLOW = "import time\ntime.sleep(600)"


def written(path: Path, *sources: str) -> Path:
    cell = new_code_cell('verdict = "ok"')
    cell.metadata["tags"] = ["parameters"]
    cells = [new_markdown_cell("# Tried"), cell, *map(new_code_cell, sources)]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def plan(tmp_path: Path, *sources: str, **more: Any) -> Plan:
    notebook = written(tmp_path / "tried.ipynb", *sources)
    return Plan(str(notebook), more.pop("parameters", ()), "0 * * * *", tmp_path / "reports", **more)


class Receiver(BaseHTTPRequestHandler):
    """Keeps what it is sent; answers what it is told to."""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.got.append((self.path, body))  # type: ignore[attr-defined]
        self.send_response(self.server.answers.pop(0) if self.server.answers else 200)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Quiet."""


@pytest.fixture
def receiver() -> Iterator[Any]:
    server: Any = ThreadingHTTPServer(("127.0.0.1", 0), Receiver)
    server.got, server.answers = [], []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


def hook(receiver: Any, kind: str = "slack") -> dict[str, dict[str, str]]:
    return {"team": {"url": f"http://127.0.0.1:{receiver.server_port}/secret-path", "kind": kind}}


def runs(chosen: Plan) -> list[Run]:
    return Shelf(chosen.out).runs()


def test_a_run_is_kept_with_its_verdict_and_shown(tmp_path: Path) -> None:
    chosen = plan(tmp_path, REPORT, parameters=("verdict=warning",))
    said: list[str] = []
    assert serve(chosen, said.append, once=True) == 12
    (run,) = runs(chosen)
    assert (run.verdict, run.exit_code, run.error) == ("warning", 12, None)
    page = (chosen.out / "index.html").read_text()
    assert f'href="runs/{run.name}/results/tried.html"' in page
    assert (chosen.out / "runs" / run.name / "results" / "tried.html").is_file()
    assert "http" not in page.replace("http-equiv", "")
    assert str(tmp_path) not in page
    assert said == [f"{run.started[:19]}: warning"]


def test_a_run_that_fails_is_a_result_too(tmp_path: Path) -> None:
    chosen = plan(tmp_path, "raise ValueError('<b>no</b>')")
    assert serve(chosen, lambda _: None, once=True) == 1
    (run,) = runs(chosen)
    assert run.verdict == FAILED
    assert run.error is not None
    assert "ValueError: <b>no</b>" in run.error
    page = (chosen.out / "index.html").read_text()
    assert "&lt;b&gt;no" in page
    assert "<b>no" not in page


def test_a_run_that_takes_too_long_is_ended_with_its_kernel(tmp_path: Path, mark: str) -> None:
    chosen = plan(tmp_path, SLOW, timeout_seconds=8.0)
    assert serve(chosen, lambda _: None, once=True) == 1
    (run,) = runs(chosen)
    assert (run.verdict, run.exit_code, run.error) == (FAILED, None, "it took longer than 8 s and was ended")
    assert until(lambda: not kernels(mark), 15)


@pytest.fixture
def mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """What tells the processes of this test from those of tests that run beside it, also once they are orphans."""
    monkeypatch.setenv("TRIED_BY", str(tmp_path))
    return str(tmp_path)


def kernels(mark: str) -> list[int]:
    return [process.pid for process in psutil.process_iter() if is_kernel(process, mark)]


def is_kernel(process: psutil.Process, mark: str) -> bool:
    try:
        return "ipykernel" in " ".join(process.cmdline()) and process.environ().get("TRIED_BY") == mark
    except psutil.Error:
        return False


def until(true: Callable[[], bool], seconds: float) -> bool:
    for _ in range(int(seconds * 10)):
        if true():
            return True
        time.sleep(0.1)
    return False


def test_two_do_not_serve_one_folder(tmp_path: Path) -> None:
    with Shelf.opened(tmp_path / "reports"), pytest.raises(UsageError, match="Another schedule"):
        serve(plan(tmp_path, REPORT), lambda _: None, once=True)
    other = tmp_path / "other"
    other.mkdir()
    (other / "mine.txt").write_text("")
    with pytest.raises(UsageError, match="holds other files"):
        serve(replace(plan(tmp_path, REPORT), out=other), lambda _: None, once=True)


def test_only_the_newest_are_kept(tmp_path: Path) -> None:
    with Shelf.opened(tmp_path / "reports") as shelf:
        made = [shelf.begin(datetime(2026, 1, day, tzinfo=UTC)) for day in range(1, 6)]
        shelf.prune(2)
        assert [run.name for run in shelf.runs()] == [run.name for run in made[3:]]
        (shelf.folder / "runs" / "odd").mkdir()
        (shelf.folder / "runs" / "odd" / "run.json").write_text("{")
        assert len(shelf.runs()) == 2


def test_a_run_that_the_schedule_did_not_outlive_is_closed(tmp_path: Path) -> None:
    with Shelf.opened(tmp_path / "reports") as shelf:
        shelf.begin(datetime.now(UTC))
    with Shelf.opened(tmp_path / "reports") as shelf:
        (run,) = shelf.runs()
    assert (run.verdict, run.error) == (FAILED, "the schedule ended before the run did")


def test_what_is_missed() -> None:
    hourly, began = trigger_of("0 * * * *"), datetime(2026, 1, 1, 10, 0, 1, tzinfo=UTC)
    assert not missed(hourly, None, began)
    assert not missed(hourly, began, datetime(2026, 1, 1, 10, 59, 59, tzinfo=UTC))
    assert missed(hourly, began, datetime(2026, 1, 1, 11, 0, 0, tzinfo=UTC))
    with pytest.raises(UsageError, match="no cron expression"):
        trigger_of("every hour")


def test_missed_runs_are_caught_up_once_and_sigterm_ends_it(tmp_path: Path) -> None:
    chosen = plan(tmp_path, REPORT)
    with Shelf.opened(chosen.out) as shelf:
        for hours in (5, 4):
            run = shelf.begin(datetime.now(UTC) - timedelta(hours=hours))
            shelf.write(replace(run, verdict="ok", exit_code=0, seconds=1.0))
    command = [
        sys.executable,
        "-m",
        "workbench",
        "schedule",
        chosen.notebook,
        "--cron",
        "0 0 1 1 *",
        "--out",
        str(chosen.out),
    ]
    hourly = [
        part if part != "0 0 1 1 *" else f"{(datetime.now(UTC) - timedelta(minutes=2)).minute} * * * *"
        for part in command
    ]
    served = subprocess.Popen(hourly, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert until(lambda: len(runs(chosen)) == 3 and bool(runs(chosen)[-1].verdict), 60)
    served.send_signal(signal.SIGTERM)
    _, said = served.communicate(timeout=30)
    assert served.returncode == 0, said
    assert [run.verdict for run in runs(chosen)] == ["ok", "ok", "ok"]
    assert "missed" in said
    assert said.rstrip().endswith("stopped")


def test_stopped_during_a_run_it_ends_the_run_and_keeps_it(tmp_path: Path, mark: str) -> None:
    chosen = plan(tmp_path, SLOW)
    command = [sys.executable, "-m", "workbench", "schedule", chosen.notebook, "--cron", "0 * * * *", "--once"]
    served = subprocess.Popen([*command, "--out", str(chosen.out)], stderr=subprocess.PIPE, text=True, cwd=tmp_path)
    assert until(lambda: bool(kernels(mark)), 60)
    served.send_signal(signal.SIGTERM)
    _, said = served.communicate(timeout=60)
    (run,) = runs(chosen)
    assert (run.verdict, run.error) == (FAILED, "the schedule was stopped during the run"), said
    assert until(lambda: not kernels(mark), 15)


def begun(shelf: Shelf, verdict: str, **more: Any) -> Run:
    run = replace(shelf.begin(datetime.now(UTC)), verdict=verdict, exit_code=0, seconds=1.0, **more)
    shelf.write(run)
    time.sleep(0.001)
    return run


def test_a_webhook_is_told_of_changes_only_and_again_where_that_failed(tmp_path: Path, receiver: Any) -> None:
    with Shelf.opened(tmp_path / "reports") as shelf:
        assert tell(hook(receiver), shelf, begun(shelf, "ok")) == {}
        assert receiver.got == []
        receiver.answers = [500]
        assert tell(hook(receiver), shelf, begun(shelf, "critical")) == {"team": "it answered 500"}
        assert tell(hook(receiver), shelf, begun(shelf, "critical")) == {}
        assert tell(hook(receiver), shelf, begun(shelf, "critical")) == {}
        failed = begun(shelf, FAILED, error="<!channel> *boom*")
        assert tell(hook(receiver), shelf, failed) == {}
        assert tell(hook(receiver), shelf, begun(shelf, "ok")) == {}
    texts = [body["text"] for _, body in receiver.got]
    assert [text.split(" (")[0] for text in texts] == [
        "workbench: first report → *critical*", "workbench: first report → *critical*", "workbench: critical → *failed*",
        "workbench: failed → *ok*",
    ]  # fmt: skip
    assert "&lt;!channel&gt;" in texts[2]


def test_the_address_of_a_webhook_is_never_said(tmp_path: Path) -> None:
    dead = {"team": {"url": "http://127.0.0.1:9/secret-path", "kind": "slack"}}
    with Shelf.opened(tmp_path / "reports") as shelf:
        why = tell(dead, shelf, begun(shelf, "critical"))
    assert why == {"team": "ConnectError"}


def test_alertmanager_gets_an_alert_and_its_end(tmp_path: Path, receiver: Any) -> None:
    with Shelf.opened(tmp_path / "reports") as shelf:
        tell(hook(receiver, "alertmanager"), shelf, begun(shelf, "critical"))
        tell(hook(receiver, "alertmanager"), shelf, begun(shelf, "ok"))
    (path, (fires,)), (_, (ends,)) = receiver.got
    assert path == "/secret-path/api/v2/alerts"
    assert fires["labels"] == ends["labels"]
    now = datetime.now(UTC)
    assert datetime.fromisoformat(fires["endsAt"]) > now
    assert datetime.fromisoformat(ends["endsAt"]) <= now


def test_metrics_say_the_newest_report_and_whether_runs_fail(tmp_path: Path) -> None:
    with Shelf.opened(tmp_path / "reports") as shelf:
        run = begun(shelf, "warning")
        report = {
            "problem": "health", "verdict": "warning", "ledger": {"checks": 1}, "findings": [], "undecided": [], "ruled_out": [],
            "facts": {}, "reports": [],
        }  # fmt: skip
        shelf.results(run).mkdir()
        (shelf.results(run) / "report.json").write_text(json.dumps(report))
        begun(shelf, FAILED, error="no")
        chosen = Plan("health", (), "0 * * * *", shelf.folder)
        port = serve_metrics(chosen, shelf)
        lines = urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics").read().decode().splitlines()
    assert 'workbench_verdict{integration="",problem="health"} 3.0' in lines
    assert "workbench_run_failed 1.0" in lines
    assert 'workbench_runs_kept{verdict="failed"} 1.0' in lines


def test_the_index_says_what_is_bad(tmp_path: Path) -> None:
    with Shelf.opened(tmp_path / "reports") as shelf:
        run = begun(shelf, "critical")
        part = {"problem": "lag", "verdict": "critical", "facts": {"integration": "<i>orders</i>"}}
        shelf.results(run).mkdir()
        (shelf.results(run) / "report.json").write_text(
            json.dumps({"verdict": "critical", "reports": [part], "findings": []})
        )
        write_page(Plan("health", (), "0 * * * *", shelf.folder), shelf)
    page = (tmp_path / "reports" / "index.html").read_text()
    assert "&lt;i&gt;orders&lt;/i&gt; lag: critical" in page
    assert page.count("✖") == 2


def test_webhooks_are_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOOK", "https://hooks.example/x")
    monkeypatch.setenv("NONE", "")
    good = {"a": {"url": "${HOOK}"}, "b": {"url": "${NONE}", "kind": "alertmanager"}}
    assert webhooks_of(Config(sections={"webhooks": good})) == {
        "a": {"url": "https://hooks.example/x", "kind": "slack"}
    }
    for bad in ({"url": "${HOOK}", "kinds": "slack"}, {"url": "${HOOK}", "kind": "teams"}):
        with pytest.raises(ConfigError):
            webhooks_of(Config(sections={"webhooks": {"a": bad}}))
    with pytest.raises(UsageError, match="no http address"):
        webhooks_of(Config(sections={"webhooks": {"a": {"url": "ftp://x"}}}))


def test_unknown_names_are_refused_before_anything_runs(tmp_path: Path) -> None:
    for flags, said in (
        (["nothere"], "There is no notebook"),
        (["health", "--profile", "nope"], "There is no profile"),
    ):
        command = [
            sys.executable,
            "-m",
            "workbench",
            "schedule",
            *flags,
            "--cron",
            "0 * * * *",
            "--out",
            str(tmp_path / "x"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=os.environ)
        assert (done.returncode, said in done.stderr) == (2, True), done.stderr
        assert not (tmp_path / "x").exists()
