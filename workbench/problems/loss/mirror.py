"""Loss on the way to another cluster: the mirror went past a message without bringing it there."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.remotes import is_remote
from workbench.report import Severity, Undecided


def is_mirrored(facts: Mapping[str, Any]) -> bool:
    """Whether a mirror is between the source and its sinks: they are on other clusters, and no group reads in between."""
    return not facts["group"] and bool(facts["sinks"]) and all(is_remote(sink) for sink in facts["sinks"])


# How far the mirror got: behind the last message of each partition that is at a sink. Mirrors keep a partition's order.
MIRRORED = """
SELECT s.partition, max(s.offset) + 1 AS committed_offset FROM records s
JOIN (SELECT DISTINCT r.message_id FROM records r JOIN places p ON p.topic = r.topic WHERE p.role = 'sink') k
    ON k.message_id = s.message_id
WHERE s.topic = source_topic() GROUP BY s.partition
"""


@rule("loss-mirror-gap", Severity.CRITICAL)
def mirror_gap(case: Case) -> Ruling:
    """The mirror to another cluster went past the message without bringing it there.

    Confirmed where the sinks are on another cluster and no consumer group is between, the message is in the source, not in a
    sink, and a later message of its partition is: mirrors keep a partition's order. What lies behind the last mirrored message
    of a partition waits. Ruled out where all that the mirror went past is there, or no sink is on another cluster.
    """
    if not is_mirrored(case.facts) or not case.count(_PASSED):
        return RULED_OUT
    parts = case.rows(f"SELECT DISTINCT partition FROM entries WHERE {_PASSED} ORDER BY partition")
    listed = ", ".join(str(row["partition"]) for row in parts[:5]) + (", ..." if len(parts) > 5 else "")
    return Ruling(
        claims=(Claim("confirmed", _PASSED),),
        summary=f"{{count}} messages of {case.facts['source']} did not get to {', '.join(case.facts['sinks'])}, though later ones "
        f"of their partitions did (partition {listed}).",
        subject={"topic": str(case.facts["source"]), "sink": str(case.facts["sinks"][0])},
        tables=("records", "offsets"),
    )


_PASSED = "in_source AND passed"
_OVERDUE = """
SELECT count(*) AS messages, count(DISTINCT partition) AS partitions FROM messages
WHERE disposition = 'waiting' AND at_ms <= too_young_ms()
"""


def mirror_doubts(case: Case) -> list[Undecided]:
    """What waits for the mirror for longer than it may take: it may be behind, or not mirror it at all."""
    if not is_mirrored(case.facts):
        return []
    row = case.rows(_OVERDUE)[0]
    if not row["messages"]:
        return []
    return [
        Undecided(
            "ledger",
            f"{row['messages']:,} messages on {row['partitions']:,} partitions are older than the expected latency, and nothing "
            "behind them is at the sink: the mirror is behind, stands, or does not take them",
        )
    ]
