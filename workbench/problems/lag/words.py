"""What a lag report says beside its findings: what keeps it open, and what is worth knowing."""

from __future__ import annotations

from collections import Counter

from workbench.problems.lag.partitions import rows_of
from workbench.problems.lag.situation import Situation
from workbench.problems.rules import Case
from workbench.report import Note, Undecided

INFLATED = 0.5
FEWEST = 10  # offsets: of fewer, markers are always a large part


def doubts(case: Case, now: Situation, open_entries: int) -> tuple[Undecided, ...]:
    """What keeps the lag, or the cause of it, from being established."""
    out, seen = [], now.seen
    group = case.facts["group"]
    failures = case.facts.get("group_failures") or {}
    denied = {name: why for name, why in failures.items() if name == case.facts["source"]}
    out += [
        Undecided("ledger", f"the commits of {group} on topic {name} are not known: {why}")
        for name, why in denied.items()
    ]
    if not seen and not denied and not now.habits.removed_ms and (why := _why_nothing(case, group)):
        out.append(Undecided("ledger", why))
    for why, count in Counter(p.why for p in seen if (p.lag is None or p.lagging is None) and not p.lagging).items():
        out.append(Undecided("ledger", f"{_partitions(count)} of {group}: {why or 'not known'}"))
    expired = sum(p.expired or 0 for p in seen)
    if expired:
        out.append(
            Undecided(
                "ledger",
                f"{expired:,} offsets were removed before {group} read them: `workbench check loss` tells what they were",
            )
        )
    if open_entries:
        out.append(
            Undecided("cause", f"{_partitions(open_entries)} of {group} are lagging, and no rule says for certain why")
        )
    return tuple(out)


def _why_nothing(case: Case, group: str) -> str | None:
    """Why a group without any usable commit cannot be judged; None where it just begins."""
    known = {row["group"]: row for row in rows_of(case.evidence, "groups") if row["group"] == group}
    failures = case.facts.get("group_failures") or {}
    if group in failures:
        return f"group {group}: {failures[group]}"
    if group not in known:
        return f"group {group} does not exist on this cluster, or may not be described"
    kind = known[group]["type"]
    if kind in ("share", "streams"):
        return f"{kind} groups are not supported yet: they keep no committed offsets to compare with"
    if not known[group]["member_count"] and not _on_deleted(case, group):
        return f"group {group} has neither commits nor members: it never began, or its offsets expired"
    return None


def _on_deleted(case: Case, group: str) -> list[str]:
    deleted = set(case.facts.get("deleted_topics") or ())
    commits = (row for row in rows_of(case.evidence, "committed") if row["group"] == group) if deleted else ()
    return sorted({row["topic"] for row in commits} & deleted)


def notes(case: Case, now: Situation) -> tuple[Note, ...]:
    """What is worth knowing, never a finding."""
    group, out = case.facts["group"], []
    if now.habits.removed_ms:
        out.append(Note("deleted-group", f"Group {group} was deleted or expired: nothing of it can be behind."))
    if gone := _on_deleted(case, group):
        out.append(Note("deleted-topic", f"Commits on topics that no longer exist are left out: {', '.join(gone)}."))
    out += _of_members(case, now)
    for code, why in sorted(set(now.excuses.values())):
        count = sum(1 for said in now.excuses.values() if said == (code, why))
        out.append(Note(code, f"{_partitions(count)} of {group} are not lagging: {why}."))
    if case.ledger["hidden"]:
        out.append(Note("hidden", f"{case.ledger['hidden']:,} offsets lie behind the last stable offset."))
    out += _of_the_scan(case)
    out += _of_measuring(case)
    return tuple(out)


def _of_members(case: Case, now: Situation) -> list[Note]:
    out = []
    places = {(p.topic, p.partition) for p in now.seen}
    members = [row for row in rows_of(case.evidence, "members") if row["group"] == now.group]
    assigned = {(row["topic"], row["partition"]) for row in members if row["topic"] is not None}
    if without := assigned - places:
        out.append(Note("no-commit", f"{_partitions(len(without))} are assigned and have no commit yet: lag unknown."))
    if unbegun := rows_of(case.evidence, "unbegun"):
        said = f"{_partitions(len(unbegun))} have no commit yet, though their readers are there"
        out.append(Note("no-commit", f"{said}: what came since the group's members did counts as behind."))
    idle = {row["member_id"] for row in members if row["topic"] is None}
    if idle:
        out.append(Note("standby-members", f"{len(idle):,} members have no partition."))
    return out


def _of_the_scan(case: Case) -> list[Note]:
    """What of the offsets behind is readable: far fewer, or not known."""
    counts = case.ledger
    if counts["readable"] is None:
        return (
            [Note("not-scanned", "How many of the offsets behind are readable was not scanned: null, not 0.")]
            if counts["offsets_behind"]
            else []
        )
    visible = (counts["offsets_behind"] or 0) - (counts["expired"] or 0) - (counts["hidden"] or 0)
    if visible >= FEWEST and counts["readable"] < INFLATED * visible:
        said = f"Of {visible:,} offsets behind that may be seen, {counts['readable']:,} are records"
        return [Note("lag-inflated", f"{said}: the rest was compacted, aborted or markers.")]
    return []


def _of_measuring(case: Case) -> list[Note]:
    """How far the measurement itself can be off."""
    out = []
    types = sorted({row["timestamp_type"] for row in rows_of(case.evidence, "heads") if row["timestamp_type"]})
    if types:
        clock = {"CreateTime": "the senders' clocks", "LogAppendTime": "the brokers' clocks"}
        out.append(Note("timestamps", f"Ages go by {' and '.join(f'{clock[kind]} ({kind})' for kind in types)}."))
    ahead = [
        row for row in rows_of(case.evidence, "samples")
        if None not in (row["committed_offset"], row["log_end_offset"]) and row["committed_offset"] > row["log_end_offset"]
    ]  # fmt: skip
    if ahead:
        said = f"{len(ahead):,} samples have a commit above the log's end as the timestamps tell it"
        out.append(
            Note("lag-measurement", f"{said}: clocks differ, or records waited to be sent. Their lag counts as 0.")
        )
    return out


def _partitions(count: int) -> str:
    return f"{count:,} partition" + ("" if count == 1 else "s")
