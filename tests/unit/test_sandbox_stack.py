"""Services beside Kafka: only the pinned Go module is built, once, and spans keep their ids on the way into a file."""

from __future__ import annotations

import base64
import json
import subprocess
from pathlib import Path

import pytest

from workbench.config import load_config
from workbench.errors import SandboxError, UsageError
from workbench.sandbox.stack import golang, otlp_file, running, service
from workbench.sandbox.state import Sandbox, Service

PROGRAM = golang.GoProgram("thing", "example.org/thing", "v1.0.0", "h1:good", "cmd/thing")


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """An empty cache and a Go that delivers the module with the checksum ``h1:good`` and builds it."""
    made: list[list[str]] = []

    def run(command: list[str]) -> subprocess.CompletedProcess[str]:
        made.append(command)
        if command[1] == "build":
            Path(command[command.index("-o") + 1]).write_text("an executable")
        return subprocess.CompletedProcess(command, 0, json.dumps({"Dir": "source", "Sum": "h1:good"}), "")

    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(golang, "go", lambda: Path("go"))
    monkeypatch.setattr(golang, "_run", run)
    return made


def test_a_program_is_built_once(calls: list[list[str]]):
    said: list[str] = []
    first = golang.build(PROGRAM, say=said.append)
    assert first == golang.build(PROGRAM, say=said.append)
    assert first is not None
    assert first.read_text() == "an executable"
    assert [command[1] for command in calls] == ["mod", "build"]
    assert len(said) == 1


def test_a_module_that_is_not_the_pinned_one_is_not_built(calls: list[list[str]]):
    other = golang.GoProgram("thing", "example.org/thing", "v1.0.0", "h1:other", "cmd/thing")
    with pytest.raises(SandboxError, match="not the pinned one"):
        golang.build(other)
    assert [command[1] for command in calls] == ["mod"]


def test_without_go_and_without_a_built_one_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(golang, "go", lambda: None)
    assert golang.build(PROGRAM) is None


def test_a_module_proxy_out_of_reach_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(golang, "go", lambda: Path("go"))
    refused = subprocess.CompletedProcess([], 1, '{"Error": "dial tcp: refused"}', "")
    monkeypatch.setattr(golang, "_run", lambda _: refused)
    with pytest.raises(SandboxError, match="cannot be fetched: dial tcp: refused") as caught:
        golang.build(PROGRAM)
    assert "GOPROXY" in caught.value.hint


def test_a_part_that_is_not_there_is_named():
    with pytest.raises(UsageError, match="'grafana'"):
        running.require_parts(["grafana"])


def test_a_missing_program_names_the_package(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", "")
    with pytest.raises(SandboxError) as caught:
        running.require_parts(["prometheus"])
    assert "apt-get install prometheus" in caught.value.hint


def test_the_error_of_a_service_is_its_first(tmp_path: Path):
    plan = service.ServicePlan("thing", (), "", tmp_path, "", {})
    plan.log_file.write_text('level=info\nlevel=error err="the \\"cause\\""\nlevel=error err="a consequence"\n')
    assert str(service.failure(plan, "ended")) == 'thing ended: the "cause"'


@pytest.mark.parametrize(
    ("addresses", "kind", "where"),
    [
        ({"jaeger": "http://h:1", "otlp_http": "http://h:2"}, "jaeger", ("url", "http://h:1")),
        ({"otlp_file": "spans.jsonl", "otlp_http": "http://h:2"}, "otlp-file", ("path", "spans.jsonl")),
    ],
)
def test_the_shipped_profile_finds_the_services_by_the_variables(
    monkeypatch: pytest.MonkeyPatch, addresses: dict[str, str], kind: str, where: tuple[str, str]
):
    addresses = {**addresses, "prometheus": "http://h:3"}
    plan = service.ServicePlan("all", (), "", Path(), "", addresses)
    found = Sandbox("kafka", "4", "h:9", Path(), (), (Service(plan, None, None),))
    for name, value in found.to_environment().items():
        monkeypatch.setenv(name, value)
    profile = load_config(Path(__file__).parents[2] / "workbench.toml").profile("sandbox")
    assert profile.bootstrap == "h:9"
    assert profile.prometheus == {"url": "http://h:3"}
    assert profile.traces is not None
    assert (profile.traces["kind"], profile.traces[where[0]]) == (kind, where[1])


def test_without_services_the_shipped_profile_names_none(monkeypatch: pytest.MonkeyPatch):
    for name in ("PROMETHEUS", "JAEGER", "TRACES", "SPANS"):
        monkeypatch.delenv(f"WORKBENCH_SANDBOX_{name}", raising=False)
    profile = load_config(Path(__file__).parents[2] / "workbench.toml").profile("sandbox")
    assert (profile.prometheus, profile.traces) == (None, None)


def test_ids_of_spans_are_hexadecimal_in_the_file():
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    request = ExportTraceServiceRequest()
    span = request.resource_spans.add().scope_spans.add().spans.add()
    span.trace_id, span.span_id, span.name = bytes(range(16)), bytes(range(8)), "x"
    span.links.add().trace_id = bytes(16)
    span.attributes.add().value.bytes_value = b"kept"
    (told,) = otlp_file.as_json(request.SerializeToString(), "application/x-protobuf")["resourceSpans"][0]["scopeSpans"]
    written = told["spans"][0]
    assert written["traceId"] == bytes(range(16)).hex()
    assert written["spanId"] == bytes(range(8)).hex()
    assert written["links"][0]["traceId"] == "00" * 16
    assert base64.b64decode(written["attributes"][0]["value"]["bytesValue"]) == b"kept"


def test_what_is_no_trace_request_is_refused():
    for body, kind in ((b"[]", "application/json"), (b"{", "application/json"), (b"\xff\xff", "")):
        with pytest.raises(ValueError, match=r"."):
            otlp_file.as_json(body, kind)
