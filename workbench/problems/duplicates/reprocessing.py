"""Why a range was processed again: the group's history tells a rewind, a crash and the other ways apart."""

from __future__ import annotations

from collections.abc import Mapping

from workbench.problems.duplicates.turned import create_turned
from workbench.problems.history import SKEW_MS, create_history, is_whole
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling
from workbench.problems.standing import epoch_ms
from workbench.report import State

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
# Everything that the histories say of each copy that a second reading made, in one row. by_admin: an administrator's commit set
# the offset back (no member, and no leader epoch); back: any commit did. removed: the offset was taken away (deleted, or
# expired), and a reader that begins at the beginning came.
_BACK = f"""
SELECT r.entry, bool_or(m.members = 0 AND coalesce(m.leader_epoch, -1) = -1 AND m.had_members) AS by_admin
FROM reread r JOIN moves m ON m.partition = r.partition
WHERE NOT m.removed AND m.committed_offset < m.before_offset AND r."offset" >= m.committed_offset
  AND r."offset" < m.highest_before AND r.timestamp_ms >= m.at_ms - {SKEW_MS} GROUP BY r.entry
"""
_REMOVED = f"""
SELECT DISTINCT r.entry FROM reread r JOIN removals x ON x.partition = r.partition AND x.why <> 'recreated'
WHERE r."offset" < x.highest AND r.timestamp_ms >= x.at_ms - {SKEW_MS} AND r.first_ms <= x.at_ms + {SKEW_MS}
"""
_REFUSED = """
SELECT DISTINCT t.entry FROM turned t JOIN stuck s USING (log_offset, partition)
JOIN service_log l ON l.at_ms BETWEEN s.from_ms - 10000 AND s.at_ms + 10000
WHERE regexp_matches(concat_ws(' ', l.event, l.error), 'commit', 'i')
  AND (l.error IS NOT NULL OR lower(l.level) IN ('error', 'warn', 'warning', 'fatal', 'critical'))
"""
_WHYS = """
CREATE OR REPLACE TEMP TABLE whys AS
SELECT r.entry, coalesce(t.kind, '') AS kind, coalesce(b.by_admin, false) AS by_admin, b.entry IS NOT NULL AS back,
       x.entry IS NOT NULL AS removed, coalesce(s.long, false) AS stuck, e.entry IS NOT NULL AS refused,
       o.entry IS NOT NULL AS second
FROM reread r LEFT JOIN turned t USING (entry) LEFT JOIN ({back}) b USING (entry) LEFT JOIN ({removed}) x USING (entry)
LEFT JOIN stuck s ON s.log_offset = t.log_offset AND s.partition = t.partition
LEFT JOIN ({refused}) e USING (entry) LEFT JOIN second o USING (entry)
"""
_SET_BACK = "(by_admin OR removed)"


def because(condition: str) -> str:
    """The predicate of copies of which the histories say this, in words of ``whys``."""
    return f"entry IN (SELECT entry FROM whys WHERE {condition})"


def create_reread(case: Case) -> None:
    """Creates ``reread``, ``whys`` (what the histories say of each copy) and the tables of the group's history."""
    create_history(case.con, case.evidence)
    case.con.execute(_REREAD if case.entries else _NO_REREAD)
    create_turned(case)
    _create_second(case)
    refused = _REFUSED if case.has("service_log") else "SELECT entry FROM reread WHERE false"
    case.con.execute(_WHYS.format(back=_BACK, removed=_REMOVED, refused=refused))


def rewind(case: Case, reprocessed: str) -> Ruling:
    """The ruling on ``duplicates-offset-rewind``; ``reprocessed`` is the predicate of copies that a second reading made."""
    if not case.count(reprocessed):
        return RULED_OUT
    if not case.has("commit_history"):
        return _ruling(case, (Claim("suspected", reprocessed),), _REWIND_WORDS)
    claims = [
        Claim("confirmed", f"{reprocessed} AND {because(_SET_BACK)}"),
        Claim("suspected", f"{reprocessed} AND {because('back AND kind <> ' + _EVICTED)}"),
    ]
    if not is_whole(case.evidence):
        claims.append(Claim("suspected", f"{reprocessed} AND {_before_history(case)}"))
    return _ruling(case, tuple(claims), _REWIND_WORDS)


_EVICTED = "'evicted'"


def crash(case: Case, reprocessed: str) -> Ruling:
    """The ruling on ``duplicates-crash-before-commit``."""
    if not case.count(reprocessed):
        return RULED_OUT
    if not case.has("commit_history"):
        return _ruling(case, (Claim("suspected", reprocessed),), _CRASH_WORDS)
    mine = f"NOT {_SET_BACK} AND NOT refused AND NOT second"
    certain = because(f"{mine} AND NOT back AND kind = 'lost'")
    unsure = because(f"{mine} AND kind NOT IN ('evicted', 'moved') AND NOT stuck")
    return _ruling(
        case,
        (Claim("confirmed", f"{reprocessed} AND {certain}"), Claim("suspected", f"{reprocessed} AND {unsure}")),
        _CRASH_WORDS,
    )


def evicted(case: Case, reprocessed: str) -> Ruling:
    """The ruling on ``duplicates-poll-interval-exceeded``."""
    words = "were processed again after a consumer was put out of its group for not polling in time"
    return _claimed(case, reprocessed, {f"kind = 'evicted' AND NOT {_SET_BACK}": "confirmed"}, words)


