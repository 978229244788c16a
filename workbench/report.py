"""Reports: the ledger, what was found, what was ruled out, and what nobody could decide.

The JSON form (``Report.to_json``) is the contract with programs; its version is ``REPORT_VERSION``.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

REPORT_VERSION = 1

Verdict = Literal["ok", "info", "undecided", "warning", "critical"]
State = Literal["confirmed", "suspected"]
Confidence = Literal["high", "medium", "low"]

# Worst last. "undecided" outranks "info": not knowing is worse than knowing something harmless.
VERDICT_ORDER: tuple[Verdict, ...] = ("ok", "info", "undecided", "warning", "critical")

EXIT_CODES: Mapping[Verdict, int] = {"ok": 0, "info": 0, "undecided": 3, "warning": 12, "critical": 13}


class Severity(enum.IntEnum):
    """How bad a confirmed finding is; a suspected one is one step lower, never below INFO."""

    INFO = 0
    WARNING = 1
    CRITICAL = 2

    @property
    def word(self) -> Verdict:
        """The severity as the verdict it causes."""
        words: tuple[Verdict, ...] = ("info", "warning", "critical")
        return words[self]

    def lowered(self) -> Severity:
        """The severity of the same finding when it is only suspected."""
        return Severity(max(self - 1, Severity.INFO))


@dataclass(frozen=True, slots=True)
class EvidenceRef:
    """Points at the rows that a finding rests on.

    Attributes:
        table: name of an evidence table.
        rows: coordinates or row descriptions, at most ten; the ledger file holds them all.
    """

    table: str
    rows: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Finding:
    """One cause or risk with its evidence.

    Attributes:
        code: the rule's code, for example ``loss-retention-overtook``.
        state: ``confirmed`` or ``suspected``.
        severity: already lowered where the state is ``suspected``.
        confidence: how sure the attribution is.
        subject: what it is about: any of topic, partition, group, sink.
        count: ledger entries attributed to it alone (messages, copies, or offsets where it is an upper bound).
        count_is_upper_bound: the count comes from offsets, which are not all records.
        candidates: entries that this cause shares with other causes and that are counted under ``undetermined``.
        summary: one sentence with numbers and units.
        evidence: the tables and rows it rests on.
        runbook: path of the runbook that handles it.
    """

    code: str
    state: State
    severity: Severity
    confidence: Confidence
    subject: Mapping[str, str | int]
    count: int
    summary: str
    runbook: str
    count_is_upper_bound: bool = False
    candidates: int = 0
    evidence: tuple[EvidenceRef, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """The finding as in the JSON contract."""
        return {
            "code": self.code,
            "state": self.state,
            "severity": self.severity.word,
            "confidence": self.confidence,
            "count": self.count,
            "count_is_upper_bound": self.count_is_upper_bound,
            "candidates": self.candidates,
            "subject": dict(self.subject),
            "summary": self.summary,
            "evidence": [{"table": ref.table, "rows": list(ref.rows)} for ref in self.evidence],
            "runbook": self.runbook,
        }


@dataclass(frozen=True, slots=True)
class Undecided:
    """A rule that could not be decided, and why."""

    code: str
    reason: str


@dataclass(frozen=True, slots=True)
class Note:
    """Worth knowing, never a finding."""

    code: str
    summary: str


@dataclass(frozen=True, slots=True)
class Report:
    """The end of a diagnosis.

    Attributes:
        problem: ``loss``, ``duplicates``, ``lag``, ``dlq``, ``message`` or ``health``.
        verdict: the worst of findings and undecidedness, see ``worst``.
        ledger: disposition -> count; a count is None where it cannot be known (with a note that says why).
        causes: code -> entries explained by it; sums to the ledger's entry that needs explaining.
        findings: worst first.
        ruled_out: codes that evidence excludes.
        undecided: codes that evidence at hand can neither confirm nor exclude.
        notes: worth knowing, never findings.
        facts: scalars such as topics, window, reader, ``collected_at``; JSON types only.
        sections: further parts of some problems (``groups`` of dlq), each a key of the document; JSON types only.
    """

    problem: str
    verdict: Verdict
    ledger: Mapping[str, int | None]
    causes: Mapping[str, int] = field(default_factory=dict)
    findings: tuple[Finding, ...] = ()
    ruled_out: tuple[str, ...] = ()
    undecided: tuple[Undecided, ...] = ()
    notes: tuple[Note, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    sections: Mapping[str, Any] = field(default_factory=dict)

    @property
    def exit_code(self) -> int:
        """Exit code of the command line for this verdict."""
        return EXIT_CODES[self.verdict]

    def to_dict(self) -> dict[str, Any]:
        """The JSON contract as plain types, in its documented order."""
        return {
            "version": REPORT_VERSION,
            "problem": self.problem,
            "verdict": self.verdict,
            "ledger": dict(self.ledger),
            "causes": dict(self.causes),
            "findings": [finding.to_dict() for finding in self.findings],
            "ruled_out": list(self.ruled_out),
            "undecided": [{"code": item.code, "reason": item.reason} for item in self.undecided],
            "notes": [{"code": note.code, "summary": note.summary} for note in self.notes],
            **self.sections,
            "facts": dict(self.facts),
        }

    def to_json(self, indent: int | None = 2) -> str:
        """The JSON contract as text; non-ASCII is escaped so that no terminal interprets it."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)

    def write(self, path: Path) -> None:
        """Writes ``report.json`` whole or not at all."""
        scratch = path.with_name(path.name + ".partial")
        scratch.write_text(self.to_json() + "\n")
        scratch.replace(path)


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """The worst of some verdicts; ``ok`` where there is none."""
    return max(verdicts, key=VERDICT_ORDER.index, default="ok")


def runbook_of(code: str) -> str:
    """Path of the runbook that handles a code, relative to the project."""
    return f"runbooks/{code}.ipynb"
