"""The checks of a health report in a line each."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.report import Report


def checks(report: Report) -> list[dict[str, Any]]:
    """The checks of a health report, worst first, a row each.

    Columns: integration, check, verdict, what (the finding or the reason that decides it).
    """
    return [
        {
            "integration": next(
                (found for name in ("integration", "source", "origin") if (found := part["facts"].get(name))), None
            ),
            "check": part["problem"],
            "verdict": part["verdict"],
            "what": what(part),
        }
        for part in report.sections["reports"]
    ]


def what(part: Mapping[str, Any]) -> str:
    """One sentence on a check: its worst finding, else why it is undecided, else its ledger."""
    if part["findings"]:
        more = len(part["findings"]) - 1
        return str(part["findings"][0]["summary"]) + (f" ({more} more)" if more else "")
    if part["verdict"] == "undecided" and part["undecided"]:
        return str(part["undecided"][0]["reason"])
    counts = [f"{count:,} {name.replace('_', ' ')}" for name, count in part["ledger"].items() if count]
    return ", ".join(counts) or next((f"0 {name.replace('_', ' ')}" for name in part["ledger"]), "nothing")
