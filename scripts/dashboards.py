"""Writes Grafana's dashboards (deploy/grafana/dashboards) from the panels below; with --check only says which are stale.

A panel is a question, its unit, and PromQL; ``legend`` names the series. Tests hold that each expression parses and that
each metric exists.
"""

from __future__ import annotations

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
FOLDER = ROOT / "deploy" / "grafana" / "dashboards"
SOURCE = {"type": "prometheus", "uid": "prometheus"}
WIDTH, HEIGHT, ACROSS = 12, 8, 2


@dataclass(frozen=True)
class Panel:
    """One picture.

    Attributes:
        title: what it shows.
        unit: Grafana's name of the unit: reqps, s, short, bytes, percentunit.
        queries: expression -> legend.
        kind: Grafana's panel type.
    """

    title: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"


def _percentiles(metric: str) -> dict[str, str]:
    quantile = (
        'histogram_quantile({q}, sum by (le, topic) (rate({metric}_bucket{{topic=~"$topic"}}[$__rate_interval])))'
    )
    return {quantile.format(q=q, metric=metric): f"{{{{topic}}}} p{round(q * 100)}" for q in (0.5, 0.95, 0.99)}


INTEGRATION = (
    Panel("Messages processed", "reqps", {
        'sum by (topic, result) (rate(messages_processed_total{topic=~"$topic"}[$__rate_interval]))':
            "{{topic}} {{result}}",
    }),
    Panel("Messages sent", "reqps", {
        'sum by (topic) (rate(messages_sent_total{topic=~"$topic"}[$__rate_interval]))': "{{topic}}",
        'sum by (topic, reason) (rate(message_send_failures_total{topic=~"$topic"}[$__rate_interval]))':
            "{{topic}} failed: {{reason}}",
    }),
    Panel("Processing time", "s", _percentiles("message_processing_duration_seconds")),
    Panel("End-to-end latency", "s", _percentiles("message_end_to_end_latency_seconds")),
    Panel("Failed attempts and retries", "reqps", {
        'sum by (topic, category) (rate(message_processing_failures_total{topic=~"$topic"}[$__rate_interval]))':
            "{{topic}} {{category}}",
        'sum by (topic) (rate(message_retries_total{topic=~"$topic"}[$__rate_interval]))': "{{topic}} retries",
    }),
    Panel("Dead letters", "reqps", {
        'sum by (topic, category) (rate(messages_dead_lettered_total{topic=~"$topic"}[$__rate_interval]))':
            "{{topic}} {{category}}",
    }),
    Panel("Lag (records behind the log end)", "short", {
        'sum by (group, topic) (consumer_lag_records{topic=~"$topic"})': "{{group}} {{topic}}",
    }),
    Panel("Waiting in the process", "short", {"sum by (queue) (message_queue_depth)": "{{queue}}"}),
    Panel("Partitions assigned and paused, rebalances", "short", {
        'sum by (group, topic) (consumer_assigned_partitions{topic=~"$topic"})': "{{group}} {{topic}} assigned",
        'sum by (group, topic) (consumer_paused_partitions{topic=~"$topic"})': "{{group}} {{topic}} paused",
        "sum by (group) (increase(consumer_rebalances_total[$__rate_interval]))": "{{group}} rebalances",
    }),
    Panel("Circuit breakers (1: in this state)", "short", {
        "max by (breaker, state) (circuit_breaker_state)": "{{breaker}} {{state}}",
        "sum by (breaker) (rate(circuit_breaker_rejected_total[$__rate_interval]))": "{{breaker}} refused a second",
    }),
    Panel("Connections", "short", {
        "min by (client) (connection_up)": "{{client}} up",
        "sum by (client, error) (rate(connection_errors_total[$__rate_interval]))": "{{client}} {{error}}",
    }),
    Panel("CPU and memory", "short", {
        'rate(process_cpu_seconds_total{job="integration"}[$__rate_interval])': "{{instance}} cores",
        'process_resident_memory_bytes{job="integration"} / 1024 / 1024': "{{instance}} MiB",
    }),
)  # fmt: skip

