"""Loss on the consumer's side: read, committed past, and never delivered."""

from __future__ import annotations

import math

from workbench.problems.loss import ledger
from workbench.problems.loss.leaps import gone_through, leaps
from workbench.problems.loss.offsets import create_done, never_read
from workbench.problems.loss.runs import scattered
from workbench.problems.loss.targets import AT_TARGET, MAY_BE_GONE
from workbench.problems.loss.unwritten import dead_letter_failed, dead_letters_unplaced
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity

_LIKELY = 0.001  # a pattern counts when chance alone would make it less often than this

_READ_PAST = "in_source AND passed AND NOT starts_with(coalesce(error_class, ''), 'queue')"

# Per attribute value: how many due messages were read past, and how many of them are lost.
_SHARES = """
WITH due AS (
    SELECT r.message_id, any_value(r.{column}) AS value
    FROM records r WHERE r.topic = source_topic() AND r.due AND r.message_id IS NOT NULL
      AND coalesce(r.is_aborted, false) = false AND in_window(r.timestamp_ms) AND committed_past(r) GROUP BY r.message_id)
SELECT d.value, count(*) AS due, count(e.entry) AS lost
FROM due d LEFT JOIN entries e ON e.message_id = d.message_id AND e.flags & {aborted} = 0 GROUP BY d.value
"""


@rule("loss-consumer-dropped", Severity.CRITICAL, needs=("committed",))
def consumer_dropped(case: Case) -> Ruling:
    """The consumer read the message, committed past it, and neither delivered nor dead-lettered it.

    Confirmed where the service's log holds an error for the message (of another kind than that its dead letter could not be
    written, or that a table refused it), or by pattern: the missing messages share one event type or version, all messages of
    that type or version are missing, others arrive, and chance would do this less often than once in a thousand; what the
    group's history shows it never read is not claimed by pattern, and where the sink is a table that does not say which rows
    were deleted, a pattern makes it suspected only. Suspected where missing messages are scattered between delivered ones, as a
    dropping handler leaves them, or in a longer run between delivered ones that the group's live members committed within or
    passed in one step. Any other long run is not claimed: a crash, a skipped offset or a reset looks like that.
    Ruled out where nothing that the group committed past is missing.
    """
    if not case.count(_READ_PAST):
        return RULED_OUT
    mine = f"{_READ_PAST} AND NOT {dead_letter_failed(case)} AND NOT {AT_TARGET}"
    logged = f"{mine} AND log_error IS NOT NULL"
    claims = [Claim("suspected" if dead_letters_unplaced(case) else "confirmed", logged)]
    case.con.execute("CREATE OR REPLACE TEMP TABLE dropped (attribute VARCHAR, value VARCHAR)")
    patterns, passed_over = [], never_read(case)
    for column in ("event_type", "event_version"):
        for value in _dropped_values(case, column):
            patterns.append(f"{column.replace('_', ' ')} {value}")
            case.con.execute("INSERT INTO dropped VALUES (?, ?)", [column, value])
        dropped = f"{column} IN (SELECT value FROM dropped WHERE attribute = '{column}')"
        pattern = f"{mine} AND NOT ({passed_over}) AND {dropped}"
        claims += [Claim("confirmed", f"{pattern} AND NOT {MAY_BE_GONE}"), Claim("suspected", pattern)]
    claims.append(Claim("suspected", f"{mine} AND NOT log_dead AND {scattered(case)}"))
    if case.has("commit_history"):
        create_done(case)
        claims += [
            Claim("suspected", f"{mine} AND NOT log_dead AND {run}") for run in (gone_through(case), leaps(case)[1])
        ]
    reason = f"all messages of {', '.join(patterns)} are missing" if patterns else "they lie between delivered ones"
    if case.count(logged):
        reason = f"the service's log holds errors for {case.count(logged):,} of them"
    return Ruling(
        claims=tuple(claims),
        summary=f"Group {case.facts['group']} read {{count}} messages, committed past them and did not deliver them: {reason}.",
        subject={"topic": str(case.facts["source"]), "group": str(case.facts["group"])},
        tables=("records", "committed", *(("service_log",) if case.has("service_log") else ())),
    )


def _dropped_values(case: Case, column: str) -> list[str]:
    """Values of an attribute whose messages are all missing, more often than chance allows, while others arrive."""
    rows = case.rows(_SHARES.format(column=column, aborted=ledger.SINK_ABORTED))
    due, lost = sum(row["due"] for row in rows), sum(row["lost"] for row in rows)
    return [
        row["value"]
        for row in rows
        if row["value"] is not None
        and row["lost"] == row["due"] > 0
        and lost < due
        and _chance(due, lost, row["due"]) < _LIKELY
    ]


def _chance(due: int, lost: int, size: int) -> float:
    """Probability that ``lost`` of ``due`` messages, taken at random, include all of one group of ``size``."""
    log = (
        math.lgamma(due - size + 1) - math.lgamma(lost - size + 1) - math.lgamma(due - lost + 1)
        - (math.lgamma(due + 1) - math.lgamma(lost + 1) - math.lgamma(due - lost + 1))
    )  # fmt: skip
    return math.exp(min(log, 0.0))
