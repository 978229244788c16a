"""The page to start from: questions, integrations, the last reports with what they found, and the runbooks."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from workbench.config import Config
from workbench.notebook.escaping import markdown_text

START = "start.md"
QUESTIONS = (
    ("Did messages get lost, and why?", "loss"),
    ("Were messages processed twice, and why?", "duplicates"),
    ("How far behind is a group, since when, and when does it become loss?", "lag"),
    ("What is in the dead-letter topic, and what may go back?", "dlq"),
    ("Where is this message?", "message"),
    ("How is everything?", "health"),
)
# Folders of results are looked for so deep and no further: out/NAME, reports/runs/NAME/results.
_DEPTH, _MOST = 4, 12


def write_start_page(folder: Path, config: Config) -> Path:
    """Writes ``start.md`` into a folder, anew each time; returns its path."""
    path = folder / START
    path.write_text(start_page(folder, config), encoding="utf-8")
    return path


def start_page(folder: Path, config: Config) -> str:
    """The page as Markdown; links are relative to the folder."""
    reports = sorted(_reports(folder), key=lambda found: found["at"], reverse=True)[:_MOST]
    sections = (
        ("Questions", _table(("question", "notebook"), _questions())),
        ("Integrations", _integrations(config)),
        ("Last reports", _table(("when (UTC)", "about", "verdict", "page"), map(_report_row, reports))),
        ("Open findings", _findings(reports)),
        ("Runbooks", _runbooks(folder)),
    )
    body = "\n\n".join(f"## {title}\n\n{text or 'None yet.'}" for title, text in sections)
    return (
        f"# Workbench\n\nRun the cells of a notebook from the top; its parameters are those of the command.\n\n{body}\n"
    )


def _questions() -> Iterator[tuple[str, ...]]:
    for question, name in QUESTIONS:
        yield question, f"[{name}](notebooks/{name}.ipynb)"


def _integrations(config: Config) -> str:
    rows = []
    for name, table in sorted(config.integrations.items()):
        flow = f"{table.get('source', '')} → {', '.join(table.get('sinks', ()))}"
        rows.append(
            (f"`integration = {json.dumps(name)}`", markdown_text(flow), markdown_text(str(table.get("group", ""))))
        )
    hint = "`workbench discover TOPIC` proposes one for `workbench.toml`."
    return _table(("parameter", "flow", "group"), rows) or hint


def _reports(folder: Path) -> Iterator[dict[str, Any]]:
    """Reports of headless runs below a folder; what cannot be read is none."""
    for shelf in ("out", "reports"):
        for path in _named(folder / shelf, "report.json"):
            try:
                document = json.loads(path.read_text(encoding="utf-8"))
                if isinstance(document, Mapping) and "verdict" in document:
                    yield {"path": path, "report": document, "at": path.stat().st_mtime, "folder": folder}
            except (OSError, ValueError):
                continue


def _named(top: Path, name: str) -> Iterator[Path]:
    for where, folders, files in os.walk(top):
        if len(Path(where).relative_to(top).parts) >= _DEPTH:
            folders.clear()
        folders.sort()
        if name in files:
            yield Path(where) / name


def _report_row(found: Mapping[str, Any]) -> tuple[str, ...]:
    report, path = found["report"], found["path"]
    facts = report.get("facts") or {}
    about = facts.get("integration") or facts.get("source") or facts.get("group") or ""
    pages = sorted(path.parent.glob("*.html"))
    shown = f"[{markdown_text(pages[0].name)}]({_relative(pages[0], found['folder'])})" if pages else ""
    when = datetime.fromtimestamp(found["at"], UTC).strftime("%Y-%m-%d %H:%M")
    return (
        when,
        markdown_text(f"{report.get('problem', '')} {about}".strip()),
        markdown_text(str(report["verdict"])),
        shown,
    )


def _findings(reports: list[dict[str, Any]]) -> str:
    """The findings of the newest report on each subject."""
    rows, seen = [], set()
    for found in reports:
        subject = _report_row(found)[1]
        if subject in seen:
            continue
        seen.add(subject)
        for one in found["report"].get("findings") or ():
            code = markdown_text(str(one.get("code", "")))
            rows.append((markdown_text(str(one.get("severity", ""))), f"[{code}](runbooks/{code}.ipynb)", subject,
                         markdown_text(str(one.get("summary", "")))))  # fmt: skip
    return _table(("severity", "code", "about", "summary"), rows[:30])


def _runbooks(folder: Path) -> str:
    names = sorted(path.stem for path in (folder / "runbooks").glob("*.ipynb"))
    families: dict[str, list[str]] = {}
    for name in names:
        family = name.split("-", 1)[0] if "-" in name else "other"
        families.setdefault(family, []).append(f"[{name}](runbooks/{name}.ipynb)")
    return "\n".join(f"- **{family}**: {', '.join(links)}" for family, links in sorted(families.items()))


def _table(head: tuple[str, ...], rows: Any) -> str:
    body = [f"| {' | '.join(cell.replace('|', '&#124;') for cell in row)} |" for row in rows]
    return "\n".join([f"| {' | '.join(head)} |", f"|{'---|' * len(head)}", *body]) if body else ""


def _relative(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix().replace(" ", "%20")
