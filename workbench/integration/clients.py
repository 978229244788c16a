"""Clients of Kafka that report to the metrics: statistics, errors, and the library's own log."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from confluent_kafka import KafkaError

from workbench.integration.metrics import Metrics

LOG = logging.getLogger("workbench.integration")
STATISTICS_MS = 5000
# librdkafka 2.16 forgets brokers that are away for some seconds and begins again with the bootstrap servers; a producer in
# a transaction then never speaks to its coordinator again, and some consumers have no broker left to ask (tried: a broker
# that was killed and started). Without that it keeps them, and goes on when they are back.
KEEP_BROKERS = {"metadata.recovery.strategy": "none"}


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
        **KEEP_BROKERS,
        "statistics.interval.ms": STATISTICS_MS,
        "stats_cb": lambda document: metrics.take_statistics(client, document, group=group),
        "error_cb": failed,
        "logger": LOG,
        **settings,
    }
