"""What a message's story is told from: its records, the group's history, the users' logs, and its spans."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import UsageError
from workbench.problems.message.records import RECORDS
from workbench.problems.message.search import find_records
from workbench.problems.message.subject import Place, Subject, shown, subject_of
from workbench.sources.traces import SPAN_EVENTS, SPANS, SpanQuery
from workbench.tables import table_of

if TYPE_CHECKING:
    from workbench.evidence import Evidence
    from workbench.problems.draft import Draft, Progress
    from workbench.problems.scope import Scope
    from workbench.sources import Sources

WANT = frozenset({"aborted", "event", "origin", "headers"})
MOST_PLACES = 20
# Spans of a message begin around its records, by clocks that may differ.
BEFORE, AFTER = timedelta(hours=1), timedelta(days=1)


def scoped(scope: Scope) -> Scope:
    """The scope with topics that were only named put into roles: the first is the source, names tell dead letters.

    Raises:
        UsageError: no topic is named at all.
    """
    from workbench.dialects import looks_like_dead_letter_topic

    source = "" if scope.source in scope.stores else scope.source
    scope = replace(scope, source=source, sinks=scope.sink_topics(), stores={})
    known = scope.topics()
    extra = [topic for topic in scope.topics_named if topic not in known]
    dead = tuple(topic for topic in extra if looks_like_dead_letter_topic(topic))
    flow = [topic for topic in extra if topic not in dead]
    if not scope.source and flow:
        scope = replace(scope, source=flow.pop(0))
    scope = replace(scope, sinks=(*scope.sinks, *flow), dead_letters=(*scope.dead_letters, *dead))
    if not scope.topics():
        raise UsageError(
            "No topic to search was named.", hint="Name an integration, --source and --sink, or --topic (repeatable)."
        )
    return scope


def collect_message(sources: Sources, scope: Scope, *, work_dir: Path, progress: Progress | None) -> Evidence:
    """The evidence of one message; see ``collect`` of the package."""
    from workbench.evidence import Evidence
    from workbench.problems.collecting import capture_plan, collect_evidence
    from workbench.problems.draft import silent

    subject = subject_of(scope)
    if subject.place and not scope.topics() and not scope.topics_named:
        scope = replace(scope, topics_named=(subject.place[0],))
    stores = tuple(scope.stores)
    scope = scoped(scope)
    if subject.place and subject.place[0] not in scope.topics():
        raise UsageError(
            f"Topic {subject.place[0]} of --at is not among the topics to search.", hint="Add it with --topic."
        )
    draft_of: list[Draft] = []

    def read(sources: Sources, scope: Scope, readable: list[str], draft: Draft, **more: Any) -> None:
        draft_of.append(draft)
        draft.missing |= dict.fromkeys(stores, "its rows are not searched for one message")
        draft.facts["subject"] = subject.facts(show_ids=scope.show_ids)
        plan = capture_plan(sources, scope, readable, draft, want=more["want"], progress=more["progress"])
        folder, told = more["work_dir"], more["progress"]
        find_records(sources, scope, plan, subject, draft=draft, work_dir=folder, progress=told)

    found = collect_evidence(
        sources, scope, topics=scope.topics(), want=WANT, work_dir=work_dir, progress=progress, read=read
    )
    if not draft_of:
        return replace(found, facts={**found.facts, "subject": subject.facts(show_ids=scope.show_ids)})
    draft = draft_of[0]
    _read_beginnings(sources, draft)
    _narrow_logs(draft, subject)
    _read_spans(sources, scope, subject, draft, progress or silent)
    return Evidence(draft.tables, draft.facts, draft.missing)


def _read_beginnings(sources: Sources, draft: Draft) -> None:
    """When the oldest record of each partition that no longer starts at offset 0 was written."""
    starts = [
        (row["topic"], row["partition"], row["log_start_offset"], row["high_watermark"])
        for row in _small(draft, "offsets")
        if row["log_start_offset"] and row["high_watermark"] is not None
    ]
    draft.take("beginnings", sources.cluster.heads(starts, "read_uncommitted"))


def _narrow_logs(draft: Draft, subject: Subject) -> None:
    """Of the users' logs only the lines about this message are kept."""
    rows = _rows(draft.tables["records"])
    ids = {row["message_id"] for row in rows if row["message_id"]} | ({subject.message_id} - {None})
    places = {(row["topic"], row["partition"], row["offset"]) for row in rows}
    for name in ("sent_log", "service_log"):
        if name in draft.tables:
            about = [row for row in _small(draft, name) if _concerns(row, ids, places)]
            draft.tables[name] = table_of(draft.tables[name].schema, [tuple(row.values()) for row in about])


