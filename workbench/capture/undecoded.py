"""Which records of a capture could not be decoded, and why."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from workbench.sources.formats import Registry
from workbench.sources.formats.model import Unknown

_MOST_ENTRIES = 50
# A schema's id says what a record should have been; where it carries none, only the format that its topic is said to have.
_COUNTED = """
SELECT topic, schema_id, count(*) AS records FROM read_parquet($files)
WHERE decoded = false AND (schema_id IS NOT NULL OR list_contains($said::VARCHAR[], topic))
GROUP BY ALL ORDER BY records DESC, topic, schema_id
"""
_SAY_NOTHING = frozenset({"auto", "raw"})  # what values of these are is not said, or means nothing here
_MISFITS = {
    "json": "they are not JSON",
    "text": "they are not UTF-8",
    "integer": "they are not whole numbers of 2, 4 or 8 bytes",
}
_UNFRAMED = "they carry no schema id"


def undecoded(
    files: Sequence[Path], registry: Mapping[str, Any] | None, formats: Mapping[str, str] | None = None
) -> list[dict[str, Any]]:
    """The records whose values were looked into and cannot be decoded; [] where all could be.

    Args:
        files: of the capture.
        registry: where the schemas are that records name.
        formats: topic -> format of its values. Records without a schema id are counted where it says what they are
            (neither ``auto`` nor ``raw``).

    Returns:
        One entry a topic and schema, those with most records first: ``topic``, ``schema_id`` (None: they carry none),
        ``format`` (without the folder of a schema file; None where the schema id says it), ``records``, ``why``.

    Reads: GET /schemas/ids/ID of the schemas of records that could not be decoded.
    """
    from workbench.evidence import connect_duckdb

    if not files:
        return []
    said = {topic: name for topic, name in (formats or {}).items() if name not in _SAY_NOTHING}
    with connect_duckdb(list(files)) as con:
        rows = con.execute(_COUNTED, {"files": [str(path) for path in files], "said": list(said)}).fetchall()
    if not rows:
        return []
    known = Registry(registry) if registry else None
    try:
        return [_entry(topic, schema_id, count, said, known) for topic, schema_id, count in rows[:_MOST_ENTRIES]]
    finally:
        if known is not None:
            known.close()


def _entry(
    topic: str, schema_id: int | None, count: int, said: Mapping[str, str], registry: Registry | None
) -> dict[str, Any]:
    if schema_id is not None:
        shown, why = None, _why(registry, schema_id)
    elif (kind := said[topic]).startswith("avro:"):
        shown = f"avro:{Path(kind.removeprefix('avro:')).name}"
        why = "they do not fit its schema"
    else:
        shown, why = kind, _MISFITS.get(kind, _UNFRAMED)
    return {"topic": topic, "schema_id": schema_id, "format": shown, "records": count, "why": why}


def _why(registry: Registry | None, schema_id: int) -> str:
    if registry is None:
        return 'no schema registry is configured: write registry = { url = "..." } into the profile'
    try:
        registry.decoder(schema_id)
    except Unknown as error:
        return str(error)
    return "they do not fit their schema"
