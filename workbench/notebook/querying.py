"""Looking into evidence with SQL."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.problems.examination import Examination
from workbench.sealing import Seal, sealed_columns

if TYPE_CHECKING:
    import pyarrow as pa

LEDGER = "ledger"


def rows(case: Examination, query: str, limit: int = 10_000) -> pa.Table:
    """The rows of a DuckDB query over an examination's evidence tables and its ``ledger``.

    Args:
        case: what ``examine`` returned.
        query: a SELECT; each evidence table is a view of its name, ``ledger`` has the rows of ``ledger.parquet``.
        limit: rows at most; a table for the eye, not an export.

    Returns:
        The query's columns; ``key`` and ids that look like personal data are hashed with a key that nobody keeps.
    """
    case.con.execute(f"CREATE OR REPLACE TEMP VIEW {LEDGER} AS {case.rows_sql}")
    schema = case.con.sql(f"SELECT * FROM ({query}) LIMIT 0").to_arrow_table().schema
    columns = ", ".join(sealed_columns(schema, Seal.fresh(), bool(case.evidence.facts.get("show_ids"))))
    return case.con.sql(f"SELECT {columns} FROM ({query}) LIMIT {int(limit)}").to_arrow_table()
