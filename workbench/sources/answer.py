"""What a source answers: a table of what could be learnt, and why the rest could not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa  # noqa: TC002 - docstrings and callers name its types at run time

from workbench.tables import table_of


@dataclass(frozen=True)
class Answer:
    """Rows that were had, and reasons for those that were not.

    Attributes:
        table: the rows; unknown cells are null, never 0.
        failures: subject (a topic, group, ``topic/partition`` or column) -> why, for example "Describe denied".
    """

    table: pa.Table
    failures: Mapping[str, str] = field(default_factory=dict)

    def rows(self) -> list[dict[str, Any]]:
        """The rows as dicts; for small tables."""
        rows: list[dict[str, Any]] = self.table.to_pylist()
        return rows

    def why_incomplete(self) -> str:
        """All failures as one text, ``"orders: Describe denied; ..."``; empty when there are none."""
        return "; ".join(f"{subject}: {reason}" for subject, reason in self.failures.items())


def answer(schema: pa.Schema, rows: Iterable[Sequence[Any]], failures: Mapping[str, str] | None = None) -> Answer:
    """An answer from rows given as sequences in the schema's order."""
    return Answer(table_of(schema, rows), dict(failures or {}))
