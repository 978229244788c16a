"""Risks of the cluster's state and settings: what will go wrong, whether or not anything did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from workbench.problems.parts import parts_of
from workbench.problems.rules import RULED_OUT, Case, Ruling, rule
from workbench.report import Severity

_TIGHT = 0.5  # of the retention time that the oldest unread record has used up

_TOPICS = "SELECT topic, partition, leader, replicas, isr FROM topics ORDER BY topic, partition"


def brokers(case: Case) -> int:
    """How many brokers the cluster has: those that answer, or that hold a replica, where one of them is down."""
    held = {number for row in case.rows(_TOPICS) for number in row["replicas"] or ()} if case.has("topics") else set()
    return max(int(case.facts.get("brokers") or 0), len(held))


def _places(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    return tuple(f"{row['topic']}/{row['partition']}" for row in rows)


def _risk(found: list[str], summary: str, tables: tuple[str, ...], **subject: str | int) -> Ruling:
    return Ruling(
        state="confirmed",
        affected=len(found),
        summary=summary,
        subject=subject,
        tables=tables,
        rows=tuple(found[:10]),
    )


@rule("health-offline-partition", Severity.CRITICAL, needs=("topics",), kind="risk")
def offline_partition(case: Case) -> Ruling:
    """A partition has no leader: nobody can write to it or read from it.

    Confirmed where the cluster names no leader for a partition of the integration's topics. Ruled out where all have one.
    """
    gone = [row for row in case.rows(_TOPICS) if row["leader"] is None or row["leader"] < 0]
    if not gone:
        return RULED_OUT
    first = f"{gone[0]['topic']}-{gone[0]['partition']}"
    summary = f"{len(gone):,} partition(s) have no leader, {first} first: nobody can write to or read them."
    return _risk(list(_places(gone)), summary, ("topics",), topic=gone[0]["topic"], partition=gone[0]["partition"])


@rule("health-under-replicated", Severity.WARNING, needs=("topics",), kind="risk")
def under_replicated(case: Case) -> Ruling:
    """A partition's in-sync replicas are fewer than its replicas: the next broker that fails may take records with it.

    Confirmed where the cluster names fewer in-sync replicas than replicas for a partition that has a leader. Ruled out where all
    replicas are in sync.
    """
    behind = [row for row in case.rows(_TOPICS) if row["isr"] and len(row["isr"]) < len(row["replicas"])]
    if not behind:
        return RULED_OUT
    one = behind[0]
    summary = (
        f"{len(behind):,} partition(s) are under-replicated: {one['topic']}-{one['partition']} has {len(one['isr'])} of "
        f"{len(one['replicas'])} replicas in sync."
    )
    return _risk(list(_places(behind)), summary, ("topics",), topic=one["topic"], partition=one["partition"])


@rule("health-unclean-election", Severity.WARNING, needs=("topics", "configs"), kind="risk")
def unclean_election(case: Case) -> Ruling:
    """A topic lets a replica that is behind become leader: acknowledged records are then cut off.

    Confirmed where a topic of several replicas has ``unclean.leader.election.enable=true``. Ruled out where none has.
    """
    replicas = _replicas(case)
    open_topics = [
        topic for topic, value in _settings(case, "unclean.leader.election.enable").items() if value == "true"
    ]
    found = [topic for topic in open_topics if replicas.get(topic, 1) > 1]
    if not found:
        return RULED_OUT
    summary = (
        f"Unclean leader election is allowed on {', '.join(found[:5])}: a replica that is behind may become leader and cut "
        "records off."
    )
    return _risk(found, summary, ("topics", "configs"), topic=found[0])


@rule("health-weak-acknowledgement", Severity.WARNING, needs=("topics", "configs"), kind="risk")
def weak_acknowledgement(case: Case) -> Ruling:
    """What is acknowledged may lie on one broker alone: when that fails, acknowledged records are lost.

    Confirmed where a topic has one replica though the cluster has several brokers, or several replicas but
    ``min.insync.replicas`` of 1, or the producer is known to ask for less than ``acks=all``. Ruled out where an acknowledgement
    means two copies, or the cluster has a single broker (which has no better).
    """
    if brokers(case) < 2:
        return RULED_OUT
    found = [*_single_copies(case), *_weak_producers(case)]
    if not found:
        return RULED_OUT
    summary = f"An acknowledged record may lie on one broker alone: {'; '.join(found[:5])}."
    return _risk(found, summary, ("topics", "configs"))


def _single_copies(case: Case) -> list[str]:
    least = {topic: int(value) for topic, value in _settings(case, "min.insync.replicas").items() if value.isdigit()}
    out = []
    for topic, replicas in sorted(_replicas(case).items()):
        if replicas == 1:
            out.append(f"{topic} has one replica")
        elif least.get(topic, replicas) < 2:
            out.append(f"{topic} has {replicas} replicas, but min.insync.replicas is {least[topic]}")
    return out


def _weak_producers(case: Case) -> list[str]:
    """Producers whose settings were given with the integration."""
    out = []
    for part in parts_of(case.evidence):
        settings = part.evidence.facts.get("producer_config") or {}
        acks = str(settings.get("acks", settings.get("request.required.acks", "all")))
        if acks not in ("all", "-1"):
            out.append(f"the producer of {part.evidence.facts['source']} asks for acks={acks}")
    return list(dict.fromkeys(out))


@rule("health-dead-letter-missing", Severity.WARNING, needs=("topics",), kind="risk")
def dead_letter_missing(case: Case) -> Ruling:
    """A topic that the integration gives its dead letters to does not exist: what fails has nowhere to go.

    Confirmed where a dead-letter topic of the integration's settings is not on the cluster. Ruled out where all are.
    """
    found = list(case.facts.get("absent_dead_letters") or ())
    if not found:
        return RULED_OUT
    summary = f"The dead-letter topic {found[0]} does not exist: what cannot be processed has nowhere to go."
    return _risk(found, summary, ("topics",), topic=found[0])


@rule("health-retention-tight", Severity.WARNING, needs=("configs",), kind="risk")
def retention_tight(case: Case) -> Ruling:
    """A group is so far behind that half of the topic's retention time is used up.

    Confirmed where the oldest record that the group has not read is older than half of the topic's ``retention.ms``. Ruled out
    where it is younger, nothing waits, or the topic removes nothing by age.
    """
    keeps = _settings(case, "retention.ms")
    deletes = {topic for topic, policy in _settings(case, "cleanup.policy").items() if "delete" in policy}
    found, said = [], ""
    for topic, group, waited_ms in _oldest_waiting(case):
        limit = int(keeps.get(topic, "-1"))
        if topic in deletes and 0 < limit * _TIGHT <= waited_ms:
            found.append(f"{topic}, group {group}")
            kept = f"{waited_ms / 1000:,.0f} s of the {limit / 1000:,.0f} s that it is kept"
            said = said or f"group {group} has a record of {topic} unread for {kept}"
    return _risk(found, f"Retention is near: {said}.", ("configs",)) if found else RULED_OUT


def _oldest_waiting(case: Case) -> list[tuple[str, str, float]]:
    """(topic, group, ms that its oldest unread record is old) from the evidence of the lag checks."""
    out: dict[tuple[str, str], float] = {}
    for part in parts_of(case.evidence):
        heads = part.evidence.table("heads") if part.problem == "lag" else None
        for row in heads.to_pylist() if heads is not None else ():
            if row["timestamp_ms"] is None or row["timestamp_ms"] <= 0:
                continue
            key = (row["topic"], str(part.evidence.facts["group"]))
            out[key] = max(out.get(key, 0.0), case.numbers["collected_ms"] - row["timestamp_ms"])
    return [(topic, group, waited) for (topic, group), waited in sorted(out.items())]


def _replicas(case: Case) -> dict[str, int]:
    """Topic -> the fewest replicas of any of its partitions."""
    rows = case.rows("SELECT topic, min(len(replicas)) AS replicas FROM topics GROUP BY topic ORDER BY topic")
    return {row["topic"]: int(row["replicas"]) for row in rows}


def _settings(case: Case, name: str) -> dict[str, str]:
    rows = case.rows("SELECT topic, value FROM configs WHERE name = ? AND value IS NOT NULL ORDER BY topic", [name])
    return {row["topic"]: row["value"] for row in rows}
