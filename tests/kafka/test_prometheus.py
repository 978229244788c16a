"""Questions asked of a real Prometheus that scrapes a real broker, and metrics in the names of the exporters."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client import CollectorRegistry, Counter, Gauge, start_http_server

from scripts.dashboards import dashboard
from tests.conftest import Observed
from tests.kafka.integration_parts import Service, running
from workbench.config import Profile
from workbench.errors import SourceError, SourceUnavailable
from workbench.integration.failures import PermanentError, TransientError
from workbench.integration.monitoring import Health, monitored
from workbench.integration.records import Record
from workbench.sources import connect
from workbench.sources.doctor import diagnose_access
from workbench.sources.prometheus import Prometheus, errors, history, replication, standing
from workbench.sources.prometheus.names import METRICS, Metric

pytestmark = pytest.mark.kafka

PATIENCE_SECONDS = 90.0
FACTS = {"log_end_offset": 120, "log_start_offset": 20, "committed_offset": 100, "lag": 20, "lag_seconds": 7}


def eventually(check: Callable[[], Any]) -> Any:
    """Waits until something holds, and gives it; fails when it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not (found := check()):
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.3)
    return found


@pytest.fixture(scope="module")
def prometheus(observed: Observed) -> Iterator[Prometheus]:
    with Prometheus({"url": observed.stack.addresses["prometheus"]}, 60) as opened:
        eventually(lambda: opened.query('up{job="kafka"} == 1').num_rows)
        yield opened


def lately() -> dict[str, datetime]:
    now = datetime.now(UTC)
    return {"since": now - timedelta(minutes=2), "until": now + timedelta(seconds=1)}


def test_an_instant_query_is_a_table(prometheus: Prometheus):
    (row,) = prometheus.query("sum by (job) (up{job='kafka'})").to_pylist()
    assert row["name"] is None
    assert json.loads(row["labels"]) == {"job": "kafka"}
    assert row["value"] == 1
    assert abs(row["at_ms"] / 1000 - time.time()) < 3600
    assert prometheus.query("nothing_has_this_name").num_rows == 0
    (scalar,) = prometheus.query("scalar(vector(7))").to_pylist()
    assert (scalar["labels"], scalar["value"]) == ("{}", 7)
    assert prometheus.query("vector(0)/0").to_pylist()[0]["value"] is None


def test_a_range_query_is_a_row_a_sample_and_never_too_fine(prometheus: Prometheus):
    until = datetime.now(UTC)
    found = prometheus.query_range("vector(1)", until - timedelta(minutes=5), until, 60)
    assert found.num_rows == 6
    year = prometheus.query_range("vector(1)", until - timedelta(days=365), until, 1)
    assert 10_900 < year.num_rows <= 11_000


def test_a_wrong_query_is_refused_in_prometheus_words(prometheus: Prometheus):
    with pytest.raises(SourceError, match=r"refused the query: .*parse error") as caught:
        prometheus.query("rate(")
    assert not isinstance(caught.value, SourceUnavailable)


def test_log_ends_of_a_real_topic_through_the_jmx_exporter(prometheus: Prometheus, observed: Observed, topic_name: str):
    admin = AdminClient({"bootstrap.servers": observed.kafka.bootstrap})
    admin.create_topics([NewTopic(topic_name, 2)])[topic_name].result(60)
    producer = Producer({"bootstrap.servers": observed.kafka.bootstrap, "log_level": 0})
    for number in range(30):
        producer.produce(topic_name, b"x", partition=number % 3 % 2)
    assert producer.flush(60) == 0
    prometheus._names = None

    def ends() -> dict[int, float]:
        answer = history(prometheus, [topic_name], None, **lately(), step_seconds=1)
        rows = [row for row in answer.rows() if row["fact"] == "log_end_offset"]
        return {row["partition"]: row["value"] for row in rows} if rows else {}

    eventually(lambda: ends() == {0: 20, 1: 10})
    answer = history(prometheus, [topic_name], "nobody", **lately(), step_seconds=1)
    assert {row["exporter"] for row in answer.rows()} == {"JMX exporter"}
    assert {"committed_offset", "lag"} <= answer.failures.keys()


