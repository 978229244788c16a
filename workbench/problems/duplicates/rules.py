"""Why a copy is there: what each extra copy has in common with the copies before it."""

from __future__ import annotations

from workbench.problems.duplicates import reprocessing
from workbench.problems.duplicates.mirror import CAME_ROUND
from workbench.problems.duplicates.senders import IDENTIFIED, RESTARTED, SAME_BATCH, SAME_PRODUCER
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity, State

REDRIVEN = "(replay_count IS NOT NULL OR after_dead_letter OR (dialect IS NOT NULL AND origin_offset IS NOT NULL))"
_AFTER_ABORTED = "coalesce(after_aborted, false)"
_SAME_RECORD = "(coalesce(timestamp_type, '') = 'create' AND same_before > 0 AND NOT keeps_source_time)"
_MOVED = "(partition <> first_partition AND key IS NOT NULL AND key = first_key)"


def _claims(state: State, predicate: str) -> tuple[Claim, ...]:
    """The claim on a place's own copies, and on the sink's copies of what was already twice at the source."""
    own = f"({predicate}) AND NOT (place = 'sink' AND copy <= source_copies)"
    carried = (
        "place = 'sink' AND copy <= source_copies AND message_id IN"
        f" (SELECT message_id FROM entries WHERE place = 'source' AND ({predicate}))"
    )
    return Claim(state, own), Claim(state, carried)


@rule("duplicates-redrive", Severity.WARNING)
def redrive(case: Case) -> Ruling:
    """A dead letter was sent back although the message had been, or later was, processed.

    Fires where a copy carries redrive or origin headers, or was written after a dead letter of the same message. Ruled out
    where no copy has either.
    """
    del case
    return Ruling(
        claims=_claims("confirmed", REDRIVEN),
        summary="{count} copies were sent back from a dead-letter topic.",
        tables=("records",),
    )


@rule("duplicates-read-uncommitted", Severity.WARNING)
def read_uncommitted(case: Case) -> Ruling:
    """A read_uncommitted reader took the copy in an aborted transaction and the committed one that replaced it.

    Confirmed where an earlier copy lies in an aborted transaction and the readers are known to read uncommitted
    (``--isolation``, or ``isolation.level`` in ``--consumer-config``); suspected where a sink holds as many more copies as
    the source holds aborted ones and the consumer's isolation is not known. Ruled out where no copy is aborted, or readers
    read committed.
    """
    level = case.facts["consumer_config"].get("isolation.level")
    if level == "read_committed" and case.facts["isolation"] == "read_committed":
        return RULED_OUT
    known = case.facts["isolation"] == "read_uncommitted" or level == "read_uncommitted"
    followed = f"reprocessed AND aborted_copies > 0 AND NOT {_SAME_RECORD} AND NOT {REDRIVEN}"
    return Ruling(
        claims=(
            *_claims("confirmed", f"{_AFTER_ABORTED} AND NOT {REDRIVEN}"),
            Claim("confirmed" if known else "suspected", followed),
        ),
        summary="{count} copies follow one in an aborted transaction, which only read_uncommitted readers see.",
        tables=("records",),
    )


@rule("duplicates-partitioner-change", Severity.WARNING, needs=("key_placement",))
def partitioner_change(case: Case) -> Ruling:
    """The same message went to another partition because the partitioner or the partition count had changed.

    Fires where copies with the same key lie in different partitions, one pair of (partitioner, partition count) explains
    where the first copies lie, another one where the later copies lie, and no single pair explains both. With fewer than
    three such messages a pair may fit by chance: suspected. Ruled out where one pair explains all copies.
    """
    if not case.count(_MOVED):
        return RULED_OUT
    first, later, moved = _pairs(case)
    if not first or not later or set(first) & set(later):
        return RULED_OUT
    return Ruling(
        claims=_claims("confirmed" if moved >= 3 else "suspected", f"{_MOVED} AND NOT {REDRIVEN}"),
        summary=f"{{count}} copies lie where {later[0]} puts their key; the first copies lie where {first[0]} does "
        "(partitioner/partition count).",
        tables=("key_placement",),
    )


