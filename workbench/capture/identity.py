"""Where message ids are: found by looking at a sample."""

from __future__ import annotations

import json
import re
from collections import Counter
from typing import Any

from workbench.capture.spec import IdFrom
from workbench.errors import UsageError
from workbench.sources.formats import schema_id_of

# In the order in which they are preferred; ``json:$.id`` is a CloudEvents id only beside ``$.specversion``.
CANDIDATES = (
    IdFrom("header", "message-id"),
    IdFrom("header", "ce_id"),
    IdFrom("json", "$.id"),
    IdFrom("json", "$.messageId"),
)
# Places that mean a message id whatever else the record holds.
ALTERNATIVES = (CANDIDATES[0], CANDIDATES[1], CANDIDATES[3])
_PLAIN = re.compile(r"[A-Za-z_]\w{0,40}")
ENOUGH = 0.5  # of the sampled records


def resolve_id_from(batch: Any, topic: str = "the topic") -> IdFrom:
    """What ``auto`` means for a topic.

    Args:
        batch: sampled records, of schema ``RAW``.
        topic: what the error calls it.

    Returns:
        The first of header ``message-id``, CloudEvents id (header ``ce_id``, or ``$.id`` beside ``$.specversion``) and
        ``json:$.messageId`` that at least half of the records have; else the one that most of them have.

    Raises:
        UsageError: no record has any of them; the hint shows what the sample contains.
    """
    rows = batch.select(["headers", "value"]).to_pylist()
    records = [(_headers(row), _document(row["value"])) for row in rows]
    shares = {one: sum(_has(one, *record) for record in records) / max(1, len(records)) for one in CANDIDATES}
    for one, share in shares.items():
        if share >= ENOUGH:
            return one
    best = max(CANDIDATES, key=lambda one: shares[one])
    if shares[best] > 0:
        return best
    hint = _what_is_there(records)
    framed = sum(schema_id_of(row["value"]) is not None for row in rows)
    if framed:
        hint = f"{framed} of {len(rows)} values name a schema and were not decoded; does the profile name the registry? {hint}"
    raise UsageError(f"No message ids were found in {topic}.", hint=hint)


def _headers(row: dict[str, Any]) -> dict[str, bytes | None]:
    return {header["name"]: header["value"] for header in row["headers"] or ()}


def _document(value: bytes | None) -> Any:
    try:
        return json.loads(value) if value is not None else None
    except (ValueError, RecursionError):
        return None


def _has(one: IdFrom, headers: dict[str, bytes | None], document: Any) -> bool:
    if one.kind == "header":
        return bool(headers.get(one.name))
    if not isinstance(document, dict) or (one.name == "$.id" and "specversion" not in document):
        return False
    value = document.get(one.name.removeprefix("$."))
    return isinstance(value, int | float | str) and not isinstance(value, bool) and value != ""


def _what_is_there(records: list[tuple[dict[str, bytes | None], Any]]) -> str:
    headers = Counter(name for names, _ in records for name in names)
    fields = Counter(name for _, document in records if isinstance(document, dict) for name in document)
    parts = [f"{len(records)} records were sampled"]
    parts.append("headers: " + (_names(headers) or "none"))
    parts.append("JSON fields: " + (_names(fields) or "none, the values are not JSON objects"))
    said = "; ".join(parts) + ". Say where ids are: --id-from header:NAME, json:$.path, key or coordinates."
    likely = [f"json:$.{name}" for name in fields if _differs(name, [document for _, document in records])]
    return f"{said} Different in each record: {', '.join(likely[:3])}." if likely else said


def _differs(name: str, documents: list[Any]) -> bool:
    """Whether a field of a plain name has another scalar in each of several records."""
    values = [document.get(name) for document in documents if isinstance(document, dict)]
    plain = all(isinstance(value, str | int) and not isinstance(value, bool) for value in values)
    return _PLAIN.fullmatch(name) is not None and len(values) > 1 and plain and len(set(values)) == len(documents)


def _names(counts: Counter[str]) -> str:
    """The commonest names; names only, since contents are private."""
    return ", ".join(repr(name[:60]) for name, _ in counts.most_common(12))
