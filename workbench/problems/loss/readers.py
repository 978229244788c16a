"""Loss by who read: strangers in the same group, or workers whose commits pass over each other's unfinished work."""

from __future__ import annotations

from workbench.problems.loss.offsets import create_done
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity

_FEWEST = 5  # read messages of which none arrived; fewer may be chance
_READ_PAST = "in_source AND passed"

# Who held a partition when the group committed past a range of it.
_PASSES = """
CREATE OR REPLACE TEMP TABLE passes AS
SELECT m.partition, coalesce(m.before_offset, 0) AS low, m.committed_offset AS high, o.member_id, o.client_id, o.client_host,
       o.subscribed
FROM moves m ASOF JOIN owned o ON o.partition = m.partition AND o.log_offset <= m.log_offset
WHERE NOT m.removed AND m.committed_offset > coalesce(m.before_offset, 0) AND coalesce(m.members, 1) > 0
"""
# Per reader: how many due messages it was given, and how many of them arrived. kind: its client id without the number or
# UUID that tells instances of one program apart.
_READERS = """
CREATE OR REPLACE TEMP TABLE readers AS
WITH given AS (
    SELECT p.{who} AS reader, p.client_id, p.subscribed, m.message_id IS NOT NULL AS lost
    FROM records r ASOF JOIN passes p ON p.partition = r.partition AND r.offset < p.high
    LEFT JOIN (SELECT message_id FROM messages WHERE disposition NOT IN ('delivered', 'dead_lettered', 'retrying')) m
        ON m.message_id = r.message_id
    WHERE r.topic = source_topic() AND r.due AND r.message_id IS NOT NULL AND coalesce(r.is_aborted, false) = false
      AND in_window(r.timestamp_ms) AND r.offset >= p.low)
SELECT reader, any_value(regexp_replace(regexp_replace(client_id,
           '[-_.]?[0-9a-f]{{8}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{4}}-[0-9a-f]{{12}}', ''), '[-_.#][0-9]+$', '')) AS kind,
       any_value(subscribed) AS subscribed, count(*) FILTER (NOT lost) AS arrived, count(*) FILTER (lost) AS lost
FROM given WHERE reader IS NOT NULL GROUP BY reader
"""
_STRANGE = """entry IN (
    SELECT e.entry FROM entries e JOIN passes p ON p.partition = e.partition AND e."offset" >= p.low AND e."offset" < p.high
    JOIN readers r ON r.reader = p.{who} WHERE e.in_source AND r.arrived = 0 AND r.lost >= {fewest} AND {differs})"""
_OTHERS = "EXISTS (SELECT 1 FROM readers o WHERE o.arrived > 0{unlike})"
_UNLIKE = """ AND (o.kind <> r.kind OR len(o.subscribed) > 0 AND len(r.subscribed) > 0
    AND list_sort(o.subscribed) <> list_sort(r.subscribed))"""


@rule("loss-shared-group", Severity.CRITICAL, needs=("commit_history",))
def shared_group(case: Case) -> Ruling:
    """Another program reads in the same group: the partitions it is given never reach this sink.

    Confirmed where nothing arrived of what some members of the group read and committed past (at least five messages), what
    other members read did arrive, and the two sets differ in client id (but for the number of an instance) or in the topics
    that they subscribe to. Suspected where they differ only as members: then it may be a broken instance of the same program.
    Ruled out where something arrived of every member's partitions, or only one member ever read.
    """
    if not case.count(_READ_PAST):
        return RULED_OUT
    case.con.execute(_PASSES)
    claims, strangers = [], ""
    for who, state, unlike in (("client_id", "confirmed", _UNLIKE), ("member_id", "suspected", "")):
        case.con.execute(_READERS.format(who=who))
        differs = _OTHERS.format(unlike=unlike)
        predicate = f"{_READ_PAST} AND {_STRANGE.format(who=who, fewest=_FEWEST, differs=differs)}"
        entries = case.rows(f"SELECT entry FROM entries WHERE {predicate}")
        if not entries:
            continue
        listed = ", ".join(str(row["entry"]) for row in entries)
        claims.append(Claim("confirmed" if state == "confirmed" else "suspected", f"entry IN ({listed})"))
        named = case.rows(
            f"SELECT reader FROM readers r WHERE arrived = 0 AND lost >= {_FEWEST} ORDER BY reader LIMIT 3"
        )
        strangers = strangers or ", ".join(str(row["reader"]) for row in named)
    if not claims:
        return RULED_OUT
    return Ruling(
        claims=tuple(claims),
        summary=f"{{count}} messages were read by other members of group {case.facts['group']} ({strangers}) of which nothing "
        "arrives.",
        subject={"topic": str(case.facts["source"]), "group": str(case.facts["group"])},
        tables=("records", "commit_history", "group_members"),
    )


