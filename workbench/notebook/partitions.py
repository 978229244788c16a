"""A group's partitions as rows for the eye."""

from __future__ import annotations

from typing import Any

from workbench.report import Report


def partitions(report: Report) -> list[dict[str, Any]]:
    """The partitions of a lag report, those first whose next record has waited longest.

    Columns: topic, partition, lag and expired (offsets), waiting and passed (seconds), sent and read (offsets a second,
    lately), catches up in (seconds; null: never, or not known), state (of the commits), why (what is unknown).
    """
    rows = sorted(
        report.facts.get("partitions", ()),
        key=lambda row: (-(row["time_lag_seconds"] or 0), -(row["lag"] or 0), row["topic"], row["partition"]),
    )
    return [
        {
            "topic": row["topic"],
            "partition": row["partition"],
            "lag": row["lag"],
            "expired": row["expired"],
            "waiting (s)": row["time_lag_seconds"],
            "passed (s)": row.get("passed_seconds"),
            "sent (1/s)": row.get("produced_recently"),
            "read (1/s)": row.get("consumed_recently"),
            "catches up in (s)": row.get("catch_up_seconds"),
            "state": row.get("state"),
            "why": row["why"],
        }
        for row in rows
    ]
