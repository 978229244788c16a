"""What an integration tells Prometheus: one registry a process, and the names that dashboards and alerts use.

============================================  =========  ===============================  ==================================
name                                          type       labels                           says
============================================  =========  ===============================  ==================================
messages_processed_total                      counter    topic, result                    how records of a topic ended
message_processing_duration_seconds           histogram  topic                            from the first attempt to the result
message_processing_failures_total             counter    topic, category                  failed attempts, by kind of error
message_retries_total                         counter    topic                            attempts after the first
message_end_to_end_latency_seconds            histogram  topic                            from the record's time to its result
messages_dead_lettered_total                  counter    topic, category                  acknowledged by the dead-letter topic
messages_sent_total                           counter    topic                            acknowledged by all replicas
message_send_failures_total                   counter    topic, reason                    given up: the sender was told
message_queue_depth                           gauge      queue                            waiting in this process
consumer_lag_records                          gauge      group, topic, partition          log end minus committed offset
consumer_assigned_partitions                  gauge      group, topic                     partitions this member holds
consumer_paused_partitions                    gauge      group, topic                     of these, not fetched at present
consumer_rebalances_total                     counter    group                            assignments received
connection_up                                 gauge      client                           1 when a broker connection stands
connection_brokers                            gauge      client, state                    known brokers by connection state
connection_errors_total                       counter    client, error                    what librdkafka reported
connection_received_bytes                     gauge      client                           since the client began
connection_sent_bytes                         gauge      client                           since the client began
circuit_breaker_state                         gauge      breaker, state                   1 for the state it is in, 0 for others
circuit_breaker_transitions_total             counter    breaker, state                   times a state was entered
circuit_breaker_rejected_total                counter    breaker                          calls refused without a try
process_*, python_gc_*, python_info           several    -                                CPU, memory, file descriptors
============================================  =========  ===============================  ==================================

``result`` is ``success``, ``dead_lettered``, ``skipped`` or ``failed``; ``category`` is ``transient``, ``permanent`` or
``business``; ``client`` is ``producer``, ``consumer``, ``dead-letters`` or a name the program gave; ``queue`` is a client
too, or a processor with a queue. A series that is not known, or no longer, is absent, never 0.
"""

from __future__ import annotations

import json
from collections import Counter as Tally
from collections.abc import Mapping
from typing import Any

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

RESULTS = ("success", "dead_lettered", "skipped", "failed")
CATEGORIES = ("transient", "permanent", "business")
BREAKER_STATES = ("closed", "open", "half-open")

# The document's alert asks whether the 95th percentile is above 5 s: that is a boundary, and there is resolution around it.
DURATION_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 7.5, 10, 30, 60)
LATENCY_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 900, 3600)


