"""Reports for people: the ledger, the causes and the findings as tables, by Rich or as markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from workbench.cli.text import plain
from workbench.problems.health.summary import checks
from workbench.report import Report, Verdict

# Each verdict has a sign beside its colour, so that colour is never the only signal.
SIGNS: dict[Verdict, tuple[str, str]] = {
    "ok": ("✔", "green"),
    "info": ("i", "blue"),
    "undecided": ("?", "magenta"),
    "warning": ("!", "yellow"),
    "critical": ("✖", "red"),
}


_UNITS = {"lag": "offsets", "health": "checks"}


def show(report: Report, *, markdown: bool = False) -> None:
    """Prints a report to stdout."""
    if markdown:
        print("\n".join(markdown_lines(report)))
    else:
        _print(report, Console())


def show_groups(reports: Sequence[Report], *, markdown: bool = False) -> None:
    """Prints one line a group, in the order given."""
    header = ("", "group", "verdict", "offsets behind", "lagging partitions", "why")
    rows = [_group_row(report) for report in reports]
    if markdown:
        lines = ["| " + " | ".join(header) + " |", "|---|---|---|--:|--:|---|"]
        print("\n".join([*lines, *("| " + " | ".join(_cell(cell) for cell in row) + " |" for row in rows)]))
    else:
        Console().print(_table("Groups, worst first", header, rows, right=(3, 4)))


def _group_row(report: Report) -> tuple[str, ...]:
    behind = report.ledger["offsets_behind"]
    why = [found.summary for found in report.findings] + [item.reason for item in report.undecided]
    return (
        SIGNS[report.verdict][0],
        str(report.facts["group"]),
        report.verdict,
        "unknown" if behind is None else f"{behind:,}",
        f"{report.facts['lagging_partitions']:,}",
        why[0] if why else "",
    )


_GROUP_HEADER = ("count", "cause", "where", "then", "because", "for example")
_MOST_GROUPS = 20


def _cause_groups(groups: Sequence[Mapping[str, Any]]) -> list[tuple[str, ...]]:
    return [
        (
            f"{group['count']:,}",
            plain(str(group["exception_class"] or group["grouped_by"])),
            plain(str(group["frame"] or ", ".join(group["stages"] or ()) or "")),
            group["disposition"],
            group["reason"],
            plain(group["samples"][0]),
        )
        for group in groups[:_MOST_GROUPS]
    ]


_TIMELINE_HEADER = ("at (UTC)", "gap", "took", "what", "where", "says")


def _timeline(report: Report) -> list[tuple[str, ...]]:
    """The events of a message; a negative gap stands as it is."""
    return [
        (
            (row["at"] or "unknown")[:23].replace("T", " "),
            "" if row["gap_seconds"] is None else f"{row['gap_seconds']:+,.3f} s",
            "" if row["duration_seconds"] is None else f"{row['duration_seconds']:,.3f} s",
            row["event"],
            row["where"],
            row["source"],
        )
        for row in report.sections.get("timeline", ())
    ]


def _print_message(report: Report, console: Console) -> None:
    console.print(Text(plain(f"{report.facts['outcome'].replace('_', ' ')}: {report.facts['story']}")))
    if rows := _timeline(report):
        console.print(_table("Timeline", _TIMELINE_HEADER, rows, right=(1, 2)))


def _print(report: Report, console: Console) -> None:
    sign, colour = SIGNS[report.verdict]
    console.print(Text(f"{sign} {report.problem}: {report.verdict}", style=f"bold {colour}"))
    if "timeline" in report.sections:
        _print_message(report, console)
    else:
        _print_ledger(report, console)
    for title, rows in (
        ("Not decided", _undecided_rows(report)),
        ("Notes", [(n.code, n.summary) for n in report.notes]),
    ):
        if rows:
            console.print(_table(title, ("", ""), rows))


def _print_ledger(report: Report, console: Console) -> None:
    if "reports" in report.sections:
        console.print(_table("Checks, worst first", _CHECKS_HEADER, _checks(report)))
    if "hops" in report.sections:
        header, rows = _hops(report)
        console.print(_table("Hops", header, rows, right=tuple(range(3, len(header) - 1))))
    console.print(_table("Ledger", ("", _UNITS.get(report.problem, "messages")), _ledger_rows(report), right=(1,)))
    causes = [(code, f"{count:,}") for code, count in report.causes.items() if count]
    if causes:
        console.print(_table("Causes", ("cause", "count"), causes, right=(1,)))
    if groups := report.sections.get("groups"):
        console.print(_table("Cause groups", _GROUP_HEADER, _cause_groups(groups), right=(0,)))
    if report.findings:
        console.print(_table("Findings", ("", "finding", "state", "count", "what"), _finding_rows(report), right=(3,)))


_HOP_COUNTS = {
    "loss": ("came", "passed", "waiting", "in_flight", "retrying", "dead_lettered", "lost"),
    "duplicates": ("carried", "arose", "reprocessed"),
}


def _hops(report: Report) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Header and rows of a route's hops."""
    names = _HOP_COUNTS[report.problem]
    rows = [
        (
            SIGNS[hop["verdict"]][0],
            f"{hop['topic']} -> {', '.join(hop['into'])}",
            hop["group"] or "",
            *(f"{hop[name]:,}" for name in names),
            ", ".join(hop["causes"]),
        )
        for hop in report.sections["hops"]
    ]
    return ("", "hop", "group", *(name.replace("_", " ") for name in names), "causes"), rows