_FITS = """
WITH moved AS (SELECT * FROM entries WHERE {moved}),
pairs AS (
    SELECT 'first' AS side, unnest(k.fits) AS pair FROM moved m JOIN key_placement k
        ON k.topic = m.topic AND k.partition = m.first_partition AND k."offset" = m.first_offset
    UNION ALL SELECT 'later', unnest(k.fits) FROM moved m JOIN key_placement k
        ON k.topic = m.topic AND k.partition = m.partition AND k."offset" = m."offset")
SELECT side, pair, count(*) AS n, (SELECT count(*) FROM moved) AS moved FROM pairs GROUP BY side, pair
"""


def _pairs(case: Case) -> tuple[list[str], list[str], int]:
    """Pairs that explain at least 95 % of the first and of the later copies, the topic's present count first."""
    rows = case.rows(_FITS.format(moved=_MOVED))
    moved = rows[0]["moved"] if rows else 0
    good = [row for row in rows if row["n"] >= 0.95 * moved]
    good.sort(key=lambda row: (-int(row["pair"].split("/")[1]), row["pair"]))
    return (
        [row["pair"] for row in good if row["side"] == "first"],
        [row["pair"] for row in good if row["side"] == "later"],
        moved,
    )


# What came round between two clusters is no resend.
_OWN = f"NOT {REDRIVEN} AND NOT {_AFTER_ABORTED} AND NOT {CAME_ROUND}"


@rule("duplicates-producer-retry", Severity.WARNING)
def producer_retry(case: Case) -> Ruling:
    """The client sent the same batch again after a lost answer, and without idempotence the broker stored it twice.

    Confirmed where the copy lies in a batch that equals the earlier copy's in checksum, count and times, and neither has a
    producer id. Suspected where a copy stands in the same partition with equal create time, key and value, and nothing is
    known of its batch or the batches were cut differently. Ruled out where copies differ in create time, their batches
    carry a producer id (the broker refuses a batch of an idempotent producer that it has), or the producer is known to be
    idempotent.
    """
    if case.facts["producer_config"].get("enable.idempotence") == "true":
        return RULED_OUT
    return Ruling(
        claims=(
            *_claims("confirmed", f"{SAME_BATCH} AND {_SAME_RECORD} AND {_OWN}"),
            *_claims("suspected", f"NOT {SAME_BATCH} AND NOT {IDENTIFIED} AND {_SAME_RECORD} AND {_OWN}"),
        ),
        summary="{count} copies equal the one before them in partition, create time, key and value: a client's retry.",
        tables=("records", "batches") if case.has("batches") else ("records",),
    )


@rule("duplicates-producer-restart", Severity.WARNING, needs=("batches",))
def producer_restart(case: Case) -> Ruling:
    """The producer was restarted, and what it did not know to be sent was sent again under a new producer id.

    Fires where a copy at the source carries another producer id than the first, the earlier producer wrote nothing after the
    later one began, and the later one either went on with messages of its own or repeated the end of what the earlier one
    had written. Ruled out where copies carry the same producer id, none at all, or both producers went on writing: then the
    application sent them again.
    """
    return Ruling(
        claims=_claims("confirmed", f"{RESTARTED} AND {_OWN} AND NOT {_MOVED}"),
        summary="{count} copies were sent again by a producer that took over from an earlier one (another producer id).",
        subject={"topic": str(case.facts["source"])},
        tables=("records", "batches"),
    )


@rule("duplicates-application-resend", Severity.WARNING)
def application_resend(case: Case) -> Ruling:
    """The application sent the message again.

    Fires where a copy at the source has a new create time and the same key and partitioning as the first (or no key), or
    the same create time in another batch of the same idempotent producer. Suspected where only the append time is known, the
    batches are not (a restarted producer looks alike), or the key moved to another partition without a change of partitioner
    that would explain it. Ruled out where copies share their create time, or a restarted producer explains them.
    """
    base = f"place = 'source' AND {_OWN} AND NOT {RESTARTED}"
    steady = f"{base} AND NOT {_SAME_RECORD} AND timestamp_type = 'create' AND NOT {_MOVED}"
    at_once = f"{base} AND {_SAME_RECORD} AND {SAME_PRODUCER}"
    unsure = f"{base} AND NOT {_SAME_RECORD} AND (coalesce(timestamp_type, '') <> 'create' OR {_MOVED})"
    return Ruling(
        claims=(
            *_claims("confirmed" if case.has("batches") else "suspected", steady),
            *_claims("confirmed", at_once),
            *_claims("suspected", unsure),
        ),
        summary="{count} copies were sent again by the application: same id and key, not a client's retry.",
        tables=("records",),
    )


