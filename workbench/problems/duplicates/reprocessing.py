"""Why a range was processed again: the group's history tells a rewind from a crash."""

from __future__ import annotations

from workbench.problems.history import SKEW_MS, create_history, is_whole
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling
from workbench.problems.standing import epoch_ms

# Where the message stands in the source, and when it was written to the sink before and again.
_REREAD = """
CREATE OR REPLACE TEMP TABLE reread AS
SELECT e.entry, e.timestamp_ms, e.first_ms, s.partition, s.offset AS "offset"
FROM entries e JOIN (
    SELECT message_id, any_value(partition) AS partition, min("offset") AS "offset" FROM again
    WHERE topic = source_topic() GROUP BY message_id) s USING (message_id)
WHERE e.place = 'sink' AND e.reprocessed
"""
_NO_REREAD = """
CREATE OR REPLACE TEMP TABLE reread (
    entry BIGINT, timestamp_ms BIGINT, first_ms BIGINT, partition INTEGER, "offset" BIGINT)
"""
_REWOUND = f"""entry IN (
    SELECT r.entry FROM reread r JOIN moves m ON m.partition = r.partition
    WHERE NOT m.removed AND m.committed_offset < m.before_offset AND r."offset" >= m.committed_offset
      AND r."offset" < m.highest_before AND r.timestamp_ms >= m.at_ms - {SKEW_MS} AND {{who}})"""
# An administrator's commit: no member, and no leader epoch.
BY_ADMIN = _REWOUND.format(who="m.members = 0 AND coalesce(m.leader_epoch, -1) = -1 AND m.had_members")
BY_ANYONE = _REWOUND.format(who="true")
CRASHED = f"""entry IN (
    SELECT r.entry FROM reread r JOIN takeovers t ON t.partition IS NULL OR t.partition = r.partition
    WHERE r."offset" >= coalesce(t.committed_offset, 0) AND r.first_ms <= t.at_ms + {SKEW_MS}
      AND r.timestamp_ms >= t.at_ms - {SKEW_MS})"""


def create_reread(case: Case) -> None:
    """Creates ``reread`` and the tables of the group's history."""
    create_history(case.con, case.evidence)
    case.con.execute(_REREAD if case.entries else _NO_REREAD)


def rewind(case: Case, reprocessed: str) -> Ruling:
    """The ruling on ``duplicates-offset-rewind``; ``reprocessed`` is the predicate of copies that a second reading made."""
    if not case.count(reprocessed):
        return RULED_OUT
    if not case.has("commit_history"):
        return _ruling(case, (Claim("suspected", reprocessed),), _REWIND_WORDS)
    claims = [Claim("confirmed", f"{reprocessed} AND {BY_ADMIN}"), Claim("suspected", f"{reprocessed} AND {BY_ANYONE}")]
    if not is_whole(case.evidence):
        claims.append(Claim("suspected", f"{reprocessed} AND {_before_history(case)}"))
    return _ruling(case, tuple(claims), _REWIND_WORDS)


def crash(case: Case, reprocessed: str) -> Ruling:
    """The ruling on ``duplicates-crash-before-commit``."""
    if not case.count(reprocessed):
        return RULED_OUT
    if not case.has("commit_history"):
        return _ruling(case, (Claim("suspected", reprocessed),), _CRASH_WORDS)
    unwound = f"{reprocessed} AND NOT {BY_ADMIN}"
    certain = f"{reprocessed} AND NOT {BY_ANYONE} AND {CRASHED}"
    return _ruling(case, (Claim("confirmed", certain), Claim("suspected", unwound)), _CRASH_WORDS)


def _before_history(case: Case) -> str:
    """Copies that are older than what is left of the history."""
    return f"timestamp_ms < {epoch_ms(str(case.facts['history_since']))}"


_REWIND_WORDS = "were processed again after the group's offset was set back"
_CRASH_WORDS = "were processed again after a consumer had ended before it committed"


def _ruling(case: Case, claims: tuple[Claim, ...], words: str) -> Ruling:
    subject: dict[str, str | int] = {"topic": str(case.facts["source"])}
    if case.facts["group"]:
        subject["group"] = str(case.facts["group"])
    certain = case.has("commit_history")
    return Ruling(
        claims=claims,
        summary=f"{{count}} messages {words if certain else 'may have been' + words.removeprefix('were')}:"
        " the sink holds more copies than the source.",
        subject=subject,
        tables=("records", "commit_history", "generations") if certain else ("records",),
    )
