"""Loss because the broker refuses a batch for one record in it: too large, or of a time that the topic does not take."""

from __future__ import annotations

from collections.abc import Mapping

from workbench.problems.loss.retention import config_of, number_of
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity

# librdkafka's and the Java client's defaults; the broker's default limit for a batch.
_DEFAULT_LIMITS = {"message.max.bytes": 1_000_000, "max.request.size": 1_048_576, "max.message.bytes": 1_048_588}
NOT_IN_LOG = "NOT in_source AND NOT held"
_UNSAID = "(error_class IS NULL OR error_class = 'beside')"  # no word of its own on why it was refused


@rule("loss-oversize-record", Severity.CRITICAL, needs=("sent_log",))
def oversize(case: Case) -> Ruling:
    """A record above the size limit was refused, and its whole batch with it.

    Fires where a message of the sent log is not in the source and its error says that it was too large, or its size is
    above the effective limit (the smallest of the topic's ``max.message.bytes`` and the producer's ``message.max.bytes``
    or ``max.request.size``). Small neighbours die with it: messages without an error of their own that stand next to an
    oversize one in the sent log, with only missing ones between, are confirmed too. Ruled out where no missing message is
    near the limit and none has such an error.
    """
    large = _too_large(case)
    return Ruling(
        claims=(Claim("confirmed", large), Claim("confirmed", _beside(large))),
        summary=f"{{count}} messages were refused with a record above the limit of {_effective_limit(case):,} bytes, or in "
        "its batch.",
        subject={"topic": str(case.facts["source"])},
        tables=("sent_log", "configs"),
    )


# Records that were taken though their time was as far off as that of the missing ones.
_ACCEPTED = """
SELECT count(*) AS records FROM sent s JOIN records r ON r.message_id = s.message_id AND r.topic = source_topic()
WHERE s.at_ms - r.timestamp_ms > {before} OR r.timestamp_ms - s.at_ms > {after}
"""
# Where the log has one time a message only, it may be the record's: other lines say when it was about.
_OUT_OF_LINE = """entry IN (
    SELECT e.entry FROM entries e JOIN (
        SELECT message_id, at_ms,
               max(at_ms) OVER (ORDER BY line ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING) AS after_ms,
               min(at_ms) OVER (ORDER BY line ROWS BETWEEN 1 FOLLOWING AND UNBOUNDED FOLLOWING) AS before_ms
        FROM sent) s USING (message_id)
    WHERE s.after_ms - s.at_ms > {before} OR s.at_ms - s.before_ms > {after})"""
_NO_LIMIT = 1 << 62


@rule("loss-rejected-timestamp", Severity.CRITICAL, needs=("sent_log",))
def rejected_timestamp(case: Case) -> Ruling:
    """A record's time was outside what the topic takes, and the broker refused it with its whole batch.

    Confirmed where a message of the sent log is not in the source and its error says so, or its record timestamp
    (``record_timestamp`` of the sent log) is further from the time of sending than ``message.timestamp.before.max.ms`` or
    ``message.timestamp.after.max.ms`` allow; its neighbours without an error of their own, with only missing ones between,
    go with it. Suspected where the sent log has one time a message, and that of a missing one is so far off its
    neighbours'. Undecided where the topic's limits are not known. Ruled out where no missing message is so far off, records
    of that kind were taken, or the topic stamps records itself (``LogAppendTime``).
    """
    stamped, out_of_line = _off_limits(case)
    told = f"{NOT_IN_LOG} AND acked IS NOT TRUE AND error_class = 'timestamp'"
    sure = f"{told} OR {stamped}"
    claims = (Claim("confirmed", sure), Claim("confirmed", _beside(sure)), Claim("suspected", out_of_line))
    if not any(case.count(claim.where) for claim in claims):
        silent = case.count(f"{NOT_IN_LOG} AND acked IS NOT TRUE AND {_UNSAID} AND acked_offset IS NULL")
        if silent and config_of(case, "message.timestamp.type") is None:
            why = case.evidence.missing.get("configs", "its settings were not collected")
            return Ruling(undecided=f"needs the limits of {case.facts['source']} for timestamps: {why}")
        return RULED_OUT
    return Ruling(
        claims=claims,
        summary=f"{{count}} messages were refused with a record whose time {case.facts['source']} does not take, or in its "
        f"batch: {_limits_in_words(case)}.",
        subject={"topic": str(case.facts["source"])},
        tables=("sent_log", "configs"),
    )