RETRIED = f"({_SAME_RECORD} AND NOT {IDENTIFIED})"
REPROCESSED = f"reprocessed AND NOT {REDRIVEN} AND NOT {RETRIED} AND aborted_copies = 0"


@rule("duplicates-offset-rewind", Severity.WARNING)
def offset_rewind(case: Case) -> Ruling:
    """The group's committed offset was set back, and a range was processed again.

    Confirmed where the group's history holds a commit below the one before it, made while the group had no members, and the
    message lies in the range between. Suspected where a member itself committed further back, or where a sink holds more
    copies of a message than the source does and the history is not known. Ruled out where no sink holds more copies than the
    source, or the history shows commits that only went forward.
    """
    return reprocessing.rewind(case, REPROCESSED)


@rule("duplicates-crash-before-commit", Severity.WARNING)
def crash_before_commit(case: Case) -> Ruling:
    """The consumer stopped after it had written its result and before it had committed, and another one went over it again.

    Confirmed where the group's history shows the partition's member gone one session timeout after its last sign of life
    (where that is known; else replaced in one and the same generation), without the group being empty between, and the
    message lies above what was committed by then, written once before and once after. Suspected where a sink holds more
    copies of a message than the source does, written at different times, and nothing else in the history explains them.
    Ruled out where no sink holds more copies than the source, or a rewind, another group, failed commits, an eviction or a
    rebalance explains them.
    """
    return reprocessing.crash(case, REPROCESSED)


@rule("duplicates-poll-interval-exceeded", Severity.WARNING, needs=("commit_history",))
def poll_interval_exceeded(case: Case) -> Ruling:
    """Processing took longer than ``max.poll.interval.ms``: the consumer was put out of the group, and its work done again.

    Fires where a member left one poll interval after its last commit (the interval is in the group's record of it), or the
    service's log says so, the same client came back afterwards, and the message lies above what was committed by then.
    Ruled out where no member that left came back, or it left sooner or later than that.
    """
    return reprocessing.evicted(case, REPROCESSED)


@rule("duplicates-rebalance", Severity.WARNING, needs=("commit_history",))
def rebalance(case: Case) -> Ruling:
    """A rebalance took the partition away while work on it was not committed yet.

    Confirmed where the group's members changed between the two copies, the member that held the partition lived on or left in
    order (sooner than one session timeout after its last sign of life), and the message lies above what was committed by
    then. Suspected where the session timeout is not known and it may have crashed. Ruled out where no change of members lies
    between the copies, or what changed was a crash or an eviction.
    """
    return reprocessing.rebalanced(case, REPROCESSED)


@rule("duplicates-commit-failed", Severity.WARNING, needs=("commit_history",))
def commit_failed(case: Case) -> Ruling:
    """Processing went on while commits failed, until the next start went over all of it again.

    Fires where the service's log holds failed commits in the time in which the first copies were written and nothing was
    committed, or that time is at least three seconds and five times what usually lies between two commits of the group, and
    the consumer then ended in order. Undecided where members changed between the copies, no time without commits is that long,
    and the service's log, which could hold failed commits, is not given. Ruled out where that log holds none, or no member
    changed between the copies.
    """
    return reprocessing.commit_failed(case, REPROCESSED)


@rule("duplicates-second-group", Severity.WARNING, needs=("other_commits", "commit_history"))
def second_group(case: Case) -> Ruling:
    """A second group processes the same topic into the same sink.

    Fires where the group's own history shows one passage over the message, without a change of members or a step back between
    the copies, while another group committed past the same source offset, one copy was written before this group's commit and
    the other one within that group's. Ruled out where no other group committed past it, or this group's history explains the
    copy.
    """
    return reprocessing.second_group(case, REPROCESSED)


@rule("duplicates-non-atomic-write", Severity.INFO, needs=("commit_history", "batches"), kind="risk")
def non_atomic_write(case: Case) -> Ruling:
    """The sink is written outside of transactions, so that a second reading of the input leaves a second copy.

    Says so, beside the cause, where copies at a sink are due to a crash, an eviction, a rebalance or failed commits and the
    sink's batches are not transactional. Claims no copies of its own. Ruled out where nothing was read again, or the sink is
    written in transactions.
    """
    return reprocessing.non_atomic(case, REPROCESSED)
