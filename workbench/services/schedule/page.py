"""The index of a schedule's runs: the trend of their verdicts and a line a run, as a page that opens offline."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

from workbench.services.schedule.plan import Plan
from workbench.services.schedule.shelf import FAILED, Run, Shelf

PAGE = "index.html"
_MARKS = {"ok": "✔", "info": "i", "undecided": "?", "warning": "▲", "critical": "✖", FAILED: "!", None: "…"}
_INKS = {
    "ok": "#2f7d4f", "info": "#3a6ea5", "undecided": "#7a5195", "warning": "#a86400", "critical": "#a3122a", FAILED: "#444c56",
    None: "#6e7781",
}  # fmt: skip
_STYLE = """
:root{color-scheme:light dark}
body{font:16px/1.5 system-ui,sans-serif;max-width:72rem;margin:2rem auto;padding:0 1rem}
table{border-collapse:collapse;width:100%}
th,td{text-align:left;padding:.35rem .6rem;border-bottom:1px solid #8884;vertical-align:top}
.trend{display:flex;flex-wrap:wrap;gap:2px;list-style:none;padding:0;margin:0 0 1.5rem}
.trend a,.trend span{display:block;width:1.6rem;height:1.6rem;line-height:1.6rem;text-align:center;color:#fff;
text-decoration:none;border-radius:3px}
.verdict{color:#fff;border-radius:3px;padding:.05rem .45rem;white-space:nowrap}
"""


def write_page(plan: Plan, shelf: Shelf) -> None:
    """Writes ``index.html``, whole or not at all."""
    runs, name = shelf.runs(), escape(Path(plan.notebook).stem)
    lines = [line for run in reversed(runs) for line in _line(shelf, run)]
    text = "\n".join(
        [
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">",
            '<meta name="viewport" content="width=device-width,initial-scale=1">',
            f"<title>{name}: reports</title><style>{_STYLE}</style></head><body><main>",
            f"<h1>{name}: reports</h1>",
            f"<p>On schedule <code>{escape(plan.cron)}</code> (UTC); the newest {plan.keep:,} are kept. Oldest first:</p>",
            f'<ol class="trend">{"".join(_cell(shelf, run) for run in runs)}</ol>',
            "<table><thead><tr><th>began (UTC)</th><th>took</th><th>verdict</th><th>what</th></tr></thead><tbody>",
            *lines,
            "</tbody></table></main></body></html>",
        ]
    )
    partial = shelf.folder / f"{PAGE}.partial"
    partial.write_text(text + "\n", encoding="utf-8")
    partial.replace(shelf.folder / PAGE)


def _cell(shelf: Shelf, run: Run) -> str:
    said = escape(f"{run.started[:19]}: {run.verdict or 'on'}", quote=True)
    ink, mark = _INKS.get(run.verdict, "#444"), _MARKS.get(run.verdict, "?")
    href = _href(shelf, run)
    inner = f'style="background:{ink}" title="{said}" aria-label="{said}">{mark}'
    return (
        f'<li><a href="{escape(href, quote=True)}" {inner}</a></li>'
        if href
        else f'<li><span role="img" {inner}</span></li>'
    )


def _line(shelf: Shelf, run: Run) -> Sequence[str]:
    took = "" if run.seconds is None else f"{run.seconds:,.1f} s"
    href = _href(shelf, run)
    began = escape(run.started[:19].replace("T", " "))
    shown = f'<a href="{escape(href, quote=True)}">{began}</a>' if href else began
    ink, mark = _INKS.get(run.verdict, "#444"), _MARKS.get(run.verdict, "?")
    verdict = f'<span class="verdict" style="background:{ink}">{mark} {escape(run.verdict or "on")}</span>'
    return [f"<tr><td>{shown}</td><td>{took}</td><td>{verdict}</td><td>{escape(_what(shelf, run))}</td></tr>"]


def _what(shelf: Shelf, run: Run) -> str:
    if run.error:
        return run.error
    report = shelf.report(run) or {}
    bad = [
        f"{part['facts'].get('integration') or ''} {part['problem']}: {part['verdict']}".strip()
        for part in report.get("reports", ())
        if part["verdict"] not in ("ok", "info")
    ]
    own = [one["summary"] for one in report.get("findings", ())]
    return "; ".join([*bad, *own])


def _href(shelf: Shelf, run: Run) -> str:
    pages = sorted(shelf.results(run).glob("*.html"))
    return pages[0].relative_to(shelf.folder).as_posix() if pages else ""
