"""Leaps: long runs of lost messages that live members of a group went past, in one commit or in several."""

from __future__ import annotations

from workbench.problems.loss.runs import scattered_entries
from workbench.problems.rules import Case

_FEWEST = 5  # commits that make a habit

# Runs of lost messages too long for chance, between delivered ones of their partition. commits: how many of the group's commits
# ended within the run; at_ms: the first one behind it, made by a live member that had committed on the partition before.
_LONG = """
CREATE OR REPLACE TEMP TABLE long_runs AS
WITH marked AS (
    SELECT r.partition, r."offset", e.entry, row_number() OVER (PARTITION BY r.partition ORDER BY r."offset") AS position
    FROM records r LEFT JOIN entries e ON e.message_id = r.message_id
    WHERE r.topic = source_topic() AND r.due AND r.message_id IS NOT NULL AND coalesce(r.is_aborted, false) = false
      AND r.partition IN (SELECT partition FROM entries WHERE in_source)),
islands AS (
    SELECT *, position - row_number() OVER (PARTITION BY partition ORDER BY position) AS run FROM marked WHERE entry IS NOT NULL),
runs AS (
    SELECT partition, run, min("offset") AS low, max("offset") AS high, list(entry) AS entries FROM islands
    WHERE entry NOT IN ({scattered}) GROUP BY partition, run)
SELECT r.*, m.at_ms,
       (SELECT count(*) FROM moves x WHERE x.partition = r.partition AND NOT x.removed AND coalesce(x.members, 1) > 0
          AND x.committed_offset > r.low AND x.committed_offset <= r.high) AS commits
FROM runs r ASOF JOIN (SELECT * FROM moves WHERE NOT removed) m ON m.partition = r.partition AND m.committed_offset > r.high
WHERE coalesce(m.members, 1) > 0 AND NOT m.is_first AND NOT m.was_removed AND m.before_offset < m.committed_offset
  AND EXISTS (SELECT 1 FROM done d WHERE d.partition = r.partition AND d."offset" < r.low)
  AND EXISTS (SELECT 1 FROM done d WHERE d.partition = r.partition AND d."offset" > r.high)
"""
# What each commit of the group passed, over all partitions: messages that arrived, and such that are lost.
_PASSED = """
CREATE OR REPLACE TEMP TABLE passed_at AS
WITH steps AS (
    SELECT partition, committed_offset, min(at_ms) AS at_ms FROM moves
    WHERE NOT removed AND coalesce(members, 1) > 0 AND committed_offset > coalesce(before_offset, 0) GROUP BY ALL)
SELECT s.at_ms, count(*) FILTER (e.entry IS NULL) AS arrived, count(e.entry) AS lost
FROM records r ASOF JOIN steps s ON s.partition = r.partition AND r."offset" < s.committed_offset
LEFT JOIN entries e ON e.message_id = r.message_id
WHERE r.topic = source_topic() AND r.due AND r.message_id IS NOT NULL AND coalesce(r.is_aborted, false) = false
GROUP BY s.at_ms
"""
_NOTHING_PASSED = "CREATE OR REPLACE TEMP TABLE passed_at (at_ms BIGINT, arrived BIGINT, lost BIGINT)"
# Commits after a fixed number of messages: nearly all that passed nothing lost passed the same number.
_HABIT = f"""
SELECT CASE WHEN count(*) >= {_FEWEST} AND count(*) FILTER (arrived = usual) >= 0.8 * count(*) THEN any_value(usual) END AS each
FROM (SELECT arrived, mode(arrived) OVER () AS usual FROM passed_at WHERE lost = 0)
"""


def leaps(case: Case) -> tuple[str, str]:
    """What the group's members leapt over, by one of its commits.

    Returns:
        Predicates of entries: those in a run that its member is known to have leapt over, since it had handled as many messages
        beside the run as it does between any two commits; and those of which it can only be said that one commit passed them.
    """
    each = _create_long_runs(case)
    known = f"EXISTS (SELECT 1 FROM passed_at p WHERE p.at_ms = l.at_ms AND p.arrived = {each or -1})"
    one = "SELECT unnest(entries) FROM long_runs l WHERE commits = 0 AND"
    return f"entry IN ({one} {known})", f"entry IN ({one} NOT {known})"


def gone_through(case: Case) -> str:
    """Entries in long runs within which live members committed: they went through them, and did not leap."""
    _create_long_runs(case)
    return "entry IN (SELECT unnest(entries) FROM long_runs WHERE commits > 0)"


def _create_long_runs(case: Case) -> int | None:
    """Creates ``long_runs`` and ``passed_at``, once a case; returns after how many messages the group commits, if that is fixed."""
    if not case.has_made("passed_at"):
        case.con.execute(_LONG.format(scattered=scattered_entries(case)))
        case.con.execute(_PASSED if case.rows("SELECT 1 FROM long_runs LIMIT 1") else _NOTHING_PASSED)
    each = case.rows(_HABIT)[0]["each"]
    return None if each is None else int(each)
