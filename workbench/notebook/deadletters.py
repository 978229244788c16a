"""Cause groups of dead letters as rows for the eye."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from workbench.report import Report

_BARS = "▁▂▃▄▅▆▇█"


def groups(report: Report) -> list[dict[str, Any]]:
    """The cause groups of a dlq report, largest first, each with its rate over time as a sparkline."""
    return [
        {
            "group": group["fingerprint"],
            "count": group["count"],
            "over time": sparkline(group.get("rate", [])),
            "cause": group["exception_class"] or group.get("code") or ", ".join(group["stages"]) or None,
            "at": group["frame"],
            "message": group.get("template"),
            "kind": group["kind"],
            "first seen": group["first_seen"],
            "last seen": group["last_seen"],
            "what to do": group["disposition"],
            "because": group["reason"],
        }
        for group in _groups(report)
    ]


def one_group(report: Report, fingerprint: str = "") -> list[dict[str, Any]]:
    """All that is known of one cause group, a row each.

    Args:
        report: of the problem dlq.
        fingerprint: the group's; "" is the largest.
    """
    found = next((one for one in _groups(report) if fingerprint in ("", one["fingerprint"])), None)
    if found is None:
        return []
    shown = {**found, "rate": sparkline(found.get("rate", []))}
    return [
        {"what": name.replace("_", " "), "value": _said(value)}
        for name, value in shown.items()
        if value not in (None, [], "")
    ]


def sparkline(counts: Sequence[int]) -> str:
    """Counts as bars of text; nothing at all is a dot."""
    most = max(counts, default=0)
    return "".join(_BARS[(count * 8 - 1) // most] if count else "·" for count in counts)


def _said(value: Any) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {count:,}" for name, count in value.items())
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


def _groups(report: Report) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = report.sections.get("groups", [])
    return found
