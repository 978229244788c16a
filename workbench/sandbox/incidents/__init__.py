"""Incidents: faults planted on real Kafka, each returning the truth of what was done.

``plant(name, bootstrap)`` plants one of ``INCIDENTS`` on fresh topics.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.errors import UsageError
from workbench.sandbox.incidents import (  # noqa: F401 - planters register themselves
    clean_duplicates,
    clean_loss,
    dlq,
    duplicates_group,
    duplicates_service,
    duplicates_source,
    health,
    hops,
    lag,
    lag_causes,
    loss_brokers,
    loss_group,
    loss_log,
    loss_offsets,
    loss_producer,
    loss_service,
    loss_transactions,
    mirrors,
    outbox,
    several,
    target_tables,
)
from workbench.sandbox.incidents.registry import INCIDENTS, Incident
from workbench.sandbox.incidents.truth import Truth

if TYPE_CHECKING:
    from workbench.sandbox.kafka import Kafka

__all__ = ["INCIDENTS", "Incident", "Truth", "plant", "require"]


def plant(
    name: str,
    bootstrap: str,
    seed: int = 0,
    folder: Path | None = None,
    cluster: Kafka | None = None,
    *,
    database: str | None = None,
) -> Truth:
    """Plants an incident.

    Args:
        name: one of ``INCIDENTS``.
        bootstrap: a broker that may be written to: the sandbox's.
        seed: of all choices but the suffix of the names.
        folder: for sent logs and service logs; by default a new temporary one.
        cluster: the same brokers as processes, for incidents that need to stop some.
        database: address of a PostgreSQL for incidents with tables; None takes a file of SQLite.

    Raises:
        UsageError: there is no such incident; the hint names the nearest.
        SandboxError: the broker did not do what the incident needs.
    """
    return require(name).plant(bootstrap, seed, folder, cluster, database=database)


def require(name: str) -> Incident:
    """The incident of a name.

    Raises:
        UsageError: there is none; the hint names the nearest.
    """
    if name not in INCIDENTS:
        near = difflib.get_close_matches(name, INCIDENTS, 1)
        hint = f"Did you mean {near[0]!r}?" if near else "`workbench sandbox incident --list` shows them all."
        raise UsageError(f"There is no incident {name!r}.", hint=hint)
    return INCIDENTS[name]
