"""Writes the README's index of runbooks and the links of alerts to them; with --check only says what is out of date."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from workbench.problems import checking
from workbench.problems.rules import Rule
from workbench.report import runbook_of

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
RULES = ROOT / "deploy" / "prometheus" / "rules"
# The JupyterLab of docker-compose.yml, where a runbook can be opened and run.
JUPYTERLAB = "http://localhost:8888/lab/tree"
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


def alerts(text: str) -> str:
    """A file of alert rules in which each alert leads to the runbook of its code; to the index where it has none yet."""
    return re.sub(r"(\bcode: ([a-z-]+)\n(?:(?!- alert:).)*?runbook_url: )\S+", _with_link, text, flags=re.DOTALL)


def _with_link(match: re.Match[str]) -> str:
    page = runbook_of(match[2])
    return f"{match[1]}{JUPYTERLAB}/{page if (ROOT / page).is_file() else README.name}"


def _rules() -> list[Rule]:
    return [item for item in checking.rules() if item.kind != "note"]


def _row(code: str, severity: str, says: str) -> str:
    return f"| [{code}]({runbook_of(code)}) | {severity} | {says} |"


def _first_sentence(item: Rule) -> str:
    return " ".join(item.definition.split("\n\n")[0].split())


def main(arguments: list[str]) -> int:
    """Writes the README and the rules, or with --check only compares them; the exit code."""
    written = {README: readme, **dict.fromkeys(sorted(RULES.glob("*.yml")), alerts)}
    stale = False
    for path, wanted in written.items():
        now = path.read_text(encoding="utf-8")
        if wanted(now) == now:
            continue
        stale = True
        if "--check" not in arguments:
            path.write_text(wanted(now), encoding="utf-8")
    return int(stale and "--check" in arguments)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