KAFKA = (
    Panel("Lag of groups (records)", "short", {
        'sum by (consumergroup, topic) (kafka_consumergroup_lag{topic=~"$topic"} > 0)': "{{consumergroup}} {{topic}}",
    }),
    Panel("Lag of the worst partitions", "short", {
        'topk(10, kafka_consumergroup_lag{topic=~"$topic"})': "{{consumergroup}} {{topic}}/{{partition}}",
    }),
    Panel("Records written", "reqps", {
        'sum by (topic) (rate(kafka_topic_partition_current_offset{topic=~"$topic"}[$__rate_interval]))': "{{topic}}",
    }),
    Panel("Records committed by groups", "reqps", {
        'sum by (consumergroup, topic) (rate(kafka_consumergroup_current_offset{topic=~"$topic"}[$__rate_interval]))':
            "{{consumergroup}} {{topic}}",
    }),
    Panel("Members of groups", "short", {"max by (consumergroup) (kafka_consumergroup_members)": "{{consumergroup}}"}),
    Panel("Records removed by retention", "short", {
        'sum by (topic) (increase(kafka_topic_partition_oldest_offset{topic=~"$topic"}[$__rate_interval]))': "{{topic}}",
    }),
    Panel("Offline and under-replicated partitions", "short", {
        'sum(kafka_controller_kafkacontroller_value{name="OfflinePartitionsCount"})': "offline (JMX)",
        'sum(kafka_server_replicamanager_value{name="UnderReplicatedPartitions"})': "under-replicated (JMX)",
        "sum(kafka_topic_partition_under_replicated_partition)": "under-replicated",
    }),
    Panel("Errors answered by brokers", "reqps", {
        'sum by (request, error) (rate(kafka_network_requestmetrics_count{name="ErrorsPerSec",error!="NONE"}'
        "[$__rate_interval]))": "{{request}} {{error}}",
    }),
    Panel("Messages into brokers (JMX)", "reqps", {
        'sum by (topic) (rate(kafka_server_brokertopicmetrics_count{name="MessagesInPerSec",topic=~"$topic"}'
        "[$__rate_interval]))": "{{topic}}",
    }),
    Panel("Group coordinator", "short", {
        "sum(rate(kafka_server_group_coordinator_metrics_offset_commit_count[$__rate_interval]))": "commits a second",
        "sum(increase(kafka_server_group_coordinator_metrics_group_completed_rebalance_count[$__rate_interval]))":
            "rebalances",
        "sum(increase(kafka_server_group_coordinator_metrics_offset_expiration_count[$__rate_interval]))":
            "offsets expired",
    }),
)  # fmt: skip

DASHBOARDS = {
    "integration": ("Integration overview", INTEGRATION, "label_values(messages_processed_total, topic)"),
    "kafka": ("Kafka: groups, topics, brokers", KAFKA, "label_values(kafka_topic_partition_current_offset, topic)"),
}


def dashboard(name: str) -> dict[str, Any]:
    """One dashboard as Grafana provisions it."""
    title, panels, topics = DASHBOARDS[name]
    return {
        "uid": f"workbench-{name}",
        "title": title,
        "tags": ["workbench"],
        "schemaVersion": 39,
        "editable": False,
        "refresh": "15s",
        "time": {"from": "now-1h", "to": "now"},
        "templating": {"list": [_topics(topics)]},
        "panels": [_panel(number, panel) for number, panel in enumerate(panels)],
    }


def _topics(query: str) -> dict[str, Any]:
    return {
        "name": "topic",
        "type": "query",
        "datasource": SOURCE,
        "query": {"query": query, "refId": "topics"},
        "definition": query,
        "includeAll": True,
        "allValue": ".*",
        "multi": True,
        "refresh": 2,
        "current": {"text": "All", "value": "$__all"},
    }


def _panel(number: int, panel: Panel) -> dict[str, Any]:
    place = {"x": number % ACROSS * WIDTH, "y": number // ACROSS * HEIGHT, "w": WIDTH, "h": HEIGHT}
    targets = [
        {"refId": chr(ord("A") + index), "datasource": SOURCE, "expr": expression, "legendFormat": legend}
        for index, (expression, legend) in enumerate(panel.queries.items())
    ]
    return {
        "id": number + 1,
        "title": panel.title,
        "type": panel.kind,
        "datasource": SOURCE,
        "gridPos": place,
        "fieldConfig": {"defaults": {"unit": panel.unit, "min": 0}, "overrides": []},
        "options": {"legend": {"displayMode": "list", "placement": "bottom"}, "tooltip": {"mode": "multi"}},
        "targets": targets,
    }


def pages() -> dict[Path, str]:
    """File of a dashboard -> what it has to say now."""
    return {FOLDER / f"{name}.json": json.dumps(dashboard(name), indent=1) + "\n" for name in DASHBOARDS}


def main(arguments: list[str]) -> int:
    """Writes what is stale, or with --check names it; the exit code."""
    stale = {path: text for path, text in pages().items() if not path.is_file() or path.read_text() != text}
    for path, text in stale.items():
        print(path.relative_to(ROOT))
        if "--check" not in arguments:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
    return int("--check" in arguments and bool(stale))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
