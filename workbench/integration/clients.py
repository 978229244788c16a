"""Clients of Kafka that report to the metrics: statistics, errors, and the library's own log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError

from workbench.integration.metrics import Metrics

LOG = logging.getLogger("workbench.integration")
STATISTICS_MS = 5000


def observed(settings: Mapping[str, Any], client: str, metrics: Metrics, *, group: str = "") -> dict[str, Any]:
    """Settings of a client that tells the metrics how it is; callbacks run where the client is polled.

    Args:
        settings: librdkafka's.
        client: its label in the metrics.
        metrics: where to.
        group: of a consumer.
    """

    def failed(error: KafkaError) -> None:
        metrics.client_errors.labels(client, error.name()).inc()
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001 - the client's public spelling
            metrics.connected.labels(client).set(0)

    return {
        "statistics.interval.ms": STATISTICS_MS,
        "stats_cb": lambda document: metrics.take_statistics(client, document, group=group),
        "error_cb": failed,
        "logger": LOG,
        **settings,
    }
