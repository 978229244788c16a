"""Loss on the way to the dead letters: a message failed, and what should have kept it failed too."""

from __future__ import annotations

from workbench.problems.loss.runs import scattered
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity

_READ_PAST = "in_source AND passed"

# The largest limit of the dead-letter topics: what is above it as it is fits into none of them, headers or not.
_ROOM = """
SELECT max(try_cast(c.value AS BIGINT)) AS room FROM configs c JOIN places p USING (topic)
WHERE p.role = 'dead_letters' AND c.name = 'max.message.bytes'
"""
_UNPLACED = """
SELECT count(*) AS lines FROM logged WHERE dead AND dead_failed AND message_id IS NULL AND "offset" IS NULL
"""


@rule("loss-dead-letter-write-failed", Severity.CRITICAL, needs=("committed",))
def dead_letter_write_failed(case: Case) -> Ruling:
    """The consumer could not process the message, nor write its dead letter, and committed past it.

    Confirmed where a message that the group committed past is in neither the sinks nor the dead letters, and the service's log
    holds an error for it that is about its dead letter (by its words, or by the topic it names), or an error of any kind
    while the message alone is larger than the dead-letter topic takes (``max.message.bytes``). Suspected where such an error
    names no message, or only the size says so. Undecided without the service's log. Ruled out where the log has no such error,
    or nothing that the group committed past is missing.
    """
    if not case.count(_READ_PAST):
        return RULED_OUT
    failed, large = dead_letter_failed(case), _too_large(case)
    unnamed = (
        f"NOT log_dead AND (log_error IS NOT NULL OR {scattered(case)})" if dead_letters_unplaced(case) else "false"
    )
    claims = (
        Claim("confirmed", f"{_READ_PAST} AND {failed}"),
        Claim("suspected", f"{_READ_PAST} AND (log_dead OR {large})"),
        Claim("suspected", f"{_READ_PAST} AND {unnamed}"),
    )
    if not any(case.count(claim.where) for claim in claims):
        return RULED_OUT if case.has("service_log") else Ruling(undecided="needs the service's log (--service-log)")
    return Ruling(
        claims=claims,
        summary=f"{{count}} messages could not be processed by group {case.facts['group']}, nor could their dead letters be "
        f"written: {_why(case)}.",
        subject={"topic": str(case.facts["source"]), "group": str(case.facts["group"])},
        tables=("records", "committed", *(("service_log",) if case.has("service_log") else ()), "configs"),
    )


def dead_letter_failed(case: Case) -> str:
    """Entries whose dead letter is known not to have been written."""
    return f"coalesce(log_dead_failed OR log_error IS NOT NULL AND {_too_large(case)}, false)"


def dead_letters_unplaced(case: Case) -> int:
    """How many errors about dead letters in the service's log name no message."""
    return int(case.rows(_UNPLACED)[0]["lines"])


def _too_large(case: Case) -> str:
    room = case.rows(_ROOM)[0]["room"]
    return "false" if room is None else f"coalesce(value_size > {room}, false)"


def _why(case: Case) -> str:
    logged, large = case.count(f"{_READ_PAST} AND log_dead_failed"), case.count(f"{_READ_PAST} AND {_too_large(case)}")
    if logged:
        return f"the service's log holds that error for {logged:,} of them"
    if large:
        return f"{large:,} of them are larger than what the dead-letter topic takes"
    return "the service's log says so of messages that it does not name"
