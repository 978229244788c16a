"""Changes of a group's members: who lost a partition, and how."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.problems.history import broker_setting

if TYPE_CHECKING:
    from workbench.problems.rules import Case

_SLACK_MS = 3_500  # between a member's last word and its end: one heartbeat, 3 s by default

# One row a change of the group and partition that a member held (or that nobody is known to have held, where members were
# replaced): who that was, and whether it was gone after. In a KIP-848 group a member keeps what it holds while others come and go,
# so a change counts for one that stays only where it gave the partition back: somebody else had it before the member left.
_CHANGES = """
CREATE OR REPLACE TEMP TABLE changes AS
WITH gens AS (
    SELECT log_offset, at_ms, protocol, members, joined, "left", lag(log_offset) OVER (ORDER BY log_offset) AS before
    FROM generations WHERE NOT removed),
places AS (SELECT DISTINCT partition FROM {work}),
held AS (
    SELECT g.*, p.partition, (SELECT arg_max(o, o.log_offset) FROM owned o
        WHERE o.partition = p.partition AND o.log_offset < g.log_offset) AS owner
    FROM gens g CROSS JOIN places p WHERE g.joined > 0 OR g."left" > 0),
seen AS (
    SELECT h.*, NOT EXISTS (SELECT 1 FROM seats s WHERE s.log_offset = h.log_offset AND s.member_id = h.owner.member_id) AS gone
    FROM held h WHERE h.owner IS NULL AND h.joined > 0 AND h."left" > 0
        OR EXISTS (SELECT 1 FROM seats s WHERE s.log_offset = h.before AND s.member_id = h.owner.member_id)),
lasts AS (
    SELECT h.log_offset, h.partition, w.first_ms FROM held h
    ASOF JOIN {work} w ON w.partition = h.partition AND w.first_ms <= h.at_ms)
SELECT s.log_offset, s.at_ms, s.members, s.joined, s."left", s.partition, s.owner.member_id AS member_id,
       coalesce(s.gone, true) AS gone,
       coalesce((SELECT max(x.session_timeout_ms) FROM seats x WHERE x.member_id = s.owner.member_id), {session}::BIGINT)
           AS session_ms,
       EXISTS (SELECT 1 FROM seats x JOIN seats y USING (instance_id) WHERE x.member_id = s.owner.member_id
            AND y.log_offset = s.log_offset AND y.member_id <> x.member_id) AS restarted,
       (SELECT max(x.rebalance_timeout_ms) FROM seats x WHERE x.member_id = s.owner.member_id) AS poll_ms,
       (SELECT min(x.at_ms) FROM seats x WHERE x.log_offset > s.log_offset AND x.member_id <> s.owner.member_id
            AND x.client_id = s.owner.client_id AND x.client_host = s.owner.client_host
            AND NOT EXISTS (SELECT 1 FROM seats y WHERE y.log_offset = s.before AND y.member_id = x.member_id)) AS back_ms,
       coalesce((SELECT max(m.at_ms) FROM moves m JOIN owned o ON o.partition = m.partition
                 WHERE o.member_id = s.owner.member_id AND m.log_offset < s.log_offset AND m.log_offset > o.log_offset),
                (SELECT min(x.at_ms) FROM seats x WHERE x.member_id = s.owner.member_id)) AS last_commit_ms,
       coalesce((SELECT arg_max(m.committed_offset, m.log_offset) FROM moves m
                 WHERE m.partition = s.partition AND NOT m.removed AND m.log_offset < s.log_offset), 0) AS committed_offset,
       (SELECT max(l.first_ms) FROM lasts l WHERE l.log_offset = s.log_offset AND (l.partition = s.partition
            OR l.partition IN (SELECT o.partition FROM owned o WHERE o.member_id = s.owner.member_id))) AS last_write_ms
FROM seen s
WHERE s.gone OR s.protocol <> 'consumer' OR EXISTS (
    SELECT 1 FROM owned o WHERE o.partition = s.partition AND o.log_offset > s.log_offset AND o.member_id <> s.owner.member_id
      AND NOT EXISTS (SELECT 1 FROM gens g WHERE g.log_offset > s.log_offset AND g.log_offset <= o.log_offset
          AND NOT EXISTS (SELECT 1 FROM seats x WHERE x.log_offset = g.log_offset AND x.member_id = s.owner.member_id)))
"""
# evicted: gone one poll interval after its last commit, and back again. lost: gone one session timeout after its last sign of
# life, or a static member whose place its next process took, which needs no rebalance. emptied: gone, nobody else there, and
# sooner; idled: the same, but later. moved: the partition was taken from a live member, or from one that left in order. Of a
# group that became empty the time must fit on both sides, since one that idles leaves in order too.
_KINDS = """
CREATE OR REPLACE TEMP TABLE turnovers AS
SELECT *, CASE
    WHEN gone AND back_ms IS NOT NULL AND poll_ms IS NOT NULL AND {evicted} THEN 'evicted'
    WHEN gone AND restarted THEN 'lost'
    WHEN gone AND members = 0 AND session_ms IS NOT NULL AND {silent} AND NOT {idled} THEN 'lost'
    WHEN gone AND members = 0 AND session_ms IS NOT NULL AND {idled} THEN 'idled'
    WHEN gone AND members = 0 THEN 'emptied'
    WHEN gone AND session_ms IS NULL AND joined > 0 THEN 'lost'
    WHEN gone AND session_ms IS NULL THEN 'either'
    WHEN gone AND {silent} THEN 'lost'
    ELSE 'moved' END AS kind
FROM changes
"""
_LAST_SIGN = "greatest(last_commit_ms, coalesce(last_write_ms, last_commit_ms))"
_SILENT = f"at_ms - {_LAST_SIGN} >= greatest(session_ms - {_SLACK_MS}, session_ms / 2)"
_IDLED = f"at_ms - {_LAST_SIGN} > session_ms + {_SLACK_MS}"
_EVICTED = "at_ms - last_commit_ms BETWEEN poll_ms * 0.9 AND poll_ms * 1.15 + {slack}"
_EVICTED_BY_LOG = """({timed} OR EXISTS (SELECT 1 FROM service_log l WHERE l.at_ms BETWEEN changes.last_commit_ms
    AND changes.back_ms + 60000 AND regexp_matches(concat_ws(' ', l.event, l.error),
    'poll[ ._-]?interval|max[ ._-]?poll|CommitFailed', 'i')))"""


def create_turnovers(case: Case, work: str) -> None:
    """Creates ``turnovers``: a row for each change of the group and partition that a member lost by it.

    Columns: ``log_offset``, ``at_ms``, ``partition``, ``committed_offset`` (of the partition, then), ``last_commit_ms``,
    ``back_ms`` and ``kind``, one of evicted, lost, idled, emptied, moved, either.

    Args:
        case: with the tables of the group's history.
        work: a table of what was written: ``partition`` of the source, and when (``first_ms``). Partitions that it does not
            name are not looked at.
    """
    session = broker_setting(case.evidence, "group.consumer.session.timeout.ms") or "NULL"
    case.con.execute(_CHANGES.format(work=work, session=session if session.isdigit() else "NULL"))
    timed = _EVICTED.format(slack=_SLACK_MS)
    evicted = _EVICTED_BY_LOG.format(timed=timed) if case.has("service_log") else timed
    case.con.execute(_KINDS.format(evicted=evicted, silent=_SILENT, idled=_IDLED))
