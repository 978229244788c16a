"""What exporters call things, and how queries are made of it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.config import Profile
from workbench.errors import ConfigError
from workbench.sources.prometheus import METRICS, Prometheus, step_for
from workbench.sources.prometheus.client import MOST_POINTS
from workbench.sources.prometheus.moments import Standing, Told, _joined
from workbench.sources.prometheus.names import known, quoted

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def test_each_exporter_that_is_promised_has_lag_or_replication():
    for exporter in ("kafka_exporter", "kminion", "Burrow", "klag", "kafka-lag-exporter"):
        assert {"log_end_offset", "lag"} <= {metric.fact for metric in METRICS if metric.exporter == exporter}
    assert "under_replicated" in {metric.fact for metric in METRICS if metric.exporter == "JMX exporter"}


def test_facts_of_a_group_can_be_asked_by_group_and_those_of_a_partition_by_partition():
    for metric in METRICS:
        if metric.fact in {"committed_offset", "lag", "lag_seconds"}:
            assert {"topic", "partition", "group"} <= metric.labels.keys(), metric
        if metric.fact in {"log_end_offset", "log_start_offset", "under_replicated"}:
            assert {"topic", "partition"} == metric.labels.keys(), metric


def test_only_names_that_are_there_are_asked_for():
    found = known({"klag_consumer_lag", "kminion_kafka_consumer_group_topic_partition_lag", "other"}, "lag")
    assert [metric.exporter for metric in found] == ["klag", "kminion"]
    assert known(set(), "lag") == []


def test_topics_and_groups_are_values_never_parts_of_the_query():
    (metric,) = known({"kafka_consumergroup_lag"}, "lag")
    hostile = 'x"} or vector(1) #\n\\'
    assert metric.selector(["a.b", "c"], hostile) == (
        'kafka_consumergroup_lag{topic=~"a\\\\.b|c",consumergroup="x\\"} or vector(1) #\\n\\\\"}'
    )
    assert metric.selector(more='cluster="a"') == 'kafka_consumergroup_lag{cluster="a"}'
    assert Prometheus({"url": "http://h", "matchers": '{cluster="a"}'}).matchers == 'cluster="a"'
    assert quoted("é") == '"é"'


@given(
    seconds=st.floats(0, 10 * 365 * 86_400, allow_nan=False),
    wanted=st.none() | st.floats(0.001, 86_400, allow_nan=False),
)
def test_no_series_of_a_range_query_has_more_points_than_prometheus_allows(seconds: float, wanted: float | None):
    until = NOW
    since = until - timedelta(seconds=seconds)
    step = float(f"{step_for(since, until, wanted):.3f}")
    assert (until - since).total_seconds() / step + 1 <= MOST_POINTS + 1
    assert wanted is None or step >= round(wanted, 3)


def test_the_step_is_15_seconds_where_nothing_else_is_asked_for():
    assert step_for(NOW - timedelta(hours=1), NOW) == 15
    assert step_for(NOW - timedelta(hours=1), NOW, 60) == 60


def test_settings_that_do_not_fit_are_refused_before_anything_is_asked():
    for settings in ({"url": "localhost:9090"}, {"url": "http://h", "timeout_seconds": "soon"}, {}):
        with pytest.raises(ConfigError):
            Prometheus(settings)


def test_no_secret_shows():
    profile = Profile("p", {"bootstrap.servers": "h:1"}, prometheus={"url": "http://h", "bearer_token": "xyz"})
    assert "xyz" not in repr(profile)
    assert "pass" not in repr(Prometheus({"url": "http://" + "user:pass" + "@h"}))


def test_an_offset_that_is_not_told_follows_from_what_the_same_exporter_says():
    facts = {
        "log_end_offset": {("t", 0, 1): Told(120, "a"), ("t", 1, 1): Told(9, "a"), ("t", 5, 1): Told(9, "a")},
        "committed_offset": {("t", 2, 1): Told(40, "a"), ("t", 3, 1): Told(7, "a")},
        "lag": {
            ("t", 0, 1): Told(20, "a"),
            ("t", 2, 1): Told(2, "a"),
            ("t", 4, 1): Told(3, "a"),
            ("t", 5, 1): Told(3, "b"),
        },
    }
    assert _joined(facts) == [
        Standing("t", 0, 1, 100, 120),
        Standing("t", 2, 1, 40, 42),
        Standing("t", 3, 1, 7, None),
    ]
