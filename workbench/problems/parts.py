"""Reports that are made of several checks: how their evidence lies in one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from workbench.evidence import Evidence


@dataclass(frozen=True)
class Part:
    """One check of one integration, or of one hop of a route.

    Attributes:
        key: what its tables' names begin with, in the whole evidence.
        integration: its name, or the hop's; "" where topics were named instead.
        problem: loss, duplicates, lag or dlq.
        evidence: its own; empty where it could not be collected.
        error: why it could not be, else None.
    """

    key: str
    integration: str
    problem: str
    evidence: Evidence
    error: str | None = None

    def to_fact(self) -> dict[str, Any]:
        """What the whole evidence's facts hold of it; its tables lie beside."""
        return {
            "key": self.key,
            "integration": self.integration,
            "problem": self.problem,
            "facts": dict(self.evidence.facts),
            "missing": dict(self.evidence.missing),
            "error": self.error,
        }


def parts_of(evidence: Evidence) -> list[Part]:
    """The parts that evidence is made of."""
    return [
        Part(
            fact["key"],
            fact["integration"],
            fact["problem"],
            Evidence(
                {
                    name.removeprefix(f"{fact['key']}_"): table
                    for name, table in evidence.tables.items()
                    if name.startswith(f"{fact['key']}_")
                },
                fact["facts"],
                fact["missing"],
            ),
            fact["error"],
        )
        for fact in evidence.facts["parts"]
    ]
