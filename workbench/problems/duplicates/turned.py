"""The change of the group that cost a copy its commit."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.problems.history import SKEW_MS
from workbench.problems.turnovers import create_turnovers

if TYPE_CHECKING:
    from workbench.problems.rules import Case

# The change that cost a copy its commit: the first one between its two writings; one just outside only where there is none, as
# clocks differ. A member that was evicted writes on until it notices, so its partition may be written by both meanwhile.
_MATCHED = f"""
CREATE OR REPLACE TEMP TABLE turned AS
WITH fits AS (
    SELECT r.entry, t.kind, t.log_offset, t.partition, t.at_ms, t.last_commit_ms, CASE
        WHEN t.kind = 'evicted' AND r.first_ms <= t.back_ms + {SKEW_MS} THEN 0
        WHEN t.at_ms BETWEEN r.first_ms AND r.timestamp_ms THEN 1
        WHEN t.at_ms >= r.first_ms - {SKEW_MS} THEN 2 END AS rank
    FROM reread r JOIN turnovers t ON t.partition = r.partition AND r."offset" >= t.committed_offset
    WHERE r.timestamp_ms >= t.at_ms - {SKEW_MS})
SELECT * FROM fits WHERE rank IS NOT NULL
QUALIFY row_number() OVER (PARTITION BY entry ORDER BY rank, log_offset) = 1
"""
# Processing that went on while nothing was committed any more: first copies over a time in which the group had committed
# several times before.
_STUCK = f"""
CREATE OR REPLACE TEMP TABLE stuck AS
WITH gaps AS (
    SELECT quantile_cont(gap, 0.5) AS usual_ms, count(*) AS gaps FROM (
        SELECT at_ms - lag(at_ms) OVER (ORDER BY at_ms) AS gap FROM (SELECT DISTINCT at_ms FROM moves WHERE NOT removed))
    WHERE gap > 0),
spans AS (
    SELECT t.log_offset, t.partition, any_value(t.kind) AS kind, min(t.at_ms) AS at_ms, min(r.first_ms) AS from_ms,
           max(r.first_ms) AS to_ms, count(DISTINCT r.first_ms) AS writings
    FROM turned t JOIN reread r USING (entry) WHERE r.first_ms <= t.at_ms + {SKEW_MS} GROUP BY t.log_offset, t.partition)
SELECT s.*, g.usual_ms, s.writings >= 5 AND s.kind IN ('emptied', 'idled', 'moved', 'either')
       AND s.to_ms - s.from_ms >= greatest(3000, 5 * coalesce(g.usual_ms, 1000)) AS long
FROM spans s CROSS JOIN gaps g
"""
_NONE = """
CREATE OR REPLACE TEMP TABLE turned (entry BIGINT, kind VARCHAR, log_offset BIGINT, partition INTEGER, at_ms BIGINT,
    last_commit_ms BIGINT, rank INTEGER);
CREATE OR REPLACE TEMP TABLE stuck (log_offset BIGINT, partition INTEGER, kind VARCHAR, at_ms BIGINT, from_ms BIGINT,
    to_ms BIGINT, writings BIGINT, usual_ms DOUBLE, long BOOLEAN)
"""


def create_turned(case: Case) -> None:
    """Creates ``turned`` (copy -> the change that cost its commit, with its kind as in ``turnovers``) and ``stuck``.

    ``stuck``: a change and partition -> from_ms, to_ms (first copies without a commit), usual_ms (between commits before),
    long (whether that is far beyond what is usual).
    """
    case.con.execute(_NONE)
    if not case.entries or not case.has("commit_history"):
        return
    create_turnovers(case, "reread")
    case.con.execute(_MATCHED)
    case.con.execute(_STUCK)