class Metrics:
    """The metrics of one process; every part of the integration takes one and reports to it.

    Attributes:
        registry: what ``/metrics`` shows.
    """

    def __init__(self, registry: CollectorRegistry | None = None) -> None:
        self.registry = registry or CollectorRegistry()
        self._lagging: dict[str, set[tuple[str, str, str]]] = {}
        self._messages()
        self._clients()
        self._breakers()
        if registry is None:
            for collector in (ProcessCollector, PlatformCollector, GCCollector):
                collector(registry=self.registry)

    def _messages(self) -> None:
        into = self.registry
        self.processed = Counter("messages_processed_total", "How records ended.", ["topic", "result"], registry=into)
        self.duration = Histogram(
            "message_processing_duration_seconds",
            "From the first attempt to the result.",
            ["topic"],
            buckets=DURATION_BUCKETS,
            registry=into,
        )
        self.failures = Counter(
            "message_processing_failures_total", "Failed attempts.", ["topic", "category"], registry=into
        )
        self.retries = Counter("message_retries_total", "Attempts after the first.", ["topic"], registry=into)
        self.latency = Histogram(
            "message_end_to_end_latency_seconds",
            "From the record's time to its result.",
            ["topic"],
            buckets=LATENCY_BUCKETS,
            registry=into,
        )
        self.dead_lettered = Counter(
            "messages_dead_lettered_total", "Dead letters written.", ["topic", "category"], registry=into
        )
        self.sent = Counter("messages_sent_total", "Acknowledged sends.", ["topic"], registry=into)
        self.send_failures = Counter("message_send_failures_total", "Failed sends.", ["topic", "reason"], registry=into)
        self.queue_depth = Gauge("message_queue_depth", "Messages waiting in this process.", ["queue"], registry=into)

    def _clients(self) -> None:
        into = self.registry
        self.lag = Gauge(
            "consumer_lag_records",
            "Log end (last stable offset) minus committed offset.",
            ["group", "topic", "partition"],
            registry=into,
        )
        self.assigned = Gauge("consumer_assigned_partitions", "Partitions held.", ["group", "topic"], registry=into)
        self.paused = Gauge("consumer_paused_partitions", "Partitions not fetched.", ["group", "topic"], registry=into)
        self.rebalances = Counter("consumer_rebalances_total", "Assignments received.", ["group"], registry=into)
        self.connected = Gauge("connection_up", "Whether a broker connection stands.", ["client"], registry=into)
        self.brokers = Gauge("connection_brokers", "Brokers by state.", ["client", "state"], registry=into)
        self.client_errors = Counter(
            "connection_errors_total", "Errors of the client.", ["client", "error"], registry=into
        )
        self.received_bytes = Gauge(
            "connection_received_bytes", "Received since the client began.", ["client"], registry=into
        )
        self.sent_bytes = Gauge("connection_sent_bytes", "Sent since the client began.", ["client"], registry=into)

    def _breakers(self) -> None:
        into = self.registry
        self.breaker = Gauge("circuit_breaker_state", "1 for the present state.", ["breaker", "state"], registry=into)
        self.transitions = Counter(
            "circuit_breaker_transitions_total", "States entered.", ["breaker", "state"], registry=into
        )
        self.rejected = Counter("circuit_breaker_rejected_total", "Calls refused.", ["breaker"], registry=into)

    def exposition(self) -> bytes:
        """All series in Prometheus' text format."""
        return generate_latest(self.registry)

    def value(self, name: str, **labels: str) -> float | None:
        """The present value of a series by its exposed name; None when there is none."""
        return self.registry.get_sample_value(name, labels)

    def enter_breaker_state(self, breaker: str, state: str) -> None:
        """Shows the state a breaker is in: 1 for it, 0 for the others."""
        for name in BREAKER_STATES:
            self.breaker.labels(breaker, name).set(name == state)

    def take_statistics(self, client: str, document: str, *, group: str = "") -> None:
        """Reads librdkafka's statistics (``statistics.interval.ms``) into connection health, queues and lag.

        Args:
            client: label of this client.
            document: the JSON that librdkafka hands to ``stats_cb``.
            group: a consumer's group.
        """
        found = json.loads(document)
        self._connections(client, found)
        self.received_bytes.labels(client).set(found.get("rx_bytes", 0))
        self.sent_bytes.labels(client).set(found.get("tx_bytes", 0))
        if found.get("type") == "producer":
            self.queue_depth.labels(client).set(found.get("msg_cnt", 0))
        else:
            self._partitions(client, group, found)

    def _connections(self, client: str, found: Mapping[str, Any]) -> None:
        states = Tally(_state(broker) for broker in found.get("brokers", {}).values())
        self.connected.labels(client).set(states["up"] > 0)
        for state in ("up", "connecting", "down"):
            self.brokers.labels(client, state).set(states[state])

    def _partitions(self, client: str, group: str, found: Mapping[str, Any]) -> None:
        """What is fetched but not taken yet, and the lag of the partitions that this member holds."""
        waiting, held = 0, set()
        for name, topic in found.get("topics", {}).items():
            for number, partition in topic.get("partitions", {}).items():
                waiting += partition.get("fetchq_cnt", 0)
                if partition.get("desired") and partition.get("consumer_lag", -1) >= 0:
                    held.add((group, name, number))
                    self.lag.labels(group, name, number).set(partition["consumer_lag"])
        for gone in self._lagging.get(client, set()) - held:
            self.lag.remove(*gone)
        self._lagging[client] = held
        self.queue_depth.labels(client).set(waiting)


def _state(broker: Mapping[str, Any]) -> str:
    state = broker.get("state")
    return "up" if state == "UP" else "down" if state in {"INIT", "DOWN"} else "connecting"