def test_a_healthy_cluster_has_nothing_under_replicated_or_offline(prometheus: Prometheus):
    answer = replication(prometheus)
    found = {(row["fact"], row["value"]) for row in answer.rows()}
    assert {("under_replicated_partitions", 0), ("offline_partitions", 0)} <= found
    assert {row["value"] for row in answer.rows()} == {0}


def exposed(registry: CollectorRegistry, metric: Metric, topic: str, group: str) -> None:
    """One series of an exporter, as it would write it, with the value that ``FACTS`` has in our unit."""
    values = {"topic": topic, "partition": "3", "group": group}
    labels = {label: values[column] for column, label in metric.labels.items()}
    gauge = Gauge(metric.name, "an exporter's", list(labels), registry=registry)
    gauge.labels(**labels).set(FACTS[metric.fact] / metric.unit)


EXPORTERS = sorted({metric.exporter for metric in METRICS if metric.fact == "lag"} - {"integration"})


@pytest.mark.parametrize("exporter", EXPORTERS)
def test_offsets_and_lag_come_from_whatever_exporter_is_there(
    prometheus: Prometheus, observed: Observed, unique: str, exporter: str
):
    """A group's name may be anything; a topic's name is never a pattern."""
    topic, group = f"orders.{unique}", f'the "group" {unique}'
    registry = CollectorRegistry()
    metrics = [metric for metric in METRICS if metric.exporter == exporter and metric.fact in FACTS]
    for metric in metrics:
        exposed(registry, metric, topic, group)
    server, thread = start_http_server(0, "127.0.0.1", registry=registry)
    try:
        observed.stack.scrape_integration(f"127.0.0.1:{server.server_port}")

        def told() -> dict[str, float]:
            prometheus._names = None
            answer = history(prometheus, [topic], group, **lately(), step_seconds=1)
            return {row["fact"]: row["value"] for row in answer.rows() if row["partition"] == 3}

        wanted = {metric.fact: FACTS[metric.fact] for metric in metrics}
        found = eventually(lambda: told() if told().keys() >= wanted.keys() else None)
        now_ms = round(time.time() * 1000)
        moments, _ = standing(prometheus, group, now_ms - 60_000, now_ms + 1000)
        other = history(prometheus, [topic.replace(".", "x")], group, **lately(), step_seconds=1)
    finally:
        observed.stack.scrape_integration()
        server.shutdown()
        thread.join()
    assert {fact: found[fact] for fact in wanted} == pytest.approx(wanted)
    ours = {(one.committed_offset, one.log_end_offset) for one in moments if one.topic == topic}
    assert ours == {(FACTS["committed_offset"], FACTS["log_end_offset"])}
    assert other.table.num_rows == 0
    assert "lag" in other.failures


def test_errors_that_an_integration_counts(prometheus: Prometheus, observed: Observed, topic_name: str):
    registry = CollectorRegistry()
    counter = Counter("message_processing_failures_total", "x", ["topic", "category"], registry=registry)
    counter.labels(topic_name, "transient")
    server, thread = start_http_server(0, "127.0.0.1", registry=registry)
    try:
        observed.stack.scrape_integration(f"127.0.0.1:{server.server_port}")
        selector = f'message_processing_failures_total{{topic="{topic_name}"}}'
        eventually(lambda: prometheus.query(selector).num_rows)
        counter.labels(topic_name, "transient").inc(50)
        eventually(lambda: prometheus.query(f"{selector} == 50").num_rows)
        prometheus._names = None
        now = datetime.now(UTC)
        answer = errors(prometheus, now - timedelta(minutes=1), now + timedelta(seconds=1))
    finally:
        observed.stack.scrape_integration()
        server.shutdown()
        thread.join()
    (row,) = [row for row in answer.rows() if row["topic"] == topic_name]
    assert (row["kind"], row["exporter"]) == ("transient", "integration")
    assert row["count"] > 0
    assert row["per_second"] == pytest.approx(row["count"] / 61)


