"""From batches to Arrow: the buffers that the compiled loop fills become arrays as they are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from workbench.capture.schema import HEADERS, RAW
from workbench.capture.wire._records import parse
from workbench.capture.wire.batches import Batch
from workbench.capture.wire.errors import DamagedBatch

_WANT = {"key": 1, "value": 2, "headers": 4}


def rows_of(
    batches: Sequence[tuple[Batch, Any, bool]], topic: str, partition: int, *, low: int, high: int, want: set[str]
) -> tuple[Any, DamagedBatch | None]:
    """(RecordBatch of schema ``RAW``, what was wrong behind it).

    Args:
        batches: heads, bodies, whether they were aborted; none of them control batches.
        topic: their topic.
        partition: their partition.
        low: first offset to keep.
        high: the first that is not kept.
        want: optional raw columns to fill, as ``raw_batch`` takes them.
    """
    given = [_given(*one) for one in batches]
    flags = sum(flag for name, flag in _WANT.items() if name in want)
    rows, headers, blocks, failed, position, problem = parse(given, low, high, flags)
    damage = None
    if problem:
        why = f"{problem} (byte {position} of its records)"
        damage = DamagedBatch(topic, partition, max(low, batches[failed][0].base_offset), why)
    columns = _columns(rows, headers, [pa.py_buffer(block) for block in blocks], want)
    columns |= {"topic": _repeat(topic, pa.string(), rows), "partition": _repeat(partition, pa.int32(), rows)}
    filled = [columns.get(field.name) for field in RAW]
    arrays = [pa.nulls(rows, field.type) if one is None else one for field, one in zip(RAW, filled, strict=True)]
    return pa.RecordBatch.from_arrays(arrays, schema=RAW), damage


def _given(batch: Batch, body: Any, aborted: bool) -> tuple[Any, int, int, int, int, bool, int, bool]:
    time = batch.first_ms if batch.append_ms is None else batch.append_ms
    last_delta = batch.last_offset - batch.base_offset
    by_broker = batch.append_ms is not None
    return (body, batch.records, batch.base_offset, last_delta, time, by_broker, batch.leader_epoch, aborted)


def _repeat(value: Any, kind: Any, count: int) -> Any:
    return pa.repeat(pa.scalar(value, kind), count)


def _columns(rows: int, headers: int, blocks: list[Any], want: set[str]) -> dict[str, Any]:
    (offsets, times, kinds, epochs, key_ends, keys, key_valid, value_ends, values, value_valid,
     list_ends, name_ends, names, header_ends, header_values, header_valid, aborted) = blocks  # fmt: skip
    out = {
        "offset": pa.Array.from_buffers(pa.int64(), rows, [None, offsets]),
        "is_aborted": pa.Array.from_buffers(pa.bool_(), rows, [None, aborted]),
    }
    if "timestamp" in want:
        out["timestamp_ms"] = pa.Array.from_buffers(pa.int64(), rows, [None, times])
        out["timestamp_type"] = pa.Array.from_buffers(pa.int8(), rows, [None, kinds])
    if "leader_epoch" in want:
        out["leader_epoch"] = _known(pa.Array.from_buffers(pa.int32(), rows, [None, epochs]))
    if "key" in want:
        out["key"] = pa.Array.from_buffers(pa.binary(), rows, [key_valid, key_ends, keys])
    if "value" in want:
        out["value"] = pa.Array.from_buffers(pa.binary(), rows, [value_valid, value_ends, values])
    if "headers" in want:
        name = pa.Array.from_buffers(pa.string(), headers, [None, name_ends, names])
        value = pa.Array.from_buffers(pa.binary(), headers, [header_valid, header_ends, header_values])
        pairs = pa.StructArray.from_arrays([name, value], fields=list(HEADERS.value_type))
        out["headers"] = pa.Array.from_buffers(HEADERS, rows, [None, list_ends], children=[pairs])
    return out


def _known(epochs: Any) -> Any:
    import pyarrow.compute as pc

    return pc.if_else(pc.less(epochs, 0), pa.scalar(None, pa.int32()), epochs)
