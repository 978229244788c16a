"""The sent log: what a producer believes, as JSON Lines that ``workbench check --sent-log`` reads."""

from __future__ import annotations

import json
from pathlib import Path

from workbench.integration.failures import SendError
from workbench.integration.records import Outgoing, Receipt


class SentLog:
    """Appends one line a message: id, topic, partition, offset, size_bytes, at, acked, error.

    ``at`` is when it was handed over, epoch milliseconds. A line is in the file as soon as it is written, so that it
    outlives a kill.

    Args:
        path: the file; made with its folder where missing.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = path.open("a", buffering=1, encoding="utf-8")

    def write(self, message: Outgoing, receipt: Receipt | None, error: SendError | None, handed_at: float) -> None:
        """One line; a message without an id is no part of the log."""
        if message.message_id is None:
            return
        line: dict[str, object] = {
            "id": message.message_id,
            "topic": message.topic,
            "size_bytes": len(message.value or b""),
            "at": round(handed_at * 1000),
            "acked": receipt is not None,
        }
        if receipt is not None:
            line |= {"partition": receipt.partition, "offset": receipt.offset}
        if error is not None:
            line["error"] = str(error)
        self._file.write(json.dumps(line) + "\n")

    def close(self) -> None:
        """Closes the file."""
        self._file.close()
