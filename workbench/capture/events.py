"""Event type and version, and the version of the application that wrote a record; kept only where they are plain names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

# Anything else may be content, which does not leave memory. RE2 syntax; \\z: no newline after it either.
PLAIN = r"\A[A-Za-z0-9._:/-]{1,100}\z"
TYPE_HEADERS = ("event-type", "ce_type", "eventType")
TYPE_PATHS = ("$.eventType", "$.type")
VERSION_HEADERS = ("event-version", "eventVersion")
VERSION_PATHS = ("$.version",)
APP_HEADERS = ("app-version", "x-app-version", "application-version", "service-version", "x-service-version")


def event_columns(names: Any, contents: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    """Columns ``event_type``, ``event_version`` and ``app_version``, null where there is none or it is no plain name.

    Args:
        names: header names, a list a record.
        contents: header values, a list a record.
        found: texts found in the JSON, a column for each of ``TYPE_PATHS`` and ``VERSION_PATHS``.
    """
    return {
        "event_type": _first(
            [*_in_headers(names, contents, TYPE_HEADERS), *map(found.__getitem__, TYPE_PATHS)], len(names)
        ),
        "event_version": _first(
            [*_in_headers(names, contents, VERSION_HEADERS), *map(found.__getitem__, VERSION_PATHS)], len(names)
        ),
        "app_version": _first([*_in_headers(names, contents, APP_HEADERS)], len(names)),
    }


def _first(columns: list[Any], rows: int) -> Any:
    plain = [_plain(column) for column in columns if column.null_count < rows]
    return pc.coalesce(*plain) if plain else pa.nulls(rows, pa.string())


def _in_headers(names: Any, contents: Any, wanted: tuple[str, ...]) -> Iterator[Any]:
    """A column for each of the wanted names that any record has: its last value, as Kafka's ``lastHeader``."""
    flat, values, parents = names.flatten(), contents.flatten(), pc.list_parent_indices(names)
    for name in wanted:
        hits = pc.equal(flat, name)
        if not pc.any(hits).as_py():
            continue
        last = dict(zip(parents.filter(hits).to_pylist(), values.filter(hits).to_pylist(), strict=True))
        yield pa.array([_text(last.get(row)) for row in range(len(names))], pa.string())


def _text(value: bytes | None) -> str | None:
    try:
        return None if value is None else value.decode()
    except UnicodeDecodeError:
        return None


def _plain(column: Any) -> Any:
    """Null where a text is no plain name; there are few different ones, so each is looked at once."""
    encoded = column.dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.combine_chunks()
    words = encoded.dictionary
    fine = pc.if_else(pc.match_substring_regex(words, PLAIN), words, pa.scalar(None, pa.string()))
    return fine.take(encoded.indices)
