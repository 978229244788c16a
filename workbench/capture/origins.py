"""Where dead letters, retried and redriven records come from: decoded only for rows whose headers say something."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.capture.schema import CAPTURE

if TYPE_CHECKING:
    from workbench.capture.spec import TopicSpec

NAMES = ("origin_topic", "origin_partition", "origin_offset", "dialect", "replay_count")
# Their topics hold envelopes too, which are marked by their value alone.
ALWAYS = frozenset({"dead_letters", "retry"})

Row = tuple[str | None, int | None, int | None, str | None, int | None]
NOTHING: Row = (None, None, None, None, None)


def origin_columns(names: Any, raw: Any, topic: TopicSpec, own: Sequence[Any] = ()) -> dict[str, Any]:
    """The columns ``NAMES``; none at all where no record says where it comes from.

    Args:
        names: header names, a list a record.
        raw: the raw records.
        topic: theirs.
        own: the user's own dialects.
    """
    chosen = range(raw.num_rows) if topic.role in ALWAYS else marked_rows(names)
    if not chosen:
        return {}
    found: list[Row] = [NOTHING] * raw.num_rows
    some = raw.take(pa.array(chosen, pa.int64())) if len(chosen) < raw.num_rows else raw
    contents = (some[name].to_pylist() for name in ("headers", "value", "timestamp_ms", "timestamp_type"))
    for index, headers, value, at, kind in zip(chosen, *contents, strict=True):
        pairs = [(header["name"], header["value"]) for header in headers or ()]
        found[index] = _origin(pairs, value, topic.topic, at if kind == 0 else None, own)
    columns = zip(NAMES, zip(*found, strict=True), strict=True)
    return {name: pa.array(column, CAPTURE.field(name).type) for name, column in columns}


def with_payloads(raw: Any, topic: str, own: Sequence[Any] = ()) -> Any:
    """The raw records with the value that an envelope holds in place of the envelope; null where there is none."""
    from workbench.dialects import decode

    payloads = []
    for headers, value in zip(raw["headers"].to_pylist(), raw["value"].to_pylist(), strict=True):
        letter = decode([(header["name"], header["value"]) for header in headers or ()], value, topic, own=own)
        payloads.append(letter.payload if letter else None)
    return raw.set_column(
        raw.schema.get_field_index("value"), "value", pa.array(payloads, raw.schema.field("value").type)
    )


def marked_rows(names: Any) -> Sequence[int]:
    """Rows that have a header whose name can mean something to a dialect."""
    from workbench.dialects import is_marking

    encoded = names.flatten().dictionary_encode()
    marking = [code for code, name in enumerate(encoded.dictionary.to_pylist()) if is_marking(name)]
    if not marking:
        return []
    import pyarrow.compute as pc

    hits = pc.is_in(encoded.indices, pa.array(marking, encoded.indices.type))
    rows: list[int] = pc.unique(pc.list_parent_indices(names).filter(hits)).to_pylist()
    return rows


def _origin(
    headers: list[tuple[str, bytes | None]], value: bytes | None, topic: str, at: int | None, own: Sequence[Any]
) -> Row:
    from workbench.dialects import decode, redrive_of

    letter = decode(headers, value, topic, timestamp_ms=at, own=own)
    redrive = redrive_of(headers)
    count = redrive.replay_count if redrive else None
    if letter is not None:
        return letter.origin_topic, letter.origin_partition, letter.origin_offset, letter.dialect, count
    if redrive is not None:
        return redrive.origin_topic, redrive.origin_partition, redrive.origin_offset, "redrive", count
    return NOTHING
