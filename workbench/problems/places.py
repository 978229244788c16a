"""Places: the topics of a scope with their roles, how far back each reaches, and what of it could be read."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from workbench.evidence import Evidence
from workbench.problems.unread import create_unread
from workbench.stores import is_store

if TYPE_CHECKING:
    import duckdb

# A table in every problem's connection: id, topic, role, ordinal, readable, reach_ms, reach_known.
_CREATE = """
CREATE OR REPLACE TEMP TABLE places (
    id INTEGER, topic VARCHAR, role VARCHAR, ordinal INTEGER, readable BOOLEAN, reach_ms BIGINT, reach_known BOOLEAN)
"""

# Where a partition no longer starts at offset 0, messages older than its first record may have been here. Timestamps
# need not rise with offsets, so the disorder seen among the retained records is added as a margin.
_REACH = """
WITH cut AS (
    SELECT o.partition, o.log_start_offset FROM offsets o WHERE o.topic = $topic AND o.log_start_offset > 0),
kept AS (
    SELECT r.partition, r.offset, r.timestamp_ms,
           max(r.timestamp_ms) OVER (PARTITION BY r.partition ORDER BY r.offset) AS newest_so_far
    FROM records r JOIN cut USING (partition) WHERE r.topic = $topic AND r.timestamp_ms IS NOT NULL),
reach AS (
    SELECT partition, arg_min(timestamp_ms, "offset") + max(newest_so_far - timestamp_ms) AS reach_ms
    FROM kept GROUP BY partition)
SELECT max(reach.reach_ms) AS reach_ms, count(*) FILTER (reach.reach_ms IS NULL) AS emptied
FROM cut LEFT JOIN reach USING (partition)
"""

NEVER_MS = (1 << 62) - 1  # later than any timestamp: nothing can be verified


def create_places(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> None:
    """Creates the table ``places``: one row a topic of the scope.

    ``reach_ms``: messages due before this time (epoch ms) may have been in the topic and gone again; null when it reaches
    back to its beginning. ``reach_known`` is false where a partition was emptied, so that only "unknown" can be said.
    ``readable`` is false where the topic or a part of it could not be read.
    """
    con.execute(_CREATE)
    create_unread(con, evidence)
    facts = evidence.facts
    named = [("source", [facts["source"]]), ("sink", facts["sinks"]), ("retry", facts["retry_topics"])]
    named.append(("dead_letters", facts["dead_letters"]))
    unread = unread_topics(con, evidence)
    for role, topics in named:
        for ordinal, topic in enumerate(topics):
            reach_ms, known = _store_reach(facts, topic) if is_store(topic) else _reach(con, topic)
            con.execute(
                "INSERT INTO places SELECT count(*), ?, ?, ?, ?, ?, ? FROM places",
                [topic, role, ordinal, topic not in unread, reach_ms, known],
            )


_CUT = """
SELECT topic, any_value(error), bool_or(truncated), (SELECT sum(high - low) FROM unread u WHERE u.topic = s.topic)
FROM scan s WHERE error IS NOT NULL OR truncated GROUP BY topic ORDER BY topic
"""


def unread_topics(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> dict[str, str]:
    """Topics that were not read, or not whole -> why; needs the table ``unread``."""
    unread = {topic: why for topic, why in evidence.missing.items() if topic in _topics(evidence.facts)}
    rows = con.execute(_CUT).fetchall()
    for topic, error, truncated, left in rows:
        cut = "the scan was cut by its limits" if truncated else "it could not be read to its end"
        unread.setdefault(topic, f"{error or cut} ({int(left or 0):,} offsets not read)")
    return unread


def _reach(con: duckdb.DuckDBPyConnection, topic: str) -> tuple[int | None, bool]:
    row = con.execute(_REACH, {"topic": topic}).fetchone()
    reach_ms, emptied = row or (None, 0)
    if emptied:
        return NEVER_MS, False
    return (None if reach_ms is None else int(reach_ms)), True


def _store_reach(facts: Mapping[str, Any], name: str) -> tuple[int | None, bool]:
    """A store reaches back to its beginning, or as far as it says that it keeps rows."""
    keeps = ((facts.get("stores") or {}).get(name) or {}).get("keeps_seconds")
    collected_ms = round(datetime.fromisoformat(facts["collected_at"]).timestamp() * 1000)
    return (None if keeps is None else collected_ms - round(keeps * 1000)), True


def _topics(facts: Any) -> set[str]:
    return {facts["source"], *facts["sinks"], *facts["retry_topics"], *facts["dead_letters"]}
