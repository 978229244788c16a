"""Show measurements, and keep them: a table for people, a line of JSON for comparisons over time."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

import psutil
from rich.console import Console
from rich.table import Table

from benchmarks.cases import Result

HISTORY = Path(__file__).parent / "history.jsonl"


def machine() -> dict[str, object]:
    """Size of this machine: it says what the figures are worth."""
    return {
        "processors": os.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }


def show(results: Sequence[Result]) -> None:
    """Print the table; medians of all rounds."""
    table = Table(title="medians, side by side", caption=str(machine()))
    for column in ("what", "workbench", "other", "ratio", "goal", "met", "peak MiB", "rounds"):
        table.add_column(column, justify="left" if column in {"what", "goal"} else "right")
    for result in results:
        table.add_row(
            result.name,
            figure(result.workbench, result.unit),
            figure(result.other, result.unit),
            f"{result.ratio:.2f}",
            result.goal,
            "[green]yes" if result.met else "[red]no",
            f"{result.peak_mib:.0f} / {result.other_peak_mib:.0f}",
            str(max(map(len, result.rounds.values()))),
        )
    console = Console(width=None if Console().is_terminal else 180)
    console.print(table)
    for result in results:
        if result.note:
            console.print(f"{result.name}: {result.note}", style="dim", markup=False)


def figure(value: float, unit: str) -> str:
    """A number with its unit, as many digits as are worth reading."""
    return f"{value:,.0f} {unit}" if value >= 1000 else f"{value:.3f} {unit}"


def remember(results: Sequence[Result], took: dict[str, float]) -> None:
    """Append one line to the history."""
    entry = {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": machine(),
        "took": took,
        "results": [asdict(result) for result in results],
    }
    with HISTORY.open("a") as history:
        history.write(json.dumps(entry) + "\n")


def markdown(results: Sequence[Result]) -> str:
    """The table for RESULTS.md."""
    lines = [
        "| what | workbench | other | ratio | goal | met | peak MiB (workbench / other) |",
        "|---|--:|--:|--:|---|---|--:|",
    ]
    lines += [
        f"| {r.name} | {figure(r.workbench, r.unit)} | {figure(r.other, r.unit)} | {r.ratio:.2f} | {r.goal} "
        f"| {'yes' if r.met else 'no'} | {r.peak_mib:.0f} / {r.other_peak_mib:.0f} |".replace(
            "kcat | jq | sort | uniq", "kcat, jq, sort, uniq"
        )
        for r in results
    ]
    return "\n".join(lines)
