"""The schemas of a capture: what a reader yields, what is kept of it, and how the scan ended."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

HEADERS = pa.list_(pa.struct([pa.field("name", pa.string()), pa.field("value", pa.binary())]))

# What every reader yields. timestamp_type: -1 none, 0 create time, 1 append time. is_aborted: null where the reader
# cannot tell (the client library), false at and above the last stable offset.
RAW = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),
        ("timestamp_type", pa.int8()),
        ("leader_epoch", pa.int32()),
        ("key", pa.binary()),
        ("value", pa.binary()),
        ("headers", HEADERS),
        ("is_aborted", pa.bool_()),
    ]
)

# What the wire reader knows of each record batch, one row each. Null: there is none (producer_id and what belongs to it
# for plain senders, marker and coordinator_epoch but for transaction markers, first_ms with append time), or not known.
BATCHES = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("base_offset", pa.int64()),
        ("last_offset", pa.int64()),
        ("records", pa.int32()),
        ("leader_epoch", pa.int32()),
        ("producer_id", pa.int64()),
        ("producer_epoch", pa.int16()),
        ("base_sequence", pa.int32()),
        ("is_transactional", pa.bool_()),
        ("is_control", pa.bool_()),
        ("is_aborted", pa.bool_()),
        ("marker", pa.string()),
        ("coordinator_epoch", pa.int32()),
        ("codec", pa.string()),
        ("crc", pa.int64()),
        ("size_bytes", pa.int32()),
        ("first_timestamp_ms", pa.int64()),
        ("max_timestamp_ms", pa.int64()),
    ]
)

# What is kept of a record, one row each. Null: not there, not wanted, or (is_aborted) not known.
CAPTURE = pa.schema(
    [
        ("role", pa.string()),
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()),
        ("timestamp_type", pa.string()),
        ("leader_epoch", pa.int32()),
        ("key", pa.binary()),
        ("key_size", pa.int32()),
        ("value_size", pa.int32()),
        ("value_hash", pa.uint64()),
        ("header_names", pa.list_(pa.string())),
        ("message_id", pa.string()),
        ("event_type", pa.string()),
        ("event_version", pa.string()),
        ("due", pa.bool_()),
        ("decoded", pa.bool_()),
        ("is_aborted", pa.bool_()),
        ("business_key_hash", pa.uint64()),
        ("compare_hash", pa.uint64()),
        ("origin_topic", pa.string()),
        ("origin_partition", pa.int32()),
        ("origin_offset", pa.int64()),
        ("dialect", pa.string()),
        ("replay_count", pa.int32()),
        ("app_version", pa.string()),
        ("schema_id", pa.int32()),
    ]
)

# The outcome of a scan, one row a partition. error: why it ended early or what is missing from it.
OUTCOME = pa.schema(
    [
        ("topic", pa.string()),
        ("partition", pa.int32()),
        ("start_offset", pa.int64()),
        ("end_offset", pa.int64()),
        ("next_offset", pa.int64()),
        ("records", pa.int64()),
        ("bytes", pa.int64()),
        ("error", pa.string()),
        ("truncated", pa.bool_()),
    ]
)


def capture_schema(include_values: bool) -> pa.Schema:
    """The schema of the files: ``CAPTURE``, and with values also ``value`` and ``headers`` at its end."""
    if not include_values:
        return CAPTURE
    return CAPTURE.append(pa.field("value", pa.binary())).append(pa.field("headers", HEADERS))


def header_lists(headers: Any) -> tuple[Any, Any]:
    """Names and values of a headers column as two list columns over the same buffers."""
    lengths = pc.fill_null(pc.list_value_length(headers), 0)
    starts = pa.concat_arrays([pa.array([0], pa.int32()), pc.cumulative_sum(lengths).cast(pa.int32())])
    flat = headers.flatten()
    names, values = (flat.field(name) for name in ("name", "value"))
    return pa.ListArray.from_arrays(starts, names), pa.ListArray.from_arrays(starts, values)
