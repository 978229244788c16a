"""Loss by the group's own offsets: skipped, reset, begun too late, or committed before the work was done."""

from __future__ import annotations

from dataclasses import replace

from workbench.problems.history import SKEW_MS, is_whole, offsets_retention_ms
from workbench.problems.loss.leaps import leaps
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.problems.turnovers import create_turnovers
from workbench.report import Severity, State
from workbench.stores import is_store

_READ_PAST = "in_source AND passed"

# What arrived of the partitions on which something is lost: all that is due, but for what the ledger keeps as not arrived. What
# was sent more than once may have arrived by another of its records.
_DONE = """
CREATE OR REPLACE TEMP TABLE done AS
SELECT r.partition, r.offset AS "offset", r.timestamp_ms AS at_ms FROM records r
ANTI JOIN (SELECT message_id FROM messages WHERE disposition NOT IN ('delivered', 'dead_lettered', 'retrying')) m
    ON m.message_id = r.message_id
WHERE r.topic = source_topic() AND r.due AND r.message_id IS NOT NULL AND coalesce(r.is_aborted, false) = false
  AND in_window(r.timestamp_ms) AND r.partition IN (SELECT partition FROM entries WHERE in_source)
QUALIFY count(*) OVER (PARTITION BY r.message_id) = 1
"""

# Where members began: their first commit on a partition, after none or after a removed one. added: the partition was assigned
# later than others; low: below it the group had been before; joined_ms: since when a member could have read the partition.
_BEGUN = f"""
CREATE OR REPLACE TEMP TABLE begun AS
WITH appended AS (
    SELECT partition, "offset", max(timestamp_ms) OVER (PARTITION BY partition ORDER BY "offset") AS latest_ms
    FROM records WHERE topic = source_topic() AND partition IN (SELECT partition FROM entries WHERE in_source)),
firsts AS (
    SELECT m.*, coalesce(a.log_offset > a.begun AND NOT m.was_removed, false) AS added, a.at_ms AS assigned_ms,
           (SELECT arg_max(r.why, r.log_offset) FROM removals r
            WHERE r.partition = m.partition AND r.log_offset < m.log_offset) AS why,
           (SELECT min(g.at_ms) FROM generations g WHERE g.members > 0 AND g.log_offset < m.log_offset
              AND g.log_offset > coalesce((SELECT max(r.log_offset) FROM moves r WHERE r.partition = m.partition
                                           AND r.removed AND r.log_offset < m.log_offset), -1)) AS group_ms
    FROM moves m LEFT JOIN assigned a ON a.partition = m.partition
    WHERE NOT m.removed AND (m.is_first OR m.was_removed) AND coalesce(m.members, 1) > 0)
SELECT partition, committed_offset, coalesce(highest_before, 0) AS low, added, was_removed AS again, coalesce(why, '') AS why,
       CASE WHEN added THEN assigned_ms ELSE group_ms END AS joined_ms,
       (SELECT min(r.latest_ms) FROM appended r WHERE r.partition = f.partition AND r."offset" >= f.committed_offset) AS above_ms
FROM firsts f;
-- Whoever begins at the end has nothing from before above its first commit; within the skew of clocks nobody knows.
DELETE FROM begun WHERE above_ms <= joined_ms - {SKEW_MS};
CREATE OR REPLACE TEMP TABLE early AS
SELECT DISTINCT b.partition, b.added, b.again FROM begun b JOIN done d ON d.partition = b.partition
WHERE d.at_ms < b.joined_ms AND d."offset" >= b.low AND d."offset" < b.committed_offset;
CREATE OR REPLACE TEMP TABLE reached AS
SELECT b.partition, b.low, min(d."offset") AS first_delivered FROM begun b
JOIN done d ON d.partition = b.partition AND d."offset" >= b.low GROUP BY ALL
"""
# Lost messages below a first commit that were there before the member came, with nothing delivered before them.
_BEHIND = f"""entry IN (
    SELECT e.entry FROM entries e JOIN begun b ON b.partition = e.partition
    LEFT JOIN reached d ON d.partition = b.partition AND d.low = b.low
    WHERE e.in_source AND e."offset" >= b.low AND e."offset" < b.committed_offset AND e.at_ms <= b.joined_ms + {SKEW_MS}
      AND e."offset" < coalesce(d.first_delivered, e."offset" + 1) AND {{which}})"""

