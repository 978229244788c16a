"""What a schedule is told."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Plan:
    """A notebook, when it runs, and where its results go.

    Attributes:
        notebook: as ``workbench run`` takes it.
        parameters: NAME=VALUE texts, as ``workbench run -p`` takes them.
        cron: five fields, in UTC.
        out: the folder of all runs; made if needed.
        timeout_seconds: a run that takes longer is ended.
        keep: so many runs are kept, the newest.
        metrics_host, metrics_port: where /metrics is served; port 0: nowhere.
        webhooks: name -> ``{"url": ..., "kind": "slack" or "alertmanager"}``, told of each change of verdict.
    """

    notebook: str
    parameters: tuple[str, ...]
    cron: str
    out: Path
    timeout_seconds: float = 1800.0
    keep: int = 168
    metrics_host: str = "127.0.0.1"
    metrics_port: int = 0
    webhooks: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
