"""Attribution: each entry that needs a cause gets exactly one, or is counted as undetermined or unexplained.

Evidence settles competition, not the order of rules: one confirmed claim beats any number of suspected ones; two claims
of the same strength leave the entry undetermined and make it a candidate of both.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from workbench.problems.rules import Case, Rule, Ruling
from workbench.report import EvidenceRef, Finding, Severity, State, Undecided, runbook_of


@dataclass(frozen=True)
class Attribution:
    """Entries by cause.

    Attributes:
        counts: code -> entries that are its alone.
        candidates: code -> entries that it shares with other codes.
        strengths: code -> ``confirmed`` where any of its entries is confirmed, else ``suspected``.
        undetermined: entries with several possible causes.
        unexplained: entries with none.
        confirmed: entries with exactly one confirmed cause.
    """

    counts: Mapping[str, int]
    candidates: Mapping[str, int]
    strengths: Mapping[str, State]
    undetermined: int
    unexplained: int
    confirmed: int


def attribute(case: Case, rulings: Mapping[Rule, Ruling]) -> Attribution:
    """Settles the claims of all rulings and stores each entry's ``cause`` and ``candidates`` in table ``attributed``."""
    con = case.con
    con.execute("CREATE OR REPLACE TEMP TABLE claims (entry BIGINT, code VARCHAR, confirmed BOOLEAN)")
    for item, ruling in rulings.items():
        for claim in ruling.claims:
            con.execute(
                f"INSERT INTO claims SELECT entry, ?, ? FROM entries WHERE {claim.where}",
                [item.code, claim.state == "confirmed"],
            )
    con.execute(_SETTLE)
    rows = con.execute("SELECT code, count(*), bool_or(confirmed) FROM settled WHERE alone GROUP BY code").fetchall()
    shared = con.execute(
        "SELECT code, count(*), bool_or(confirmed) FROM settled WHERE NOT alone GROUP BY code"
    ).fetchall()
    totals = con.execute(
        "SELECT count(*) FILTER (cause = 'undetermined'), count(*) FILTER (cause IS NULL), count(*) FILTER (confirmed)"
        " FROM attributed"
    ).fetchall()  # to the end: an open result would be in the way of the connection's next user
    undetermined, unexplained, confirmed = totals[0]
    return Attribution(
        counts={code: n for code, n, _ in rows},
        candidates={code: n for code, n, _ in shared},
        strengths=_strengths([*shared, *rows]),
        undetermined=undetermined,
        unexplained=unexplained,
        confirmed=confirmed,
    )


def _strengths(rows: Sequence[tuple[str, int, bool]]) -> dict[str, State]:
    out: dict[str, State] = {}
    for code, _, confirmed in rows:
        out[code] = "confirmed" if confirmed or out.get(code) == "confirmed" else "suspected"
    return out


# settled: the claims of the strongest kind per entry; attributed: one row an entry.
_SETTLE = """
CREATE OR REPLACE TEMP TABLE settled AS
WITH once AS (SELECT entry, code, bool_or(confirmed) AS confirmed FROM claims GROUP BY entry, code),
     best AS (SELECT *, bool_or(confirmed) OVER (PARTITION BY entry) AS any_confirmed FROM once)
SELECT entry, code, confirmed, count(*) OVER (PARTITION BY entry) = 1 AS alone
FROM best WHERE confirmed OR NOT any_confirmed;
CREATE OR REPLACE TEMP TABLE attributed AS
SELECT e.entry,
       CASE WHEN count(s.code) = 0 THEN NULL WHEN count(s.code) = 1 THEN min(s.code) ELSE 'undetermined' END AS cause,
       count(s.code) = 1 AND bool_or(s.confirmed) AS confirmed,
       CASE WHEN count(s.code) > 1 THEN string_agg(s.code, ', ' ORDER BY s.code) END AS candidates
FROM entries e LEFT JOIN settled s USING (entry) GROUP BY e.entry;
"""


def finding_of(item: Rule, ruling: Ruling, attribution: Attribution) -> Finding | None:
    """The finding a ruling leads to, or None where it claimed nothing in the end."""
    count = attribution.counts.get(item.code, 0)
    shared = attribution.candidates.get(item.code, 0)
    offsets_only = count == 0 and shared == 0 and ruling.upper_bound > 0 and not ruling.affected
    if not (count or shared or offsets_only or ruling.state):
        return None
    state: State = ruling.state or attribution.strengths.get(item.code, "suspected")
    severity = item.severity if state == "confirmed" else item.severity.lowered()
    total = ruling.upper_bound if offsets_only else ruling.affected or count
    return Finding(
        code=item.code,
        state=state,
        severity=severity,
        confidence=ruling.confidence if state == "confirmed" else "low" if shared else "medium",
        subject=ruling.subject,
        count=total,
        count_is_upper_bound=offsets_only,
        candidates=shared,
        summary=_singular(ruling.summary.replace("{count}", f"{total or shared:,}")),
        runbook=runbook_of(item.code),
        evidence=tuple(EvidenceRef(table, ruling.rows) for table in ruling.tables),
    )


def _singular(text: str) -> str:
    """One message is, two messages are."""
    text = re.sub(r"(?<![\d,.])1 (message|offset|record)s\b", r"1 \1", text)
    return re.sub(r"(?<![\d,.])1 copies\b", "1 copy", text)


def unexplained_finding(
    count: int, what: str, rulings: Mapping[Rule, Ruling], severity: Severity = Severity.CRITICAL
) -> Finding:
    """The finding for entries that no rule explains; suspected where a rule that lacks its evidence might."""
    unasked = sum(1 for ruling in rulings.values() if ruling.undecided)
    doubt = f"; {unasked:,} causes lack their evidence and are undecided" if unasked else ""
    return Finding(
        code="unexplained",
        state="suspected" if unasked else "confirmed",
        severity=severity,
        confidence="low",
        subject={},
        count=count,
        summary=_singular(f"{count:,} {what} that no rule explains{doubt}."),
        runbook=runbook_of("unexplained"),
        evidence=(EvidenceRef("records"),),
    )


def outcome_lists(
    rulings: Mapping[Rule, Ruling], findings: Sequence[Finding]
) -> tuple[tuple[str, ...], tuple[Undecided, ...]]:
    """Sorts the rules without a finding into ruled out and undecided.

    Args:
        rulings: this problem's rules with their rulings.
        findings: what was found.
    """
    found = {finding.code for finding in findings}
    ruled_out, undecided = [], []
    for item, ruling in rulings.items():
        if item.code in found or item.kind == "note":
            continue
        if ruling.undecided:
            undecided.append(Undecided(item.code, ruling.undecided))
        else:
            ruled_out.append(item.code)
    return tuple(sorted(ruled_out)), tuple(sorted(undecided, key=lambda item: item.code))
