"""A group's past as an exporter told Prometheus, where the coordinator's log may not be read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client import CollectorRegistry, Gauge, start_http_server

from tests.conftest import Observed
from tests.kafka.integration_parts import until
from workbench.config import Profile
from workbench.errors import AccessDenied
from workbench.problems import lag
from workbench.problems.lag import past
from workbench.problems.scope import scope_from
from workbench.sources import connect
from workbench.sources.prometheus import METRICS, Prometheus, moments

pytestmark = pytest.mark.kafka

WANTED = {"kafka_topic_partition_current_offset", "kafka_consumergroup_current_offset"}


def committed_group(bootstrap: str, topic: str, group: str) -> None:
    """A topic with 40 records of which a group has committed 10."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 1)])[topic].result(60)
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for _ in range(40):
        producer.produce(topic, b"x", partition=0)
    assert producer.flush(60) == 0
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(topic, 0, 10)], asynchronous=False)
    consumer.close()


def exporter(observed: Observed, topic: str, group: str) -> dict[str, Gauge]:
    """Series of that group in kafka_exporter's names, scraped from now on; fact -> gauge."""
    values = {"topic": topic, "partition": "0", "group": group}
    registry, gauges = CollectorRegistry(), {}
    for metric in METRICS:
        if metric.name in WANTED:
            labels = {label: values[column] for column, label in metric.labels.items()}
            gauges[metric.fact] = Gauge(metric.name, "x", list(labels), registry=registry).labels(**labels)
    server, _ = start_http_server(0, "127.0.0.1", registry=registry)
    observed.stack.scrape_integration(f"127.0.0.1:{server.server_port}")
    return gauges


def test_a_group_whose_commit_log_may_not_be_read_has_its_past_from_prometheus(
    observed: Observed, topic_name: str, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """Samples of the past come from the exporter, the present from the brokers."""

    def denied(*_: object) -> None:
        raise AccessDenied("Read denied on topic __consumer_offsets.", source="cluster")

    monkeypatch.setattr(past, "commit_history", denied)
    # The exporter lives for seconds, so each second of the hour is asked for.
    monkeypatch.setattr(moments, "FINEST_SECONDS", 1.0)
    monkeypatch.setattr(moments, "MOST_MOMENTS", 3600)
    committed_group(observed.kafka.bootstrap, topic_name, unique)
    gauges = exporter(observed, topic_name, unique)
    url = observed.stack.addresses["prometheus"]
    try:
        with Prometheus({"url": url}, 60) as opened:
            for end, committed in ((20, 5), (30, 8)):
                gauges["log_end_offset"].set(end)
                gauges["committed_offset"].set(committed)
                query = f'kafka_topic_partition_current_offset{{topic="{topic_name}"}} == {end}'
                until(lambda query=query: opened.query(query).num_rows, f"a scrape of {end}")
                time.sleep(3)  # some of the seconds that are asked for lie in this state
        kafka = {"bootstrap.servers": observed.kafka.bootstrap}
        with connect(Profile("p", kafka, prometheus={"url": url, "timeout_seconds": 60})) as sources:
            evidence = lag.collect(sources, scope_from(None, group=unique, source=topic_name), work_dir=tmp_path)
    finally:
        observed.stack.scrape_integration()
    rows = evidence.tables["samples"].to_pylist()
    told = {(row["committed_offset"], row["log_end_offset"]) for row in rows if row["history"] == "prometheus"}
    # A scrape may fall between the two settings.
    assert {(5, 20), (8, 30)} <= told <= {(5, 20), (5, 30), (8, 30)}
    assert [(row["committed_offset"], row["log_end_offset"]) for row in rows if row["history"] == "now"] == [(10, 40)]
    assert evidence.facts["history_from"] == "prometheus"
    assert "commit_history" in evidence.missing
