"""Copies over several hops: each belongs to the hop where there came to be more of a message than had come in."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import duckdb

    from workbench.problems.hops.examining import Examined

# Of a hop behind the first one only its sinks: its source is the sink of the hop before it.
_COPIES = """
SELECT e.message_id, e.topic, e.partition, e."offset", e.reprocessed, e.place, coalesce(a.cause, 'unexplained') AS cause,
       a.candidates, CASE WHEN e.timestamp_ms BETWEEN 0 AND 253402300799999 THEN make_timestamptz(e.timestamp_ms * 1000) END AS "at"
FROM entries e LEFT JOIN attributed a USING (entry) WHERE {which}
"""
_TOTALS = (
    "SELECT count(*) AS records, count(DISTINCT (topic, message_id)) AS messages FROM visible WHERE place = 'sink'"
)
# What was carried over from the hop before has the cause that it had there.
_RESOLVED = """
CREATE OR REPLACE TEMP TABLE hop_{number} AS
SELECT f.* EXCLUDE (cause, candidates), coalesce(b.cause, f.cause) AS cause,
       CASE WHEN b.cause IS NULL THEN f.candidates ELSE b.candidates END AS candidates, coalesce(b.arose, {number}) AS arose
FROM found f LEFT JOIN ({before}) b ON b.message_id = f.message_id AND NOT f.reprocessed
"""
_BEFORE = """
SELECT message_id, any_value(cause) AS cause, any_value(candidates) AS candidates, min(arose) AS arose FROM hop_{number}
WHERE place = 'sink' GROUP BY message_id
"""
_NOTHING = (
    "SELECT NULL::VARCHAR AS message_id, NULL::VARCHAR AS cause, NULL::VARCHAR AS candidates, 0 AS arose WHERE false"
)
_ROWS = """
SELECT message_id, CASE WHEN reprocessed THEN 'reprocessed' ELSE 'extra_copy' END AS disposition, cause, candidates, topic,
       partition, "offset", "at" FROM hop_{number}
"""


def summed(con: duckdb.DuckDBPyConnection, examined: Sequence[Examined]) -> dict[str, Any]:
    """Ledger, causes, hops and counts by cause of each hop; creates ``route_rows``."""
    from workbench.problems.hops.examining import register_rows

    ledger = Counter({name: int(examined[0].found.report.ledger[name] or 0) for name in ("records", "messages")})
    for number, one in enumerate(examined):
        which = "place = 'sink'" if number else "true"
        con.register("found", one.found.con.sql(_COPIES.format(which=which)).to_arrow_table())
        before = _BEFORE.format(number=number - 1) if number else _NOTHING
        con.execute(_RESOLVED.format(number=number, before=before))
        con.unregister("found")
        if number:
            records, messages = one.found.con.execute(_TOTALS).fetchall()[0]
            ledger.update({"records": records, "messages": messages})
    register_rows(con, [con.sql(_ROWS.format(number=number)).to_arrow_table() for number in range(len(examined))])
    every = " UNION ALL ".join(f"SELECT arose, cause, reprocessed FROM hop_{number}" for number in range(len(examined)))
    tally = con.execute(f"SELECT arose, cause, count(*) FROM ({every}) GROUP BY ALL").fetchall()
    here = [_of(con, number) for number in range(len(examined))]
    causes = Counter({"undetermined": 0, "unexplained": 0})
    for _, cause, count in tally:
        causes[cause] += count
    extra = sum(count for _, _, count in tally)
    return {
        "ledger": {**ledger, "extra_copies": extra, "reprocessed": sum(one["reprocessed"] for one in here)},
        "causes": {
            **{code: n for code, n in sorted(causes.items()) if n and code not in ("undetermined", "unexplained")},
            **{code: causes[code] for code in ("undetermined", "unexplained")},
        },
        "hops": [
            {
                "topic": one.hop.topic,
                "group": one.hop.group,
                "into": list(one.hop.into),
                **mine,
                "causes": {cause: count for arose, cause, count in sorted(tally) if arose == number},
                "verdict": one.found.report.verdict,
            }
            for number, (one, mine) in enumerate(zip(examined, here, strict=True))
        ],
        "counts": [
            Counter({cause: n for arose, cause, n in tally if arose == number}) for number in range(len(examined))
        ],
    }


def _of(con: duckdb.DuckDBPyConnection, number: int) -> dict[str, int]:
    """Of a hop: copies that came with what it read, and those that it made."""
    row = con.execute(
        f"SELECT count(*) FILTER (arose < {number}), count(*) FILTER (arose = {number}), count(*) FILTER (reprocessed)"
        f" FROM hop_{number}"
    ).fetchall()[0]
    return {"carried": row[0], "arose": row[1], "reprocessed": row[2]}
