"""The notification service as a process of its own, which can be killed; and what the workbench says of its topics."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from workbench.integration.formats import Event
from workbench.integration.producer import MessageProducer
from workbench.integration.records import Outgoing
from workbench.sandbox.incidents import topics


class Flow:
    """Topics, configuration and files of one integration."""

    def __init__(self, bootstrap: str, name: str, folder: Path, *, partitions: int = 4) -> None:
        self.bootstrap, self.folder = bootstrap, folder
        self.source, self.sink, self.dead_letters = name, f"{name}-out", f"{name}.dlq"
        self.group = f"{name}-group"
        self.sent_log = folder / "sent.jsonl"
        for topic in (self.source, self.sink, self.dead_letters):
            topics.create(bootstrap, topic, partitions)
        self.config = folder / "integration.yml"
        self.config.write_text(yaml.safe_dump(self._settings()))

    def _settings(self) -> dict[str, Any]:
        brokers = [self.bootstrap]
        return {
            "integration": {
                "producer": {"brokers": brokers},
                "consumer": {"brokers": brokers, "groupId": self.group, "sessionTimeout": 6000},
                "topics": {
                    "userEvents": self.source,
                    "userNotifications": self.sink,
                    "deadLetters": self.dead_letters,
                },
            }
        }

    def send(self, count: int) -> None:
        """Sends events with ids 0 to count, and keeps the sent log."""
        with MessageProducer({"bootstrap.servers": self.bootstrap}, sent_log=self.sent_log) as producer:
            for number in range(count):
                producer.submit(self._event(number))

    def _event(self, number: int) -> Outgoing:
        user = f"user-{number % 997}"
        event = Event.new("user-service", "user.created", {"userId": user, "email": f"{user}@example.com"})
        return Outgoing(self.source, event.to_wire(), user.encode(), event.message_id)

    def written(self) -> int:
        """Offsets at the sink that readers may see: notifications, and markers of transactions."""
        return sum(topics.ends(self.bootstrap, self.sink, committed=True).values())

    def check(self, problem: str) -> dict[str, Any]:
        """What the workbench's own check says: its report."""
        options = ["--source", self.source, "--sink", self.sink, "--group", self.group, "--expected-latency", "1s"]
        if problem == "loss":
            options += ["--dead-letters", self.dead_letters, "--sent-log", str(self.sent_log)]
        command = [sys.executable, "-m", "workbench", "check", problem, "--bootstrap", self.bootstrap, *options]
        done = subprocess.run([*command, "--yes", "--format", "json"], capture_output=True, text=True, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout)


@contextmanager
def process(flow: Flow, *options: str) -> Iterator[Process]:
    """The service as a process while the block runs; it is ended in order, unless it was killed."""
    command = [sys.executable, "-m", "workbench", "integration", "run", "--config", str(flow.config), *options]
    program = Process(subprocess.Popen(command, stderr=subprocess.PIPE, text=True))
    try:
        yield program
    finally:
        program.end()


class Process:
    """A running service.

    Attributes:
        said: its lines on standard error so far.
    """

    def __init__(self, program: subprocess.Popen[str]) -> None:
        self.program = program
        self.said: list[str] = []
        self._reading = threading.Thread(target=self._read, daemon=True)
        self._reading.start()

    def _read(self) -> None:
        assert self.program.stderr
        self.said += iter(self.program.stderr.readline, "")

    @property
    def address(self) -> str | None:
        """Where it shows its metrics; None until it says so."""
        found = [line.split()[1] for line in list(self.said) if line.startswith("metrics ")]
        return found[0].removesuffix("/metrics") if found else None

    def kill(self) -> None:
        """SIGKILL: nothing is finished, nothing is committed any more."""
        self.program.kill()
        self.program.wait()

    def end(self) -> int:
        """SIGTERM; returns its exit code."""
        self.program.terminate()
        code = self.program.wait(timeout=120)
        self._reading.join(10)
        return code
