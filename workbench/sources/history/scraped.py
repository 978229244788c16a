"""Samples from the metrics that an exporter told Prometheus."""

from __future__ import annotations

from workbench.sources.history.table import Sample
from workbench.sources.prometheus import Prometheus, standing


def scraped(prometheus: Prometheus, group: str, since_ms: int, until_ms: int) -> tuple[list[Sample], str]:
    """The samples of a group over a window, and why there are none or parts are missing; "" where all is there.

    A moment is the query's: what is told then may be older by the exporter's refresh and the scrape interval.

    Raises:
        SourceUnavailable, AccessDenied: the server cannot be asked.

    Reads: ``/api/v1/label/__name__/values``, ``/api/v1/query_range``.
    """
    found, failures = standing(prometheus, group, since_ms, until_ms)
    samples = [Sample(*one, "prometheus") for one in found]
    return samples, "; ".join(f"{fact}: {why}" for fact, why in failures.items() if fact != "lag_seconds")
