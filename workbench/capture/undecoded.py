"""Which records of a capture could not be decoded, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.sources.formats import Registry
from workbench.sources.formats.model import Unknown

_MOST_SCHEMAS = 50
_COUNTED = """
SELECT topic, schema_id, count(*) AS records FROM read_parquet($files)
WHERE decoded = false AND schema_id IS NOT NULL GROUP BY ALL ORDER BY records DESC, topic, schema_id
"""


def undecoded(files: Sequence[Path], registry: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """One entry a topic and schema: ``topic``, ``schema_id``, ``records``, ``why``; [] where all could be decoded.

    Args:
        files: of the capture.
        registry: where the schemas are that records name.

    Reads: GET /schemas/ids/ID of the schemas of records that could not be decoded.
    """
    from workbench.evidence import connect_duckdb

    if not files:
        return []
    with connect_duckdb(list(files)) as con:
        rows = con.execute(_COUNTED, {"files": [str(path) for path in files]}).fetchall()
    if not rows:
        return []
    known = Registry(registry) if registry else None
    try:
        return [
            {"topic": topic, "schema_id": schema_id, "records": count, "why": _why(known, schema_id)}
            for topic, schema_id, count in rows[:_MOST_SCHEMAS]
        ]
    finally:
        if known is not None:
            known.close()


def _why(registry: Registry | None, schema_id: int) -> str:
    if registry is None:
        return 'no schema registry is configured: write registry = { url = "..." } into the profile'
    try:
        registry.decoder(schema_id)
    except Unknown as error:
        return str(error)
    return "they do not fit their schema"
