"""Rules on partitions whose commits stand: a record that cannot be passed, a pause, a limit, commits that do not come."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from workbench.problems.lag.crashes import ALONE, RETRIED, crash_loop, perhaps_crashes
from workbench.problems.lag.members import places
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity, State

NEAR = 500  # offsets: what clients take in one poll by default; a record that stops them is among these
DECODED = 0.9  # of the other records: less, and the format is not one that is known here
MANY = 3  # partitions that stand together, and they are more than half: no single record's doing

# still: the commit does not move; ALONE: and its reader does not work off other partitions first.
_STILL = "still AND alive AND NOT leaderless AND NOT hanging"

# Those that stand for about as long as the one that stands the longest.
_TOGETHER = "still AND standing_seconds >= 0.5 * (SELECT max(standing_seconds) FROM entries WHERE still)"
# The first record that does not decode at or a little behind the committed offset of a partition that stands.
_UNDECODED = f"""
SELECT e.entry, min(r."offset") AS at FROM entries e JOIN records r ON r.topic = e.topic AND r.partition = e.partition
WHERE {_STILL} AND r.role = 'source' AND r."offset" >= e.committed_offset AND r."offset" < e.committed_offset + {NEAR}
  AND r.decoded = false AND NOT coalesce(r.is_aborted, false) GROUP BY e.entry
"""
# One record of such a partition that the service's log names with errors again and again.
_RETRIED = f"""
SELECT e.entry, arg_max(l."offset", l.n) AS at FROM entries e JOIN (
    SELECT topic, partition, "offset", count(*) AS n FROM service_log
    WHERE "offset" IS NOT NULL AND (error IS NOT NULL OR upper(coalesce(level, '')) IN ('ERROR', 'WARN', 'WARNING'))
    GROUP BY ALL HAVING count(*) >= {RETRIED}) l
  ON (l.topic IS NULL OR l.topic = e.topic) AND l.partition = e.partition
WHERE {_STILL} AND l."offset" >= e.committed_offset AND l."offset" < e.committed_offset + {NEAR} GROUP BY e.entry
"""
_REJOINED = f"""
SELECT e.entry, e.committed_offset AS at FROM entries e WHERE {ALONE} AND others_move AND NOT coalesce(storm, false) AND (
    SELECT count(*) FROM generations g WHERE NOT g.removed AND g.members > 0 AND g.at_ms > e.last_advance_ms) >= {RETRIED}
