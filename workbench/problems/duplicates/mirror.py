"""Copies that came round between two clusters that are mirrored both ways."""

from __future__ import annotations

from workbench.problems.duplicates.senders import SAME_BATCH, SAME_PRODUCER
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.remotes import PREFIX
from workbench.report import Severity

_ROUNDS = 2  # extra copies that nearly all messages have: a resend does not do that
_MOST = 0.9

# Copies of the source that are equal in partition, create time, key and value, while the sink on the other cluster has the
# message as often, or once less. sure: another producer wrote the first one, or nearly all messages came round.
_CAME_BACK = f"""
CREATE OR REPLACE TEMP TABLE came_back AS
WITH elsewhere AS (
    SELECT k.message_id, count(*) AS n FROM again k WHERE starts_with(k.topic, '{PREFIX}') GROUP BY k.message_id),
twice AS (SELECT e.* FROM entries e
          WHERE e.place = 'source' AND coalesce(e.timestamp_type, '') = 'create' AND e.same_before > 0),
rounds AS (
    SELECT r.message_id, count(*) AS n FROM records r WHERE r.topic = source_topic() AND r.message_id IS NOT NULL
      AND r.timestamp_ms <= (SELECT max(timestamp_ms) FROM twice) GROUP BY r.message_id)
SELECT t.entry, t.message_id, coalesce(s.producer_id IS DISTINCT FROM s.first_producer_id, false)
       OR (SELECT count(*) FILTER (n > {_ROUNDS}) >= {_MOST} * count(*) FROM rounds) AS sure
FROM twice t JOIN elsewhere o USING (message_id) LEFT JOIN senders s ON s.entry = t.entry
WHERE o.n >= t.copy - 1
"""
_NONE = "CREATE OR REPLACE TEMP TABLE came_back (entry BIGINT, message_id VARCHAR, sure BOOLEAN)"

CAME_ROUND = "entry IN (SELECT entry FROM came_back WHERE sure)"


def create_came_back(case: Case) -> None:
    """Creates ``came_back``: copies of the source that may have come round; empty where no sink is on another cluster."""
    remote = any(str(sink).startswith(PREFIX) for sink in case.facts["sinks"])
    case.con.execute(_CAME_BACK if remote and case.entries else _NONE)


@rule("duplicates-mirror-loop", Severity.WARNING)
def mirror_loop(case: Case) -> Ruling:
    """Two clusters mirror the same topic to each other, and each copy comes back as a new one.

    Confirmed where copies at the source equal the first in partition, create time, key and value, the sink on the other cluster
    holds the message as often or once less, and either another producer wrote the copy than the first,
    or nearly all messages of that time came round twice and more. Suspected where nothing is known of the producers and few
    messages are concerned: a client's retry before the mirror looks alike. Ruled out where the same producer wrote both,
    copies differ, or no sink is on another cluster.
    """
    perhaps = f"entry IN (SELECT entry FROM came_back) AND NOT {SAME_BATCH} AND NOT {SAME_PRODUCER}"
    if not case.count(f"{CAME_ROUND} OR {perhaps}"):
        return RULED_OUT
    carried = "place = 'sink' AND message_id IN (SELECT message_id FROM entries WHERE {})"
    return Ruling(
        claims=(
            Claim("confirmed", CAME_ROUND),
            Claim("confirmed", carried.format(CAME_ROUND)),
            Claim("suspected", perhaps),
            Claim("suspected", carried.format(perhaps)),
        ),
        summary=f"{{count}} copies of {case.facts['source']} and {', '.join(case.facts['sinks'])} came round: the two are mirrored "
        "to each other.",
        subject={"topic": str(case.facts["source"]), "sink": str(case.facts["sinks"][0])},
        tables=("records", "batches") if case.has("batches") else ("records",),
    )
