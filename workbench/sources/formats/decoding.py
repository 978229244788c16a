"""One topic's keys and values as JSON text, whatever they were written with."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workbench.sources.formats import avro, plain
from workbench.sources.formats.model import Decode, Unknown
from workbench.sources.formats.registry import Registry

_FRAMED = ("avro", "protobuf", "json-schema")  # a zero byte, the schema's id in four, then the payload
_HEAD = 5
_PLAIN: Mapping[str, Decode] = {"text": plain.text, "integer": plain.integer}


def schema_id_of(value: bytes | None) -> int | None:
    """The id of the schema that a value was written with; None where it carries none."""
    if value is None or len(value) < _HEAD or value[0] != 0:
        return None
    return int.from_bytes(value[1:_HEAD], "big")


class Decoder:
    """Decodes a topic's keys and values; what cannot be decoded is null.

    Args:
        value_format: ``auto`` takes what begins with a zero byte and a schema's id for that, an Avro container for one, and
            everything else for JSON.
        key_format: the same for keys; here ``auto`` leaves what carries no schema id as it is.
        registry: where schemas are; None: records that carry a schema's id cannot be decoded.

    Raises:
        ConfigError: a schema file is none, or the registry has no address.
    """

    def __init__(
        self, value_format: str = "auto", key_format: str = "auto", registry: Mapping[str, Any] | None = None
    ) -> None:
        self.value_format, self.key_format = value_format, key_format
        self._registry = Registry(registry) if registry else None
        self._value = self._decode_of(value_format)
        self._key = self._decode_of(key_format)

    def close(self) -> None:
        """Frees the registry's connections."""
        if self._registry is not None:
            self._registry.close()

    def _decode_of(self, name: str) -> Callable[[bytes], Any]:
        if name.startswith("avro:"):
            return avro.from_file(Path(name.removeprefix("avro:")))
        return _PLAIN.get(name, self._framed)

    def _framed(self, value: bytes) -> Any:
        schema_id = schema_id_of(value)
        if schema_id is None:
            if value.startswith(avro.CONTAINER):
                return avro.container(value)
            return json.loads(value)
        if self._registry is None:
            raise Unknown("no schema registry is configured")
        return self._registry.decoder(schema_id)(value[_HEAD:])

    def why_not(self, value: bytes) -> str:
        """Why a value cannot be decoded; "" where it can."""
        try:
            self._value(value)
        except Unknown as error:
            return str(error)
        except Exception as error:  # noqa: BLE001 - damaged payloads make decoders raise what they like
            return f"it does not fit its schema ({type(error).__name__})"
        return ""

    def json(self, value: bytes | None) -> bytes | None:
        """A value that names a schema as JSON; as it is where it does not, or cannot be decoded."""
        if schema_id_of(value) is None:
            return value
        text = _text(self._value, value)
        return value if text is None else text.encode()

    def texts(self, values: Any) -> Any:
        """Values as JSON texts; None where they are JSON already, which the caller reads as they are."""
        if self.value_format in {"json", "raw"} or (self.value_format == "auto" and not _any_framed(values)):
            return None
        return pa.array([_text(self._value, value) for value in values.to_pylist()], pa.string())

    def schema_ids(self, values: Any) -> Any:
        """The ids of the schemas that values carry; None where none does."""
        if self.value_format not in {"auto", *_FRAMED} or not _any_framed(values):
            return None
        return pa.array([schema_id_of(value) for value in values.to_pylist()], pa.int32())

    def keys(self, keys: Any) -> Any:
        """Keys as they identify something: texts for numbers and decoded scalars, JSON for more; others as they are."""
        if self.key_format in {"json", "raw", "text"} or (self.key_format == "auto" and not _any_framed(keys)):
            return keys
        return pa.array([self._key_bytes(key) for key in keys.to_pylist()], pa.binary())

    def _key_bytes(self, key: bytes | None) -> bytes | None:
        text = _text(self._key, key)
        if text is None:
            return key
        scalar = json.loads(text)
        return scalar.encode() if isinstance(scalar, str) else text.encode()


def _any_framed(values: Any) -> bool:
    """Whether any value carries a schema's id, or a schema; one look at all of them."""
    if pa.types.is_null(values.type):
        return False
    return any(pc.any(pc.starts_with(values, pattern=mark)).as_py() for mark in (b"\0", avro.CONTAINER))


def _text(decode: Callable[[bytes], Any], value: bytes | None) -> str | None:
    if value is None:
        return None
    try:
        return _dumped(decode(value))
    except Exception:  # noqa: BLE001 - hostile or damaged payloads make decoders raise what they like; they are counted
        return None


def _dumped(document: Any) -> str:
    try:
        return json.dumps(document, default=_other, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(document), default=_other, ensure_ascii=False, allow_nan=False)


def _other(value: Any) -> Any:
    """What JSON has no word for: bytes as hexadecimal digits, times in ISO form, all else as its text."""
    if isinstance(value, bytes):
        return f"hex:{value.hex()}"
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def _finite(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {str(name): _finite(inner) for name, inner in value.items()}
    return [_finite(inner) for inner in value] if isinstance(value, list | tuple) else value