def refused_with_others(case: Case) -> str:
    """Entries that were refused for a known reason: a record of the batch was too large, or of a wrong time."""
    large, stamped = _too_large(case), _off_limits(case)[0]
    wrong_time = f"({NOT_IN_LOG} AND acked IS NOT TRUE AND error_class = 'timestamp' OR {stamped})"
    return f"coalesce({stamped} OR {_beside(large)} OR {_beside(wrong_time)}, false)"


def doubtful_time(case: Case) -> str:
    """Entries of which only the other lines of the sent log say that their time may have been refused."""
    return f"coalesce({_off_limits(case)[1]}, false)"


def above_limit(case: Case) -> str:
    """Entries whose own size is above what the topic or the producer takes."""
    return f"coalesce(size_bytes > {_effective_limit(case)}, false)"


def _too_large(case: Case) -> str:
    return f"({NOT_IN_LOG} AND acked IS NOT TRUE AND (error_class = 'too_large' OR {above_limit(case)}))"


def _off_limits(case: Case) -> tuple[str, str]:
    """(entries whose record timestamp is outside the limits, entries of which that is only likely)."""
    before, after = _limits(case)
    taken = config_of(case, "message.timestamp.type") in (None, "LogAppendTime")
    if taken or case.rows(_ACCEPTED.format(before=before, after=after))[0]["records"]:
        return "false", "false"
    missing = f"{NOT_IN_LOG} AND acked IS NOT TRUE AND acked_offset IS NULL AND {_UNSAID}"
    stamped = f"({missing} AND (at_ms - stamp_ms > {before} OR stamp_ms - at_ms > {after}))"
    one_time = f"({missing} AND coalesce(stamp_ms = at_ms, true)"
    return stamped, f"{one_time} AND {_OUT_OF_LINE.format(before=before, after=after)})"


def _limits(case: Case) -> tuple[int, int]:
    """Milliseconds that a record may be older, and younger, than the broker's clock."""
    before, after = (number_of(case, f"message.timestamp.{way}.max.ms") for way in ("before", "after"))
    return min(_NO_LIMIT if before is None else before, _NO_LIMIT), min(
        _NO_LIMIT if after is None else after, _NO_LIMIT
    )


def _limits_in_words(case: Case) -> str:
    said = {"older": number_of(case, "message.timestamp.before.max.ms")}
    said["younger"] = number_of(case, "message.timestamp.after.max.ms")
    known = [f"{limit:,} ms {way}" for way, limit in said.items() if limit is not None and limit < _NO_LIMIT]
    return f"at most {' or '.join(known)} than its own clock" if known else "its limits are not known"


def _beside(wrong: str) -> str:
    """Missing entries without a word of their own, in an unbroken run of missing ones that holds a refused one."""
    near = f"entry IN (SELECT entry FROM ({_neighbours(wrong)}))"
    return f"({NOT_IN_LOG} AND acked IS NOT TRUE AND {_UNSAID} AND {near})"


def _neighbours(wrong: str) -> str:
    """The runs of missing messages, in the sent log's order, that hold one for which ``wrong`` is so.

    The order is that of one partition where the sent log names partitions, else of the whole log.
    """
    return f"""
    SELECT entry FROM (
        SELECT entry, bool_or(wrong) OVER (PARTITION BY partition, run) AS with_wrong FROM (
            SELECT e.entry, s.partition, e.wrong, s.position - row_number() OVER (
                       PARTITION BY s.partition ORDER BY s.position) AS run
            FROM (SELECT *, coalesce({wrong}, false) AS wrong FROM entries) e JOIN (
                SELECT message_id, partition, row_number() OVER (PARTITION BY partition ORDER BY line) AS position FROM sent
            ) s USING (message_id)
            WHERE {NOT_IN_LOG}))
    WHERE with_wrong"""


def setting(config: Mapping[str, str], *names: str) -> str | None:
    """A client setting under any of its names, or None where the user did not give it."""
    return next((str(config[name]) for name in names if name in config), None)


def _effective_limit(case: Case) -> int:
    given = case.facts["producer_config"]
    limits = [
        int(given[name]) for name in ("message.max.bytes", "max.request.size") if str(given.get(name, "")).isdigit()
    ]
    topic = number_of(case, "max.message.bytes") or _DEFAULT_LIMITS["max.message.bytes"]
    return min([topic, *limits])