_AT_THE_END = "NOT b.added AND NOT EXISTS (SELECT 1 FROM early x WHERE NOT x.added AND x.again = b.again)"
# Commits on a topic of the same name with another id, and until when what was sent went to that one.
_FORMER = f"""
CREATE OR REPLACE TEMP TABLE former AS
WITH now AS (SELECT any_value(topic_id) AS topic_id FROM topics WHERE topic = source_topic()),
old AS (SELECT h.* FROM commit_history h, now WHERE h.topic = source_topic() AND h.topic_id <> now.topic_id)
, last AS (
    SELECT partition, arg_max(committed_offset, log_offset) AS reached FROM old WHERE NOT removed GROUP BY ALL ORDER BY ALL)
SELECT count(*) AS commits, any_value(topic_id) AS topic_id, coalesce(bool_or(in_window(at_ms)), false) AS within,
       (SELECT string_agg(concat('partition ', l.partition, ': ', l.reached), ', ') FROM last l) AS committed,
       greatest(max(at_ms), (SELECT min(timestamp_ms) FROM records WHERE topic = source_topic())) + {SKEW_MS} AS until_ms FROM old
"""
_NO_FORMER = "CREATE OR REPLACE TEMP TABLE former AS SELECT 0 AS commits"

# A jump of the group's offset over a range in which nothing was delivered.
_SKIPPED = """entry IN (
    SELECT e.entry FROM entries e JOIN moves m ON m.partition = e.partition
    WHERE e.in_source AND NOT m.removed AND m.committed_offset > coalesce(m.before_offset, 0)
      AND e."offset" >= coalesce(m.before_offset, 0) AND e."offset" < m.committed_offset
      AND m.members = 0 AND coalesce(m.leader_epoch, -1) = -1 AND {who}
      AND NOT EXISTS (SELECT 1 FROM done d WHERE d.partition = m.partition
          AND d."offset" >= coalesce(m.before_offset, 0) AND d."offset" < m.committed_offset))"""
_BY_TOOL = _SKIPPED.format(who="m.had_members")
_BY_ANYONE = _SKIPPED.format(who="true")


def create_done(case: Case) -> None:
    """Creates ``done``, once a case: the due messages that arrived, on the partitions on which something is lost."""
    if not case.has_made("done"):
        case.con.execute(_DONE)


def create_former(case: Case) -> int:
    """Creates ``former``: what the group committed on a topic of the same name before this one; returns how many commits."""
    case.con.execute(_FORMER if case.has("commit_history") and case.has("topics") else _NO_FORMER)
    return int(case.rows("SELECT commits FROM former")[0]["commits"])


def sink_knows_more(case: Case) -> bool:
    """Whether sinks hold messages that a source which still has its first offset does not: it may not be what it was."""
    if case.has("commit_history") or not case.has("offsets") or case.facts["since"] or case.facts["until"]:
        return False
    if any(is_store(sink) for sink in case.facts["sinks"]):  # tables hold what sources of all times brought
        return False
    whole = "SELECT max(log_start_offset) = 0 AS whole FROM offsets WHERE topic = source_topic()"
    compacts = (
        "SELECT 1 FROM configs WHERE topic = source_topic() AND name = 'cleanup.policy' AND value LIKE '%compact%'"
    )
    return bool(case.numbers["unmatched_at_sink"] and case.rows(whole)[0]["whole"] and not case.rows(compacts))


def _ruling(case: Case, claims: tuple[Claim, ...], summary: str) -> Ruling:
    return Ruling(
        claims=claims,
        summary=summary,
        subject={"topic": str(case.facts["source"]), "group": str(case.facts["group"])},
        tables=("records", "commit_history", "generations"),
    )


@rule("loss-offset-skipped-forward", Severity.CRITICAL, needs=("commit_history",))
def skipped_forward(case: Case) -> Ruling:
    """Somebody set the group's offset forward, over messages that it had not delivered.

    Confirmed where the group's history holds a commit above the one before it, made while the group had no members and
    without a leader epoch, as admin tools make it, the lost message lies in the range between, and nothing of that range was
    delivered. Confirmed, too, where a member leapt (a seek): an unbroken run of lost messages lies within one of its commits,
    and the group, which commits after a fixed number of messages, had handled just that many beside the run. Suspected where
    such a run lies within one commit of a group without so strict a habit (its handler may have dropped them, instead), or the
    group never had members: a consumer that only assigns commits in the same way. Ruled out where no such commit passes over a
    lost message.
    """
    create_done(case)
    leapt, may_have = leaps(case)
    by_tool, by_anyone = f"{_READ_PAST} AND {_BY_TOOL}", f"{_READ_PAST} AND {_BY_ANYONE}"
    seeks = f"{_READ_PAST} AND ({leapt} OR {may_have})"
    if not case.count(f"({by_anyone}) OR ({seeks})"):
        return RULED_OUT
    claims = (
        Claim("confirmed", by_tool),
        Claim("suspected", by_anyone),
        Claim("confirmed", f"{_READ_PAST} AND {leapt}"),
        Claim("suspected", f"{_READ_PAST} AND {may_have}"),
    )
    how = "while it had no members" if case.count(by_anyone) else "by a member of its own, which did not stop"
    return _ruling(
        case, claims, f"The offset of group {case.facts['group']} was set forward over {{count}} messages {how}."
    )


