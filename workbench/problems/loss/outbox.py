"""Loss between a table and a topic: a row of an outbox that was never published."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.problems.stores import store_facts
from workbench.report import Severity
from workbench.stores import is_store

_PUBLISHED = """
FROM records s JOIN records r ON r.message_id = s.message_id JOIN places p ON p.topic = r.topic
WHERE s.topic = source_topic() AND p.role = 'sink'
"""
# Rows before the last one that is in a sink: a relay that works in order has gone past them. Equal times are no order.
_BY_ORDER = f'"offset" < (SELECT max(s.offset) {_PUBLISHED})'
_BY_TIME = f"at_ms < (SELECT max(s.timestamp_ms) {_PUBLISHED})"


@rule("outbox-unpublished", Severity.CRITICAL)
def outbox_unpublished(case: Case) -> Ruling:
    """A row of the outbox was never published: its relay went past it, or marked it as published without sending it.

    Confirmed where the source is a table, a row of it is in no sink, and it is marked as published (``published`` of its entry),
    or a later row is, or, where the table has no such mark, a later row is in a sink: later by ``order`` of its entry, else by
    ``time``. Suspected where no later row is, or the table has neither: the relay may only be behind. Ruled out where the source
    is a topic, or every row that is due is in a sink.
    """
    if not is_store(str(case.facts["source"])) or not case.entries:
        return RULED_OUT
    said = store_facts(case.facts, case.facts["source"])
    marked = said.get("published_up_to") is not None
    past = "passed" if marked else _past(said)
    why = "its relay marked them, or went past them" if marked else "later rows were published"
    return Ruling(
        claims=(Claim("confirmed", f"coalesce({past}, false)"), Claim("suspected", "true")),
        summary=f"{{count}} messages of {case.facts['source']} were never published: {why}.",
        subject={"topic": str(case.facts["source"])},
        tables=("records",),
    )


def _past(said: Mapping[str, Any]) -> str:
    """The predicate of rows that a later one overtook, as far as the table says what is later."""
    if said.get("ordered"):
        return _BY_ORDER
    return _BY_TIME if said.get("time") else "false"