"""


@rule("lag-poison-pill", Severity.CRITICAL, needs=("samples",))
def poison_pill(case: Case) -> Ruling:
    """One record stops a partition: the commit stands in front of it while members live and other partitions move.

    Confirmed where the record at the standing offset, or one within the next poll of 500, fails to decode while nine of
    ten others decode; where the service's log names one and the same record of it with errors at least twice; or where
    members went and came again at least twice since the commit stands, while the others moved. Where that kept the others
    from getting on, too, it is confirmed for all of them if at least three members died (they were gone half a session
    after the group's last commit, at least) and this partition alone did not move at all; suspected where it may have
    waited for its turn each time. Undecided where a
    partition stands alone and none of that is at hand. Ruled out where no partition stands, or three and more stand
    together for about as long and are more than half of those with a commit.
    """
    if not case.count(_STILL):
        return RULED_OUT
    together = case.count(_TOGETHER)
    if together >= MANY and 2 * together > case.numbers["partitions"]:
        return RULED_OUT
    found = _stopped_by(case) or crash_loop(case)
    if not found and (perhaps := perhaps_crashes(case)):
        return _of(case, {perhaps[0]: (perhaps[1], "may bring members down, which come again")}, "suspected")
    if not found:
        if case.has("service_log") or not case.count(f"{ALONE} AND others_move"):
            return RULED_OUT
        return Ruling(
            undecided="a partition stands alone: traces or the service's log (--service-log) tell what it does"
        )
    return _of(case, found, "confirmed")


def _of(case: Case, found: Mapping[int, tuple[int, str]], state: State) -> Ruling:
    entries = ", ".join(str(entry) for entry in found)
    rows = case.rows(
        "SELECT entry, topic, partition, committed_offset, standing_seconds FROM entries"
        f" WHERE entry IN ({entries}) ORDER BY still DESC, entry"
    )
    first = rows[0]
    at, why = found[first["entry"]]
    return Ruling(
        claims=(Claim(state, f"entry IN ({entries})"),),
        summary=f"The commit of {first['topic']}-{first['partition']} stands at {first['committed_offset']:,} for "
        f"{first['standing_seconds']:,.0f} s while others move: the record at offset {at:,} {why}"
        + (f" ({len(rows):,} partitions stand like this)." if len(rows) > 1 else "."),
        confidence="high" if at == first["committed_offset"] else "medium",
        subject={"topic": first["topic"], "partition": first["partition"], "group": case.facts["group"]},
        tables=("samples", *(name for name in ("records", "service_log", "generations") if case.has(name))),
        rows=places(rows),
    )


def _stopped_by(case: Case) -> dict[int, tuple[int, str]]:
    """Entry -> (offset of the record, what is wrong with it)."""
    out: dict[int, tuple[int, str]] = {}
    if case.has("generations"):
        out |= {row["entry"]: (row["at"], "brings members down, which come again") for row in case.rows(_REJOINED)}
    if case.has("service_log"):
        out |= {row["entry"]: (row["at"], "is tried and fails again and again") for row in case.rows(_RETRIED)}
    if case.has("records") and _is_known_format(case):
        out |= {row["entry"]: (row["at"], "cannot be decoded, unlike the others") for row in case.rows(_UNDECODED)}
    return out


def _is_known_format(case: Case) -> bool:
    found = case.rows("SELECT avg(CASE WHEN decoded THEN 1 ELSE 0 END) AS share FROM records WHERE role = 'source'")
    return (found[0]["share"] or 0) >= DECODED


_SAID_PAUSED = """
SELECT e.entry FROM entries e JOIN (
    SELECT topic, partition, arg_max(event, coalesce(at_ms, line)) AS last FROM service_log
    WHERE regexp_matches(lower(coalesce(event, '')), 'pause|resume') GROUP BY ALL) l
  ON (l.topic IS NULL OR l.topic = e.topic) AND (l.partition IS NULL OR l.partition = e.partition)
WHERE regexp_matches(lower(l.last), 'pause') AND e.still AND e.alive
"""


@rule("lag-paused", Severity.WARNING, needs=("samples",))
def paused(case: Case) -> Ruling:
    """The consumer paused partitions and does not resume them: it lives and is assigned, but does not fetch them.

    Confirmed where partitions stand while members live, and the service's log says that they were paused and not that
    they were resumed. Suspected where some assigned partitions stand with healthy, readable records while others move,
    their reader has no backlog elsewhere that it could be busy with, and nothing else is found that stops them. Ruled out
    where no partition stands, or none moves.
    """
    base = f"{ALONE} AND coalesce(assigned, true)"
    said = [row["entry"] for row in case.rows(_SAID_PAUSED)] if case.has("service_log") else []
    stopped = sorted({*_stopped_by(case), *_too_large(case)})
    alone = f"{base} AND others_move" + (f" AND entry NOT IN ({_listed(stopped)})" if stopped else "")
    claims = []
    if said:
        claims.append(Claim("confirmed", f"entry IN ({_listed(said)})"))
    elif case.count(alone) and not _log_shows_progress(case):
        claims.append(Claim("suspected", alone))
    if not claims:
        return RULED_OUT
    rows = case.rows(
        f"SELECT topic, partition, committed_offset, standing_seconds FROM entries WHERE {claims[0].where}"
    )
    return Ruling(
        claims=tuple(claims),
        summary=f"{len(rows):,} partitions of group {case.facts['group']} are assigned and stand"
        + (
            ", and the service's log says that it paused them."
            if said
            else " while others move; their next records are healthy."
        ),
        subject={"group": case.facts["group"], "topic": rows[0]["topic"], "partition": rows[0]["partition"]},
        tables=("samples", "members", *(("service_log",) if said else ())),
        rows=places(rows),
    )


def _listed(entries: list[int]) -> str:
    return ", ".join(str(entry) for entry in entries)


def _log_shows_progress(case: Case) -> bool:
    return bool(_progress_in_log(case)) or bool(_progress_at_sink(case))


LIMITS = ("receive.message.max.bytes", "max.partition.fetch.bytes", "fetch.max.bytes", "fetch.message.max.bytes")
# Brokers since 0.10.1 give the first batch however large it is (KIP-74); this one limit of librdkafka still stops.
HARD = "receive.message.max.bytes"

_SIZES = """
SELECT e.entry, max(b.size_bytes)::BIGINT AS size FROM entries e JOIN batches b
  ON b.topic = e.topic AND b.partition = e.partition AND b.last_offset >= e.committed_offset
  AND b.base_offset < e.committed_offset + 500 WHERE e.still AND e.alive GROUP BY e.entry
"""
_VALUES = """
SELECT e.entry, max(coalesce(r.value_size, 0) + coalesce(r.key_size, 0))::BIGINT AS size FROM entries e JOIN records r
  ON r.topic = e.topic AND r.partition = e.partition AND r."offset" >= e.committed_offset
  AND r."offset" < e.committed_offset + 500 WHERE e.still AND e.alive AND r.role = 'source' GROUP BY e.entry
"""


@rule("lag-fetch-limit", Severity.CRITICAL, needs=("samples",))
def fetch_limit(case: Case) -> Ruling:
    """The next record is larger than what the consumer is set to take.

    Confirmed where a partition stands while members live, and a batch within its next 500 offsets is larger than one of
    the consumer's limits as given (``--consumer-config``: receive.message.max.bytes, max.partition.fetch.bytes,
    fetch.max.bytes or fetch.message.max.bytes). Confidence is high for the first alone: brokers since 0.10.1 give the
    first batch of a partition whatever the others say. Undecided where a partition stands and the limits are not given.
    Ruled out where no partition stands, or its records are smaller.
    """
    if not case.count(_STILL):
        return RULED_OUT
    if not _limits(case):
        return Ruling(
            undecided="needs the consumer's limits (--consumer-config receive.message.max.bytes=... and others)"
        )
    if not case.has("records"):
        return Ruling(undecided=f"needs the records that wait: {case.evidence.missing.get('records', 'not read')}")
    large = _too_large(case)
    if not large:
        return RULED_OUT
    rows = case.rows(
        f"SELECT entry, topic, partition, committed_offset FROM entries WHERE entry IN ({_listed(sorted(large))})"
    )
    size, name, limit = large[rows[0]["entry"]]
    return Ruling(
        claims=(Claim("confirmed", f"entry IN ({_listed(sorted(large))})"),),
        confidence="high" if name == HARD else "medium",
        summary=f"The next records of {rows[0]['topic']}-{rows[0]['partition']} at {rows[0]['committed_offset']:,} come in a "
        f"batch of {size:,} bytes, and the consumer's {name} is {limit:,}.",
        subject={"topic": rows[0]["topic"], "partition": rows[0]["partition"], "group": case.facts["group"]},
        tables=("records", "batches") if case.has("batches") else ("records",),
        rows=places(rows),
    )


def _limits(case: Case) -> dict[str, int]:
    given = case.facts["consumer_config"]
    return {name: int(given[name]) for name in LIMITS if str(given.get(name, "")).isdigit()}


def _too_large(case: Case) -> dict[int, tuple[int, str, int]]:
    """Entry -> (bytes, the limit's name, the limit)."""
    limits = _limits(case)
    if not limits or not case.has("records"):
        return {}
    name, limit = min(limits.items(), key=lambda item: item[1])
    sizes = {row["entry"]: row["size"] for row in case.rows(_VALUES)}
    if case.has("batches"):
        for row in case.rows(_SIZES):
            sizes[row["entry"]] = max(row["size"], sizes.get(row["entry"]) or 0)
    return {entry: (size, name, limit) for entry, size in sizes.items() if size and size > limit}


# Of the records that wait, those whose ids are at the sink already; 0.5: single copies of an earlier life do not count.
_AT_SINK = """
WITH waiting AS (SELECT e.entry, r.message_id FROM entries e JOIN records r ON r.topic = e.topic AND r.partition = e.partition
                 WHERE r.role = 'source' AND r."offset" >= e.committed_offset AND r.message_id IS NOT NULL
                   AND NOT coalesce(r.is_aborted, false) AND e.still AND e.alive AND NOT coalesce(e.rewound, false)),
     there AS (SELECT DISTINCT message_id FROM records WHERE role = 'sink' AND NOT coalesce(is_aborted, false))
SELECT entry, count(*) AS waiting, count(t.message_id) AS done FROM waiting LEFT JOIN there t USING (message_id)
GROUP BY entry HAVING count(t.message_id) >= 0.5 * count(*)
"""
_IN_LOG = """
SELECT e.entry, max(l."offset") - e.committed_offset + 1 AS done, e.lag AS waiting FROM entries e JOIN service_log l
  ON (l.topic IS NULL OR l.topic = e.topic) AND l.partition = e.partition
WHERE e.still AND e.alive AND l.error IS NULL AND upper(coalesce(l.level, 'INFO')) NOT IN ('ERROR', 'WARN', 'WARNING')
  AND l."offset" >= e.committed_offset AND l.at_ms > coalesce(e.last_advance_ms, 0)
GROUP BY e.entry, e.committed_offset, e.lag HAVING count(DISTINCT l."offset") >= 2
"""


@rule("lag-commit-stuck", Severity.WARNING, needs=("samples",))
def commit_stuck(case: Case) -> Ruling:
    """The service goes on to process, but its commits do not come, so that the lag is one of commits alone.

    Confirmed where a partition's commit stands without having been set back, and at least half of the records behind it
    are at a sink already (by message id), or the service's log names at least two offsets behind it, without an error,
    since the commit stands. Undecided where commits stand and neither a sink nor the service's log is given. Ruled out
    where no commit stands, or the sink stands too.
    """
    if not case.count(_STILL):
        return RULED_OUT
    sinks, logged = _progress_at_sink(case), _progress_in_log(case)
    found = {**logged, **sinks}
    if not found:
        known = case.has("service_log") or (case.facts["sinks"] and case.has("records"))
        return RULED_OUT if known else Ruling(undecided="needs the progress of the service: --sink or --service-log")
    done = sum(found.values())
    where = f"entry IN ({_listed(sorted(found))})"
    rows = case.rows(f"SELECT topic, partition, committed_offset FROM entries WHERE {where}")
    what = "are at the sink already" if sinks else "are named as done in the service's log"
    return Ruling(
        claims=(Claim("confirmed", where),),
        summary=f"The commits of group {case.facts['group']} stand on {len(rows):,} partitions, though {done:,} records behind "
        f"them {what}: they will be processed again after a restart.",
        subject={"group": case.facts["group"]},
        tables=("records",) if sinks else ("service_log",),
        rows=places(rows),
    )


def _progress_at_sink(case: Case) -> dict[int, int]:
    if not case.facts["sinks"] or not case.has("records"):
        return {}
    return {row["entry"]: row["done"] for row in case.rows(_AT_SINK)}


def _progress_in_log(case: Case) -> dict[int, Any]:
    if not case.has("service_log"):
        return {}
    return {row["entry"]: row["done"] for row in case.rows(_IN_LOG)}
