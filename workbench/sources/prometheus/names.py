"""What exporters call the facts of a cluster: one table, so that a question is asked in each one's words.

Names as they stand in the exporters' own sources (kafka_exporter 1.9, kminion 2.2, Burrow 1.9, klag, kafka-lag-exporter
0.8). The JMX exporter's names come from its rules: those of the sandbox (``.*``), and those of its example
configurations and of Strimzi.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

Fact = Literal[
    "log_end_offset", "log_start_offset", "committed_offset", "lag", "lag_seconds", "members", "under_replicated",
    "under_replicated_partitions", "offline_partitions", "partitions", "leader", "errors",
]  # fmt: skip

Labels = Mapping[str, str]
_PARTITION: Labels = {"topic": "topic", "partition": "partition"}
_KMINION: Labels = {"topic": "topic_name", "partition": "partition_id"}


@dataclass(frozen=True)
class Metric:
    """One exporter's name for a fact.

    Attributes:
        exporter: whose.
        fact: ours; offsets and lag in records, ``lag_seconds`` in seconds, the rest are counts.
        name: of the series.
        labels: our column -> its label: topic, partition, group, kind.
        matchers: further conditions of the selector, as PromQL.
        unit: what its value is multiplied with to be in our unit.
        counter: it only grows until a restart: asked for through ``increase``.
    """

    exporter: str
    fact: Fact
    name: str
    labels: Labels = field(default_factory=dict)
    matchers: str = ""
    unit: float = 1.0
    counter: bool = False

    def selector(self, topics: Sequence[str] = (), group: str | None = None, more: str = "") -> str:
        """The series of these topics and this group, as PromQL; without a choice, or without the label, all of them.

        Args:
            topics: empty means all.
            group: None means all.
            more: a profile's own matchers, for example ``cluster="orders"``.
        """
        chosen = [text for text in (self.matchers, more) if text]
        if topics and "topic" in self.labels:
            chosen.append(f"{self.labels['topic']}=~{quoted('|'.join(re.escape(topic) for topic in topics))}")
        if group is not None and "group" in self.labels:
            chosen.append(f"{self.labels['group']}={quoted(group)}")
        return f"{self.name}{{{','.join(chosen)}}}" if chosen else self.name


def quoted(text: str) -> str:
    """A PromQL string; JSON's escapes are among those of PromQL."""
    return json.dumps(text, ensure_ascii=False)


def _family(exporter: str, labels: Labels, group: str, names: Mapping[Fact, str]) -> list[Metric]:
    """Metrics of one exporter that share their labels; facts of a group have the group's label too."""
    of_group = {"committed_offset", "lag", "lag_seconds"}
    found = []
    for fact, name in names.items():
        own = {"group": group} if fact == "members" else {**labels, "group": group} if fact in of_group else labels
        found.append(Metric(exporter, fact, name, own))
    return found


# Of what is asked for partition by partition, the first exporter that has it is taken.
METRICS: tuple[Metric, ...] = (
    *_family("kafka_exporter", _PARTITION, "consumergroup", {
        "log_end_offset": "kafka_topic_partition_current_offset",
        "log_start_offset": "kafka_topic_partition_oldest_offset",
        "committed_offset": "kafka_consumergroup_current_offset",
        "lag": "kafka_consumergroup_lag",
        "members": "kafka_consumergroup_members",
        "under_replicated": "kafka_topic_partition_under_replicated_partition",
        "leader": "kafka_topic_partition_leader",
    }),
    # Partitions without a leader have no series of theirs: they show as the difference of these two.
    Metric("kafka_exporter", "partitions", "kafka_topic_partitions", {"topic": "topic"}),
    *_family("klag", _PARTITION, "consumer_group", {
        "log_end_offset": "klag_partition_log_end_offset",
        "log_start_offset": "klag_partition_log_start_offset",
        "committed_offset": "klag_consumer_committed_offset",
        "lag": "klag_consumer_lag",
        "under_replicated": "klag_partition_under_replicated",
    }),
    # Beside each partition's there is the topic's own series, with an empty partition.
    Metric("klag", "lag_seconds", "klag_consumer_lag_ms", {**_PARTITION, "group": "consumer_group"},
           'partition!=""', 0.001),
    *_family("kafka-lag-exporter", _PARTITION, "group", {
        "log_end_offset": "kafka_partition_latest_offset",
        "log_start_offset": "kafka_partition_earliest_offset",
        "committed_offset": "kafka_consumergroup_group_offset",
        "lag": "kafka_consumergroup_group_lag",
        "lag_seconds": "kafka_consumergroup_group_lag_seconds",
    }),
    *_family("Burrow", _PARTITION, "consumer_group", {
        "log_end_offset": "burrow_kafka_topic_partition_offset",
        "committed_offset": "burrow_kafka_consumer_current_offset",
        "lag": "burrow_kafka_consumer_partition_lag",
    }),
    # It has no committed offset of a partition, only their sum.
    *_family("kminion", _KMINION, "group_id", {
        "log_end_offset": "kminion_kafka_topic_partition_high_water_mark",
        "log_start_offset": "kminion_kafka_topic_partition_low_water_mark",
        "lag": "kminion_kafka_consumer_group_topic_partition_lag",
        "members": "kminion_kafka_consumer_group_members",
    }),
    Metric("integration", "lag", "consumer_lag_records", {**_PARTITION, "group": "group"}),
    # Each replica reports its log; the largest is the leader's.
    Metric("JMX exporter", "log_end_offset", "kafka_log_log_value", _PARTITION, 'name="LogEndOffset"'),
    Metric("JMX exporter", "log_start_offset", "kafka_log_log_value", _PARTITION, 'name="LogStartOffset"'),
    Metric("JMX exporter", "log_end_offset", "kafka_log_log_logendoffset", _PARTITION),
    Metric("JMX exporter", "log_start_offset", "kafka_log_log_logstartoffset", _PARTITION),
    Metric("JMX exporter", "under_replicated", "kafka_cluster_partition_value", _PARTITION, 'name="UnderReplicated"'),
    Metric("JMX exporter", "under_replicated", "kafka_cluster_partition_underreplicated", _PARTITION),
    Metric("JMX exporter", "under_replicated_partitions", "kafka_server_replicamanager_value", {},
           'name="UnderReplicatedPartitions"'),
    Metric("JMX exporter", "under_replicated_partitions", "kafka_server_replicamanager_underreplicatedpartitions"),
    Metric("JMX exporter", "offline_partitions", "kafka_controller_kafkacontroller_value", {},
           'name="OfflinePartitionsCount"'),
    Metric("JMX exporter", "offline_partitions", "kafka_controller_kafkacontroller_offlinepartitionscount"),
    Metric("JMX exporter", "errors", "kafka_network_requestmetrics_count", {"kind": "error"},
           'name="ErrorsPerSec",error!="NONE"', counter=True),
    Metric("integration", "errors", "message_processing_failures_total", {"topic": "topic", "kind": "category"},
           counter=True),
    Metric("integration", "errors", "message_send_failures_total", {"topic": "topic", "kind": "reason"}, counter=True),
    Metric("integration", "errors", "connection_errors_total", {"kind": "error"}, counter=True),
    Metric("Spring Kafka", "errors", "spring_kafka_listener_seconds_count", {"kind": "exception"}, 'result="failure"',
           counter=True),
)  # fmt: skip


def known(present: Iterable[str], fact: Fact) -> list[Metric]:
    """The metrics for a fact that are among the names a Prometheus has, in the table's order."""
    names = set(present)
    return [metric for metric in METRICS if metric.fact == fact and metric.name in names]
