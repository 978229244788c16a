"""One message's life on a real broker, with a real Jaeger, with a file of spans, and with no traces at all."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.kafka.capture_topics import create, produce
from tests.kafka.message_flow import ENDS, Flow, plant
from workbench.config import Profile
from workbench.problems import message
from workbench.problems.scope import scope_from
from workbench.report import Report
from workbench.services.runs import run_notebook
from workbench.sources import connect
from workbench.sources.doctor import diagnose_access
from workbench.sources.traces import SpanQuery, connect_traces

pytestmark = pytest.mark.kafka
OUTCOMES = {"delivered": "ok", "dead_lettered": "warning", "lost": "critical"}


@pytest.fixture(scope="module")
def flow(kafka: str, jaeger: Any, tmp_path_factory: pytest.TempPathFactory) -> Flow:
    """Three messages with known ends; their spans are in Jaeger and in a file."""
    folder = tmp_path_factory.mktemp("message")
    return plant(kafka, dict(jaeger.addresses), folder.name.replace("message", "m"), folder)


def told(flow: Flow, folder: Path, traces: dict[str, Any] | None = None, **options: Any) -> Report:
    """The report of one search."""
    profile = Profile("test", {"bootstrap.servers": flow.bootstrap}, traces=traces)
    work = folder / f"work-{len(list(folder.iterdir()))}"
    work.mkdir()
    with connect(profile) as sources:
        return message.diagnose(message.collect(sources, scope_from(**flow.options(**options)), work_dir=work))


def stores(flow: Flow) -> dict[str, dict[str, Any] | None]:
    return {
        "jaeger": {"kind": "jaeger", "url": flow.jaeger},
        "file": {"kind": "otlp-file", "path": str(flow.file)},
        "none": None,
    }


def steps(report: Report, *, spans: bool) -> list[tuple[str, str]]:
    """(event, where) of the timeline."""
    rows = report.sections["timeline"]
    return [(row["event"], row["where"]) for row in rows if row["source"].startswith("span") == spans]


@pytest.mark.parametrize("end", ENDS)
def test_three_stories_agree_with_traces_from_jaeger_from_a_file_and_without(flow: Flow, end: str, tmp_path: Path):
    reports = {name: told(flow, tmp_path, store, message_id=flow.ids[end]) for name, store in stores(flow).items()}
    for report in reports.values():
        assert (report.facts["outcome"], report.verdict) == (end, OUTCOMES[end])
        assert any("by consumer-2" in event for event, _ in steps(report, spans=False))
    assert (
        steps(reports["jaeger"], spans=False)
        == steps(reports["file"], spans=False)
        == steps(reports["none"], spans=False)
    )
    assert steps(reports["jaeger"], spans=True) == steps(reports["file"], spans=True)
    names = [event for event, _ in steps(reports["jaeger"], spans=True)]
    assert any(name.startswith("process orders") for name in names)
    assert steps(reports["none"], spans=True) == []
    assert "read at" in reports["jaeger"].facts["story"]
    if end == "dead_lettered":
        assert "process orders, failed (TimeoutError)" in names
        assert "the bank is closed" not in reports["jaeger"].to_json()


def test_a_message_is_found_by_its_key_its_trace_and_either_of_its_records(flow: Flow, tmp_path: Path):
    ways = [{"key": "lost"}, {"trace": flow.traces["lost"]}, {"at": f"{flow.source}:0:2"}]
    for way in ways:
        assert told(flow, tmp_path, **way).facts["outcome"] == "lost", way
    assert told(flow, tmp_path, at=f"{flow.dead_letters}:0:0").facts["outcome"] == "dead_lettered"
    alone = {"source": "", "sink": "", "dead_letters": "", "group": ""}
    assert told(flow, tmp_path, at=f"{flow.source}:0:2", **alone).facts["records"] == 1
    absent = told(flow, tmp_path, message_id="'; DROP TABLE records; --")
    assert (absent.facts["outcome"], absent.facts["records"]) == ("never_sent", 0)


def test_a_time_narrows_the_search_and_never_decides_what_lies_outside(flow: Flow, tmp_path: Path):
    near = told(flow, tmp_path, message_id=flow.ids["lost"], around=datetime.now(UTC))
    assert near.facts["outcome"] == "lost"
    far = told(flow, tmp_path, message_id=flow.ids["delivered"], around="3d")
    assert (far.facts["outcome"], far.verdict) == ("unverifiable", "undecided")


def test_the_command_line_tells_it_and_its_saved_evidence_again(flow: Flow, tmp_path: Path):
    command = [sys.executable, "-m", "workbench", "message", flow.ids["dead_lettered"], "--bootstrap", flow.bootstrap]
    command += ["--topic", flow.source, "--topic", flow.sink, "--topic", flow.dead_letters, "--group", flow.group]
    done = subprocess.run(
        [*command, "--format", "json", "--save", str(tmp_path / "kept")], capture_output=True, text=True, check=False
    )
    assert done.returncode == 12, done.stderr
    report = json.loads(done.stdout)
    assert report["facts"]["outcome"] == "dead_lettered"
    again = subprocess.run(
        [sys.executable, "-m", "workbench", "message", "--evidence", str(tmp_path / "kept"), "--format", "json"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert json.loads(again.stdout)["timeline"] == report["timeline"]
    kept = b"".join(path.read_bytes() for path in (tmp_path / "kept").rglob("*") if path.is_file())
    assert b"not JSON" not in kept


def test_an_id_that_occurs_five_thousand_times_is_one_message(kafka: str, flow: Flow, topic_name: str, tmp_path: Path):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, ({"value": b'{"messageId": "same"}'} for _ in range(5_000)))
    report = told(
        flow, tmp_path, {"kind": "jaeger", "url": flow.jaeger}, source=topic_name, message_id="same", group=""
    )
    assert (report.ledger["messages"], report.facts["records"]) == (1, 5_000)


@contextmanager
def serving(answer: Any) -> Iterator[str]:
    """The address of a service that answers every request in one way."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            with suppress(OSError):  # whoever asked has gone
                answer(self)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def _failing(request: BaseHTTPRequestHandler) -> None:
    request.send_error(500)


