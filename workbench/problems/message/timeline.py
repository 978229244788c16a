"""Events from evidence: records, the group's commits, the users' logs and spans, each with what it follows from."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from workbench.problems.message.events import Event
from workbench.problems.message.outcome import Ground, Row

TABLES = ("commit_history", "group_members", "topics", "sent_log", "service_log", "spans", "span_events")
MOST_PASSES = 20  # source copies whose commit is looked up
_PLAIN = re.compile(r"[A-Za-z0-9_.:-]{1,80}\Z")

Tables = Mapping[str, Sequence[Row]]


def about(records: Sequence[Row], tables: Tables, *, all_of: bool) -> dict[str, list[Row]]:
    """The rows of each table that are about one message.

    Args:
        records: its records.
        tables: rows by name.
        all_of: there is no other message: lines and spans that name none are about this one.
    """
    ids = {row["message_id"] for row in records} - {None}
    places = {_place(row) for row in records}
    out = {name: list(rows) for name, rows in tables.items()}
    for name in ("sent_log", "service_log"):
        out[name] = [row for row in tables[name] if all_of or row["message_id"] in ids or _place(row) in places]
    traces = {one for row in records for one in row["trace_ids"]}
    out["spans"] = [row for row in tables["spans"] if _is_about(row, ids, places, traces, all_of=all_of)]
    kept = {(row["trace_id"], row["span_id"]) for row in out["spans"]}
    out["span_events"] = [row for row in tables["span_events"] if (row["trace_id"], row["span_id"]) in kept]
    return out


def _is_about(span: Row, ids: set[Any], places: set[Any], traces: set[str], *, all_of: bool) -> bool:
    """Spans of a batch name other messages too; those are left out."""
    at = (span["destination"], span["partition"], span["offset"])
    dotted = {".".join(map(str, place)) for place in places}
    if at in places or span["message_id"] in ids | dotted:
        return True
    here = {place[0] for place in places}
    names_one = span["offset"] is not None or (span["message_id"] is not None and bool(ids))
    another = names_one and span["destination"] in here
    return not another and (all_of or span["trace_id"] in traces)


def events_of(records: Sequence[Row], told: Tables, ground: Ground, facts: Mapping[str, Any]) -> list[Event]:
    """Everything that happened to one message, in no order."""
    root = next((row for row in records if row["role"] == "source" and not row["is_aborted"]), None)
    root = root or (records[0] if records else None)
    root_key = _key(root) if root is not None else None
    spans = list(_spans(told, records, root_key))
    sender = next((one.key for one in spans if one.step == "send"), None)
    out = list(_records(records, root_key, sender))
    out += _failures(records)
    out += _commits([row for row in records if row["role"] == "source"][:MOST_PASSES], told, ground, facts)
    out += _sent(told["sent_log"], root_key)
    out += _logged(told["service_log"], root_key)
    return [*out, *spans, *_span_events(told)]


def _place(row: Row) -> tuple[Any, Any, Any]:
    return row["topic"], row["partition"], row["offset"]


def _text(row: Row) -> str:
    return f"{row['topic']}/{row['partition']}/{row['offset']}"


def _key(row: Row) -> str:
    return f"record:{_text(row)}"


def _records(records: Sequence[Row], root_key: str | None, sender: str | None) -> Iterator[Event]:
    seen: dict[str, int] = {}
    dead: str | None = None
    for row in records:
        key, role, aborted = _key(row), row["role"], bool(row["is_aborted"])
        what, step = _named(row, first=not seen.get(row["topic"]))
        if not aborted:
            seen[row["topic"]] = seen.get(row["topic"], 0) + 1
        after = sender if key == root_key else dead if step == "redriven" and dead else root_key
        dead = key if role == "dead_letters" else dead
        yield Event(
            at_us=None if row["timestamp_ms"] is None else row["timestamp_ms"] * 1000,
            event=f"{what}, in a transaction that was aborted" if aborted else what,
            where=_text(row),
            source="record",
            clock="the broker" if row["timestamp_type"] == "append" else f"whoever writes {row['topic']}",
            key=key,
            after=after,
            failed=role == "dead_letters" or aborted,
            step=None if aborted else step,
        )


def _named(row: Row, *, first: bool) -> tuple[str, str | None]:
    role, again = row["role"], "" if first else " again"
    if role == "source":
        if row["replay_count"]:
            return "sent back", "redriven"
        return f"sent{again}", "sent" if first else None
    if role == "sink":
        return f"delivered{again}", "delivered" if first else None
    if role == "retry":
        return f"put into retry{again}", "retry"
    why = f" ({row['exception_class']})" if row["exception_class"] else ""
    return f"dead-lettered{again}{why}", "dead"


def _failures(records: Sequence[Row]) -> Iterator[Event]:
    """Times of failures that dead letters and retries tell."""
    for row in records:
        told = dict.fromkeys(at for at in (row["first_failure_ms"], row["last_failure_ms"]) if at)
        for number, at in enumerate(told):
            name = row["exception_class"]
            yield Event(
                at_us=at * 1000,
                event=f"failed ({name})" if name else "failed",
                where=f"group {row['failed_group']}" if row["failed_group"] else _text(row),
                source="dead letter",
                clock="the consumer",
                key=f"failure:{_text(row)}/{number}",
                failed=True,
                step="failed",
            )


def _commits(sources: Sequence[Row], told: Tables, ground: Ground, facts: Mapping[str, Any]) -> Iterator[Event]:
    """The commit with which the group passed each copy, where its history is known."""
    current = {row["topic_id"] for row in told["topics"] if row["topic"] == ground.source} - {None}
    history = [
        row
        for row in told["commit_history"]
        if row["topic"] == ground.source and not row["removed"] and (not current or row["topic_id"] in (None, *current))
    ]
    for row in sources:
        passing = next((one for one in sorted(history, key=_log_order) if _passes(one, row)), None)
        if passing is not None and not row["is_aborted"]:
            yield Event(
                at_us=passing["at_ms"] * 1000,
                event=_committed(passing, told["group_members"], ground.source),
                where=f"group {facts.get('group')}, offset {passing['committed_offset']}",
                source="commit",
                clock="the coordinator",
                key=f"commit:{_text(row)}",
                after=_key(row),
                step="passed",
            )


def _log_order(row: Row) -> int:
    return int(row["log_offset"])


def _passes(commit: Row, record: Row) -> bool:
    return bool(commit["partition"] == record["partition"] and commit["committed_offset"] > record["offset"])


def _committed(commit: Row, members: Sequence[Row], source: str) -> str:
    if commit["members"] == 0:
        return "offset set past it while the group had no members"
    owner = reader_of(commit, members, source)
    return f"committed past by {owner}" if owner else "committed past"


def reader_of(commit: Row, members: Sequence[Row], source: str) -> str | None:
    """The member that had the partition when a commit was made, by its client id."""
    held = [
        row
        for row in members
        if row["topic"] == source
        and commit["partition"] in (row["partitions"] or ())
        and row["log_offset"] < commit["log_offset"]
    ]
    return max(held, key=_log_order)["client_id"] if held else None


def _sent(lines: Sequence[Row], root_key: str | None) -> Iterator[Event]:
    for row in lines:
        bad = row["acked"] is False or row["committed"] is False or bool(row["error"])
        said = "send failed" if bad else "acknowledged" if row["acked"] or row["offset"] is not None else "handed over"
        place = f" at {_text(row)}" if row["offset"] is not None and row["topic"] else ""
        yield Event(
            at_us=None if row["at_ms"] is None else row["at_ms"] * 1000,
            event=f"{said}, says the producer's log{place}",
            where=f"line {row['line']}",
            source="sent log",
            clock="the producer's log",
            key=f"sent:{row['line']}",
            after=root_key if not bad else None,
            failed=bad,
            step="refused" if bad else None,
        )


def _logged(lines: Sequence[Row], root_key: str | None) -> Iterator[Event]:
    for row in lines:
        words = [word for word in (row["level"], row["event"]) if word and _PLAIN.match(word)]
        failed = bool(row["error"]) or str(row["level"]).lower() in ("error", "fatal", "critical")
        yield Event(
            at_us=None if row["at_ms"] is None else row["at_ms"] * 1000,
            event="the service's log: " + (" ".join(words) or ("an error" if failed else "a line")),
            where=f"line {row['line']}",
            source="service log",
            clock="the service's log",
            key=f"log:{row['line']}",
            after=root_key,
            failed=failed,
        )


def _spans(told: Tables, records: Sequence[Row], root_key: str | None) -> Iterator[Event]:
    known = {(row["trace_id"], row["span_id"]) for row in told["spans"]}
    source = next((row["topic"] for row in records if row["role"] == "source"), None)
    for row in told["spans"]:
        parent = (row["trace_id"], row["parent_span_id"])
        sends = row["kind"] == "producer" and (row["destination"] or source) == source
        reads = row["kind"] == "consumer"
        cause = f"span:{'/'.join(parent)}" if parent in known and row["parent_span_id"] else None
        who = row["client_id"] or row["service"] or "a service"
        yield Event(
            at_us=row["started_us"],
            event=_span_name(row),
            where=f"{row['service'] or 'unknown service'}" + (f" ({who})" if row["client_id"] else ""),
            source="span",
            clock=f"service {row['service']}" if row["service"] else "a service",
            key=f"span:{row['trace_id']}/{row['span_id']}",
            after=root_key if reads else cause,
            duration_us=row["duration_us"],
            failed=row["status"] == "error",
            step="send" if sends else "read" if reads else "failed" if row["status"] == "error" else None,
        )


def _span_name(row: Row) -> str:
    failed = f", failed ({row['error']})" if row["error"] and row["error"] != "error" else ", failed"
    return f"{row['name'] or row['operation'] or 'span'}{failed if row['status'] == 'error' else ''}"


def _span_events(told: Tables) -> Iterator[Event]:
    services = {(row["trace_id"], row["span_id"]): row["service"] for row in told["spans"]}
    for number, row in enumerate(told["span_events"]):
        service = services.get((row["trace_id"], row["span_id"]))
        yield Event(
            at_us=row["at_us"],
            event=(row["name"] or "event") + (f" ({row['error']})" if row["error"] else ""),
            where=service or "unknown service",
            source="span event",
            clock=f"service {service}" if service else "a service",
            key=f"event:{row['trace_id']}/{row['span_id']}/{number}",
            after=f"span:{row['trace_id']}/{row['span_id']}",
            failed=row["error"] is not None,
        )
