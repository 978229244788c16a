"""Prometheus, Alertmanager and Jaeger of the sandbox, real ones: they find Kafka, take spans, and go when they should."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from tests.conftest import Observed
from tests.contract.promql import metrics_of
from tests.contract.test_deploy import BROKERS, dashboard_expressions, rules
from workbench.errors import SandboxError
from workbench.sandbox.processes import end, is_alive
from workbench.sandbox.stack import golang, running, traces
from workbench.sandbox.stack.running import Stack, start_stack
from workbench.services.schedule.shelf import Shelf
from workbench.services.schedule.telling import tell

pytestmark = pytest.mark.kafka

PATIENCE_SECONDS = 90.0


def eventually(check: Callable[[], Any]) -> Any:
    """Waits until something holds, and gives it; fails when it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := check()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.2)
    return found


def ask(address: str, path: str, **parameters: str) -> Any:
    return httpx2.get(f"{address}{path}", params=parameters, timeout=20, trust_env=False).json()


def series(stack: Stack, query: str) -> list[dict[str, Any]]:
    return ask(stack.addresses["prometheus"], "/api/v1/query", query=query)["data"]["result"]


def send_span(otlp: str, name: str) -> str:
    """Exports one span as a service would; its trace id in hexadecimal."""
    provider = TracerProvider(resource=Resource.create({"service.name": "stack-test"}))
    provider.add_span_processor(SimpleSpanProcessor(OTLPSpanExporter(f"{otlp}/v1/traces")))
    with provider.get_tracer("test").start_as_current_span(name) as span:
        found = span.get_span_context().trace_id
    provider.shutdown()
    return f"{found:032x}"


def test_prometheus_scrapes_every_broker(observed: Observed):
    targets = observed.kafka.metrics_targets
    up = eventually(lambda: series(observed.stack, 'up{job="kafka"} == 1'))
    assert {(one["metric"]["node"], one["metric"]["instance"]) for one in up} == {
        (str(node), target) for node, target in targets.items()
    }
    replicas = 'kafka_server_replicamanager_value{name="UnderReplicatedPartitions"}'
    (value,) = eventually(lambda: series(observed.stack, replicas))
    assert value["value"][1] == "0.0" or float(value["value"][1]) == 0


def test_prometheus_knows_its_alertmanager(observed: Observed):
    addresses = observed.stack.addresses
    found = ask(addresses["prometheus"], "/api/v1/alertmanagers")["data"]["activeAlertmanagers"]
    assert [one["url"] for one in found] == [f"{addresses['alertmanager']}/api/v2/alerts"]
    assert ask(addresses["alertmanager"], "/api/v2/status")["config"]["original"]


def test_an_integration_is_scraped_once_it_is_named(observed: Observed, unique: str):
    from prometheus_client import CollectorRegistry, Counter, start_http_server

    registry = CollectorRegistry()
    Counter(f"stack_{unique}", "a test's", registry=registry).inc(3)
    server, thread = start_http_server(0, "127.0.0.1", registry=registry)
    try:
        observed.stack.scrape_integration(f"127.0.0.1:{server.server_port}")
        (value,) = eventually(lambda: series(observed.stack, f"stack_{unique}_total"))
    finally:
        observed.stack.scrape_integration()
        server.shutdown()
        thread.join()
    assert value["value"][1] == "3"
    assert value["metric"]["job"] == "integration"


