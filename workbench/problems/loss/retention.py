"""Loss because records were gone before the group read them: retention, DeleteRecords, compaction."""

from __future__ import annotations

from dataclasses import dataclass

from workbench.problems.loss.resumed import Step, steps_over, without_history
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, lacking, rule
from workbench.report import Severity

# A partition's removed records with everything that bounds their age.
_REMOVED = """
WITH bounds AS (
    SELECT partition, arg_min(timestamp_ms, "offset") AS first_kept_ms FROM records WHERE topic = source_topic() GROUP BY ALL),
gone AS (
    SELECT s.partition, max(s.stamp_ms) AS newest_removed_ms, max(s.appended_ms) AS last_removed_ms FROM late s JOIN offsets o
    ON o.topic = source_topic() AND o.partition = s.partition WHERE s."offset" < o.log_start_offset GROUP BY ALL)
SELECT o.partition, o.log_start_offset - c.committed_offset AS offsets, c.committed_offset AS committed,
       o.log_start_offset AS log_start, o.log_size_bytes AS size_bytes, b.first_kept_ms, g.newest_removed_ms,
       g.last_removed_ms
FROM offsets o JOIN commits c ON c.partition = o.partition LEFT JOIN bounds b ON b.partition = o.partition
LEFT JOIN gone g ON g.partition = o.partition
WHERE o.topic = source_topic() AND c.committed_offset < o.log_start_offset ORDER BY o.partition
"""

# The longest silence seen anywhere in the integration, and its oldest known time.
_RHYTHM = """
WITH times AS (SELECT timestamp_ms AS moment FROM records WHERE timestamp_ms > 0 UNION ALL
               SELECT at_ms FROM sent WHERE at_ms > 0),
gaps AS (SELECT moment, moment - lag(moment) OVER (ORDER BY moment) AS gap FROM times)
SELECT min(moment) AS oldest_ms, max(gap) AS longest_gap_ms FROM gaps
"""


# Records kept whose own time was older than retention allows when they were written: others stand before them.
_OUT_OF_ORDER = """
SELECT 1 FROM (SELECT timestamp_ms, max(timestamp_ms) OVER (PARTITION BY partition ORDER BY "offset") AS before_ms
               FROM records WHERE topic = source_topic() AND timestamp_ms > 0) WHERE before_ms - timestamp_ms >= ? LIMIT 1
"""
RETENTION, DELETION, TIMESTAMPS = frozenset({"retention"}), frozenset({"deletion"}), frozenset({"timestamps"})
EITHER = RETENTION | DELETION


@dataclass(frozen=True)
class Overtaken:
    """A partition whose log start has moved past the group's commit.

    Attributes:
        partition: its number.
        offsets: how many offsets between commit and log start; not all of them need have been records.
        by: what may have removed the records: ``retention``, ``deletion``, ``timestamps`` (retention again, but only because
            their own times were old); more than one where the evidence fits each.
        why: the numbers that say so.
        since: whether the group has gone on since.
        sure: whether it is known that something is lost there, not only that it may be.
    """

    partition: int
    offsets: int
    by: frozenset[str]
    why: str
    since: bool = False
    sure: bool = True


def overtaken(case: Case) -> tuple[Overtaken, ...]:
    """All partitions of the source whose log start is above the group's commit, with what removed the records."""
    policy = config_of(case, "cleanup.policy") or "delete"
    retention_ms = number_of(case, "retention.ms")
    retention_bytes = number_of(case, "retention.bytes")
    removed = case.rows(_REMOVED)
    rhythm = case.rows(_RHYTHM)[0] if removed else {}
    out = []
    for row in removed:
        if "delete" not in policy:
            by, why = DELETION, f"cleanup.policy={policy} removes nothing by age or size"
        elif by_size(row["size_bytes"], retention_bytes):
            by, why = RETENTION, f"the log holds {row['size_bytes']:,} bytes, retention.bytes is {retention_bytes:,}"
        else:
            by, why = _by_age(case, row, rhythm, retention_ms)
        if by == DELETION and retention_bytes and retention_bytes > 0 and row["size_bytes"] is None:
            by, why = EITHER, f"retention.bytes is {retention_bytes:,} and the log's size is not known"
        out.append(Overtaken(row["partition"], row["offsets"], by, why))
    stepped = steps_over(case, retention_ms if "delete" in policy else None)
    return (*out, *(_stepped(step, policy, retention_ms, retention_bytes) for step in stepped))