# Neighbours of a partition that reached the sink in the other order: one worker a partition keeps the order.
_DISORDER = """
WITH arrived AS (
    SELECT s.partition, s.offset, min(k.timestamp_ms) AS at_ms FROM records s JOIN records k ON k.message_id = s.message_id
    JOIN places p ON p.topic = k.topic AND p.role = 'sink'
    WHERE s.topic = source_topic() AND s.partition IN (SELECT partition FROM entries WHERE in_source)
      AND NOT coalesce(s.is_aborted, false) AND NOT coalesce(k.is_aborted, false) GROUP BY s.partition, s.offset),
paired AS (SELECT at_ms - lag(at_ms) OVER (PARTITION BY partition ORDER BY "offset") AS step FROM arrived)
SELECT count(*) FILTER (step < 0) AS backward, count(step) AS pairs FROM paired
"""
# Lost messages between delivered ones, right below what the group had committed when its members changed: at most so many
# offsets below it as workers hold at a time.
_ABANDONED = """entry IN (
    SELECT e.entry FROM entries e JOIN generations g ON g."left" > 0
    JOIN LATERAL (SELECT max(m.committed_offset) AS at FROM moves m WHERE m.partition = e.partition AND NOT m.removed
                  AND m.log_offset < g.log_offset) c ON c.at > e."offset" AND c.at - e."offset" <= {reach}
    WHERE e.in_source AND EXISTS (SELECT 1 FROM done d WHERE d.partition = e.partition AND d."offset" > e."offset"
                                  AND d."offset" < c.at))"""
_REACH = 200
# In the service's log: a message that was begun, with others of its partition ended after it was, and it never.
_UNFINISHED = """entry IN (
    SELECT e.entry FROM entries e JOIN begun_in_log b ON b.partition = e.partition AND b."offset" = e."offset"
    WHERE NOT b.ended AND NOT b.failed)"""
_IN_LOG = """
CREATE OR REPLACE TEMP TABLE begun_in_log AS
WITH lines AS (
    SELECT coalesce(l.partition, s.partition) AS partition, coalesce(l."offset", s.offset) AS "offset", l.event, l.error
    FROM service_log l LEFT JOIN (SELECT message_id, any_value(partition) AS partition, min("offset") AS "offset" FROM records
        WHERE topic = source_topic() AND message_id IS NOT NULL GROUP BY message_id) s ON s.message_id = l.message_id)
SELECT partition, "offset", bool_or(regexp_matches(event, '{ends}', 'i')) AS ended, bool_or(error IS NOT NULL) AS failed
FROM lines WHERE partition IS NOT NULL AND "offset" IS NOT NULL
GROUP BY ALL HAVING bool_or(regexp_matches(event, '{begins}', 'i'))
"""
_BEGINS = (
    r"\b(begin|began|start|started|receiv|received|accept|accepted|consum|consumed|submit|submitted|dispatch|dispatched"
    r"|picked|processing)"
)
_ENDS = r"\b(done|finish|finished|complet|completed|processed|deliver|delivered|written|wrote|sent|publish|published|success|ok)\b"


@rule("loss-commit-past-unprocessed", Severity.CRITICAL, needs=("commit_history",))
def commit_past_unprocessed(case: Case) -> Ruling:
    """Several workers share a partition, and the commit of a later message passed over one that was not finished.

    Confirmed where the service's log shows the message begun and never ended, in a partition whose messages were handled side
    by side. Suspected where messages of a partition reached the sink out of their order (one worker keeps it) and the lost
    ones stand between delivered ones right below what was committed when a member left: what workers held then. Ruled out
    where the partitions were handled in order, or the lost messages stand elsewhere.
    """
    if not case.count(_READ_PAST):
        return RULED_OUT
    create_done(case)
    order = case.rows(_DISORDER)[0]
    side_by_side = order["backward"] >= 3 and order["backward"] >= 0.01 * order["pairs"]
    claims = []
    if case.has("service_log"):
        case.con.execute(_IN_LOG.format(begins=_BEGINS, ends=_ENDS))
        claims.append(Claim("confirmed" if side_by_side else "suspected", f"{_READ_PAST} AND {_UNFINISHED}"))
    if side_by_side:
        claims.append(Claim("suspected", f"{_READ_PAST} AND log_error IS NULL AND {_ABANDONED.format(reach=_REACH)}"))
    if not any(case.count(claim.where) for claim in claims):
        return RULED_OUT
    return Ruling(
        claims=tuple(claims),
        summary=f"Group {case.facts['group']} committed past {{count}} messages that a worker had not finished; "
        f"{order['backward']:,} of {order['pairs']:,} neighbours reached the sink out of order.",
        subject={"topic": str(case.facts["source"]), "group": str(case.facts["group"])},
        tables=("records", "commit_history", *(("service_log",) if case.has("service_log") else ())),
    )
