"""A message's world by hand: its records as a search keeps them, its spans, and the report of it all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pyarrow as pa

from tests.unit.builder import NOW_MS, World
from workbench.evidence import Evidence
from workbench.problems import message
from workbench.problems.message.records import RECORDS
from workbench.report import Report
from workbench.sources.heads import HEADS_SCHEMA
from workbench.sources.traces import SPAN_EVENTS, SPANS

TRACE = "0af7651916cd43dd8448eb211c80319c"
HOUR_AGO = NOW_MS - 3_600_000


class MessageWorld(World):
    """``World`` for one message: ``in`` -> ``out``, with a retry and a dead-letter topic."""

    def __init__(self, **facts: Any) -> None:
        super().__init__(dead_letters=["dlq"], retry_topics=["retry"], **{"subject": {"by": "id", "id": "m"}, **facts})
        self.spans: list[dict[str, Any]] | None = None
        self.noted: list[dict[str, Any]] = []
        self.beginnings: list[dict[str, Any]] = []

    def source(self, at_ms: int = HOUR_AGO, **fields: Any) -> dict[str, Any]:
        """The message in the source."""
        return self.put("in", "m", timestamp_ms=at_ms, **fields)

    def span(self, started_ms: float, kind: str = "consumer", **fields: Any) -> dict[str, Any]:
        """A span of the message's trace."""
        number = len(self.spans or ()) + 1
        row = {
            "trace_id": TRACE, "span_id": f"{number:016x}", "links": [], "service": "mailer", "name": "process", "kind": kind,
            "started_us": round(started_ms * 1000), "duration_us": 5_000, "status": "unset", **fields,
        }  # fmt: skip
        self.spans = [*(self.spans or []), row]
        return row

    def starts(self, topic: str, offset: int, oldest_ms: int | None, kind: str = "LogAppendTime") -> None:
        """Lets a topic begin later than at offset 0."""
        log = self.offsets.setdefault((topic, 0), self._log(topic, 0))
        log["log_start_offset"] = offset
        log["high_watermark"] = log["last_stable_offset"] = max(offset, log["high_watermark"])
        self.beginnings.append(
            {"topic": topic, "partition": 0, "offset": offset, "timestamp_ms": oldest_ms, "timestamp_type": kind}
        )

    def evidence(self) -> Evidence:
        """What a search would have collected of this world."""
        found = super().evidence()
        rows = [{"matched": True, "trace_ids": [], **row} for row in self.records]
        more: dict[str, pa.Table] = {
            "records": pa.Table.from_pylist(rows, RECORDS),
            "beginnings": pa.Table.from_pylist(self.beginnings, HEADS_SCHEMA),
        }
        if self.spans is not None:
            more["spans"] = pa.Table.from_pylist(self.spans, SPANS)
            more["span_events"] = pa.Table.from_pylist(self.noted, SPAN_EVENTS)
        return replace(found, tables={**found.tables, **more})

    def report(self) -> Report:
        """The report of this world."""
        return message.diagnose(self.evidence())

    def outcome(self) -> str:
        """The outcome alone."""
        return str(self.report().facts["outcome"])


def said(report: Report) -> Mapping[str, str]:
    """Notes by code."""
    return {note.code: note.summary for note in report.notes}
