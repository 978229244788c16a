"""A partition that brings the members of its group down, one after the other."""

from __future__ import annotations

from workbench.problems.rules import Case

RETRIED = 2
ALONE = "stands AND alive AND NOT leaderless AND NOT hanging"

# The one partition that does not move while members die: they are gone half a session after the group's last commit, at least.
_DEATHS = f"""
SELECT e.entry, e.committed_offset AS at, e.stands FROM entries e
WHERE still AND alive AND NOT leaderless AND NOT hanging AND others_move AND storm
  AND (SELECT count(*) FROM entries WHERE still) = 1 AND (
    SELECT count(*) FROM generations g WHERE NOT g.removed AND g."left" > 0 AND g.at_ms > e.last_advance_ms AND g.at_ms - (
        SELECT max(c.at_ms) FROM commit_history c WHERE c.at_ms <= g.at_ms AND NOT c.removed) >= 0.5 * (
        SELECT max(m.session_timeout_ms) FROM group_members m WHERE m.at_ms < g.at_ms)) > {RETRIED}
"""
_NEEDED = ("generations", "commit_history", "group_members")


def crash_loop(case: Case) -> dict[int, tuple[int, str]]:
    """Entry -> (offset, what is wrong with it), of all that lags, where one partition brings members down again and again."""
    found = _deaths(case)
    if not found or not found[1]:
        return {}
    entry, _, at = found
    others = [row["entry"] for row in case.rows("SELECT entry FROM entries WHERE storm ORDER BY entry")]
    return dict.fromkeys((entry, *others), (at, "brings members down, which come again"))


def perhaps_crashes(case: Case) -> tuple[int, int] | None:
    """The same partition where it may only have waited for its turn until its reader died: entry and offset, else None."""
    found = _deaths(case)
    return None if not found or found[1] else (found[0], found[2])


def _deaths(case: Case) -> tuple[int, bool, int] | None:
    """(entry, whether it surely stands, its offset)."""
    rows = case.rows(_DEATHS) if all(case.has(name) for name in _NEEDED) else []
    return (rows[0]["entry"], bool(rows[0]["stands"]), rows[0]["at"]) if rows else None
