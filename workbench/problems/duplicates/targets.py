"""Copies in a target that is a table: written twice, and nothing in the table refused it."""

from __future__ import annotations

from workbench.problems.duplicates.reprocessing import because
from workbench.problems.duplicates.rules import REPROCESSED
from workbench.problems.history import is_whole
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.problems.standing import epoch_ms
from workbench.report import Severity

_IN_STORE = f"{REPROCESSED} AND topic IN (SELECT topic FROM stores)"
# What the group's history says of a second reading; a copy of which it says nothing was written twice at one reading.
_READ_AGAIN = because("by_admin OR back OR removed OR kind <> '' OR stuck OR refused OR second")


@rule("duplicates-target-not-idempotent", Severity.WARNING)
def target_not_idempotent(case: Case) -> Ruling:
    """One reading of the message put several rows into the table, which has no unique key that would have refused them.

    Confirmed where a sink is a table, an id stands in several of its rows, the source holds the message once, and the group's
    history shows no second reading of it (a rewind, a crash, an eviction, a rebalance, failed commits, another group) between
    the times of the rows. Suspected where that history, or that of the other groups, is not known or does not reach back to the
    first row, or the rows have no times. Ruled out where no sink is a
    table, no id stands in it twice, or a second reading explains the rows.
    """
    mine = f"{_IN_STORE} AND NOT {_READ_AGAIN}"
    if not case.count(mine):
        return RULED_OUT
    where = ", ".join(
        row["topic"] for row in case.rows(f"SELECT DISTINCT topic FROM entries WHERE {mine} ORDER BY topic LIMIT 3")
    )
    return Ruling(
        claims=(Claim("confirmed", f"{mine} AND {_known(case)}"), Claim("suspected", mine)),
        summary=f"{{count}} copies are rows of {where} that one reading of their message wrote: no unique key refused them.",
        subject={"topic": str(case.facts["source"])},
        tables=("records", *(("commit_history",) if case.has("commit_history") else ())),
    )


def _known(case: Case) -> str:
    """The predicate of copies that the histories of all groups look back to: between whose times nothing can have gone unseen."""
    if not (case.has("commit_history") and case.has("other_commits")):
        return "false"
    since = "" if is_whole(case.evidence) else f" AND first_ms >= {epoch_ms(str(case.facts['history_since']))}"
    return f"timestamp_ms IS NOT NULL AND first_ms IS NOT NULL{since}"
