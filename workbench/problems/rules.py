"""What a rule is: one function that reads a case and ends in exactly one ruling.

The function's docstring is the rule's definition; the runbook quotes it. A rule claims entries of the ledger (lost
messages, extra copies) by a predicate of its own over the case's ``entries`` table; attribution settles who gets what.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from workbench.evidence import Evidence
from workbench.report import Confidence, Severity, State

if TYPE_CHECKING:
    import duckdb

Kind = Literal["cause", "risk", "note"]


@dataclass(frozen=True)
class Case:
    """What rules look at.

    Attributes:
        con: DuckDB with a view for each evidence table and the tables of the problem's ledger, ``entries`` among them.
        evidence: the evidence itself, for facts and for what is missing and why.
        ledger: disposition -> count.
        entries: how many ledger entries need a cause.
        numbers: further counts of the problem that rules share.
    """

    con: duckdb.DuckDBPyConnection
    evidence: Evidence
    ledger: Mapping[str, int | None]
    entries: int
    numbers: Mapping[str, int] = field(default_factory=dict)

    @property
    def facts(self) -> Mapping[str, Any]:
        """The evidence's facts."""
        return self.evidence.facts

    def has(self, table: str) -> bool:
        """Whether an evidence table was collected."""
        return table in self.evidence.tables

    def has_made(self, table: str) -> bool:
        """Whether a rule has created a table of the case already."""
        return bool(self.rows("SELECT 1 FROM duckdb_tables() WHERE table_name = ?", [table]))

    def rows(self, query: str, parameters: list[Any] | None = None) -> list[dict[str, Any]]:
        """A small query's rows as dicts."""
        cursor = self.con.execute(query, parameters or [])
        names = [column[0] for column in cursor.description or []]
        return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]

    def count(self, predicate: str) -> int:
        """Number of entries that satisfy a predicate of the rules' own."""
        found = self.con.execute(f"SELECT count(*) FROM entries WHERE {predicate}").fetchone()
        return int(found[0]) if found else 0


@dataclass(frozen=True)
class Claim:
    """Entries that a rule takes for its own, as a SQL predicate over ``entries``."""

    state: State
    where: str


@dataclass(frozen=True)
class Ruling:
    """Where a rule ended.

    Attributes:
        claims: entries it explains; empty when it found none.
        undecided: why it could not be decided, else None.
        summary: one sentence; ``{count}`` is replaced by the entries attributed, ``{candidates}`` by the shared ones.
        state: set for findings that claim no entries (offset losses, hidden records); else taken from the claims.
        upper_bound: offsets affected where no ids are known.
        affected: messages affected where none of them needs a cause (hidden ones).
        confidence: how sure the attribution is.
        subject: topic, partition, group, sink.
        tables: evidence tables that it rests on.
        rows: coordinates, at most ten.
    """

    claims: tuple[Claim, ...] = ()
    undecided: str | None = None
    summary: str = ""
    state: State | None = None
    upper_bound: int = 0
    affected: int = 0
    confidence: Confidence = "high"
    subject: Mapping[str, str | int] = field(default_factory=dict)
    tables: tuple[str, ...] = ()
    rows: tuple[str, ...] = ()


RULED_OUT = Ruling()


@dataclass(frozen=True)
class Rule:
    """A rule of the catalogue.

    Attributes:
        code: its slug, also the name of its runbook.
        kind: cause, risk or note.
        severity: of the confirmed state.
        needs: evidence tables without which it is undecided (when there is something to explain).
        judge: the function that is the rule.
    """

    code: str
    kind: Kind
    severity: Severity
    needs: tuple[str, ...]
    judge: Callable[[Case], Ruling]

    @property
    def definition(self) -> str:
        """The rule in words: its function's docstring."""
        return (self.judge.__doc__ or "").strip()

    def rule_on(self, case: Case) -> Ruling:
        """The ruling, or ``undecided`` with the reason where a needed table is missing."""
        for table in self.needs:
            if not case.has(table):
                return lacking(case, table)
        return self.judge(case)


def rule(
    code: str, severity: Severity, *, needs: tuple[str, ...] = (), kind: Kind = "cause"
) -> Callable[[Callable[[Case], Ruling]], Rule]:
    """Makes a function a rule."""

    def make(judge: Callable[[Case], Ruling]) -> Rule:
        return Rule(code=code, kind=kind, severity=severity, needs=needs, judge=judge)

    return make


def lacking(case: Case, table: str) -> Ruling:
    """Undecided for want of a table, with the reason why it is not there."""
    return Ruling(
        undecided=f"needs {_READABLE.get(table, table)}: {case.evidence.missing.get(table, 'not given')}",
    )


_READABLE = {
    "sent_log": "the producer's sent log (--sent-log)",
    "service_log": "the service's log (--service-log)",
    "committed": "the group's committed offsets",
    "offsets": "the topics' offsets",
    "configs": "the topics' configuration",
    "open_transactions": "the open transactions",
    "commit_history": "the group's history (Read on __consumer_offsets)",
    "other_commits": "the history of the other groups on the source",
    "epochs": "the leader epochs of the source (Describe on the topic)",
    "batches": "the record batches (--reader wire)",
    "samples": "samples of the group's past",
    "generations": "the group's generations (Read on __consumer_offsets)",
    "expiry": "when retention gets how far",
}
