"""Plants each incident once a session: planting takes seconds, and several tests look at the same topics."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from workbench.sandbox.incidents import Truth, plant

# One of each family; the others are planted by `make accuracy`, and by tests that are asked for with -m wide.
EACH_RUN = frozenset(
    {"aborted-transaction", "aborted-transaction-source", "hanging-transaction", "retention-overtook", "records-deleted-blind",
     "compacted", "consumer-dropped", "consumer-dropped-logged", "offset-skipped-forward", "offset-reset-latest",
     "new-partition-skipped", "commit-before-processing", "commit-past-unprocessed", "topic-recreated", "shared-group",
     "producer-error-ignored", "producer-queue-full", "oversize-record", "rejected-timestamp",
     "timestamp-retention", "dead-letter-write-failed", "leader-failover",
     "clean-out-of-order", "clean-compacted-sink",
     "clean-transactions", "clean-sink-keeps-less", "clean-retry-and-dead-letters", "clean-working", "clean-fan-out",
     "application-resend", "producer-retry", "producer-restart", "partitioner-change", "rebalance", "crash-before-commit",
     "offset-rewind", "redrive", "read-uncommitted", "content-mismatch", "business-duplicates", "clean-idempotent-retry",
     "clean-transactions-copies", "lag-no-members", "lag-retention-risk", "lag-fetch-limit", "lag-bulk-load",
     "clean-lag-idle-topic", "clean-lag-markers-only", "dlq-context-missing", "dlq-redrive-loop", "dlq-poison-payload",
     "dlq-delivery-count", "clean-dlq-drained", "health-dead-letter-missing", "health-retention-tight",
     "clean-health", "several-losses", "several-copies"}
)  # fmt: skip


def of_each_run(names: Iterable[str]) -> list[Any]:
    """The names as parameters, those beyond ``EACH_RUN`` marked ``wide``."""
    return [name if name in EACH_RUN else pytest.param(name, marks=pytest.mark.wide) for name in names]


# Planting is mostly waiting: for the broker's own checks, and for messages to become due.
_PLANTERS = ThreadPoolExecutor(4)
_FOLDER = tempfile.TemporaryDirectory(prefix="workbench-planted-")


def begin(names: Iterable[str], bootstrap: str) -> None:
    """Starts to plant several incidents beside each other; ``planted`` waits for each."""
    for name in sorted(names):
        _planting(name, bootstrap, 0)


def planted(name: str, bootstrap: str, seed: int = 0) -> Truth:
    """The truth of an incident that is planted once on this broker."""
    return _planting(name, bootstrap, seed).result()


@cache
def _planting(name: str, bootstrap: str, seed: int) -> Future[Truth]:
    return _PLANTERS.submit(plant, name, bootstrap, seed, Path(_FOLDER.name) / f"{name}-{seed}")
