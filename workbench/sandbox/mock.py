"""librdkafka's mock broker: the fall-back where Kafka cannot be had.

It produces, fetches, commits and knows groups, transactions and offsets by position. It cannot create or describe
topics and configurations, nor delete records; its group listings are empty and its offsets by time are wrong. What
needs these stays undecided.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Self

import confluent_kafka
import psutil

from workbench.errors import SandboxError
from workbench.sandbox.layout import NodePlan
from workbench.sandbox.processes import end, is_alive
from workbench.sandbox.ready import SILENT

START_SECONDS = 20.0


class MockKafka:
    """A mock cluster inside this process; leaving its ``with`` block ends it.

    Attributes:
        bootstrap: ``host:port`` of its brokers, joined by commas.
    """

    def __init__(self, brokers: int = 1) -> None:
        settings = {"test.mock.num.brokers": brokers, "log_level": 0}
        self._owner: confluent_kafka.Producer | None = confluent_kafka.Producer(settings, logger=SILENT)
        found = self._owner.list_topics(timeout=10).brokers.values()
        self.bootstrap = ",".join(f"{broker.host}:{broker.port}" for broker in found)

    def stop(self) -> None:
        """Ends the mock: it lives as long as the client that owns it."""
        self._owner = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()


def start_mock(brokers: int = 1) -> MockKafka:
    """Starts a mock cluster inside this process."""
    return MockKafka(brokers)


def version() -> str:
    """Version of the librdkafka that plays Kafka."""
    return f"librdkafka {confluent_kafka.libversion()[0]}"


def start_process(brokers: int, plan: NodePlan) -> tuple[psutil.Popen, str]:
    """Starts a mock cluster that outlives us.

    Returns:
        Its process, and ``host:port`` of its brokers joined by commas.

    Raises:
        SandboxError: it did not come up; the hint names its log.
    """
    plan.folder.mkdir(parents=True, exist_ok=True)
    with plan.log_file.open("ab") as log:
        process = psutil.Popen(
            [sys.executable, "-m", "workbench.sandbox.mock", str(brokers), str(plan.properties_file)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + START_SECONDS
    try:
        while is_alive(process) and time.monotonic() < deadline:
            if plan.properties_file.exists():
                return process, plan.properties_file.read_text().strip()
            time.sleep(0.05)
    except BaseException:
        end([process], grace_seconds=0)
        raise
    end([process], grace_seconds=0)
    raise SandboxError("librdkafka's mock broker did not start.", hint=f"Its log: {plan.log_file}")


def main(brokers: int, answer: Path) -> None:
    """Runs a mock cluster until SIGTERM; writes its addresses into the file ``answer``."""
    with start_mock(brokers) as mock:
        draft = answer.with_suffix(".draft")
        draft.write_text(mock.bootstrap + "\n")
        draft.replace(answer)
        signal.sigwait({signal.SIGTERM, signal.SIGINT})


if __name__ == "__main__":
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    os.chdir("/")
    main(int(sys.argv[1]), Path(sys.argv[2]))