def _stepped(step: Step, policy: str, retention_ms: int | None, retention_bytes: int | None) -> Overtaken:
    why = f"the group went on behind them; {step.words.format(f'{step.age_ms:,} ms')} then"
    if "delete" not in policy:
        by, limit = DELETION, f"cleanup.policy={policy} removes nothing by age or size"
    elif retention_ms is None:
        by, limit = EITHER, "retention.ms is not known"
    else:
        by = _by_time(step.age_ms, step.appended_age_ms, retention_ms)
        limit = f"retention.ms is {retention_ms:,}"
    if by == TIMESTAMPS:
        limit = f"{limit}, but they were written only {step.appended_age_ms:,} ms before"
    if by == DELETION and "delete" in policy and (retention_bytes or -1) > 0:
        by, limit = EITHER, f"retention.bytes is {retention_bytes:,}"  # how large the log was then is not known
    return Overtaken(step.partition, step.offsets, by, f"{why}, {limit}", since=True, sure=step.known)


def _by_time(age_ms: int, appended_age_ms: int | None, retention_ms: int) -> frozenset[str]:
    """What removed a record whose own time is so old, and whose writing at most so long ago (None: as old)."""
    if not 0 <= retention_ms <= age_ms:
        return DELETION
    return RETENTION if appended_age_ms is None or appended_age_ms >= retention_ms else TIMESTAMPS


def by_size(size_bytes: int | None, retention_bytes: int | None) -> bool:
    """Whether size retention explains the removal: it never leaves fewer bytes than the limit."""
    return size_bytes is not None and retention_bytes is not None and 0 < retention_bytes <= size_bytes


def _by_age(
    case: Case, row: dict[str, int | None], rhythm: dict[str, int | None], retention_ms: int | None
) -> tuple[frozenset[str], str]:
    if retention_ms is None:
        return EITHER, "retention.ms is not known"
    if retention_ms < 0:
        return DELETION, "retention.ms=-1 removes nothing by age"
    now = int(case.numbers["collected_ms"])
    limit = f"retention.ms is {retention_ms:,}"
    newest, first = row["newest_removed_ms"], row["first_kept_ms"]
    if newest is not None:
        age, written = now - newest, None if row["last_removed_ms"] is None else now - row["last_removed_ms"]
        by = _by_time(age, written, retention_ms)
        if by == TIMESTAMPS:
            limit = f"{limit}, and the last of them was written {written:,} ms ago"
        doubt = _out_of_order(case, retention_ms) if by == DELETION and not stamped(case) else frozenset()
        return by | doubt, f"the newest removed record was {age:,} ms old, {limit}"
    if first is not None and now - first >= retention_ms:
        return RETENTION | _out_of_order(
            case, retention_ms
        ), f"the oldest record kept is {now - first:,} ms old, {limit}"
    oldest = rhythm["oldest_ms"]
    if oldest is None or now - oldest < retention_ms:
        known = "no record is known" if oldest is None else f"nothing known is older than {now - oldest:,} ms"
        return (EITHER if oldest is None else DELETION), f"{known}, {limit}"
    # Records older than the limit can be gone by age only if the partition was silent from then to its next record.
    silence = retention_ms - (now - first) if first is not None else retention_ms
    if silence > 10 * (rhythm["longest_gap_ms"] or 0):
        return DELETION, f"age would need {silence:,} ms of silence in the partition, {limit}"
    return RETENTION, f"records up to {now - oldest:,} ms old are known, {limit}"


def _out_of_order(case: Case, retention_ms: int) -> frozenset[str]:
    """``TIMESTAMPS`` where records that are kept have times that far before those of records before them."""
    if config_of(case, "message.timestamp.type") == "LogAppendTime":
        return frozenset()
    return TIMESTAMPS if case.rows(_OUT_OF_ORDER, [retention_ms]) else frozenset()


def stamped(case: Case) -> bool:
    """Whether the sent log knows the records' own times."""
    return bool(case.rows("SELECT 1 FROM sent WHERE stamp_ms IS NOT NULL LIMIT 1"))


def config_of(case: Case, name: str) -> str | None:
    """A setting of the source topic, or None where it is not known."""
    rows = case.rows("SELECT value FROM configs WHERE topic = source_topic() AND name = ?", [name])
    return str(rows[0]["value"]) if rows and rows[0]["value"] is not None else None


def number_of(case: Case, name: str) -> int | None:
    """A numeric setting of the source topic, or None where it is not known."""
    text = config_of(case, name)
    return int(text) if text is not None and text.lstrip("-").isdigit() else None


@rule("loss-retention-overtook", Severity.CRITICAL, needs=("offsets", "committed"))
def retention_overtook(case: Case) -> Ruling:
    """Retention removed records that the group had not read.

    Fires where the group's committed offset is below the partition's log start and the configured retention explains the
    removal: the newest removed record, the oldest one kept or the traffic's rhythm is old enough for ``retention.ms``, or
    the log still holds ``retention.bytes``. Ids are known where the sent log names them; else the count is the offsets
    between commit and log start, an upper bound. Fires too where the group has gone on since: its history steps from below
    the log start over messages of the sent log that were older than ``retention.ms`` by then; without a sent log it is
    suspected where the group paused for that long and the sink holds less than is gone of the source. Ruled out where neither
    is so, or the topic is only compacted.
    """
    return _removal(case, RETENTION, "confirmed", "Retention removed {count} {unit} before group {group} read them")


