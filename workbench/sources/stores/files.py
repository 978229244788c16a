"""Files: Parquet, CSV and JSON Lines, one or many, here or wherever fsspec reaches; compressed ones too."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from typing import Any

import pyarrow as pa

from workbench.errors import SourceUnavailable, UsageError
from workbench.sources.stores.needed import needed
from workbench.sources.stores.reading import Columns, Window
from workbench.sources.stores.statements import FETCHED_ROWS
from workbench.stores import Store

_ENDINGS = {".parquet": "parquet", ".pq": "parquet", ".csv": "csv", ".tsv": "csv", ".jsonl": "jsonl", ".ndjson": "jsonl",
            ".json": "jsonl"}  # fmt: skip
_COMPRESSED = (".gz", ".bz2", ".xz", ".zst")
_LOOKED_AT = 100  # lines, for the names that JSON documents have
_DELIMITERS = ",;\t|"


@contextmanager
def opened(store: Store) -> Iterator[_Opened]:
    """The files, found when it is called."""
    fsspec = needed("fsspec", store)
    try:
        found = fsspec.open_files(store.path, mode="rb", compression="infer")
        files = [one for one in found if one.fs.isfile(one.path)]
    except (OSError, ValueError, ImportError) as error:
        raise _unreadable(store, store.path, error) from None
    if not files:
        raise UsageError(f"{store.name}: no file is called {store.path}.", hint="Check the path or pattern.")
    yield _Opened(store, files)


class _Opened:
    def __init__(self, store: Store, files: list[Any]) -> None:
        self._store, self._files = store, files

    def columns(self) -> dict[str, str]:
        """Of the first file that has any: an export of a quiet hour may be empty."""
        for file in self._files:
            try:
                if names := _READERS[self._format(file)][0](file):
                    return names
            except (OSError, ValueError, pa.ArrowException) as error:
                raise _unreadable(self._store, file.path, error) from None
        return {}

    def _format(self, file: Any) -> str:
        if self._store.format:
            return self._store.format
        name = file.path.lower()
        name = name.rpartition(".")[0] if name.endswith(_COMPRESSED) else name
        for ending, kind in _ENDINGS.items():
            if name.endswith(ending):
                return kind
        raise UsageError(
            f"{self._store.name}: what {file.path} holds is not known by its name.",
            hint='Write format = "parquet", "csv" or "jsonl" into its entry.',
        )

    def rows(self, columns: Columns, window: Window, limit: int | None) -> Iterator[Any]:
        del window  # every row is looked at: files have no index of times
        left = limit
        for file in self._files:
            try:
                for batch in _READERS[self._format(file)][1](file, columns):
                    taken = batch if left is None else batch.slice(0, left)
                    left = None if left is None else left - taken.num_rows
                    yield taken
                    if left == 0:
                        return
            except (OSError, ValueError, EOFError, csv.Error, pa.ArrowException) as error:
                raise _unreadable(self._store, file.path, error) from None

    def removed(self) -> Iterator[Any]:
        yield from ()


def _unreadable(store: Store, path: str, error: Exception) -> SourceUnavailable:
    why = (str(error).splitlines() or [type(error).__name__])[0][:200].rstrip(".")
    return SourceUnavailable(f"{store.name}: {path} cannot be read: {why}.", source=store.name, hint="Check the file.")


# ---- Parquet ----


def _parquet_columns(file: Any) -> dict[str, str]:
    import pyarrow.parquet as pq

    with file as opened_file:
        return {column.name: str(column.type) for column in pq.read_schema(opened_file)}


def _parquet_rows(file: Any, columns: Columns) -> Iterator[Any]:
    import pyarrow.parquet as pq

    with file as opened_file:
        source = pq.ParquetFile(opened_file)
        for batch in source.iter_batches(FETCHED_ROWS, columns=list(dict.fromkeys(columns.names.values()))):
            yield _named(batch, columns)


def _named(batch: Any, columns: Columns) -> Any:
    """The columns by their roles; a dotted name leads into a struct."""
    made = {role: _column(batch, name) for role, name in columns.names.items()}
    made["id"] = _text(made["id"])
    return pa.RecordBatch.from_arrays(list(made.values()), names=list(made))


def _column(batch: Any, name: str) -> Any:
    import pyarrow.compute as pc

    if name in batch.schema.names:
        return batch[name]
    first, _, rest = name.partition(".")
    return pc.struct_field(batch[first], rest.split("."))


def _text(column: Any) -> Any:
    kind = column.type
    if pa.types.is_dictionary(kind):
        column = column.dictionary_decode()
        kind = column.type
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind) or pa.types.is_fixed_size_binary(kind):
        return pa.array([None if one is None else f"hex:{one.hex()}" for one in column.to_pylist()], pa.string())
    return column.cast(pa.string())


# ---- CSV: values stay the texts that they are, so that 007 is not 7 ----


def _csv_lines(file: Any) -> Iterator[list[str]]:
    with file as opened_file:
        text = io.TextIOWrapper(opened_file, encoding="utf-8-sig", errors="replace", newline="")
        header = text.readline()
        delimiter = max(_DELIMITERS, key=header.count)
        yield from csv.reader(chain([header], text), delimiter=delimiter)


def _csv_columns(file: Any) -> dict[str, str]:
    return dict.fromkeys(next(_csv_lines(file), []), "text")


def _csv_rows(file: Any, columns: Columns) -> Iterator[Any]:
    lines = _csv_lines(file)
    header = next(lines, [])
    if not header:
        return
    places = {role: header.index(name) for role, name in columns.names.items()}
    yield from _batched((_csv_row(line, len(header), places, columns) for line in lines), columns)


def _csv_row(line: list[str], width: int, places: Mapping[str, int], columns: Columns) -> dict[str, Any] | None:
    if not line:
        return None
    if len(line) != width:
        columns.skipped["lines with another number of fields"] += 1
        return None
    return {role: line[at] or None for role, at in places.items()}


# ---- JSON Lines ----


def _json_lines(file: Any) -> Iterator[bytes]:
    with file as opened_file:
        yield from opened_file


def _json_columns(file: Any) -> dict[str, str]:
    names: dict[str, str] = {}
    for number, line in enumerate(_json_lines(file)):
        document = _document(line)
        if isinstance(document, dict):
            names |= {name: type(value).__name__ for name, value in document.items() if name not in names}
        if number >= _LOOKED_AT:
            break
    return names


def _json_rows(file: Any, columns: Columns) -> Iterator[Any]:
    paths = {role: name.split(".") for role, name in columns.names.items()}
    yield from _batched((_json_row(line, paths, columns) for line in _json_lines(file)), columns)


def _json_row(line: bytes, paths: Mapping[str, list[str]], columns: Columns) -> dict[str, Any] | None:
    if not line.strip():
        return None
    document = _document(line)
    if not isinstance(document, dict):
        columns.skipped["lines that are no JSON object"] += 1
        return None
    return {role: _scalar(_found(document, path)) for role, path in paths.items()}


def _document(line: bytes) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError):
        return None


def _found(document: Any, path: list[str]) -> Any:
    whole = ".".join(path)
    if whole in document:
        return document[whole]
    for name in path:
        document = document.get(name) if isinstance(document, dict) else None
    return document


def _scalar(value: Any) -> str | None:
    """A value as the text that identifies it, or says when; objects and lists do neither."""
    if isinstance(value, str):
        return value
    return json.dumps(value) if isinstance(value, bool | int | float) else None


def _batched(rows: Iterator[dict[str, Any] | None], columns: Columns) -> Iterator[Any]:
    """Rows of texts as batches."""
    held: dict[str, list[Any]] = {role: [] for role in columns.names}
    count = 0
    for row in rows:
        if row is None:
            continue
        for role, value in row.items():
            held[role].append(value)
        count += 1
        if count % FETCHED_ROWS == 0:
            yield _texts(held)
            held = {role: [] for role in columns.names}
    if count % FETCHED_ROWS:
        yield _texts(held)


def _texts(held: Mapping[str, list[Any]]) -> Any:
    return pa.RecordBatch.from_arrays([pa.array(one, pa.string()) for one in held.values()], names=list(held))


_Names = Callable[[Any], dict[str, str]]
_Rows = Callable[[Any, Columns], Iterator[Any]]
_READERS: Mapping[str, tuple[_Names, _Rows]] = {
    "parquet": (_parquet_columns, _parquet_rows),
    "csv": (_csv_columns, _csv_rows),
    "jsonl": (_json_columns, _json_rows),
}
