"""Writes the README's index of runbooks between its markers; with --check only says whether it is out of date."""

from __future__ import annotations

import sys
from pathlib import Path

from workbench.problems import checking
from workbench.problems.rules import Rule
from workbench.report import runbook_of

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
BEGIN, END = "<!-- runbooks:begin -->", "<!-- runbooks:end -->"
UNEXPLAINED = ("unexplained", "critical", "What remains: no rule of the workbench explains it.")


def index() -> str:
    """The index: a row for each code that a finding can have."""
    rows = [_row(item.code, item.severity.word, _first_sentence(item)) for item in _rules()]
    head = ["| runbook | severity | says |", "|---|---|---|"]
    return "\n".join([*head, *rows, _row(*UNEXPLAINED)])


def readme(text: str) -> str:
    """The README with the index as it has to be now."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{index()}\n{END}{after}"


def _rules() -> list[Rule]:
    return [item for item in checking.rules() if item.kind != "note"]


def _row(code: str, severity: str, says: str) -> str:
    return f"| [{code}]({runbook_of(code)}) | {severity} | {says} |"


def _first_sentence(item: Rule) -> str:
    return " ".join(item.definition.split("\n\n")[0].split())


def main(arguments: list[str]) -> int:
    """Writes the README, or with --check only compares it; the exit code."""
    now = README.read_text(encoding="utf-8")
    wanted = readme(now)
    if "--check" in arguments:
        return int(wanted != now)
    if wanted != now:
        README.write_text(wanted, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
