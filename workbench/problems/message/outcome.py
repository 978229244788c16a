"""What became of one message: the first of a fixed list of outcomes that its evidence establishes.

The precedence is that of the loss ledger: delivered, dead_lettered, retrying, hidden, waiting, in_flight, unverifiable, lost.
What evidence cannot exclude is never called delivered or lost.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

OUTCOMES = (
    "delivered", "dead_lettered", "retrying", "waiting", "in_flight", "filtered", "hidden", "unverifiable", "never_sent", "lost",
)  # fmt: skip
# The worst last: what a key or a trace with several messages comes to.
WORST = (
    "delivered",
    "filtered",
    "in_flight",
    "waiting",
    "retrying",
    "hidden",
    "dead_lettered",
    "never_sent",
    "unverifiable",
    "lost",
)

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Ground:
    """What is known beside the message's own records.

    Attributes:
        sinks: topics where it is due; empty where none was named.
        any_sink: one of them is enough.
        uncommitted: the sinks' readers see records of open and aborted transactions.
        committed: partition of the source -> committed offset; None where no commits are known.
        why_no_commits: in words.
        stable: (topic, partition) -> last stable offset.
        starts: (topic, partition) -> log start offset.
        unread: topic -> why it was not read, or not to its end.
        reach: topic -> epoch ms before which messages may have been there and gone; absent: it reaches back to its beginning.
        elsewhere: retry and dead-letter topics.
        compacted: topics that keep the newest record of a key alone.
        source: the source topic; "" where none was named.
        windowed: why only a part of the source was searched; "" for all of it.
        too_young_ms: messages from here on may still be on their way.
        not_searched: why records could exist that the search does not find; "" where there are none.
    """

    sinks: tuple[str, ...]
    any_sink: bool
    uncommitted: bool
    committed: Mapping[int, int] | None
    why_no_commits: str
    stable: Mapping[tuple[str, int], int]
    starts: Mapping[tuple[str, int], int]
    unread: Mapping[str, str]
    reach: Mapping[str, int]
    elsewhere: tuple[str, ...]
    compacted: frozenset[str]
    source: str
    windowed: str
    too_young_ms: int
    not_searched: str = ""


@dataclass(frozen=True)
class Outcome:
    """How a message ended.

    Attributes:
        name: of ``OUTCOMES``.
        reason: one clause: what establishes it, or what is missing.
        step: where it was lost: ``source``, ``skipped``, ``consumer``, or ``sink TOPIC``; null for other outcomes.
    """

    name: str
    reason: str
    step: str | None = None


@dataclass(frozen=True)
class Copies:
    """A message's records by what they mean.

    Attributes:
        source: visible in the source; ``hidden`` and ``aborted`` ones stand apart.
        sink: visible at the sinks.
        sink_hidden: at the sinks, behind an open transaction.
        dead, retry: not aborted.
        sent: what the producer's own log says of it; newest last.
        produced: spans of producers that name it: an acknowledgement, or an error.
    """

    source: list[Row] = field(default_factory=list)
    hidden: list[Row] = field(default_factory=list)
    aborted: list[Row] = field(default_factory=list)
    sink: list[Row] = field(default_factory=list)
    sink_hidden: list[Row] = field(default_factory=list)
    dead: list[Row] = field(default_factory=list)
    retry: list[Row] = field(default_factory=list)
    sent: list[Row] = field(default_factory=list)
    produced: list[Row] = field(default_factory=list)


def sorted_copies(records: Sequence[Row], ground: Ground, sent: Sequence[Row], produced: Sequence[Row]) -> Copies:
    """The records of one message, each in exactly one list; records of other roles in none."""
    out = Copies(sent=list(sent), produced=list(produced))
    for row in records:
        chosen = _list_for(row, ground, out)
        if chosen is not None:
            chosen.append(row)
    return out


def _list_for(row: Row, ground: Ground, out: Copies) -> list[Row] | None:
    stable = ground.stable.get((row["topic"], row["partition"]))
    behind = stable is not None and row["offset"] >= stable
    aborted, role = bool(row["is_aborted"]), row["role"]
    if role == "source":
        return out.aborted if aborted else out.hidden if behind else out.source
    if role == "sink":
        if ground.uncommitted:
            return out.sink
        return out.aborted if aborted else out.sink_hidden if behind else out.sink
    if role in ("dead_letters", "retry"):
        return out.aborted if aborted else out.dead if role == "dead_letters" else out.retry
    return None


def outcome_of(copies: Copies, ground: Ground) -> Outcome:
    """Exactly one outcome, whatever the evidence."""
    missing = missing_sinks(copies, ground)
    if copies.source and not any(row["due"] is not False for row in copies.source):
        return Outcome("filtered", "its record fails the predicate: it is not due")
    if ground.sinks and not missing:
        return Outcome("delivered", "it has a record at " + ", ".join(_topics(copies.sink)))
    if copies.dead:
        return Outcome("dead_lettered", "it lies in " + ", ".join(_topics(copies.dead)))
    if copies.retry:
        return Outcome("retrying", "it waits in " + ", ".join(_topics(copies.retry)))
    if copies.sink_hidden or (copies.hidden and not copies.source):
        return Outcome("hidden", "an open transaction holds it back from read_committed readers")
    if copies.source:
        return _in_source(copies, ground, missing)
    return _not_in_source(copies, ground, missing)


def missing_sinks(copies: Copies, ground: Ground) -> tuple[str, ...]:
    """The sinks where a copy is due and none is."""
    there = {row["topic"] for row in copies.sink}
    if ground.any_sink and there:
        return ()
    return tuple(topic for topic in ground.sinks if topic not in there)


def _topics(rows: Sequence[Row]) -> list[str]:
    return list(dict.fromkeys(row["topic"] for row in rows))


def _in_source(copies: Copies, ground: Ground, missing: tuple[str, ...]) -> Outcome:
    passed = _passed(copies, ground)
    first = copies.source[0]
    if passed is False:
        return Outcome("waiting", "the group has not committed past it")
    times = [row["timestamp_ms"] for row in copies.source if row["timestamp_ms"] is not None]
    if times and min(times) > ground.too_young_ms:
        return Outcome("in_flight", "it is younger than the expected latency")
    doubt = _doubt(ground, missing, min(times) if times else None)
    if passed is None and not doubt:
        doubt = f"without the group's commits it may only be waiting: {ground.why_no_commits}"
    if doubt:
        return Outcome("unverifiable", doubt)
    there = _topics(copies.sink)
    if there:
        return Outcome("lost", f"it is at {', '.join(there)}, but not at {', '.join(missing)}", f"sink {missing[0]}")
    start = ground.starts.get((first["topic"], first["partition"]), 0)
    gone = first["offset"] < start
    return Outcome("lost", "the group has committed past it, and it is nowhere else", "source" if gone else "consumer")


def _passed(copies: Copies, ground: Ground) -> bool | None:
    """Whether the group has committed past any of its copies; a partition without a commit has not been."""
    if ground.committed is None:
        return None
    return any(row["offset"] < ground.committed.get(row["partition"], -1) for row in copies.source)


def _doubt(ground: Ground, missing: Sequence[str], at_ms: int | None) -> str:
    """Why it could be where this search would not have found it; empty where it could not."""
    if not ground.sinks:
        return "no sink was named: where it is due is not known"
    if ground.not_searched:
        return ground.not_searched
    for topic in (*missing, *ground.elsewhere):
        if topic in ground.unread:
            return f"topic {topic}: {ground.unread[topic]}"
        if topic in ground.reach and (at_ms is None or at_ms < ground.reach[topic]):
            return f"{topic} no longer reaches back to when it was due"
    compacted = [topic for topic in missing if topic in ground.compacted]
    if compacted:
        return f"{compacted[0]} is compacted: a later record of its key may have replaced it"
    return ""


def _not_in_source(copies: Copies, ground: Ground, missing: tuple[str, ...]) -> Outcome:
    claimed = [row for row in copies.sent if _acknowledged(row)]
    claimed = claimed or [row for row in copies.produced if row["status"] != "error" and row["offset"] is not None]
    blind = _blind(ground)
    if blind:
        return Outcome("unverifiable", blind)
    if claimed:
        return _claimed(copies, claimed, ground, missing)
    if copies.aborted:
        return Outcome("never_sent", "it was written in a transaction that was aborted")
    doubt = _may_have_been(ground, refused=_refused(copies))
    if doubt:
        return Outcome("unverifiable", f"it was not found, but {doubt}")
    if _refused(copies):
        return Outcome("never_sent", "the producer says that the send failed or was not confirmed; it is in no topic")
    return Outcome("never_sent", f"{ground.source} holds everything that was ever sent to it, and not this message")


def _blind(ground: Ground) -> str:
    """Why the source itself says nothing."""
    if not ground.source:
        return "no source was named: whether it was sent is not known"
    if ground.source in ground.unread:
        return f"topic {ground.source}: {ground.unread[ground.source]}"
    return f"it was not found, and {ground.windowed}" if ground.windowed else ""


def _refused(copies: Copies) -> bool:
    """Whether the producer says that it was not sent."""
    by_log = any(not _acknowledged(row) for row in copies.sent)
    return by_log or any(row["status"] == "error" for row in copies.produced)


def _may_have_been(ground: Ground, *, refused: bool) -> str:
    """Why a message that is in no topic may have been sent all the same."""
    if ground.not_searched:
        return ground.not_searched
    if not refused and (ground.source in ground.reach or ground.source in ground.compacted):
        return f"{ground.source} no longer holds all that was sent"
    unread = [topic for topic in (*ground.elsewhere, *ground.sinks) if topic in ground.unread]
    return f"topic {unread[0]} was not read: {ground.unread[unread[0]]}" if unread else ""


def _acknowledged(row: Row) -> bool:
    """What the sent log says: an offset, or an acknowledgement that is not denied; an error is none."""
    if row.get("acked") is False or row.get("committed") is False:
        return False
    return bool(row.get("acked") or row.get("offset") is not None or (row.get("committed") and not row.get("error")))


def _claimed(copies: Copies, claimed: Sequence[Row], ground: Ground, missing: tuple[str, ...]) -> Outcome:
    row = claimed[-1]
    at_ms = row.get("at_ms")
    if at_ms is not None and at_ms > ground.too_young_ms:
        return Outcome("in_flight", "it was acknowledged, and is younger than the expected latency")
    doubt = _doubt(ground, missing, at_ms)
    if not doubt and ground.source in ground.compacted:
        doubt = f"{ground.source} is compacted: a later record of its key may have replaced it"
    if doubt:
        return Outcome("unverifiable", f"it was acknowledged and is no longer in {ground.source}; {doubt}")
    why = " (its transaction was aborted)" if copies.aborted else ""
    return Outcome("lost", f"it was acknowledged, and is in no topic{why}", "source")
