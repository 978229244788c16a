"""Rows of Python objects, as most drivers give them, as record batches."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any

import pyarrow as pa


def batch_of(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> Any:
    """A record batch of some rows; a column whose values differ in type becomes one of texts."""
    columns = [_column(list(values)) for values in zip(*rows, strict=True)]
    return pa.RecordBatch.from_arrays(columns, names=list(names))


def _column(values: list[Any]) -> Any:
    kinds = {type(value) for value in values} - {type(None)}
    if not kinds:
        return pa.nulls(len(values), pa.string())
    if kinds <= {int}:
        return pa.array(values, pa.int64())
    if kinds <= {int, float}:
        return pa.array(values, pa.float64())
    if kinds <= {datetime}:
        return pa.array(values, pa.timestamp("us"))
    return pa.array([None if value is None else _text(value) for value in values], pa.string())


def _text(value: Any) -> str:
    if isinstance(value, bytes | bytearray):
        return f"hex:{value.hex()}"
    return value.isoformat() if isinstance(value, date) else str(value)
