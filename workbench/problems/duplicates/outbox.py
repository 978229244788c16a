"""Copies and order between a table and a topic: an outbox whose relay published rows twice, or not in their order."""

from __future__ import annotations

from workbench.problems.duplicates.rules import REDRIVEN, RETRIED
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.problems.stores import store_facts
from workbench.report import Severity
from workbench.stores import is_store

_TWICE = f"reprocessed AND NOT {REDRIVEN} AND NOT {RETRIED} AND aborted_copies = 0"

# First copies of rows, in the order in which a partition holds them; a key has one order, records without keys have one together.
_LATER_FIRST = """
WITH rows AS (
    SELECT message_id, min("offset") AS number, min(timestamp_ms) AS at_ms FROM records
    WHERE topic = source_topic() AND message_id IS NOT NULL GROUP BY message_id),
published AS (
    SELECT r.topic, r.partition, r.message_id, min(r."offset") AS "at", any_value(key_of(r)) AS key
    FROM records r JOIN places p USING (topic)
    WHERE p.role = 'sink' AND r.message_id IS NOT NULL AND coalesce(r.is_aborted, false) = false GROUP BY ALL),
placed AS (
    SELECT p.topic, p.partition, p."at", {order} AS rank, max({order}) OVER (
        PARTITION BY p.topic, p.partition, p.key ORDER BY p."at" ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS before
    FROM published p JOIN rows r USING (message_id))
SELECT topic, partition, "at" FROM placed WHERE rank < before ORDER BY ALL
"""


@rule("outbox-published-twice", Severity.WARNING)
def published_twice(case: Case) -> Ruling:
    """A row of the outbox was published more than once: its relay stopped between sending and marking it.

    Confirmed where the source is a table that holds the message once, a topic holds more copies of it, and these are neither
    redriven nor the retries of a producer. Ruled out where the source is a topic, or no sink holds more copies than it.
    """
    if not is_store(str(case.facts["source"])) or not case.count(_TWICE):
        return RULED_OUT
    return Ruling(
        claims=(Claim("confirmed", _TWICE),),
        summary=f"{{count}} copies were published from rows of {case.facts['source']} that had been published before.",
        subject={"topic": str(case.facts["source"])},
        tables=("records",),
    )


@rule("outbox-out-of-order", Severity.WARNING)
def out_of_order(case: Case) -> Ruling:
    """Rows of the outbox were published in another order than the table has, within one key.

    Confirmed where the source is a table with an order (its ``order`` column, or its times) and a partition holds the first
    copy of a row behind that of a later row with the same key; records without a key count together. Undecided where the
    table has neither an order nor times. Ruled out where the source is a topic, or all keys stand in the table's order.
    """
    if not is_store(str(case.facts["source"])):
        return RULED_OUT
    said = store_facts(case.facts, case.facts["source"])
    if not said.get("ordered") and not said.get("time"):
        return Ruling(undecided="needs the table's order: write order or time into its entry")
    found = case.rows(_LATER_FIRST.format(order="r.number" if said.get("ordered") else "r.at_ms"))
    if not found:
        return RULED_OUT
    return Ruling(
        state="confirmed",
        affected=len(found),
        summary=f"{{count}} messages of {case.facts['source']} were published behind later ones of their key.",
        subject={"topic": found[0]["topic"], "partition": found[0]["partition"]},
        tables=("records",),
        rows=tuple(f"{row['topic']}-{row['partition']}@{row['at']}" for row in found[:10]),
    )