@rule("loss-records-deleted", Severity.CRITICAL, needs=("offsets", "committed"))
def records_deleted(case: Case) -> Ruling:
    """Records were deleted by hand (DeleteRecords) before the group read them.

    Suspected where the group's committed offset is below the partition's log start though neither the age of the records
    nor the size of the log meets the configured retention. DeleteRecords leaves no trace of its own, and a retention that
    was lowered for a while looks alike, so this is never confirmed from offsets alone. Also where the group has gone on since:
    its history steps over messages of the sent log that were younger than ``retention.ms`` by then, or, without a sent log, came
    to the log start by a far longer step than its others, while the sink holds less than is gone of the source. Ruled out
    where the log start moved with age or size, or nothing below it is missing.
    """
    return _removal(case, DELETION, "suspected", "{count} {unit} were deleted before group {group} read them")


def _removal(case: Case, by: frozenset[str], state: str, words: str) -> Ruling:
    partitions = [item for item in overtaken(case) if item.by >= by]
    if not partitions:
        return passed(case)
    sure = state == "confirmed" and all(item.by == by and item.sure for item in partitions)
    gone = gone_below(partitions)
    unplaced = (
        "NOT in_source AND acked_offset IS NULL AND acked IS NOT FALSE AND send_error IS NULL AND NOT source_reaches"
    )
    offsets = sum(item.offsets for item in partitions)
    group = str(case.facts["group"])
    unit = "messages" if case.count(f"({gone}) OR ({unplaced})") else "offsets at most"
    summary = words.replace("{unit}", unit).replace("{group}", group)
    tables = ("offsets", "commit_history" if all(item.since for item in partitions) else "committed")
    return Ruling(
        claims=(
            Claim("confirmed" if sure else "suspected", gone),
            Claim("confirmed" if sure and case.count(unplaced) <= offsets else "suspected", unplaced),
        ),
        state="confirmed" if sure else "suspected",
        upper_bound=offsets,
        summary=f"{summary}, on {len(partitions)} partition(s): {partitions[0].why}.",
        subject={"topic": str(case.facts["source"]), "group": group}
        | ({"partition": partitions[0].partition} if len(partitions) == 1 else {}),
        tables=tables,
        rows=tuple(f"partition {item.partition}: {item.offsets:,} offsets, {item.why}" for item in partitions[:10]),
    )


def passed(case: Case) -> Ruling:
    """Undecided where messages are missing that lay below the log start, and no history tells when the group went past."""
    below = "NOT in_source AND acked_offset < log_start_offset AND acked_offset < committed_offset"
    missing = not case.has("commit_history") and (case.count(below) or without_history(case))
    return lacking(case, "commit_history") if missing else RULED_OUT


def gone_below(partitions: list[Overtaken]) -> str:
    """The lost messages below the log start: beyond the group's commit, or where it stepped over them."""
    ahead = ", ".join(str(item.partition) for item in partitions if not item.since) or "NULL"
    behind = ", ".join(str(item.partition) for item in partitions if item.since) or "NULL"
    return f"""NOT in_source AND acked_offset < log_start_offset AND (
        partition IN ({ahead}) AND acked_offset >= committed_offset
        OR entry IN (SELECT entry FROM stood WHERE partition IN ({behind})))"""


@rule("loss-compacted", Severity.WARNING, needs=("sent_log", "configs"))
def compacted(case: Case) -> Ruling:
    """Compaction removed the record before it was delivered, because a later record of its key replaced it.

    Fires where the source topic's ``cleanup.policy`` has ``compact`` and the sent log names an acknowledged offset at or
    above the log start that holds no record any more. Ruled out where the policy is ``delete`` alone, or the offset still
    holds a record.
    """
    if "compact" not in (config_of(case, "cleanup.policy") or "delete"):
        return RULED_OUT
    placed = "NOT in_source AND NOT held AND acked_offset >= log_start_offset AND acked_offset < high_watermark"
    unplaced = "NOT in_source AND acked_offset IS NULL AND send_error IS NULL AND acked IS NOT FALSE"
    return Ruling(
        claims=(Claim("confirmed", placed), Claim("suspected", unplaced)),
        summary=f"Compaction of {case.facts['source']} removed {{count}} messages before they were delivered: "
        "their acknowledged offsets hold nothing any more.",
        subject={"topic": str(case.facts["source"])},
        tables=("sent_log", "records", "configs"),
    )
