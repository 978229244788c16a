"""/metrics of a schedule: the newest report's gauges, and how its runs go."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, Any

from workbench.errors import UsageError
from workbench.services.exports import fill

if TYPE_CHECKING:
    from workbench.services.schedule.plan import Plan
    from workbench.services.schedule.shelf import Shelf


def serve_metrics(plan: Plan, shelf: Shelf) -> int:
    """Serves /metrics in a thread of its own; returns the port.

    Raises:
        UsageError: the address cannot be had.
    """
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    registry.register(_Runs(shelf))
    try:
        server, _ = start_http_server(plan.metrics_port, plan.metrics_host, registry)
    except OSError as error:
        raise UsageError(
            f"--metrics-port {plan.metrics_port} cannot be had: {error.strerror}.", hint="Name a free port."
        ) from None
    return int(server.server_port)


class _Runs:
    """Reads the shelf at each scrape."""

    def __init__(self, shelf: Shelf) -> None:
        self.shelf = shelf

    def describe(self) -> Iterable[Any]:
        """Nothing: the names depend on the newest report."""
        return ()

    def collect(self) -> Iterable[Any]:
        """The metrics as they are now."""
        from prometheus_client import CollectorRegistry
        from prometheus_client.core import GaugeMetricFamily

        ended = [run for run in self.shelf.runs() if run.verdict is not None]
        kept = GaugeMetricFamily("workbench_runs_kept", "Runs that are kept, by verdict.", labels=["verdict"])
        for verdict, count in sorted(Counter(str(run.verdict) for run in ended).items()):
            kept.add_metric([verdict], count)
        yield kept
        if not ended:
            return
        newest = ended[-1]
        failed = float(newest.verdict == "failed")
        started = datetime.fromisoformat(newest.started).timestamp()
        yield GaugeMetricFamily("workbench_run_failed", "Whether the newest run came to no verdict.", value=failed)
        yield GaugeMetricFamily("workbench_run_started_timestamp_seconds", "When it began.", value=started)
        yield GaugeMetricFamily("workbench_run_duration_seconds", "How long it took.", value=newest.seconds or 0.0)
        report = next((found for run in reversed(ended) if (found := self.shelf.report(run)) is not None), None)
        if report is not None:
            registry = CollectorRegistry()
            fill(registry, report)
            yield from registry.collect()