def _began_behind(case: Case, which: str, summary: str) -> Ruling:
    """Members that began behind messages: ``which`` says on what partitions."""
    setting = str(case.facts["consumer_config"].get("auto.offset.reset", "latest"))
    if setting not in ("latest", "largest", "end"):
        return RULED_OUT
    create_done(case)
    if not case.has_made("reached"):
        case.con.execute(_BEGUN)
    predicate = f"{_READ_PAST} AND {_BEHIND.format(which=which)}"
    if not case.count(predicate):
        return RULED_OUT
    # Clocks differ: what is a little younger than the reader's joining may have been there, or not.
    certain = "b.why <> 'unknown' AND e.at_ms <= b.joined_ms AND coalesce(b.above_ms > b.joined_ms, true)"
    known = _BEHIND.format(which=f"{which} AND {certain}")
    state: State = "confirmed" if is_whole(case.evidence) else "suspected"
    return _ruling(case, (Claim(state, f"{_READ_PAST} AND {known}"), Claim("suspected", predicate)), summary)


@rule("loss-offset-reset-latest", Severity.CRITICAL, needs=("commit_history",))
def reset_latest(case: Case) -> Ruling:
    """The group had no valid offset and began at the end of the log (``auto.offset.reset=latest``).

    Fires where a member's first commit on a partition, or its first one after the offset was removed, lies above messages
    that were there before the group joined, and on no partition anything from before that was delivered. Suspected where
    the history does not reach back to the group's beginning, or the offset went and the brokers do not say how long they
    keep offsets. Ruled out where the reader's setting is earliest or none, something from before was delivered (a reader that
    begins at the end delivers nothing of it), the offset expired or went with its topic, or the first commit passes over
    nothing that is lost.
    """
    which = f"b.why NOT IN ('expired', 'recreated') AND {_AT_THE_END}"
    return _began_behind(
        case,
        which,
        f"Group {case.facts['group']} had no offset and began behind {{count}} messages that were there already.",
    )


@rule("loss-offsets-expired", Severity.CRITICAL, needs=("commit_history",))
def offsets_expired(case: Case) -> Ruling:
    """The group's offsets expired while nobody was in it, and it began at the end of the log.

    Fires where the coordinator removed an offset at least ``offsets.retention.minutes`` after the group was left by its last
    member (or after the commit, where members never were, or did not subscribe to the topic), the first commit after that
    lies above lost messages that were there before the group came back, and nothing of them was delivered. Suspected where
    the brokers do not say how long they keep offsets: then somebody may have deleted them. Ruled out where commits go on
    without a removal, the offset was removed sooner (deleted by hand) or with its topic, or the reader's setting is earliest.
    """
    kept = offsets_retention_ms(case.evidence)
    after = "" if kept is None else f" after {kept // 60_000:,} minutes"
    return _began_behind(
        case,
        f"b.why IN ('expired', 'unknown') AND {_AT_THE_END}",
        f"The offsets of group {case.facts['group']} expired{after} without members, and it began behind {{count}} messages.",
    )


@rule("loss-topic-recreated", Severity.CRITICAL, needs=("commit_history",))
def topic_recreated(case: Case) -> Ruling:
    """The topic was deleted and made again: what was in the former one is gone, and the group's offsets with it.

    Fires where the group's commits name another topic id than the topic has today, and the lost message was acknowledged
    (by the sent log) before the new topic's first record, or lies in the new topic below the offset at which the group began
    there. Suspected for messages of the sent log from that time whose offset is not known; also where no sent log says what
    the former topic held above what the group had committed. Ruled out where all commits name the topic's present id, or the
    sent log has nothing that went missing then.
    """
    era = case.rows("SELECT * FROM former")[0]
    if not era["commits"]:
        return RULED_OUT
    gone = f"NOT in_source AND coalesce(acked, true) AND send_error IS NULL AND at_ms <= {era['until_ms'] or 0}"
    begun = _began_behind(case, f"b.why = 'recreated' AND {_AT_THE_END}", "")
    claims = (
        Claim("confirmed", f"{gone} AND acked_offset IS NOT NULL"),
        Claim("suspected", f"{gone} AND acked_offset IS NULL"),
        *begun.claims,
    )
    summary = (
        f"{case.facts['source']} was deleted and made again: the commits of group {case.facts['group']} name the topic id "
        f"{era['topic_id']}, which is not today's; "
    )
    if any(case.count(claim.where) for claim in claims):
        return _ruling(case, claims, f"{summary}{{count}} messages went with it.")
    if case.has("sent_log") or not era["within"]:
        return RULED_OUT
    unread = f"whether it held messages above {era['committed']} that the group had not read, only a sent log can say (--sent-log)."
    return replace(_ruling(case, (), summary + unread), state="suspected")


