"""Times and marks of a store's rows, whatever type its columns have."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.compute as pc

# Numbers as times: seconds, milliseconds, microseconds or nanoseconds since 1970, told apart by their size.
_SECONDS_BELOW, _MILLIS_BELOW, _MICROS_BELOW = 10**11, 10**14, 10**17
_UNSET = frozenset({"", "0", "f", "false", "n", "no"})


def times_ms(column: Any, timezone: str) -> Any:
    """Epoch milliseconds of a column of times, as int64; null where a value is none.

    Args:
        column: timestamps, dates, numbers since 1970 (their unit is told by their size), or texts in ISO form.
        timezone: of values without one.
    """
    kind = column.type
    if pa.types.is_date(kind):
        column = column.cast(pa.timestamp("ms"))
        kind = column.type
    if pa.types.is_timestamp(kind):
        if kind.tz is None:
            column = pc.assume_timezone(column, timezone, ambiguous="earliest", nonexistent="earliest")
        return column.cast(pa.timestamp("ms", "UTC"), safe=False).cast(pa.int64())
    zone = ZoneInfo(timezone)
    return pa.array([_ms(value, zone) for value in column.to_pylist()], pa.int64())


def _ms(value: Any, zone: ZoneInfo) -> int | None:
    if isinstance(value, bytes):
        value = value.decode(errors="replace")
    if isinstance(value, str):
        return _text_ms(value.strip(), zone)
    if isinstance(value, datetime):
        return round(value.replace(tzinfo=value.tzinfo or zone).timestamp() * 1000)
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:  # noqa: PLR0124 - not a number
        return None
    size = abs(value)
    if size < _SECONDS_BELOW:
        return round(value * 1000)
    return int(value if size < _MILLIS_BELOW else value // 1000 if size < _MICROS_BELOW else value // 1_000_000)


def _text_ms(text: str, zone: ZoneInfo) -> int | None:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        try:
            return _ms(float(text), zone) if text else None
        except (ValueError, OverflowError):
            return None
    try:
        return round((at if at.tzinfo else at.replace(tzinfo=zone)).astimezone(UTC).timestamp() * 1000)
    except (OverflowError, ValueError):
        return None


def marks(column: Any) -> Any:
    """Whether a column is set: true, a number other than 0, a time, or a text that does not mean no."""
    if pa.types.is_boolean(column.type):
        return pc.fill_null(column, fill_value=False)
    if pa.types.is_integer(column.type) or pa.types.is_floating(column.type):
        return pc.fill_null(pc.not_equal(column, 0), fill_value=False)
    if pa.types.is_string(column.type) or pa.types.is_large_string(column.type):
        return pa.array([value is not None and value.strip().lower() not in _UNSET for value in column.to_pylist()])
    return column.is_valid()
