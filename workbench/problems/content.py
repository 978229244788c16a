"""Content that must agree between source and sink, under ``--compare``."""

from __future__ import annotations

from workbench.problems.rules import RULED_OUT, Case, Ruling, rule
from workbench.report import Severity

_MISMATCHES = """
WITH s AS (SELECT message_id, compare_hash, partition, "offset" FROM records JOIN places USING (topic)
           WHERE places.role = 'source' AND compare_hash IS NOT NULL AND message_id IS NOT NULL
             AND coalesce(is_aborted, false) = false),
k AS (SELECT message_id, topic, compare_hash FROM records JOIN places USING (topic)
      WHERE places.role = 'sink' AND message_id IS NOT NULL AND coalesce(is_aborted, false) = false),
differing AS (
    SELECT k.topic, k.message_id, min(s.partition || ':' || s."offset") AS place FROM k JOIN s USING (message_id)
    GROUP BY k.topic, k.message_id HAVING NOT bool_or(k.compare_hash IS NOT DISTINCT FROM s.compare_hash))
SELECT topic, count(*) AS messages, list_slice(list_sort(list(place)), 1, 5) AS places
FROM differing GROUP BY topic ORDER BY topic
"""


@rule("content-mismatch", Severity.WARNING)
def content_mismatch(case: Case) -> Ruling:
    """The same message has different content at the source and at the sink.

    Fires where ``--compare`` gives no sink copy of a message the value that a source copy of it has. Ruled out where all
    messages that are in both agree; nothing is compared without ``--compare``.
    """
    if not case.facts["compare"]:
        return RULED_OUT
    rows = case.rows(_MISMATCHES)
    if not rows:
        return RULED_OUT
    count = sum(row["messages"] for row in rows)
    return Ruling(
        state="confirmed",
        affected=count,
        summary=f"{count:,} messages differ between {case.facts['source']} and {', '.join(row['topic'] for row in rows)} "
        "in what --compare looks at.",
        subject={"topic": str(case.facts["source"]), "sink": rows[0]["topic"]},
        tables=("records",),
        rows=tuple(f"{case.facts['source']} {place}" for place in rows[0]["places"]),
    )