def test_the_alerts_of_the_repository_reach_alertmanager_with_their_runbook(observed: Observed, unique: str):
    """An exporter says that the log begins above what a group has read."""
    from prometheus_client import CollectorRegistry, Gauge, start_http_server

    registry = CollectorRegistry()
    labels = {"topic": unique, "partition": "0"}
    Gauge("kafka_topic_partition_oldest_offset", "x", list(labels), registry=registry).labels(**labels).set(50)
    committed = {**labels, "consumergroup": "slow"}
    Gauge("kafka_consumergroup_current_offset", "x", list(committed), registry=registry).labels(**committed).set(40)
    server, thread = start_http_server(0, "127.0.0.1", registry=registry)
    try:
        observed.stack.scrape_integration(f"127.0.0.1:{server.server_port}")
        address = observed.stack.addresses["alertmanager"]
        (alert,) = eventually(lambda: ask(address, "/api/v2/alerts", filter=f'topic="{unique}"'))
    finally:
        observed.stack.scrape_integration()
        server.shutdown()
        thread.join()
    assert alert["labels"]["alertname"] == "RetentionOvertookGroup"
    assert alert["annotations"]["runbook_url"].endswith("/runbooks/loss-retention-overtook.ipynb")
    assert f"slow lost records of {unique}/0" in alert["annotations"]["summary"]


def test_a_schedule_s_webhook_reaches_alertmanager_and_takes_the_alert_back(observed: Observed, tmp_path: Path):
    address = observed.stack.addresses["alertmanager"]
    hooks = {"ops": {"url": address, "kind": "alertmanager"}}
    wanted = {"filter": 'alertname="WorkbenchVerdict"'}
    with Shelf.opened(tmp_path / "reports") as shelf:
        run = replace(shelf.begin(datetime.now(UTC)), verdict="failed", error="no broker answers")
        assert tell(hooks, shelf, run) == {}
        (alert,) = eventually(lambda: ask(address, "/api/v2/alerts", **wanted))
        assert alert["annotations"]["description"] == "The run failed: no broker answers"
        assert tell(hooks, shelf, replace(run, verdict="ok", error=None)) == {}
        assert eventually(lambda: not ask(address, "/api/v2/alerts", **wanted))


def test_each_metric_of_brokers_that_dashboards_and_alerts_name_exists(observed: Observed):
    expressions = [*dashboard_expressions(), *(rule["expr"] for rule in rules())]
    named = {name for text in expressions for name in metrics_of(text)}
    of_brokers = {name for name in named if name.startswith(BROKERS)}
    assert len(of_brokers) > 5
    told = "/api/v1/label/__name__/values"
    eventually(lambda: of_brokers <= set(ask(observed.stack.addresses["prometheus"], told)["data"]))


def test_jaeger_takes_spans_and_gives_them_by_id(jaeger: Stack):
    """Through OTLP over HTTP, as the integration sends them; over the HTTP API v3 and the older JSON."""
    trace_id = send_span(jaeger.addresses["otlp_http"], "process orders")
    address = jaeger.addresses["jaeger"]
    older = eventually(lambda: ask(address, f"/api/traces/{trace_id}").get("data"))
    assert older[0]["spans"][0]["operationName"] == "process orders"
    newer = ask(address, f"/api/v3/traces/{trace_id}")
    (resource,) = newer["result"]["resourceSpans"]
    assert resource["scopeSpans"][0]["spans"][0]["name"] == "process orders"


def test_without_go_spans_go_into_an_otlp_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(golang, "go", lambda: None)
    said: list[str] = []
    with start_stack(("traces",), folder=tmp_path / "stack", say=said.append) as stack:
        assert "jaeger" not in stack.addresses
        trace_id = send_span(stack.addresses["otlp_http"], "process orders")
        (line,) = Path(stack.addresses["otlp_file"]).read_text().splitlines()
        refused = httpx2.post(f"{stack.addresses['otlp_http']}/v1/traces", content=b"\xff nothing", trust_env=False)
    (span,) = json.loads(line)["resourceSpans"][0]["scopeSpans"][0]["spans"]
    assert span["traceId"] == trace_id
    assert len(span["spanId"]) == 16
    assert refused.status_code == 400
    assert len(said) == 1


def test_a_service_that_does_not_start_says_why_and_leaves_no_process(tmp_path: Path):
    rules = tmp_path / "rules"
    rules.mkdir()
    (rules / "broken.yml").write_text("groups: [{name: g, rules: [{alert: A, expr: 'rate('}]}]")
    with pytest.raises(SandboxError, match=r"prometheus ended while it started: .*broken\.yml.*unclosed") as caught:
        start_stack(("prometheus",), folder=tmp_path / "stack", settings={"rules": str(rules)})
    assert Path(caught.value.hint.removeprefix("Its log: ")).is_file()
    assert not processes_that_name(str(tmp_path))