def _small(draft: Draft, name: str) -> list[dict[str, Any]]:
    table: Any = draft.tables[name]
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _concerns(row: Mapping[str, Any], ids: set[Any], places: set[Place]) -> bool:
    return row["message_id"] in ids or (row["topic"], row["partition"], row["offset"]) in places


def _read_spans(sources: Sources, scope: Scope, subject: Subject, draft: Draft, progress: Progress) -> None:
    store = sources.traces
    if store is None:
        draft.missing["spans"] = "the profile names no trace store (traces)"
        return
    progress("asking for traces")
    found = store.find(_query(_rows(draft.tables["records"]), subject, scope))
    spans, events = found.tables()
    draft.facts["traces"] = {
        "kind": store.kind, "spans": spans.num_rows, "truncated": found.truncated, "skipped": dict(found.skipped),
    }  # fmt: skip
    if spans.num_rows or not found.failures:
        hide = set() if scope.show_ids else {"name"}
        draft.tables["spans"] = table_of(SPANS, _told(spans.to_pylist(), hide))
        draft.tables["span_events"] = table_of(SPAN_EVENTS, _told(events.to_pylist(), hide))
    if found.failures:
        key = "spans (part)" if spans.num_rows else "spans"
        draft.missing[key] = "; ".join(f"{subject}: {why}" for subject, why in islice(found.failures.items(), 5))


def _told(rows: Iterable[Mapping[str, Any]], hide: set[str]) -> Iterator[tuple[Any, ...]]:
    """Names of spans should be few and plain; those that look like personal data are not kept."""
    for row in rows:
        yield tuple(
            shown(value, show_ids=False) if name in hide and isinstance(value, str) else value
            for name, value in row.items()
        )


def _query(rows: Sequence[Mapping[str, Any]], subject: Subject, scope: Scope) -> SpanQuery:
    ids = dict.fromkeys([subject.message_id, *(row["message_id"] for row in rows)])
    traces = dict.fromkeys([subject.trace_id, *(one for row in rows for one in row["trace_ids"])])
    places = [subject.place, *((row["topic"], row["partition"], row["offset"]) for row in rows)]
    since, until = _window(rows, scope)
    return SpanQuery(
        trace_ids=tuple(one for one in traces if one),
        message_ids=tuple(one for one in ids if one)[:MOST_PLACES],
        places=tuple(dict.fromkeys(one for one in places if one))[:MOST_PLACES],
        since=since,
        until=until,
    )


def _window(rows: Sequence[Mapping[str, Any]], scope: Scope) -> tuple[datetime | None, datetime | None]:
    times = [row["timestamp_ms"] for row in rows if row["timestamp_ms"] and 0 < row["timestamp_ms"] < 1 << 42]
    moments = [datetime.fromtimestamp(at / 1000, UTC) for at in (min(times), max(times))] if times else []
    moments += [scope.around] if scope.around else []
    return (min(moments) - BEFORE, max(moments) + AFTER) if moments else (scope.since, scope.until)


def _rows(table: Any) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    return [row for path in table.files for row in pq.read_table(path, schema=RECORDS).to_pylist()]