@rule("loss-new-partition-skipped", Severity.CRITICAL, needs=("commit_history",))
def new_partition_skipped(case: Case) -> Ruling:
    """A partition was added, and the group began at its end: what was written before it noticed is lost.

    Fires where a partition was assigned for the first time after the group had begun on others, the first commit on it lies
    above messages written before that, and nothing from before was delivered of it. Suspected where the history does
    not reach back to the group's beginning. Ruled out where all partitions were assigned from the beginning, something
    from before was delivered, or the reader's setting is earliest or none.
    """
    which = "b.added AND NOT EXISTS (SELECT 1 FROM early x WHERE x.added AND x.partition = b.partition)"
    return _began_behind(
        case, which, f"Group {case.facts['group']} began on an added partition behind {{count}} messages."
    )


def never_read(case: Case) -> str:
    """The lost messages that the group's offset is known to have passed without anybody reading them."""
    if not case.has("commit_history"):
        return "false"
    rulings = [item.rule_on(case) for item in (skipped_forward, reset_latest, offsets_expired, new_partition_skipped)]
    sure = [claim.where for ruling in rulings for claim in ruling.claims if claim.state == "confirmed"]
    return " OR ".join(f"({where})" for where in sure) or "false"


# What the group wrote, and when, of the partitions on which something is lost.
_WORKED = """
CREATE OR REPLACE TEMP TABLE worked AS
SELECT s.partition, min(k.timestamp_ms) AS first_ms FROM records s JOIN records k ON k.message_id = s.message_id
JOIN places p ON p.topic = k.topic AND p.role = 'sink'
WHERE s.topic = source_topic() AND s.partition IN (SELECT partition FROM entries WHERE in_source)
GROUP BY s.partition, s.offset
UNION ALL SELECT DISTINCT partition, NULL FROM entries WHERE in_source
"""
# Lost messages right below what was committed when a member went: none delivered between them and the commit.
_CUT_OFF = """entry IN (
    SELECT e.entry FROM entries e JOIN turnovers t ON t.partition = e.partition
    WHERE e.in_source AND e."offset" < t.committed_offset AND {gone}
      AND NOT EXISTS (SELECT 1 FROM done d WHERE d.partition = e.partition AND d."offset" > e."offset"
          AND d."offset" < t.committed_offset))"""
_VANISHED = "t.kind = 'lost'"
# Whoever idles and leaves in order leaves nothing unread behind.
_PERHAPS = f"""(t.kind = 'either' OR t.kind = 'idled' AND EXISTS (
    SELECT 1 FROM records r WHERE r.topic = source_topic() AND r.partition = t.partition
      AND r."offset" >= t.committed_offset AND r.timestamp_ms <= t.at_ms - {SKEW_MS}))"""


@rule("loss-commit-before-processing", Severity.CRITICAL, needs=("commit_history",))
def commit_before_processing(case: Case) -> Ruling:
    """The consumer committed messages before it had processed them, and then it crashed.

    Confirmed where the lost messages stand in one unbroken run right below what was committed on their partition when a
    member went without a word: one session timeout after its last commit, or after the last of its work reached the sink.
    Suspected where it had been silent for longer though messages were waiting, or how long its session was is not known.
    Ruled out where no member vanished, or delivered messages lie between the lost ones and that commit.
    """
    create_done(case)
    case.con.execute(_WORKED)
    create_turnovers(case, "worked")
    vanished = f"{_READ_PAST} AND {_CUT_OFF.format(gone=_VANISHED)}"
    perhaps = f"{_READ_PAST} AND {_CUT_OFF.format(gone=_PERHAPS)}"
    if not case.count(f"({vanished}) OR ({perhaps})"):
        return RULED_OUT
    return _ruling(
        case,
        (Claim("confirmed", vanished), Claim("suspected", perhaps)),
        f"Group {case.facts['group']} had committed {{count}} messages that a consumer was still working on when it died.",
    )