def test_a_port_that_is_taken_meanwhile_is_exchanged_for_another(monkeypatch: pytest.MonkeyPatch, observed: Observed):
    look = running.free_ports
    taken = [int(observed.stack.addresses["prometheus"].rpartition(":")[2])]
    monkeypatch.setattr(running, "free_ports", lambda count: [*(taken and [taken.pop()]), *look(count)][:count])
    with start_stack(("prometheus",)) as stack:
        assert taken == []
        assert stack.addresses["prometheus"] != observed.stack.addresses["prometheus"]
        assert stack.is_up("prometheus")


PROGRAM = """
import time
from workbench.sandbox.stack.running import start_stack
stack = start_stack(("prometheus",))
print(stack.processes["prometheus"].pid, stack.processes["alertmanager"].pid, stack.folder, flush=True)
time.sleep(600)
"""


def test_no_service_outlives_the_program_that_started_it():
    program = subprocess.Popen([sys.executable, "-c", PROGRAM], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    *pids, folder = program.stdout.readline().split()
    program.kill()
    program.communicate()
    for pid in pids:
        eventually(lambda pid=pid: not psutil.pid_exists(int(pid)) or not is_alive(psutil.Process(int(pid))))
    eventually(lambda: not Path(folder).exists())


def processes_that_name(text: str) -> list[psutil.Process]:
    """Live processes with this text in their command line, ours excepted."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and any(text in word for word in process.info["cmdline"] or [])
    ]


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs ``workbench sandbox ...`` with a state folder of its own, and ends what is left at the end."""
    folder = tmp_path / "sandbox"

    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "workbench.cli", "sandbox", *arguments],
            env={**os.environ, "WORKBENCH_SANDBOX_DIR": str(folder)},
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    end(processes_that_name(str(folder)), grace_seconds=0)


def test_up_with_the_stack_heals_it_adds_to_it_and_down_ends_it(
    jaeger: Stack, sandbox: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    first = sandbox("up", "--with", "prometheus", "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert set(told["services"]) == {"prometheus", "alertmanager"}
    exported = sandbox("status", "--env").stdout.splitlines()
    assert f"export WORKBENCH_SANDBOX_PROMETHEUS={told['services']['prometheus']}" in exported

    (prometheus,) = processes_that_name(f"--config.file={tmp_path / 'sandbox' / 'stack' / 'prometheus'}")
    os.kill(prometheus.pid, signal.SIGKILL)
    eventually(lambda: "prometheus  down" in sandbox("status").stdout)
    more = json.loads(sandbox("up", "--with", "traces,prometheus", "--json").stdout)
    assert more["bootstrap"] == told["bootstrap"]
    assert more["services"].items() > told["services"].items()
    assert httpx2.get(f"{told['services']['prometheus']}/-/ready", trust_env=False, timeout=20).status_code == 200

    ended = json.loads(sandbox("down", "--json").stdout)
    assert len(ended["pids"]) == 4
    assert not processes_that_name(str(tmp_path))
    assert not (tmp_path / "sandbox" / "stack").exists()


def test_an_unknown_part_is_refused_before_anything_starts(sandbox: Callable[..., subprocess.CompletedProcess[str]]):
    done = sandbox("up", "--with", "grafana")
    assert done.returncode == 2
    assert "It has prometheus, traces, postgres, registry." in done.stderr
    assert sandbox("up", "--mock", "--with", "traces").returncode == 2
    assert sandbox("status").returncode == 1


def test_the_cached_jaeger_is_the_pinned_one(jaeger: Stack):
    program = traces.jaeger_program()
    assert program is not None, "Go is needed to build Jaeger"
    told = subprocess.run([program, "version"], capture_output=True, text=True, check=False)
    assert told.returncode == 0
