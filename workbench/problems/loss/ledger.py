"""The loss ledger: every due message with exactly one disposition.

One pass groups all records by message id into a set of flags; messages that were simply delivered collapse into a few
rows there, so that only the others are ever held one by one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.evidence import Evidence
from workbench.problems.loss.mirror import MIRRORED, is_mirrored
from workbench.problems.standing import epoch_ms
from workbench.problems.stores import store_facts

if TYPE_CHECKING:
    import duckdb

DISPOSITIONS = (
    "delivered", "dead_lettered", "retrying", "waiting", "in_flight", "filtered", "hidden", "unverifiable", "lost",
)  # fmt: skip

# What one record says about its message, as bits, so that one bit_or a message is all the grouping has to keep.
VISIBLE, HIDDEN, ABORTED, OUTSIDE, DUE = 1, 2, 4, 8, 16
DEAD, RETRY, SINK_HIDDEN, SINK_ABORTED, LISTED, COMMITTED, AT_SINK = 32, 64, 128, 256, 512, 1024, 2048
SINK_SHIFT = 12  # sink number n is bit SINK_SHIFT + n
MAX_SINKS = 48

_FLAGS = f"""
CREATE OR REPLACE TEMP VIEW flagged AS
WITH seen AS (
    SELECT r.message_id, r.timestamp_ms, p.role, p.ordinal, coalesce(r.is_aborted, false) AS aborted, r.due,
           coalesce(r.offset >= o.last_stable_offset, false) AS above_lso
    FROM records r JOIN places p ON p.topic = r.topic
    LEFT JOIN offsets o ON o.topic = r.topic AND o.partition = r.partition
    WHERE r.message_id IS NOT NULL)
SELECT message_id, CASE role
    WHEN 'source' THEN CASE
        WHEN NOT in_window(timestamp_ms) THEN {OUTSIDE}
        WHEN aborted THEN {ABORTED}
        WHEN above_lso THEN {HIDDEN} | CASE WHEN due THEN {DUE} ELSE 0 END
        ELSE {VISIBLE} | CASE WHEN due THEN {DUE} ELSE 0 END END
    WHEN 'sink' THEN {AT_SINK} | CASE
        WHEN reads_uncommitted() THEN 1::BIGINT << ({SINK_SHIFT} + ordinal)
        WHEN aborted THEN {SINK_ABORTED}
        WHEN above_lso THEN {SINK_HIDDEN}
        ELSE 1::BIGINT << ({SINK_SHIFT} + ordinal) END
    WHEN 'retry' THEN CASE WHEN aborted THEN 0 ELSE {RETRY} END
    ELSE CASE WHEN aborted THEN 0 ELSE {DEAD} END END::BIGINT AS flag
FROM seen
"""

_LISTED = f"""
UNION ALL SELECT message_id,
    CASE WHEN committed AND acked IS NOT FALSE THEN {LISTED | COMMITTED} ELSE {LISTED} END::BIGINT AS flag
FROM sent_log
WHERE message_id IS NOT NULL AND committed IS NOT FALSE AND in_window(at_ms)
  AND (topic IS NULL OR topic = source_topic())
"""

# Ids in the producer's own log alone are sent too; ids that only an aborted transaction holds are not, unless that log
# says that the transaction committed.
_STATES = f"""
CREATE OR REPLACE TEMP TABLE states AS
WITH grouped AS (SELECT message_id, bit_or(flag) AS flags FROM (SELECT * FROM flagged %s) GROUP BY message_id),
stated AS (
    SELECT message_id, flags, flags & {VISIBLE | HIDDEN} <> 0 AS here, flags & {VISIBLE | HIDDEN | ABORTED | OUTSIDE} = 0
           AND flags & {LISTED} <> 0 AS listed_only, flags & {VISIBLE | HIDDEN} = 0 AND flags & {ABORTED} <> 0
           AND flags & {COMMITTED} <> 0 AS committed_but_aborted FROM grouped),
judged AS (
    SELECT message_id, flags, CASE
        WHEN NOT (here OR listed_only OR committed_but_aborted) THEN CASE
            WHEN flags & {OUTSIDE} <> 0 THEN 'outside' WHEN flags & {ABORTED} <> 0 THEN 'aborted_only'
            WHEN flags & {AT_SINK} <> 0 THEN 'unmatched_at_sink' ELSE 'elsewhere' END
        WHEN here AND flags & {DUE} = 0 THEN 'filtered'
        WHEN is_delivered(flags) THEN 'delivered'
        ELSE 'open' END AS state
    FROM stated)