def rebalanced(case: Case, reprocessed: str) -> Ruling:
    """The ruling on ``duplicates-rebalance``."""
    mine = f"NOT {_SET_BACK} AND NOT back AND NOT refused AND NOT stuck"
    words = "were processed again because a rebalance took their partition before the work was committed"
    return _claimed(
        case,
        reprocessed,
        {f"{mine} AND kind = 'moved'": "confirmed", f"{mine} AND kind = 'either'": "suspected"},
        words,
    )


def commit_failed(case: Case, reprocessed: str) -> Ruling:
    """The ruling on ``duplicates-commit-failed``."""
    mine = f"NOT {_SET_BACK} AND kind <> 'evicted' AND (refused OR stuck)"
    words = "were processed again because commits had failed while processing went on"
    ruling = _claimed(case, reprocessed, {mine: "confirmed"}, words)
    unsure = f"{reprocessed} AND {because(f'NOT {_SET_BACK} AND kind IS NOT NULL')}"
    if not ruling.claims and not case.has("service_log") and case.count(unsure):
        return Ruling(undecided="needs the service's log (--service-log), which holds failed commits")
    return ruling


def second_group(case: Case, reprocessed: str) -> Ruling:
    """The ruling on ``duplicates-second-group``."""
    named = case.rows('SELECT "group", count(*) AS n FROM second GROUP BY ALL ORDER BY n DESC, "group" LIMIT 3')
    others = ", ".join(str(row["group"]) for row in named)
    words = f"were processed by another group too ({others})"
    return _claimed(case, reprocessed, {f"second AND NOT {_SET_BACK} AND NOT back": "confirmed"}, words)


def _claimed(case: Case, reprocessed: str, conditions: Mapping[str, State], words: str) -> Ruling:
    """A ruling by what the histories say, ruled out where they say it of no copy."""
    claims = tuple(Claim(state, f"{reprocessed} AND {because(words)}") for words, state in conditions.items())
    if not any(case.count(claim.where) for claim in claims):
        return RULED_OUT
    return _ruling(case, claims, words)


# Copies that another group's passage over the message explains, and nothing in this group's history does.
_PASSAGES = """
CREATE OR REPLACE TEMP TABLE passages AS
WITH steps AS (
    SELECT "group", partition, at_ms, committed_offset, lag(committed_offset) OVER w AS before_offset,
           lag(at_ms) OVER w AS before_ms
    FROM {history} WHERE topic = source_topic() AND NOT removed
    WINDOW w AS (PARTITION BY "group", partition ORDER BY log_offset))
SELECT "group", partition, coalesce(before_offset, 0) AS low, committed_offset AS high, coalesce(before_ms, 0) AS from_ms, at_ms
FROM steps WHERE committed_offset > coalesce(before_offset, 0)
"""
_SECOND = f"""
CREATE OR REPLACE TEMP TABLE second AS
SELECT r.entry, any_value(o."group") AS "group" FROM reread r
JOIN theirs o ON o.partition = r.partition AND r."offset" >= o.low AND r."offset" < o.high
JOIN ours g ON g.partition = r.partition AND r."offset" >= g.low AND r."offset" < g.high
WHERE r.entry NOT IN (SELECT entry FROM turned) AND (
    (r.timestamp_ms BETWEEN o.from_ms - {SKEW_MS} AND o.at_ms + {SKEW_MS} AND r.first_ms <= g.at_ms + {SKEW_MS})
    OR (r.first_ms BETWEEN o.from_ms - {SKEW_MS} AND o.at_ms + {SKEW_MS} AND r.timestamp_ms <= g.at_ms + {SKEW_MS}))
GROUP BY r.entry
"""


def _create_second(case: Case) -> None:
    """Creates ``second``: copies that fit another group's commits over the same source offsets -> that group."""
    case.con.execute('CREATE OR REPLACE TEMP TABLE second (entry BIGINT, "group" VARCHAR)')
    if not (case.entries and case.has("commit_history") and case.has("other_commits")):
        return
    for name, history in (("theirs", "other_commits"), ("ours", "commit_history")):
        case.con.execute(_PASSAGES.format(history=history).replace("TABLE passages", f"TABLE {name}"))
    case.con.execute(_SECOND)


_ATOMIC = """
SELECT coalesce(bool_and(b.is_transactional), false) AS atomic FROM batches b JOIN places p ON p.topic = b.topic
WHERE p.role = 'sink' AND NOT b.is_control
"""


def non_atomic(case: Case, reprocessed: str) -> Ruling:
    """The ruling on ``duplicates-non-atomic-write``, which claims nothing for itself."""
    reread = because(f"kind <> '' AND NOT {_SET_BACK} AND NOT back")
    copies = case.count(f"{reprocessed} AND {reread}")
    if not copies or case.rows(_ATOMIC)[0]["atomic"]:
        return RULED_OUT
    ruling = _ruling(case, (), "")
    return Ruling(
        state="confirmed",
        affected=copies,
        summary="{count} copies are there because the sink is written outside of transactions: output and offset are not "
        "committed together.",
        subject=ruling.subject,
        tables=("records", "batches", "commit_history"),
    )


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
