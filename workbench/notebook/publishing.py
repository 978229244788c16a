"""Publishing a report: Markdown for people, the JSON contract for programs, one line for logs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from workbench.notebook.escaping import markdown_text
from workbench.notebook.headless import REPORT_MIME
from workbench.notebook.words import MEANINGS
from workbench.problems.health.summary import checks
from workbench.report import Finding, Report

_MARKS = {"ok": "✔", "info": "i", "undecided": "?", "warning": "▲", "critical": "✖"}


def report_bundle(report: Report) -> dict[str, Any]:
    """The report in the MIME types that it is published in."""
    return {REPORT_MIME: report.to_dict(), "text/markdown": report_markdown(report), "text/plain": headline(report)}


def headline(report: Report) -> str:
    """The verdict and the number that matters most, in one line of plain text."""
    said = {name: _count(count) for name, count in report.ledger.items()}
    numbers = {
        "loss": f"{said.get('lost')} of {said.get('sent')} messages lost",
        "lag": f"{said.get('offsets_behind')} offsets behind",
        "dlq": f"{said.get('dead_letters')} dead letters, of which {said.get('replay')} may be sent back",
        "duplicates": f"{said.get('extra_copies')} extra copies among {said.get('records')} records",
        "health": f"{said.get('critical')} of {said.get('checks')} checks critical, {said.get('warning')} warning,"
        f" {said.get('undecided')} undecided",
        "message": str(report.facts.get("outcome", "")).replace("_", " "),
    }
    return f"{report.problem}: {report.verdict}, {numbers.get(report.problem, '')}".rstrip(", ")


def report_markdown(report: Report) -> str:
    """The report as Markdown: verdict, ledger, findings, what stays open; text from messages is escaped."""
    parts = [
        f"## {_MARKS[report.verdict]} Verdict: {report.verdict}",
        f"**{headline(report).split(', ', 1)[-1].capitalize()}.**",
        *([markdown_text(report.facts["story"])] if report.facts.get("story") else []),
        _table(("disposition", "count", "meaning"), _ledger_rows(report), numeric=1),
        *_checks(report),
        *_causes(report),
        *_findings(report),
        *_open(report),
        *_window(report),
    ]
    return "\n\n".join(parts) + "\n"


def _checks(report: Report) -> list[str]:
    if "reports" not in report.sections:
        return []
    rows = [
        (_MARKS[row["verdict"]], str(row["integration"]), row["check"], row["verdict"], row["what"])
        for row in checks(report)
    ]
    parts = ["### Checks, worst first", _table(("", "integration", "check", "verdict", "what"), rows)]
    signals = [
        (row["signal"], row["subject"] or "", _number(row["value"]), row["unit"]) for row in report.sections["signals"]
    ]
    return [
        *parts,
        *(
            ["### Signals of Prometheus", _table(("signal", "of", "value", "unit"), signals, numeric=2)]
            if signals
            else []
        ),
    ]


def _number(value: float | None) -> str:
    return "unknown" if value is None else f"{value:,.3g}"


def _ledger_rows(report: Report) -> list[tuple[str, ...]]:
    meanings = MEANINGS.get(report.problem, {})
    return [(name, _count(count), meanings.get(name, "")) for name, count in report.ledger.items()]


def _causes(report: Report) -> list[str]:
    rows = [(code, _count(count)) for code, count in report.causes.items() if count]
    if not rows:
        return []
    what = {
        "loss": "Causes of the lost messages",
        "duplicates": "Causes of the extra copies",
        "lag": "Causes, by lagging partitions",
    }
    return [f"### {what.get(report.problem, 'Causes')}", _table(("cause", "count"), rows, numeric=1)]


def _findings(report: Report) -> list[str]:
    if not report.findings:
        return ["No findings."]
    return ["### Findings", "\n".join(_finding(finding) for finding in report.findings)]


def _finding(finding: Finding) -> str:
    subject = ", ".join(f"{key} {value}" for key, value in finding.subject.items())
    shared = f"; {finding.candidates:,} more could also have another cause" if finding.candidates else ""
    return (
        f"- {_MARKS[finding.severity.word]} **{finding.code}** ({finding.severity.word}, {finding.state},"
        f" confidence {finding.confidence}): {markdown_text(finding.summary)}{shared}"
        f"{' — ' + markdown_text(subject) if subject else ''}"
    )


def _open(report: Report) -> list[str]:
    parts = []
    if report.undecided:
        parts += ["### Undecided", _table(("why", "rules"), _reasons(report))]
    if report.notes:
        notes = "\n".join(f"- **{note.code}**: {markdown_text(note.summary)}" for note in report.notes)
        parts += ["### Notes", notes]
    if report.ruled_out:
        parts.append(f"Ruled out: {', '.join(report.ruled_out)}.")
    return parts


def _reasons(report: Report) -> list[tuple[str, str]]:
    """Why rules stay undecided, each reason once; what concerns the ledger itself comes first."""
    rules: dict[str, list[str]] = {}
    for item in sorted(report.undecided, key=lambda item: item.code != "ledger"):
        rules.setdefault(item.reason, []).append(item.code)
    return [(reason, ", ".join(codes)) for reason, codes in rules.items()]


def _window(report: Report) -> list[str]:
    facts = report.facts
    said = [f"{name} {facts[name]}" for name in ("since", "until") if facts.get(name)]
    said += [f"read by {facts['reader']}"] if facts.get("reader") else []
    said += [f"collected at {facts['collected_at']}"] if facts.get("collected_at") else []
    cut = ["**The scan was cut: counts cover only what was read.**"] if facts.get("truncated") else []
    return [*cut, *([markdown_text("; ".join(["Evidence", *said]) + ".").replace("; ", ": ", 1)] if said else [])]


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]], numeric: int | None = None) -> str:
    marks = ["---:" if index == numeric else "---" for index in range(len(head))]
    lines = [head, tuple(marks), *(tuple(markdown_text(cell) for cell in row) for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _count(count: int | None) -> str:
    return "unknown" if count is None else f"{count:,}"
