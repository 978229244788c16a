"""What a scan did not get: offsets up to the end, and those of batches that are damaged on the broker's disk."""

from __future__ import annotations

from typing import TYPE_CHECKING

from workbench.evidence import Evidence

if TYPE_CHECKING:
    import duckdb

_CREATE = (
    "CREATE OR REPLACE TEMP TABLE unread (topic VARCHAR, partition INTEGER, low BIGINT, high BIGINT, damaged BOOLEAN)"
)
_TO_THE_END = """
INSERT INTO unread SELECT topic, partition, next_offset, end_offset, false FROM scan WHERE next_offset < end_offset
"""
# A scan's error names what it stepped over; capture.wire.errors.stepped_over has these words.
_DAMAGED = r"""
INSERT INTO unread
WITH said AS (
    SELECT topic, partition, start_offset, next_offset,
           unnest(regexp_extract_all(error, 'offsets \d+ to \d+ are damaged')) AS range FROM scan)
SELECT topic, partition, greatest(low, start_offset), least(high + 1, next_offset), true FROM (
    SELECT *, try_cast(regexp_extract(range, 'offsets (\d+)', 1) AS BIGINT) AS low,
           try_cast(regexp_extract(range, 'to (\d+)', 1) AS BIGINT) AS high FROM said)
WHERE low IS NOT NULL AND high IS NOT NULL AND greatest(low, start_offset) < least(high + 1, next_offset)
"""


def create_unread(con: duckdb.DuckDBPyConnection, evidence: Evidence) -> None:
    """Creates the table ``unread``: ranges of offsets, ``high`` excluded, that the scan did not get.

    ``damaged``: the scan stepped over a batch there and went on behind it; else it ended at ``low``.
    """
    con.execute(_CREATE)
    if "scan" in evidence.tables:
        con.execute(_TO_THE_END)
        con.execute(_DAMAGED)
