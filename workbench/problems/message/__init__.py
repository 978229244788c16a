"""What happened to this message? Its life as one timeline, and one outcome."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.evidence import Evidence
from workbench.problems import standing
from workbench.problems.examination import Examination
from workbench.problems.message import events
from workbench.problems.message.life import Life, lives
from workbench.problems.message.outcome import OUTCOMES, WORST
from workbench.problems.message.story import story
from workbench.problems.rules import Rule
from workbench.report import Note, Report, Undecided, Verdict

if TYPE_CHECKING:
    from workbench.problems.draft import Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

PROBLEM = "message"

# One message has an outcome, not causes: `check loss` names the cause of what is lost.
RULES: tuple[Rule, ...] = ()
_VERDICTS: dict[str, Verdict] = {
    "delivered": "ok", "filtered": "info", "in_flight": "info", "waiting": "info", "retrying": "info", "hidden": "info",
    "dead_lettered": "warning", "never_sent": "warning", "unverifiable": "undecided", "lost": "critical",
}  # fmt: skip


def collect(sources: Sources, scope: Scope, *, work_dir: Path, progress: Progress | None = None) -> Evidence:
    """Reads what the story of one message is told from.

    Args:
        sources: where to read.
        scope: one of ``message_id``, ``key``, ``trace``, ``at``; the topics to search, with their roles or only named.
        work_dir: an empty private folder; must outlive the evidence unless that is saved.
        progress: called with what is being done.

    Returns:
        Evidence with tables ``records`` (those of the message, without content), ``offsets``, ``scan``, ``beginnings``,
        ``topics``, ``configs`` and, where they apply, ``committed``, ``commit_history``, ``generations``, ``group_members``,
        ``sent_log``, ``service_log``, ``spans``, ``span_events``.

    Raises:
        UsageError: no message or no topic is named, or several ways to name it.
        SourceError: the cluster cannot be reached, or a topic does not exist.

    Reads:
        Metadata, DescribeConfigs, ListOffsets, OffsetFetch, DescribeGroups, Fetch; the trace store of the profile.
    """
    from workbench.problems.message.collecting import collect_message

    return collect_message(sources, scope, work_dir=work_dir, progress=progress)


def diagnose(evidence: Evidence) -> Report:
    """The report of some evidence; reads nothing else, not even the clock."""
    return examine(evidence).report


def examine(evidence: Evidence) -> Examination:
    """``diagnose`` with the records at hand."""
    con = evidence.connect(memory_limit=standing.MEMORY_LIMIT)
    found = lives(con, evidence)
    _create_messages(con, found)
    return Examination(_report(found, evidence), con, _ROWS, evidence)


# A row for each record of a message that was not simply delivered; one without a place where nothing was found.
_ROWS = (
    'SELECT message_id, disposition, NULL::VARCHAR AS cause, NULL::VARCHAR AS candidates, topic, partition, "offset",'
    ' CASE WHEN at_ms BETWEEN 0 AND 253402300799999 THEN make_timestamptz(at_ms * 1000) END AS "at"'
    " FROM told WHERE disposition <> 'delivered' ORDER BY topic, partition, \"offset\""
)


def _create_messages(con: Any, found: list[Life]) -> None:
    con.execute(
        "CREATE OR REPLACE TEMP TABLE told (message_id VARCHAR, disposition VARCHAR, topic VARCHAR, partition INTEGER,"
        ' "offset" BIGINT, at_ms BIGINT)'
    )
    rows = [
        [row["message_id"], life.outcome.name, row["topic"], row["partition"], row["offset"], row["timestamp_ms"]]
        for life in found
        for row in life.records
    ] + [[None, life.outcome.name, None, None, None, None] for life in found if not life.records]
    con.executemany("INSERT INTO told VALUES (?, ?, ?, ?, ?, ?)", rows)


def _report(found: list[Life], evidence: Evidence) -> Report:
    worst = max(found, key=lambda life: WORST.index(life.outcome.name))
    every = events.ordered(event for life in found for event in life.events)
    since = events.gaps(every)
    shown = events.shortened(every)
    outcome = worst.outcome
    undecided = tuple(
        Undecided("outcome", life.outcome.reason) for life in found if life.outcome.name == "unverifiable"
    )  # fmt: skip
    return Report(
        problem=PROBLEM,
        verdict=_VERDICTS[outcome.name],
        ledger={"messages": len(found), **{name: _count(found, name) for name in OUTCOMES}},
        undecided=tuple(dict.fromkeys(undecided)),
        notes=tuple(_notes(found, every, since, evidence)),
        facts={
            **{name: value for name, value in evidence.facts.items() if name != "log_lines_skipped"},
            "outcome": outcome.name,
            "reason": outcome.reason,
            "lost_at": outcome.step,
            "story": story(worst),
            "records": sum(len(life.records) for life in found),
            "timeline_events": len(every),
        },
        sections={"timeline": events.rows(shown, since)},
    )


def _count(found: list[Life], name: str) -> int:
    return sum(life.outcome.name == name for life in found)


def _notes(found: list[Life], every: list[events.Event], since: dict[str, float], evidence: Evidence) -> list[Note]:
    out = [note for life in found for note in life.notes]
    for (clock, other), seconds in sorted(events.skews(every, since).items()):
        said = (
            f"The clock of {clock} is at least {seconds:,.3f} s behind that of {other}: gaps between them are negative."
        )
        out.append(Note("clock-skew", said))
    if len(found) > 1:
        out.append(Note("several-messages", f"{len(found):,} messages were found; the outcome is the worst of theirs."))
    if len(every) > events.MOST_EVENTS:
        out.append(
            Note("timeline-cut", f"{events.MOST_EVENTS:,} of {len(every):,} events are shown; spans first left out.")
        )
    if evidence.facts.get("truncated"):
        out.append(Note("truncated", "The search was cut: there may be more records of this message."))
    for reason, count in (evidence.facts.get("traces") or {}).get("skipped", {}).items():
        out.append(Note("spans-skipped", f"{count:,} parts of the traces were left out: {reason}."))
    for name, reasons in (evidence.facts.get("log_lines_skipped") or {}).items():
        out += [Note("lines-skipped", f"{n:,} lines of the {name} were skipped: {why}.") for why, n in reasons.items()]
    out += [Note("not-collected", f"{subject}: {why}.") for subject, why in sorted(evidence.missing.items())]
    return list(dict.fromkeys(out))
