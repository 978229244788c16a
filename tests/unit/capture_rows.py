"""Raw records by hand, and what the derive step makes of them."""

from __future__ import annotations

from typing import Any

import pyarrow as pa

from workbench.capture import RAW, CaptureSpec, IdFrom, TopicSpec
from workbench.capture.derive import Deriver


def raw(rows: list[dict[str, Any]], topic: str = "in") -> pa.RecordBatch:
    """One raw batch; a row names only what matters."""
    full = [
        {
            "topic": topic, "partition": 0, "offset": number, "timestamp_ms": 1_700_000_000_000, "timestamp_type": 0,
            "leader_epoch": 0, "key": None, "value": None, **row,
            "headers": [{"name": name, "value": value} for name, value in row.get("headers", [])],
        }
        for number, row in enumerate(rows)
    ]  # fmt: skip
    return pa.RecordBatch.from_pylist(full, schema=RAW)


def derived(rows: list[dict[str, Any]], id_from: str = "json:$.messageId", role: Any = "source", **spec: Any) -> Any:
    """The rows of the capture schema for raw records."""
    topic = TopicSpec("in", role, IdFrom.parse(id_from), ())
    deriver = Deriver(CaptureSpec((topic,), **spec), topic)
    try:
        return deriver([raw(rows)])
    finally:
        deriver.close()


def column(name: str, rows: list[dict[str, Any]], id_from: str = "json:$.messageId", **spec: Any) -> list[Any]:
    """One column of them."""
    return derived(rows, id_from, **spec)[name].to_pylist()


def values(*contents: bytes | None) -> list[dict[str, Any]]:
    """Records that differ in their value only."""
    return [{"value": content} for content in contents]
