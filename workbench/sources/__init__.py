"""Sources: where facts come from. Read-only; tables out; each library's errors are mapped in one place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from workbench.config import Profile
from workbench.sources.answer import Answer
from workbench.sources.cluster import Cluster
from workbench.sources.history.store import HistoryStore
from workbench.sources.prometheus import Prometheus
from workbench.sources.traces import Traces, connect_traces

__all__ = ["Answer", "Cluster", "Prometheus", "Sources", "connect"]


@dataclass(frozen=True)
class Sources:
    """What one profile gives access to; what is not configured is None. A context manager.

    Attributes:
        cluster: Kafka itself.
        prometheus: its metrics; not asked until something needs them.
        traces: a trace store or a file of spans.
        registry: where schemas are, as the profile says it.
        history: what `workbench watch` kept.
    """

    cluster: Cluster
    prometheus: Prometheus | None = None
    traces: Traces | None = None
    registry: Mapping[str, Any] | None = None
    history: HistoryStore | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes what was opened."""
        self.cluster.close()
        if self.traces is not None:
            self.traces.close()
        if self.prometheus:
            self.prometheus.close()


def connect(profile: Profile, timeout_seconds: float = 15) -> Sources:
    """The sources of a profile; the cluster has answered once when this returns.

    Args:
        profile: from ``config``.
        timeout_seconds: the longest any single request, this call included, waits for an answer.

    Raises:
        SourceUnavailable: no broker answers; one sentence says why.
        AccessDenied: the login is refused.
        ConfigError: a client setting does not exist or does not fit.

    Reads: DescribeCluster.
    """
    traces = connect_traces(profile.traces)
    prometheus = Prometheus(profile.prometheus) if profile.prometheus else None
    history = HistoryStore(Path(profile.history)) if profile.history else None
    cluster = Cluster(profile, timeout_seconds)
    cluster.info()
    return Sources(cluster, prometheus=prometheus, traces=traces, registry=profile.registry, history=history)
