"""Small Arrow tables from Python rows, by way of JSON.

``pyarrow.array`` and ``Table.from_pylist`` import pandas where it is installed, which costs more than a second of a
command's start.
"""

from __future__ import annotations

import importlib.abc
import io
import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.json


def table_of(schema: pa.Schema, rows: Iterable[Sequence[Any]]) -> pa.Table:
    """A table of texts, numbers, booleans and lists of them, from rows in the schema's order."""
    return table_of_lines(schema, (json.dumps(dict(zip(schema.names, row, strict=True))) for row in rows))


def table_of_lines(schema: pa.Schema, lines: Iterable[str]) -> pa.Table:
    """The same from JSON Lines with the schema's fields.

    Raises:
        pyarrow.ArrowInvalid: a line is damaged, or has a field that the schema has not.
    """
    data = "\n".join(lines).encode()
    if not data:
        return pa.Table.from_batches([], schema)
    return pyarrow.json.read_json(
        io.BytesIO(data),
        # One block: a row must not be cut, however long its texts are.
        read_options=pyarrow.json.ReadOptions(use_threads=False, block_size=len(data) + 1),
        parse_options=pyarrow.json.ParseOptions(explicit_schema=schema, unexpected_field_behavior="error"),
    )


def keep_pandas_out() -> None:
    """Lets pyarrow find that pandas is not there, once and for this process, where nothing will ever ask for it.

    For command-line and worker processes: pyarrow would import pandas at the first ``pyarrow.array``, though it needs it
    only to recognise pandas objects.
    """
    if "pandas" in sys.modules:
        return
    refuse = _Refusing()
    sys.meta_path.insert(0, refuse)
    try:
        pa.array([None])
    finally:
        sys.meta_path.remove(refuse)


class _Refusing(importlib.abc.MetaPathFinder):
    """Says of pandas alone that it is not there."""

    def find_spec(self, fullname: str, _path: object, _target: object = None) -> None:
        if fullname == "pandas":
            raise ModuleNotFoundError(fullname)