def _garbage(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    request.wfile.write(b"\xff\x00{[" * 1_000)


def _dripping(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in range(600):
        request.wfile.write(b" ")
        request.wfile.flush()
        threading.Event().wait(0.1)


def _endless(request: BaseHTTPRequestHandler) -> None:
    request.send_response(200)
    request.end_headers()
    for _ in range(1 << 10):
        request.wfile.write(b"[" * (1 << 20))


@pytest.mark.parametrize(
    ("answer", "words"),
    [(_failing, "HTTP status 500"), (_garbage, "not JSON"), (_dripping, "did not answer within"), (_endless, "more than 128 MiB")],
)  # fmt: skip
def test_a_store_that_misbehaves_costs_its_spans_and_one_sentence(flow: Flow, answer: Any, words: str, tmp_path: Path):
    with serving(answer) as address:
        store = {"kind": "jaeger", "url": address, "timeout_seconds": 3 if answer is _dripping else 60}
        report = told(flow, tmp_path, store, message_id=flow.ids["delivered"])
    assert (report.facts["outcome"], report.verdict) == ("delivered", "ok")
    (said,) = [note.summary for note in report.notes if note.summary.startswith("spans")]
    assert words in said


def test_a_store_that_is_down_is_said_by_the_doctor_and_by_the_search(flow: Flow, tmp_path: Path):
    with serving(_failing) as address:
        pass
    store = {"kind": "jaeger", "url": address, "timeout_seconds": 5}
    assert told(flow, tmp_path, store, message_id=flow.ids["lost"]).facts["outcome"] == "lost"
    checks = diagnose_access(Profile("test", {"bootstrap.servers": flow.bootstrap}, traces=store))
    assert (checks[-1].name, checks[-1].state) == ("Reach the traces (jaeger)", "unreachable")
    store["url"] = flow.jaeger
    checks = diagnose_access(Profile("test", {"bootstrap.servers": flow.bootstrap}, traces=store))
    assert checks[-1].state == "ok"


def test_jaeger_is_searched_by_coordinates_under_old_names(flow: Flow):
    store = connect_traces({"kind": "jaeger", "url": flow.jaeger})
    assert store is not None
    found = store.find(SpanQuery(places=((flow.source, 0, 1),)))
    assert {span.trace_id for span in found.spans} == {flow.traces["dead_lettered"]}


@pytest.mark.notebooks
def test_the_notebook_tells_the_same_story(flow: Flow, tmp_path: Path):
    given = {"bootstrap": flow.bootstrap, "message_id": flow.ids["lost"], **flow.options()}
    result = run_notebook("message", given, tmp_path / "out")
    assert result.report is not None
    assert (result.report["facts"]["outcome"], result.exit_code) == ("lost", 13)
    assert "check loss" in result.html.read_text()