_CHECKS_HEADER = ("", "integration", "check", "verdict", "what")


def _checks(report: Report) -> list[tuple[str, ...]]:
    return [
        (SIGNS[row["verdict"]][0], str(row["integration"] or ""), row["check"], row["verdict"], row["what"])
        for row in checks(report)
    ]


def _table(title: str, header: Sequence[str], rows: Iterable[Sequence[str]], right: Sequence[int] = ()) -> Table:
    table = Table(
        title=title, title_justify="left", title_style="bold", show_header=any(header), box=None, pad_edge=False
    )
    for at, name in enumerate(header):
        table.add_column(name, justify="right" if at in right else "left", no_wrap=at in right)
    for row in rows:
        table.add_row(*(Text(plain(cell)) for cell in row))
    return table


def _ledger_rows(report: Report) -> list[tuple[str, str]]:
    return [(name, "unknown" if count is None else f"{count:,}") for name, count in report.ledger.items()]


def _finding_rows(report: Report) -> list[tuple[str, ...]]:
    return [
        (
            SIGNS[found.severity.word][0],
            found.code,
            found.state,
            f"{'≤ ' if found.count_is_upper_bound else ''}{found.count:,}"
            + (f" (+{found.candidates:,})" if found.candidates else ""),
            f"{found.summary} → {found.runbook}",
        )
        for found in report.findings
    ]


def _undecided_rows(report: Report) -> list[tuple[str, str]]:
    """Rules with the same reason share a row."""
    by_reason: dict[str, list[str]] = {}
    for item in report.undecided:
        by_reason.setdefault(item.reason, []).append(item.code)
    return [(", ".join(codes), reason) for reason, codes in by_reason.items()]


def markdown_lines(report: Report) -> list[str]:
    """The report as markdown; text from the cluster is escaped."""
    sign, _ = SIGNS[report.verdict]
    lines = [
        f"## {sign} {report.problem}: {report.verdict}",
        "",
        f"| ledger | {_UNITS.get(report.problem, 'messages')} |",
        "|---|--:|",
    ]
    lines += [f"| {name} | {count} |" for name, count in _ledger_rows(report)]
    if "timeline" in report.sections:
        lines = [lines[0], "", f"**{_cell(report.facts['outcome'])}.** {_cell(report.facts['story'])}", ""]
        lines += ["| " + " | ".join(_TIMELINE_HEADER) + " |", "|---|--:|--:|---|---|---|"]
        lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in _timeline(report)]
    if "reports" in report.sections:
        lines += ["", "| " + " | ".join(_CHECKS_HEADER) + " |", "|---|---|---|---|---|"]
        lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in _checks(report)]
    if "hops" in report.sections:
        header, hops = _hops(report)
        lines += ["", "| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
        lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in hops]
    if report.findings:
        lines += ["", "| | finding | state | count | what |", "|---|---|---|--:|---|"]
        lines += ["| " + " | ".join(_cell(cell) for cell in row) + " |" for row in _finding_rows(report)]
    for title, rows in (
        ("Not decided", _undecided_rows(report)),
        ("Notes", [(n.code, n.summary) for n in report.notes]),
    ):
        if rows:
            lines += ["", f"**{title}**", "", *(f"- {_cell(name)}: {_cell(text)}" for name, text in rows)]
    return lines


def _cell(text: str) -> str:
    shown = plain(text).replace("\n", " ")
    for char in "\\|`*_[]<>":
        shown = shown.replace(char, "\\" + char) if char != "<" else shown.replace("<", "&lt;")
    return shown
