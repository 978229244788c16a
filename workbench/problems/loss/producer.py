"""Loss on the producer's side: messages that the producer knows of and the log does not."""

from __future__ import annotations

from collections.abc import Mapping

from workbench.problems.loss.retention import number_of
from workbench.problems.rules import Case, Claim, Ruling, rule
from workbench.report import Severity

# librdkafka's and the Java client's defaults; the broker's default limit for a batch.
_DEFAULT_LIMITS = {"message.max.bytes": 1_000_000, "max.request.size": 1_048_576, "max.message.bytes": 1_048_588}

_NOT_IN_LOG = "NOT in_source AND NOT held"


@rule("loss-producer-queue-full", Severity.CRITICAL, needs=("sent_log",))
def queue_full(case: Case) -> Ruling:
    """The producer's local queue was full and the application did not keep the message.

    Fires where a message of the sent log is not in the source and its error, in the sent log or the service's log, says
    that the local queue or buffer was full. Ruled out where no missing message has such an error.
    """
    return Ruling(
        claims=(Claim("confirmed", f"{_NOT_IN_LOG} AND error_class = 'queue_full'"),),
        summary="{count} messages never left the producer: its local queue was full and the error was not handled.",
        subject={"topic": str(case.facts["source"])},
        tables=("sent_log",),
    )


@rule("loss-oversize-record", Severity.CRITICAL, needs=("sent_log",))
def oversize(case: Case) -> Ruling:
    """A record above the size limit was refused, and its whole batch with it.

    Fires where a message of the sent log is not in the source and its error says that it was too large, or its size is
    above the effective limit (the smallest of the topic's ``max.message.bytes`` and the producer's ``message.max.bytes``
    or ``max.request.size``). Small neighbours die with it: messages without an error of their own that stand next to an
    oversize one in the sent log, with only missing ones between, are confirmed too. Ruled out where no missing message is
    near the limit and none has such an error.
    """
    limit = _effective_limit(case)
    large = f"{_NOT_IN_LOG} AND acked IS NOT TRUE AND (error_class = 'too_large' OR size_bytes > {limit})"
    beside = f"entry IN (SELECT entry FROM ({_neighbours(large)})) AND error_class IS NULL AND acked IS NOT TRUE"
    return Ruling(
        claims=(Claim("confirmed", large), Claim("confirmed", f"{_NOT_IN_LOG} AND {beside}")),
        summary=f"{{count}} messages were refused with a record above the limit of {limit:,} bytes, or in its batch.",
        subject={"topic": str(case.facts["source"])},
        tables=("sent_log", "configs"),
    )


@rule("loss-producer-error-ignored", Severity.CRITICAL, needs=("sent_log",))
def error_ignored(case: Case) -> Ruling:
    """The send failed, or was never confirmed, and the application went on.

    Fires where a message of the sent log is not in the source and the sent log or the service's log holds its send error,
    or says that it was not acknowledged, or says nothing while the source reaches back to when it was sent. With
    ``acks=0`` nothing is ever acknowledged, so silence is only suspected there. Errors of a full queue or an oversize
    record belong to their own rules. Ruled out where every message of the sent log is in the source.
    """
    limit = _effective_limit(case)
    large = f"{_NOT_IN_LOG} AND acked IS NOT TRUE AND (error_class = 'too_large' OR size_bytes > {limit})"
    mine = f"{_NOT_IN_LOG} AND acked IS NOT TRUE AND NOT (coalesce(size_bytes > {limit}, false))"
    failed = f"{mine} AND (error_class = 'other' OR (error_class IS NULL AND acked = false AND {_alone(large)}))"
    silent = f"{mine} AND error_class IS NULL AND acked IS NULL AND acked_offset IS NULL AND source_reaches AND {_alone(large)}"
    compacts = case.rows(
        "SELECT 1 FROM configs WHERE topic = source_topic() AND name = 'cleanup.policy' AND value LIKE '%compact%'"
    )
    sure = setting(case.facts["producer_config"], "acks", "request.required.acks") != "0" and not compacts
    return Ruling(
        claims=(Claim("confirmed", failed), Claim("confirmed" if sure else "suspected", silent)),
        summary="{count} messages that the producer sent are not in the log: the send failed and the error was ignored.",
        subject={"topic": str(case.facts["source"])},
        tables=("sent_log",),
    )


def _alone(large: str) -> str:
    return f"entry NOT IN (SELECT entry FROM ({_neighbours(large)}))"


def _neighbours(large: str) -> str:
    """Missing messages in an unbroken run of missing ones, in the sent log's order, that holds an oversize one.

    The order is that of one partition where the sent log names partitions, else of the whole log.
    """
    return f"""
    SELECT entry FROM (
        SELECT entry, bool_or(large) OVER (PARTITION BY partition, run) AS with_large FROM (
            SELECT e.entry, s.partition, coalesce({large.replace("partition", "e.partition")}, false) AS large,
                   s.position - row_number() OVER (PARTITION BY s.partition ORDER BY s.position) AS run
            FROM entries e JOIN (
                SELECT message_id, partition, row_number() OVER (PARTITION BY partition ORDER BY line) AS position FROM sent
            ) s USING (message_id)
            WHERE {_NOT_IN_LOG}))
    WHERE with_large"""


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
