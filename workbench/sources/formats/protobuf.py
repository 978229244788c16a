"""Protobuf payloads: by their descriptors where the registry gives them, else by their field numbers."""

from __future__ import annotations

import base64
import struct
from collections.abc import Sequence
from typing import Any

from workbench.errors import ConfigError
from workbench.sources.formats.model import Decode

_DEEPEST = 20
_FIXED = {1: "<Q", 5: "<I"}  # wire types of a fixed width


def decoder(serialized: Sequence[tuple[str, str]]) -> Decode:
    """What decodes payloads behind a schema id: message indexes, then the message.

    Args:
        serialized: (name by which others import it, file descriptor in base64), those that others import before them, the
            schema's own last; [] where none are known: then fields are called by their numbers (``$.1``), and what a field
            means is guessed from its bytes.

    Raises:
        ConfigError: protobuf is not installed.
    """
    if not serialized:
        return lambda payload: by_number(payload[_after_indexes(payload)[1] :])
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, json_format, message_factory
    except ImportError:
        raise ConfigError(
            "Protobuf needs the package protobuf, which is not installed.",
            hint="pip install 'kafka-integration-workbench[formats]'",
        ) from None
    pool = descriptor_pool.DescriptorPool()
    _add_well_known(pool)
    for name, text in serialized:
        file = descriptor_pb2.FileDescriptorProto.FromString(_descriptor(text))
        file.name = name or file.name or "default"
        pool.Add(file)
    top = pool.FindFileByName(file.name)

    def decode(payload: bytes) -> Any:
        indexes, at = _after_indexes(payload)
        found = list(top.message_types_by_name.values())[indexes[0]]
        for index in indexes[1:]:
            found = found.nested_types[index]
        message = message_factory.GetMessageClass(found).FromString(payload[at:])
        return json_format.MessageToDict(message)

    return decode


def _descriptor(text: str) -> bytes:
    """A descriptor's bytes: Confluent's registry gives them in base64, Apicurio's as a text."""
    try:
        return base64.b64decode(text, validate=True)
    except ValueError:
        return text.encode()


def _add_well_known(pool: Any) -> None:
    from google.protobuf import (
        any_pb2,
        duration_pb2,
        empty_pb2,
        field_mask_pb2,
        struct_pb2,
        timestamp_pb2,
        wrappers_pb2,
    )

    for module in (any_pb2, duration_pb2, empty_pb2, field_mask_pb2, struct_pb2, timestamp_pb2, wrappers_pb2):
        pool.AddSerializedFile(module.DESCRIPTOR.serialized_pb)


def _after_indexes(payload: bytes) -> tuple[list[int], int]:
    """(which message of the file, where it begins); a single 0 stands for the first."""
    count, at = _zigzag(payload, 0)
    if not 0 <= count <= _DEEPEST:
        raise ValueError("its message indexes are damaged")
    out = []
    for _ in range(count):
        index, at = _zigzag(payload, at)
        out.append(index)
    if any(index < 0 for index in out):
        raise ValueError("its message indexes are damaged")
    return out or [0], at


def _zigzag(data: bytes, at: int) -> tuple[int, int]:
    value, at = _varint(data, at)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = 0
    for shift in range(0, 70, 7):
        byte = data[at]  # an IndexError where it is cut off
        value |= (byte & 0x7F) << shift
        at += 1
        if not byte & 0x80:
            return value, at
    raise ValueError("a number is too long")


def by_number(data: bytes, depth: int = 0) -> dict[str, Any]:
    """A message without its schema: field number -> value, a list where it comes more than once.

    Bytes are a text where they are printable UTF-8, else a message where they are one from end to end, else ``hex:`` digits.

    Raises:
        ValueError, IndexError, struct.error: it is no message.
    """
    out: dict[str, Any] = {}
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        value, at = _field(data, at, tag & 7, depth)
        name = str(tag >> 3)
        if name == "0":
            raise ValueError("field 0")
        if name in out:
            out[name] = [*(out[name] if isinstance(out[name], list) else [out[name]]), value]
        else:
            out[name] = value
    return out


def _field(data: bytes, at: int, wire: int, depth: int) -> tuple[Any, int]:
    if wire == 0:
        return _varint(data, at)
    if wire in _FIXED:
        form = _FIXED[wire]
        return struct.unpack_from(form, data, at)[0], at + struct.calcsize(form)
    if wire == 2:
        size, at = _varint(data, at)
        if at + size > len(data):
            raise ValueError("it is cut off")
        return _bytes(data[at : at + size], depth), at + size
    raise ValueError("a wire type that is not used")


def _bytes(part: bytes, depth: int) -> Any:
    try:
        text = part.decode()
        if all(one.isprintable() or one.isspace() for one in text):
            return text
    except UnicodeDecodeError:
        pass
    if depth < _DEEPEST:
        try:
            return by_number(part, depth + 1)
        except (ValueError, IndexError, struct.error):
            pass
    return f"hex:{part.hex()}"
