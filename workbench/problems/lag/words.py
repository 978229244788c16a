"""What a lag report says beside its findings: what keeps it open, and what is worth knowing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from workbench.problems.lag.partitions import Standing, rows_of
from workbench.problems.rules import Case
from workbench.report import Note, Undecided


def doubts(case: Case, seen: Sequence[Standing], open_entries: int) -> tuple[Undecided, ...]:
    """What keeps the lag, or the cause of it, from being established."""
    out = []
    group = case.facts["group"]
    failures = case.facts.get("group_failures") or {}
    denied = {name: why for name, why in failures.items() if name == case.facts["source"]}
    out += [
        Undecided("ledger", f"the commits of {group} on topic {name} are not known: {why}")
        for name, why in denied.items()
    ]
    if not seen and not denied and (why := _why_nothing(case, group)):
        out.append(Undecided("ledger", why))
    for why, count in Counter(p.why for p in seen if p.lag is None or p.lagging is None).items():
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


def notes(case: Case, seen: Sequence[Standing]) -> tuple[Note, ...]:
    """What is worth knowing, never a finding."""
    group, out = case.facts["group"], []
    if gone := _on_deleted(case, group):
        out.append(Note("deleted-topic", f"Commits on topics that no longer exist are left out: {', '.join(gone)}."))
    places = {(p.topic, p.partition) for p in seen}
    members = [row for row in rows_of(case.evidence, "members") if row["group"] == group]
    assigned = {(row["topic"], row["partition"]) for row in members if row["topic"] is not None}
    if without := assigned - places:
        out.append(Note("no-commit", f"{_partitions(len(without))} are assigned and have no commit yet: lag unknown."))
    idle = {row["member_id"] for row in members if row["topic"] is None}
    if idle:
        out.append(Note("standby-members", f"{len(idle):,} members have no partition."))
    if case.ledger["hidden"]:
        out.append(Note("hidden", f"{case.ledger['hidden']:,} offsets lie behind the last stable offset."))
    if any(case.ledger[name] is None for name in ("readable",)) and case.ledger["offsets_behind"]:
        out.append(Note("not-scanned", "How many of the offsets behind are readable was not scanned: null, not 0."))
    return tuple(out)


def _partitions(count: int) -> str:
    return f"{count:,} partition" + ("" if count == 1 else "s")
