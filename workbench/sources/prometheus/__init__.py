"""Prometheus: metrics as evidence, whatever exporter they come from; read-only, bounded in time and size."""

from workbench.sources.prometheus.client import Prometheus, step_for
from workbench.sources.prometheus.facts import errors, history, replication
from workbench.sources.prometheus.moments import Standing, standing
from workbench.sources.prometheus.names import METRICS, Metric

__all__ = ["METRICS", "Metric", "Prometheus", "Standing", "errors", "history", "replication", "standing", "step_for"]
