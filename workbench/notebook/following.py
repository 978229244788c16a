"""What to do next: from each finding to the runbook that handles it."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

from workbench.notebook.display import emit
from workbench.notebook.escaping import markdown_text
from workbench.notebook.headless import RUN_FOLDER
from workbench.report import Report
from workbench.shelves import home

_OUTCOMES = {
    "lost": "`workbench check loss` over the same topics names the cause, with its runbook.",
    "dead_lettered": "`workbench check dlq` says why, and `workbench redrive plan` how it may go back.",
    "never_sent": "Look at its sender: nothing in these topics says that it was sent.",
    "retrying": "It waits for another try.",
    "waiting": "`workbench check lag` says how long the group will need.",
}
_SHOWN = ("Meaning", "Mitigation")


def next_steps(report: Report, folder: str | Path = "") -> None:
    """Shows, for each finding, what it means, how to act on it, and the runbook to go on with.

    Args:
        report: a published report.
        folder: where ``save`` kept its evidence; the runbook takes it as its parameter ``evidence_dir``.
    """
    steps = [_step(finding.code, finding.runbook, _kept(folder)) for finding in report.findings] + _steps_of_checks(
        report
    )
    parts = steps or [_without_findings(report)]
    runbooks = [finding.runbook for finding in report.findings]
    emit({"text/markdown": "\n\n".join(parts), "text/plain": "\n".join(runbooks)})


def _steps_of_checks(report: Report) -> list[str]:
    """Of a health report: the findings of its checks, whose runbooks want the evidence of the one check; each code once."""
    out: dict[str, str] = {}
    for part in report.sections.get("reports", ()):
        where = part["facts"].get("integration") or "..."
        for one in part["findings"]:
            evidence = f"what `workbench check {part['problem']} {markdown_text(where)} --save FOLDER` keeps"
            out.setdefault(one["code"], _step(one["code"], one["runbook"], evidence))
    return list(out.values())


def _step(code: str, runbook: str, evidence: str) -> str:
    sections = runbook_sections(home() / runbook)
    texts = [f"**{name}**\n\n{_without_headings(sections[name])}" for name in _SHOWN if name in sections]
    said = f"Runbook: [{runbook}]({_link(runbook)}), with evidence&#95;dir = {evidence}."
    return "\n\n".join([f"### {code}", *texts, said])


def _kept(folder: str | Path) -> str:
    kept = Path(folder).name if os.environ.get(RUN_FOLDER) else str(folder)
    return markdown_text(f"{kept}/evidence" if kept else "the evidence folder")


def _without_findings(report: Report) -> str:
    if report.undecided:
        return "Nothing was found, but not everything could be decided: see **Undecided** above for what is missing."
    return _OUTCOMES.get(str(report.facts.get("outcome")), "Nothing to do: every message is accounted for.")


def _link(runbook: str) -> str:
    """The runbook seen from the page: from the run's folder, else from the notebook's."""
    start = os.environ.get(RUN_FOLDER) or str(Path.cwd())
    return Path(os.path.relpath(home() / runbook, start)).as_posix().replace(" ", "%20")


def runbook_sections(path: Path) -> dict[str, str]:
    """Heading -> text of a runbook's second-level Markdown sections; {} where there is no such runbook."""
    if not path.is_file():
        return {}
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")
    pieces = re.split(r"^## +(.+)$", text, flags=re.MULTILINE)
    return {name.strip(): body.strip() for name, body in zip(pieces[1::2], pieces[2::2], strict=True)}


def _without_headings(text: str) -> str:
    return re.sub(r"^#+ ", "", text, flags=re.MULTILINE)
