"""Transformations: a Python function of the user's, or a DuckDB expression; run on every record before any is sent.

A function is code: it is loaded only when it is named on the command line. The plan holds its path and the hash of its
file, so that what is sent was transformed by what the plan was made with.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workbench.capture import check_expression
from workbench.capture.expressions import COLUMNS
from workbench.errors import RedriveError, UsageError
from workbench.redrive.outgoing import Record

_FUNCTION = re.compile(r"(?P<path>.+\.py):(?P<name>[A-Za-z_]\w*)\Z", re.DOTALL)
ROWS_A_QUERY = 5_000


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a transformation made of a record.

    Attributes:
        record: null when it is not sent.
        left_out: ``transform_dropped``, ``transform_failed``, ``schema_failed``; null when it is sent.
        why: what failed, without the record's content.
    """

    record: Record | None
    left_out: str | None = None
    why: str = ""


Transform = Callable[[Sequence[Record]], list[Outcome]]


def unchanged(records: Sequence[Record]) -> list[Outcome]:
    """No transformation."""
    return [Outcome(record) for record in records]


def describe(text: str | None) -> dict[str, str] | None:
    """A transformation as the plan holds it.

    Raises:
        UsageError: an expression does not bind, or the function's file cannot be read.
    """
    if not text:
        return None
    if _FUNCTION.match(text):
        return {"kind": "function", "function": text, "sha256": file_hash(file_of(text), "--transform")}
    check_expression(text, "--transform")
    return {"kind": "expression", "expression": text}


def load(described: Mapping[str, str] | None, given: str | None) -> Transform:
    """The transformation of a plan.

    Args:
        described: as the plan holds it.
        given: what the command line names; a function of the plan's runs only when it is named here too.

    Raises:
        RedriveError: the command line names another one, or its file was changed since the plan was made.
        UsageError: it cannot be loaded.
    """
    if described is None:
        if given:
            raise RedriveError("The plan has no transformation.", hint="Make a plan with this --transform.")
        return unchanged
    if described["kind"] == "expression":
        if given and given != described["expression"]:
            raise RedriveError("--transform is not the plan's.", hint="Leave it out, or make a new plan.")
        return _by_expression(described["expression"])
    require_same("--transform", described["function"], described["sha256"], given)
    return _by_function(loaded_name(described["function"], "--transform"))


def require_same(option: str, planned: str, sha256: str, given: str | None) -> None:
    """Refuses code that is not named, is another than the plan's, or was changed.

    Raises:
        RedriveError: with what to do.
    """
    if given is None:
        raise RedriveError(
            f"The plan runs code of {planned}, which a plan alone may not.", hint=f"Add {option} {planned}"
        )
    if given != planned:
        raise RedriveError(f"{option} {given} is not the plan's {planned}.", hint="Make a plan with it.")
    if file_hash(file_of(planned), option) != sha256:
        raise RedriveError(f"{planned} was changed after the plan was made.", hint="Make a new plan.")


def file_of(text: str) -> Path:
    """The file of ``path.py:name``, or of a path alone."""
    found = _FUNCTION.match(text)
    return Path(found["path"] if found else text)


def file_hash(path: Path, option: str) -> str:
    """SHA-256 of a file, in hex.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise UsageError(f"{option}: {path} cannot be read: {error.strerror}.", hint="Check the path.") from None


def loaded_name(text: str, option: str) -> Any:
    """The function or class that ``path.py:name`` means; this runs the file.

    Raises:
        UsageError: the file fails, or has no such name.
    """
    path, _, name = text.rpartition(":")
    spec = importlib.util.spec_from_file_location("workbench_redrive_user_code", path)
    if spec is None or spec.loader is None:
        raise UsageError(f"{option}: {path} is no Python file.")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return getattr(module, name)
    except AttributeError:
        raise UsageError(f"{option}: {path} has no {name}.") from None
    except Exception as error:
        raise UsageError(f"{option}: {path} fails: {type(error).__name__}: {error}") from error


def _by_function(function: Callable[[Record], Any]) -> Transform:
    def transform(records: Sequence[Record]) -> list[Outcome]:
        return [_called(function, record) for record in records]

    return transform


def _called(function: Callable[[Record], Any], record: Record) -> Outcome:
    """A function gives a Record, a new value (bytes, text, JSON types), or None for a record that is not to be sent."""
    try:
        given = function(record)
        if given is None:
            return Outcome(None, "transform_dropped")
        return Outcome(_checked(given, record))
    except Exception as error:  # noqa: BLE001 - user code may raise anything; the record is then left out and counted
        return Outcome(None, "transform_failed", type(error).__name__)


def _checked(given: Any, record: Record) -> Record:
    if not isinstance(given, Record):
        return replace(record, value=_as_bytes(given))
    fine = (given.topic, given.partition) == (record.topic, record.partition)
    if not fine or not all(isinstance(part, bytes | None) for part in (given.key, given.value)):
        raise TypeError("a transformation may not change topic or partition; key and value are bytes or None")
    headers = tuple((str(name), None if value is None else bytes(value)) for name, value in given.headers)
    return replace(given, headers=headers, origin=record.origin, letter=record.letter)


def _as_bytes(value: Any) -> bytes:
    if isinstance(value, bytes):
        return value
    return value.encode() if isinstance(value, str) else json.dumps(value, allow_nan=False).encode()


def _by_expression(expression: str) -> Transform:
    """The value becomes what the expression gives: a text as it is, anything else as JSON."""
    kind = check_expression(expression, "--transform")
    shown = f"({expression})" if kind in ("VARCHAR", "JSON") else f"to_json({expression})"

    def transform(records: Sequence[Record]) -> list[Outcome]:
        out: list[Outcome] = []
        for start in range(0, len(records), ROWS_A_QUERY):
            out += _evaluated(shown, records[start : start + ROWS_A_QUERY])
        return out

    return transform


def _evaluated(shown: str, records: Sequence[Record]) -> list[Outcome]:
    import pyarrow as pa

    from workbench.evidence import connect_duckdb

    rows = pa.table(
        {
            "number": pa.array(range(len(records)), pa.int64()),
            "value": pa.array([_text(record.value) for record in records], pa.string()),
            "key": pa.array([_text(record.key) for record in records], pa.string()),
            "headers": pa.array([_last(record) for record in records], pa.map_(pa.string(), pa.string())),
            "timestamp": pa.array([record.timestamp_ms for record in records], pa.timestamp("ms", "UTC")),
            "partition": pa.array([record.partition for record in records], pa.int32()),
            "offset": pa.array([int(record.letter.rpartition("/")[2]) for record in records], pa.int64()),
        }
    )
    casts = ", ".join(f'try_cast("{name}" AS {kind}) AS "{name}"' for name, kind in COLUMNS.items())
    with connect_duckdb(threads=1, memory_limit="1GB") as con:
        con.register("rows", rows)
        query = f"SELECT try(({shown})::VARCHAR) FROM (SELECT number, {casts} FROM rows) ORDER BY number"
        found = con.execute(query).fetchall()
    return [_valued(record, text) for record, (text,) in zip(records, found, strict=True)]


def _valued(record: Record, text: str | None) -> Outcome:
    if text is None:
        return Outcome(None, "transform_failed", "the expression gives null")
    return Outcome(replace(record, value=text.encode()))


def _text(raw: bytes | None) -> str | None:
    try:
        return None if raw is None else raw.decode()
    except UnicodeDecodeError:
        return None


def _last(record: Record) -> list[tuple[str, str | None]]:
    return list({name: _text(value) for name, value in record.headers}.items())
