"""The service log as JSON Lines that ``workbench check --service-log`` reads."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from workbench.integration.clients import LOG

_FIELDS = {"error": "error", "message_id": "id", "topic": "topic", "partition": "partition", "offset": "offset"}


class _JsonLines(logging.Formatter):
    """One object a line: at, level, event, and what is known of error, id, topic, partition, offset."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = {"at": at, "level": record.levelname.lower(), "event": record.getMessage()}
        known = {name: getattr(record, key, None) for key, name in _FIELDS.items()}
        return json.dumps(line | {name: value for name, value in known.items() if value is not None})


@contextmanager
def service_log(path: Path | None) -> Iterator[None]:
    """Appends what the integration logs to a file while the block runs; None writes nothing."""
    if path is None:
        yield
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8")
    handler.setFormatter(_JsonLines())
    LOG.addHandler(handler)
    before, LOG.level = LOG.level, logging.INFO
    try:
        yield
    finally:
        LOG.removeHandler(handler)
        LOG.setLevel(before)
        handler.close()