def faults() -> Callable[[Record], None]:
    """Refuses each tenth record, and lets another tenth pass at the second attempt."""
    tried: set[str] = set()

    def fault(record: Record) -> None:
        name = record.message_id or ""
        if name.endswith("3"):
            raise PermanentError("bad format")
        if name.endswith("7") and name not in tried:
            tried.add(name)
            raise TransientError("mail server is away")

    return fault


def test_the_reference_integration_is_seen_through_prometheus(
    prometheus: Prometheus, observed: Observed, topic_name: str
):
    """What it processes, buries and has left, in the expressions of its dashboard."""
    service = Service(observed.kafka.bootstrap, topic_name, "least", "classic", faults()).open()
    done = f'sum(messages_processed_total{{topic="{service.source}"}})'
    try:
        with monitored(service.metrics, Health()) as address, running(service.consumer()):
            observed.stack.scrape_integration(address.removeprefix("http://"))
            for total in (50, 100):
                service.send(range(total - 50, total))
                eventually(lambda total=total: prometheus.query(f"{done} == {total}").num_rows)
            lag_of = f'consumer_lag_records{{group="{service.group}"}} == 0'
            eventually(lambda: prometheus.query(lag_of).num_rows == service.partitions)
            answered = {text: prometheus.query(text).num_rows for text in _integration_dashboard(service.source)}
            prometheus._names = None
            now = datetime.now(UTC)
            counted = errors(prometheus, now - timedelta(minutes=2), now)
            lag = history(prometheus, [service.source], service.group, **lately(), facts=["lag"], step_seconds=1)
            now_ms = round(time.time() * 1000)
            past_of, _ = standing(prometheus, service.group, now_ms - 30_000, now_ms)
    finally:
        observed.stack.scrape_integration()
    silent = [text for text, rows in answered.items() if not rows]
    # No breaker, no failed send and no broken connection in this service.
    assert [text for text in silent if not re.search("circuit_breaker|send_failures|connection_errors", text)] == []
    failed = {(row["name"], row["kind"]) for row in counted.rows() if row["topic"] == service.source}
    assert failed == {("message_processing_failures_total", kind) for kind in ("permanent", "transient")}
    assert {row["exporter"] for row in lag.rows()} == {"integration"}
    assert past_of == [], "lag of the service and log ends of the broker are of different moments"


def _integration_dashboard(topic: str) -> list[str]:
    """Its expressions as Grafana asks them, for one topic."""
    found = [target["expr"] for panel in dashboard("integration")["panels"] for target in panel["targets"]]
    return [text.replace("$topic", f"{topic}.*").replace("$__rate_interval", "1m") for text in found]


def test_sources_have_it_where_the_profile_names_one(observed: Observed):
    kafka = {"bootstrap.servers": observed.kafka.bootstrap}
    with connect(Profile("p", kafka)) as sources:
        assert sources.prometheus is None
    url = observed.stack.addresses["prometheus"]
    with connect(Profile("p", kafka, prometheus={"url": url, "timeout_seconds": 60})) as sources:
        assert sources.prometheus is not None
        assert "up" in sources.prometheus.names()


def test_the_doctor_says_whether_it_is_reached_and_whose_metrics_it_has(observed: Observed):
    kafka = {"bootstrap.servers": observed.kafka.bootstrap}
    url = observed.stack.addresses["prometheus"]
    with Prometheus({"url": url}, 60) as opened:
        eventually(lambda: opened.query("kafka_server_replicamanager_value").num_rows)
    *_, good = diagnose_access(Profile("p", kafka, prometheus={"url": url, "timeout_seconds": 60}))
    assert (good.name, good.state) == ("Reach Prometheus", "ok")
    assert good.detail.startswith("2.")
    assert "JMX exporter" in good.detail
    *_, bad = diagnose_access(Profile("p", kafka, prometheus={"url": "http://127.0.0.1:9"}))
    assert bad.state == "unreachable"
    assert bad.undecided == (), "it adds to what is known; no rule rests on it alone"
    assert all(check.name != "Reach Prometheus" for check in diagnose_access(Profile("p", kafka)))
