"""SQL macros that every ledger uses; a scope's parameters enter SQL as typed numbers or table rows, never as text."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.evidence import Evidence
from workbench.problems.places import NEVER_MS
from workbench.problems.standing import epoch_ms

if TYPE_CHECKING:
    import duckdb


def define_macros(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> None:
    """Defines ``in_window(ms)``, ``source_topic()`` and ``key_of(record)`` (the key, or its hash once it was saved)."""
    facts = evidence.facts
    low = epoch_ms(facts["since"]) if facts["since"] else -NEVER_MS
    high = epoch_ms(facts["until"]) if facts["until"] else NEVER_MS
    con.execute(f"CREATE OR REPLACE TEMP MACRO in_window(ms) AS (ms IS NULL OR (ms >= {low} AND ms < {high}))")
    con.execute("CREATE OR REPLACE TEMP TABLE source_of (topic VARCHAR)")
    con.execute("INSERT INTO source_of VALUES (?)", [facts["source"]])
    con.execute("CREATE OR REPLACE TEMP MACRO source_topic() AS (SELECT topic FROM source_of)")
    key = "key" if "key" in evidence.tables["records"].schema.names else "key_hash"
    con.execute(f"CREATE OR REPLACE TEMP MACRO key_of(r) AS r.{key}")
