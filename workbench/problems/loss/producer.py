"""Loss on the producer's side: what the sent log knows of and the log does not."""

from __future__ import annotations

from workbench.problems.loss.refused import NOT_IN_LOG, above_limit, doubtful_time, refused_with_others, setting
from workbench.problems.rules import Case, Claim, Ruling, rule
from workbench.report import Severity


@rule("loss-producer-queue-full", Severity.CRITICAL, needs=("sent_log",))
def queue_full(case: Case) -> Ruling:
    """The producer's local queue was full and the application did not keep the message.

    Fires where a message of the sent log is not in the source and its error, in the sent log or the service's log, says
    that the local queue or buffer was full. Ruled out where no missing message has such an error.
    """
    return Ruling(
        claims=(Claim("confirmed", f"{NOT_IN_LOG} AND error_class = 'queue_full'"),),
        summary="{count} messages never left the producer: its local queue was full and the error was not handled.",
        subject={"topic": str(case.facts["source"])},
        tables=("sent_log",),
    )


@rule("loss-producer-error-ignored", Severity.CRITICAL, needs=("sent_log",))
def error_ignored(case: Case) -> Ruling:
    """The send failed, or was never confirmed, and the application went on.

    Fires where a message of the sent log is not in the source and the sent log or the service's log holds its send error,
    or says that it was not acknowledged, or says nothing while the source reaches back to when it was sent. With
    ``acks=0`` silence is not counted here: nothing is ever acknowledged (loss-acks-zero). Errors of a full queue, an
    oversize record or a refused timestamp belong to their own rules. Ruled out where every message of the sent log
    is in the source.
    """
    mine = f"{NOT_IN_LOG} AND acked IS NOT TRUE AND NOT {above_limit(case)} AND NOT {refused_with_others(case)}"
    failed = f"{mine} AND (error_class IN ('other', 'beside') OR (error_class IS NULL AND acked = false))"
    silent = f"{mine} AND error_class IS NULL AND acked IS NULL AND acked_offset IS NULL AND source_reaches"
    compacts = case.rows(
        "SELECT 1 FROM configs WHERE topic = source_topic() AND name = 'cleanup.policy' AND value LIKE '%compact%'"
    )
    if setting(case.facts["producer_config"], "acks", "request.required.acks") == "0":
        silent = "false"
    sure = not compacts
    doubtful = doubtful_time(case)
    return Ruling(
        claims=(
            Claim("confirmed", f"{failed} AND NOT {doubtful}"),
            Claim("suspected", f"{failed} AND {doubtful}"),
            Claim("confirmed" if sure else "suspected", f"{silent} AND NOT {doubtful}"),
            Claim("suspected", f"{silent} AND {doubtful}"),
        ),
        summary="{count} messages that the producer sent are not in the log: the send failed and the error was ignored.",
        subject={"topic": str(case.facts["source"])},
        tables=("sent_log",),
    )