SELECT CASE WHEN state = 'open' THEN message_id END AS message_id, CASE WHEN state = 'open' THEN flags END AS flags,
       state, count(*) AS messages
FROM judged GROUP BY ALL
"""

# The first visible source copy of each open message, with what the group has committed there.
_OPEN = """
CREATE OR REPLACE TEMP TABLE open_messages AS
WITH o AS (SELECT message_id, flags FROM states WHERE state = 'open'),
copies AS (
    SELECT r.message_id, r.topic, r.partition, r.offset, r.timestamp_ms, r.event_type, r.event_version, r.key_size,
           r.value_size, key_of(r) AS key, coalesce(r.is_aborted, false) AS aborted, committed_past(r) AS passed
    FROM records r SEMI JOIN o ON o.message_id = r.message_id WHERE r.topic = source_topic()),
firsts AS (
    SELECT message_id, arg_min(copies, (aborted, timestamp_ms, partition, "offset")) AS first,
           bool_or(passed) FILTER (NOT aborted) AS passed, min(timestamp_ms) AS at_ms, count(*) AS source_copies
    FROM copies GROUP BY message_id)
SELECT o.message_id, o.flags, first.topic AS topic, first.partition AS partition, first.offset AS "offset",
       f.at_ms, first.event_type AS event_type, first.event_version AS event_version, first.key AS key,
       first.value_size AS value_size, f.passed, coalesce(f.source_copies, 0) AS source_copies
FROM o LEFT JOIN firsts f USING (message_id)
"""


def build(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> dict[str, int | None]:
    """Creates the tables of the ledger and returns it.

    Tables: ``states`` (collapsed outcome of all messages), ``messages`` (one row a message that was not simply
    delivered or filtered: message_id, disposition, flags, topic, partition, offset, at_ms, event_type, event_version,
    passed, missing_sinks and what the sent log says of it).

    Returns:
        disposition -> messages, with ``sent`` first; ``waiting`` is None where no group's commits are known.
    """
    _define(con, evidence)
    listed = _LISTED if "sent_log" in evidence.tables else ""
    con.execute(_FLAGS)
    con.execute(_STATES % listed)
    con.execute(_OPEN)
    _create_messages(con, evidence)
    return _count(con, evidence)


def _define(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> None:
    """Names the parameters of delivery as SQL macros."""
    facts = evidence.facts
    uncommitted = facts["isolation"] == "read_uncommitted"
    con.execute(f"CREATE OR REPLACE TEMP MACRO reads_uncommitted() AS {uncommitted}")
    sinks = sum(1 << (SINK_SHIFT + n) for n in range(len(facts["sinks"])))
    wanted = f"flags & {sinks} <> 0" if facts["any_sink"] else f"flags & {sinks} = {sinks}"
    con.execute(f"CREATE OR REPLACE TEMP MACRO is_delivered(flags) AS {wanted if sinks else 'false'}")
    _define_commits(con, evidence)


def _define_commits(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> None:
    con.execute("CREATE OR REPLACE TEMP TABLE commits (partition INTEGER, committed_offset BIGINT)")
    if "committed" in evidence.tables:
        con.execute(
            "INSERT INTO commits SELECT partition, committed_offset FROM committed"
            " WHERE topic = ? AND committed_offset IS NOT NULL",
            [evidence.facts["source"]],
        )
        past = _PAST
    elif is_mirrored(evidence.facts):
        con.execute(f"INSERT INTO commits {MIRRORED}")
        past = _PAST
    elif (handed_over := _handed_over(evidence)) is not None:
        past = f"r.offset <= {handed_over}"
    else:
        past = "NULL::BOOLEAN"
    con.execute(f"CREATE OR REPLACE TEMP MACRO committed_past(r) AS {past}")


# A partition without a commit has not been committed past.
_PAST = "coalesce(r.offset < (SELECT c.committed_offset FROM commits c WHERE c.partition = r.partition), false)"


def _handed_over(evidence: Evidence) -> int | None:
    """The last row of a source table that was handed over; None where that is not known, or the source is a topic."""
    found = store_facts(evidence.facts, evidence.facts["source"]).get("published_up_to")
    return None if found is None else int(found)


_SENT = """
CREATE OR REPLACE TEMP TABLE sent AS
SELECT message_id, arg_max(partition, line) AS partition, arg_max("offset", line) AS "offset",
       max(size_bytes) AS size_bytes, min(at_ms) AS at_ms, {stamp} AS stamp_ms,
       bool_or(acked) AS acked, bool_or(committed) AS committed,
       arg_max(error, line) AS error, min(line) AS line
