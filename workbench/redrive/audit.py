"""The audit of a redrive: who sent what, when, and how it ended; JSON Lines beside the plan, and a topic if one is named."""

from __future__ import annotations

import getpass
import json
import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench._version import __version__
from workbench.errors import RedriveError
from workbench.redrive.plan import Plan

FLUSH_SECONDS = 20.0


@dataclass
class Audit:
    """Appends entries; each is on disk when ``write`` returns.

    Attributes:
        file: beside the plan, named after it.
        plan: whose runs they are.
        settings: of a producer, for the audit topic.
        topic: also written to; null for none.
    """

    file: Path
    plan: Plan
    settings: Mapping[str, Any]
    topic: str | None = None

    def write(self, event: str, **facts: Any) -> None:
        """Appends one entry.

        Raises:
            RedriveError: it cannot be written: what is not on record is not sent.
        """
        entry = {
            "at": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event": event,
            "plan": self.plan.id,
            "plan_hash": self.plan.hash,
            "cluster_id": self.plan.cluster_id,
            "who": who(),
            "workbench": __version__,
            **facts,
        }
        line = json.dumps(entry, allow_nan=False)
        try:
            with os.fdopen(os.open(self.file, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600), "a") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise RedriveError(f"The audit {self.file} cannot be written: {error.strerror}.", hint="Free it.") from None
        if self.topic:
            self._send(line)

    def entries(self) -> Iterator[dict[str, Any]]:
        """This plan's earlier entries; a line cut by a crash is passed over."""
        if not self.file.exists():
            return
        for line in self.file.read_text(errors="replace").splitlines():
            with suppress(ValueError):
                found = json.loads(line)
                if isinstance(found, dict) and found.get("plan") == self.plan.id:
                    yield found

    def sent(self) -> int:
        """How many records earlier runs say were sent."""
        counts = [found.get("done") for found in self.entries()]
        return max((count for count in counts if isinstance(count, int)), default=0)

    def _send(self, line: str) -> None:
        from confluent_kafka import Producer

        failed: list[str] = []
        producer = Producer({**self.settings, "enable.idempotence": True, "message.timeout.ms": 15_000})
        producer.produce(
            self.topic or "",
            line,
            self.plan.id,
            on_delivery=lambda error, _: failed.append(error.str()) if error else None,
        )
        if producer.flush(FLUSH_SECONDS) or failed:
            why = failed[0] if failed else "no answer"
            raise RedriveError(f"The audit topic {self.topic} takes no records: {why}.", hint="Check topic and rights.")


def audit_file(plan_file: Path) -> Path:
    """Where the audit of a plan's runs is."""
    return plan_file.with_name(plan_file.name.removesuffix(".json") + ".audit.jsonl")


def who() -> str:
    """The user and machine of this run."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError):
        name = str(os.getuid())
    return f"{name}@{socket.gethostname()}"
