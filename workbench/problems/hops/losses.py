"""Loss over several hops: each message of the first topic has the disposition of the hop that it did not get past."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from workbench.problems.loss.ledger import DISPOSITIONS

if TYPE_CHECKING:
    import duckdb

    from workbench.problems.hops.examining import Examined

_SENT = "SELECT DISTINCT message_id FROM records WHERE topic = source_topic() AND message_id IN (SELECT message_id FROM asked)"
_ARRIVED = """
SELECT DISTINCT r.message_id FROM records r JOIN places p ON p.topic = r.topic
WHERE p.role = 'sink' AND NOT coalesce(r.is_aborted, false) AND r.message_id IN (SELECT message_id FROM asked)
"""


def summed(con: duckdb.DuckDBPyConnection, examined: Sequence[Examined]) -> dict[str, Any]:
    """Ledger, causes, hops and counts by cause of each hop; creates ``route_rows``."""
    from workbench.problems.hops.examining import register_rows

    rows = _rows(examined)
    register_rows(con, rows)
    counts = [Counter(table["disposition"].to_pylist()) for table in rows]
    causes = [_causes(table, one) for table, one in zip(rows, examined, strict=True)]
    sent = int(examined[0].found.report.ledger["sent"] or 0)
    total = sum(counts, Counter[str]())
    ledger: dict[str, int | None] = {"sent": sent, **{name: total[name] for name in DISPOSITIONS}}
    ledger["delivered"] = sent - sum(total[name] for name in DISPOSITIONS if name != "delivered")
    if any(one.found.report.ledger["waiting"] is None for one in examined):
        ledger["waiting"] = None
    found = sum(causes, Counter({"undetermined": 0, "unexplained": 0}))
    return {
        "ledger": ledger,
        "causes": {
            **{code: n for code, n in sorted(found.items()) if n and code not in _OPEN},
            **{c: found[c] for c in _OPEN},
        },
        "hops": _hops(examined, sent, counts, causes),
        "counts": causes,
    }


_OPEN = ("undetermined", "unexplained")


def _rows(examined: Sequence[Examined]) -> list[Any]:
    """Each hop's rows of messages that did not get past it: of the first topic's own, and not at the end all the same."""
    import pyarrow as pa
    import pyarrow.compute as pc

    out, seen = [], set[str]()
    for number, one in enumerate(examined):
        table = one.found.con.sql(one.found.rows_sql).to_arrow_table()
        table = table.filter(pc.not_equal(table["disposition"], "delivered"))
        ids = set(filter(None, table["message_id"].to_pylist())) - seen
        if number:
            ids &= _among(examined[0], _SENT, ids)
        if number < len(examined) - 1:
            ids -= _among(examined[-1], _ARRIVED, ids)
        seen |= ids
        out.append(table.filter(pc.is_in(table["message_id"], value_set=pa.array(sorted(ids), pa.string()))))
    return out


def _among(one: Examined, query: str, ids: set[str]) -> set[str]:
    import pyarrow as pa

    con = one.found.con
    con.register("asked", pa.table({"message_id": pa.array(sorted(ids), pa.string())}))
    found = {row[0] for row in con.execute(query).fetchall()}
    con.unregister("asked")
    return found


def _causes(table: Any, one: Examined) -> Counter[str]:
    """Cause -> lost messages; what nothing explains is undetermined where the hop's report says so."""
    open_word = "unexplained" if one.found.report.causes.get("unexplained") else "undetermined"
    lost = [
        cause
        for what, cause in zip(*(table[n].to_pylist() for n in ("disposition", "cause")), strict=True)
        if what == "lost"
    ]
    return Counter(open_word if cause in (None, "unexplained") else cause for cause in lost)


def _hops(
    examined: Sequence[Examined], sent: int, counts: Sequence[Counter[str]], causes: Sequence[Counter[str]]
) -> list[dict[str, Any]]:
    """What of the messages came into each hop, stayed there, and got past it."""
    out, coming = [], sent
    for one, stayed, why in zip(examined, counts, causes, strict=True):
        past = coming - sum(stayed.values())
        out.append(
            {
                "topic": one.hop.topic,
                "group": one.hop.group,
                "into": list(one.hop.into),
                "came": coming,
                **{name: stayed[name] for name in DISPOSITIONS if name != "delivered"},
                "passed": past,
                "causes": dict(sorted(why.items())),
                "verdict": one.found.report.verdict,
            }
        )
        coming = past
    return out
