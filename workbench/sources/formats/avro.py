"""Avro payloads through fastavro."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError
from workbench.sources.formats.model import Decode

CONTAINER = b"Obj\x01"  # a file of records that carries its schema


def decoder(schema: str, references: Sequence[str] = ()) -> Decode:
    """What decodes payloads of a schema.

    Args:
        schema: its JSON text.
        references: schemas that it names, in an order in which each can be understood.

    Raises:
        ConfigError: fastavro is not installed.
    """
    fastavro = _fastavro()
    named: dict[str, Any] = {}
    for one in references:
        fastavro.parse_schema(json.loads(one), named_schemas=named)
    parsed = fastavro.parse_schema(json.loads(schema), named_schemas=named)
    read = fastavro.schemaless_reader

    def decode(payload: bytes) -> Any:
        return read(io.BytesIO(payload), parsed)

    return decode


def from_file(path: Path) -> Decode:
    """What decodes payloads without a schema id, by a schema file.

    Raises:
        ConfigError: it is no Avro schema.
    """
    try:
        return decoder(path.read_text())
    except ConfigError:
        raise
    except Exception as error:  # noqa: BLE001 - the parser raises what it likes
        raise ConfigError(
            f"{path} is not an Avro schema ({type(error).__name__}).", hint="Give an .avsc file."
        ) from None


def container(value: bytes) -> Any:
    """The record of a value that is an Avro container file of one record."""
    return next(iter(_fastavro().reader(io.BytesIO(value))))


def _fastavro() -> Any:
    try:
        import fastavro
    except ImportError:
        raise ConfigError(
            "Avro needs the package fastavro, which is not installed.",
            hint="pip install 'kafka-integration-workbench[formats]'",
        ) from None
    return fastavro
