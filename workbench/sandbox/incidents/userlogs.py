"""The files that users bring: a producer's sent log and a service's log, as such programs write them."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.sandbox.incidents.messages import iso
from workbench.sandbox.incidents.sending import Sent


def sent_line(sent: Sent, *, committed: bool | None = None, errors: bool = True) -> dict[str, Any]:
    """One line of a sent log.

    Args:
        sent: the send.
        committed: whether the program believes that the transaction was committed; None writes nothing of it.
        errors: whether the program wrote the error down, or only that there was no acknowledgement.
    """
    line: dict[str, Any] = {
        "id": sent.message.id,
        "topic": sent.topic,
        "partition": sent.partition,
        "offset": sent.offset,
        "size_bytes": len(sent.message.body()),
        "at": sent.at_ms,
        "acked": sent.offset is not None,
    }
    if sent.message.timestamp_ms is not None:
        line["record_timestamp"] = sent.message.timestamp_ms
    if committed is not None:
        line["committed"] = committed
    if errors and sent.error:
        line["error"] = sent.error
    return {name: value for name, value in line.items() if value is not None}


def write_sent_log(folder: Path, lines: Iterable[Mapping[str, Any]], rng: random.Random) -> str:
    """Writes ``sent.jsonl`` in one of the spellings that are allowed; returns its path."""
    id_name, size_name = rng.choice(("id", "messageId")), rng.choice(("size_bytes", "bytes"))
    as_text = rng.random() < 0.5
    named = {"id": id_name, "size_bytes": size_name}
    out = []
    for line in lines:
        renamed = {named.get(name, name): value for name, value in line.items()}
        if as_text:
            renamed["at"] = iso(datetime.fromtimestamp(line["at"] / 1000, UTC))
        out.append({**renamed, "host": "users-7c9f"})
    return write_lines(folder / "sent.jsonl", out)


def log_line(level: str, event: str, *, error: str | None = None, **where: Any) -> dict[str, Any]:
    """One line of a service log; ``where`` may hold id, topic, partition, offset."""
    line = {"at": iso(datetime.now(UTC)), "level": level, "event": event, "error": error, **where}
    return {name: value for name, value in line.items() if value is not None}


def write_service_log(folder: Path, lines: Iterable[Mapping[str, Any]]) -> str:
    """Writes ``service.jsonl``; returns its path."""
    return write_lines(folder / "service.jsonl", lines)


def write_lines(path: Path, lines: Iterable[Mapping[str, Any]]) -> str:
    """Writes JSON Lines; returns the absolute path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return str(path.absolute())