FROM sent_log WHERE message_id IS NOT NULL AND (topic IS NULL OR topic = source_topic()) GROUP BY message_id
"""
_NO_SENT = """
CREATE OR REPLACE TEMP TABLE sent (message_id VARCHAR, partition INTEGER, "offset" BIGINT, size_bytes BIGINT,
                                   at_ms BIGINT, stamp_ms BIGINT, acked BOOLEAN, committed BOOLEAN, error VARCHAR, line BIGINT)
"""

# Dead letters and retries name their origin's coordinates where their own id does not match.
_ORIGINS = """
CREATE OR REPLACE TEMP TABLE origins AS
SELECT p.role, r.origin_partition AS partition, r.origin_offset AS "offset" FROM records r JOIN places p USING (topic)
WHERE p.role IN ('dead_letters', 'retry') AND r.origin_topic = source_topic() AND r.origin_offset IS NOT NULL
  AND coalesce(r.is_aborted, false) = false
GROUP BY ALL
"""

# On a compacted sink a later record of the same key replaces the message: delivered, and superseded.
_SUPERSEDED = f"""
CREATE OR REPLACE TEMP TABLE superseded AS
WITH compacted AS (
    SELECT p.topic, p.ordinal FROM places p JOIN configs c ON c.topic = p.topic
    WHERE p.role = 'sink' AND c.name = 'cleanup.policy' AND c.value LIKE '%compact%'),
wanted AS (SELECT message_id, key, at_ms, flags FROM open_messages WHERE key IS NOT NULL),
later AS (
    SELECT r.topic, key_of(r) AS key, max(r.timestamp_ms) AS newest_ms
    FROM records r SEMI JOIN compacted c ON c.topic = r.topic SEMI JOIN wanted w ON w.key = key_of(r)
    WHERE coalesce(r.is_aborted, false) = false GROUP BY ALL)
SELECT w.message_id, bit_or(1::BIGINT << ({SINK_SHIFT} + c.ordinal)) AS bits
FROM wanted w JOIN later l ON l.key = w.key AND l.newest_ms >= w.at_ms JOIN compacted c ON c.topic = l.topic
GROUP BY w.message_id
"""

_MESSAGES = f"""
CREATE OR REPLACE TEMP TABLE messages AS
WITH facts AS (
    SELECT m.* REPLACE (coalesce(m.partition, s.partition) AS partition, coalesce(m."offset", s."offset") AS "offset",
                        coalesce(m.at_ms, s.at_ms) AS at_ms, m.flags | coalesce(u.bits, 0) AS flags),
           m."offset" IS NOT NULL AS in_source, u.bits IS NOT NULL AS superseded, s.size_bytes, s.stamp_ms, s.acked, s.committed,
           s.error, s.line, s.message_id IS NOT NULL AS listed, s."offset" AS acked_offset
    FROM open_messages m LEFT JOIN sent s USING (message_id) LEFT JOIN superseded u USING (message_id)),
joined AS (
    SELECT f.*,
        f.flags & {DEAD} <> 0 OR EXISTS (SELECT 1 FROM origins g WHERE g.role = 'dead_letters'
            AND g.partition = f.partition AND g."offset" = f."offset") AS dead,
        f.flags & {RETRY} <> 0 OR EXISTS (SELECT 1 FROM origins g WHERE g.role = 'retry'
            AND g.partition = f.partition AND g."offset" = f."offset") AS retrying,
        list_sort(list(p.topic) FILTER (p.role = 'sink' AND f.flags & (1::BIGINT << ({SINK_SHIFT} + p.ordinal)) = 0))
            AS missing_sinks,
        coalesce(bool_or(coalesce(f.at_ms < p.reach_ms, p.reach_ms IS NOT NULL)) FILTER (p.role IN ('retry', 'dead_letters')
            OR p.role = 'sink' AND f.flags & (1::BIGINT << ({SINK_SHIFT} + p.ordinal)) = 0), false) AS beyond_reach,
        coalesce(bool_or(NOT p.readable) FILTER (p.role IN ('retry', 'dead_letters')
            OR p.role = 'sink' AND f.flags & (1::BIGINT << ({SINK_SHIFT} + p.ordinal)) = 0), false) AS beyond_scan
    FROM facts f CROSS JOIN places p GROUP BY ALL)
