"""The names that dashboards and alerts use, and what librdkafka's statistics become."""

from __future__ import annotations

import json
import re

import pytest

from workbench.integration import metrics as module
from workbench.integration.metrics import Metrics


@pytest.fixture
def metrics() -> Metrics:
    return Metrics()


def families(metrics: Metrics) -> set[str]:
    return set(re.findall(r"^# TYPE (\S+) ", metrics.exposition().decode(), re.MULTILINE))


def test_the_documented_names_are_the_exposed_ones(metrics):
    documented = set(re.findall(r"^([a-z_]+) +(?:counter|gauge|histogram) ", module.__doc__, re.MULTILINE))
    named = {name for name in families(metrics) if not name.startswith(("process_", "python_"))}
    assert documented == named
    assert {"messages_processed_total", "message_processing_failures_total", "consumer_lag_records"} <= named


def test_the_process_is_described(metrics):
    assert {"process_cpu_seconds_total", "process_resident_memory_bytes", "process_open_fds"} <= families(metrics)


def test_the_latency_alert_can_be_decided(metrics):
    """A quantile above five seconds needs a boundary at five."""
    metrics.duration.labels("t").observe(4)
    assert metrics.value("message_processing_duration_seconds_bucket", topic="t", le="5.0") == 1
    assert metrics.value("message_processing_duration_seconds_bucket", topic="t", le="2.5") == 0


def statistics(lag: int, *, desired: bool = True, state: str = "UP") -> str:
    partition = {"fetchq_cnt": 3, "desired": desired, "consumer_lag": lag}
    return json.dumps(
        {
            "type": "consumer",
            "rx_bytes": 10,
            "brokers": {"a": {"state": state}, "b": {"state": "INIT"}},
            "topics": {"t": {"partitions": {"0": partition}}},
        }
    )


def test_statistics_become_health_queue_and_lag(metrics):
    metrics.take_statistics("consumer", statistics(7), group="g")
    assert metrics.value("consumer_lag_records", group="g", topic="t", partition="0") == 7
    assert metrics.value("message_queue_depth", queue="consumer") == 3
    assert metrics.value("connection_up", client="consumer") == 1
    assert metrics.value("connection_brokers", client="consumer", state="down") == 1


def test_no_standing_connection_is_shown_as_down(metrics):
    metrics.take_statistics("consumer", statistics(7, state="TRY_CONNECT"), group="g")
    assert metrics.value("connection_up", client="consumer") == 0


def test_unknown_lag_is_absent_and_a_lost_partition_goes(metrics):
    metrics.take_statistics("consumer", statistics(-1), group="g")
    assert metrics.value("consumer_lag_records", group="g", topic="t", partition="0") is None
    metrics.take_statistics("consumer", statistics(7), group="g")
    metrics.take_statistics("consumer", statistics(7, desired=False), group="g")
    assert metrics.value("consumer_lag_records", group="g", topic="t", partition="0") is None


def test_a_breaker_is_in_one_state(metrics):
    metrics.enter_breaker_state("b", "closed")
    metrics.enter_breaker_state("b", "open")
    shown = {state: metrics.value("circuit_breaker_state", breaker="b", state=state) for state in module.BREAKER_STATES}
    assert shown == {"closed": 0, "open": 1, "half-open": 0}
