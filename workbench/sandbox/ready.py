"""Waiting until brokers answer."""

from __future__ import annotations

import logging
import socket
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from workbench.sandbox.layout import NodePlan
from workbench.sandbox.node import cluster_id_of, failure
from workbench.sandbox.processes import is_alive

if TYPE_CHECKING:
    import psutil

START_SECONDS = 90.0
POLL_SECONDS = 0.05

# librdkafka writes "connection refused" to stderr while a broker starts; this logger has no handler.
SILENT = logging.getLogger("workbench.sandbox.silent")
SILENT.addHandler(logging.NullHandler())
SILENT.propagate = False


def wait_until_ready(
    waited_for: Sequence[NodePlan], processes: Mapping[int, psutil.Process], *, seconds: float = START_SECONDS
) -> None:
    """Waits until each of these brokers answers, and lists all of them.

    Raises:
        SandboxError: a process ended, or the time was not enough; the hint names its log.
    """
    wanted = {plan.node_id for plan in waited_for if plan.is_broker}
    deadline = time.monotonic() + seconds
    for plan in waited_for:
        while not _is_ready(plan, wanted):
            for other in waited_for:
                if not is_alive(processes[other.node_id]):
                    raise failure(other, "ended while it started")
            if time.monotonic() > deadline:
                raise failure(plan, f"did not answer within {seconds:.0f} s")
            time.sleep(POLL_SECONDS)


def _is_ready(plan: NodePlan, wanted: set[int]) -> bool:
    """Whether a broker itself answers and knows the others; a pure controller is ready when brokers are."""
    if not plan.is_broker:
        return True
    if not _listens(plan.port):
        return False
    admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{plan.port}", "log_level": 0}, logger=SILENT)
    try:
        found = admin.list_topics(timeout=2)
    except KafkaException:
        return False
    # Somebody else's broker may have taken the port before ours could.
    return str(found.cluster_id) == cluster_id_of(plan) and wanted <= set(found.brokers)


def _listens(port: int) -> bool:
    with socket.socket() as sock:
        sock.settimeout(0.5)
        return sock.connect_ex(("127.0.0.1", port)) == 0