SELECT *, row_number() OVER (ORDER BY topic, partition, "offset", message_id) AS entry, CASE
    WHEN is_delivered(flags) THEN 'delivered'
    WHEN dead THEN 'dead_lettered'
    WHEN retrying THEN 'retrying'
    WHEN flags & {VISIBLE} = 0 AND flags & {HIDDEN} <> 0 OR flags & {SINK_HIDDEN} <> 0 THEN 'hidden'
    WHEN in_source AND passed = false THEN 'waiting'
    WHEN at_ms > too_young_ms() THEN 'in_flight'
    WHEN beyond_reach OR beyond_scan THEN 'unverifiable'
    -- Where the scan did not get the source: a message that was acknowledged there may be there.
    WHEN NOT in_source AND EXISTS (SELECT 1 FROM unread u WHERE u.topic = source_topic() AND u.partition = joined.partition
        AND acked_offset >= u.low AND acked_offset < u.high) THEN 'unverifiable'
    ELSE 'lost' END AS disposition
FROM joined
"""


def _create_messages(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> None:
    collected_ms = epoch_ms(evidence.facts["collected_at"])
    too_young_ms = collected_ms - round(evidence.facts["expected_latency_seconds"] * 1000)
    con.execute(f"CREATE OR REPLACE TEMP MACRO too_young_ms() AS {too_young_ms}::BIGINT")
    con.execute(_sent_sql(evidence))
    con.execute(_ORIGINS)
    if "configs" not in evidence.tables:
        con.execute("CREATE OR REPLACE TEMP TABLE configs (topic VARCHAR, name VARCHAR, value VARCHAR)")
    con.execute(_SUPERSEDED)
    con.execute(_MESSAGES)


def _sent_sql(evidence: Evidence) -> str:
    if "sent_log" not in evidence.tables:
        return _NO_SENT
    knows = "timestamp_ms" in evidence.tables["sent_log"].schema.names  # evidence of earlier versions does not
    return _SENT.format(stamp="arg_max(timestamp_ms, line)" if knows else "NULL::BIGINT")


def _count(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> dict[str, int | None]:
    counts = dict.fromkeys(DISPOSITIONS, 0)
    for state, n in con.execute("SELECT state, sum(messages)::BIGINT FROM states GROUP BY state").fetchall():
        if state in ("delivered", "filtered"):
            counts[state] += n
    for disposition, n in con.execute("SELECT disposition, count(*) FROM messages GROUP BY disposition").fetchall():
        counts[disposition] += n
    ledger: dict[str, int | None] = {"sent": sum(counts.values()), **counts}
    progress_known = "committed" in evidence.tables or is_mirrored(evidence.facts) or _handed_over(evidence) is not None
    if not progress_known:
        ledger["waiting"] = None
    return ledger


def counts_beside(con: duckdb.DuckDBPyConnection) -> dict[str, int]:
    """Counts outside the ledger: aborted_only, unmatched_at_sink, outside, elsewhere (messages), unidentified (records)."""
    out = {
        state: int(n)
        for state, n in con.execute("SELECT state, sum(messages)::BIGINT FROM states GROUP BY state").fetchall()
    }
    return {name: out.get(name, 0) for name in ("aborted_only", "unmatched_at_sink", "outside", "elsewhere")}


def ledger_rows_sql() -> str:
    """The rows for ``ledger.parquet``: every message that was not simply delivered once."""
    return """
    SELECT m.message_id, m.disposition, CASE WHEN m.disposition = 'lost' THEN coalesce(a.cause, 'unexplained') END AS cause,
           a.candidates, coalesce(m.topic, source_topic()) AS topic, m.partition, m."offset",
           CASE WHEN m.at_ms BETWEEN 0 AND 253402300799999 THEN make_timestamptz(m.at_ms * 1000) END AS "at"
    FROM messages m LEFT JOIN attributed a USING (entry) WHERE NOT (m.disposition = 'delivered' AND NOT m.superseded)
    ORDER BY m.entry
    """


__all__ = ["DISPOSITIONS", "MAX_SINKS", "build", "counts_beside", "ledger_rows_sql"]
