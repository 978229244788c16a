"""Evidence while it is collected, and how that is told."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from workbench.capture import Estimate, ScanProgress
from workbench.evidence import Parquet

if TYPE_CHECKING:
    import pyarrow as pa

    from workbench.sources.answer import Answer

OWN_GROUPS = "workbench-"  # the project's own groups are left out of every rule


# How long work tells what it does: a step's name, the cost of the scan that is about to begin (a face may raise UsageError
# to refuse it), or how much of it is done.
Progress = Callable[[str | Estimate | ScanProgress], None]


def silent(_progress: str | Estimate | ScanProgress) -> None:
    """Progress for nobody: agrees to every scan."""


@dataclass
class Draft:
    """Evidence while it grows."""

    tables: dict[str, pa.Table | Parquet] = field(default_factory=dict)
    facts: dict[str, Any] = field(default_factory=dict)
    missing: dict[str, str] = field(default_factory=dict)

    def take(self, name: str, found: Answer) -> None:
        """Takes a source's answer: its rows, or why there are none."""
        if found.table.num_rows or not found.failures:
            self.tables[name] = found.table
        if found.failures:
            key = name if not found.table.num_rows else f"{name} (part)"
            self.missing[key] = found.why_incomplete()
