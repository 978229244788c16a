"""The integration as an AsyncAPI 3 document: what the notification service receives and sends, and in which format."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from workbench._version import __version__
from workbench.integration.formats import (
    CONTENT_TYPE,
    DATA_TYPES,
    Ack,
    DeadLetter,
    ErrorReply,
    Event,
    Notification,
    WireModel,
)

VERSION = "3.0.0"
BINDING_VERSION = "0.5.0"
FORMATS: tuple[type[WireModel], ...] = (Event, Notification, DeadLetter, Ack, ErrorReply, *DATA_TYPES.values())


def json_schemas() -> dict[str, Any]:
    """Name -> JSON Schema (2020-12) of each format as it is on the wire; they refer to each other below ``#/components``."""
    _, found = models_json_schema(
        [(model, "validation") for model in FORMATS], ref_template="#/components/schemas/{model}"
    )
    schemas: dict[str, Any] = found["$defs"]
    for schema in schemas.values():
        # The rest of a docstring speaks of Python's names.
        schema["description"] = schema.get("description", "").split("\n\n")[0]
    return schemas | {_event_name(kind): _event_schema(kind, model) for kind, model in DATA_TYPES.items()}


def document(
    *,
    events: str = "user.events",
    notifications: str = "user.notifications",
    dead_letters: str = "user.events.dlq",
    group: str = "user-processor",
    brokers: str = "localhost:9092",
) -> dict[str, Any]:
    """The document.

    Args:
        events: topic that is read.
        notifications: topic that is written.
        dead_letters: topic of what was given up.
        group: consumer group that reads.
        brokers: host:port of the brokers to begin with, joined by commas; the first is shown.
    """
    names = [_event_name(kind) for kind in DATA_TYPES]
    return {
        "asyncapi": VERSION,
        "info": {
            "title": "Notification service",
            "version": __version__,
            "description": "Reads what happened to users, and writes one notification for each event.",
            "license": {"name": "Apache-2.0"},
        },
        "defaultContentType": CONTENT_TYPE,
        "servers": {"kafka": {"host": brokers.split(",", maxsplit=1)[0], "protocol": "kafka"}},
        "channels": {
            "events": _channel(events, names, "What happened, as the source tells it."),
            "notifications": _channel(notifications, ["Notification"], "One notification for each event."),
            "deadLetters": _channel(dead_letters, ["DeadLetter"], "Events that were given up, and why."),
        },
        "operations": {
            "onEvent": _operation("receive", "events", names, {"groupId": {"type": "string", "enum": [group]}}),
            "notify": _operation("send", "notifications", ["Notification"]),
            "giveUp": _operation("send", "deadLetters", ["DeadLetter"]),
        },
        "components": {
            "messages": {name: _message(name) for name in [*names, "Notification", "DeadLetter"]},
            "schemas": json_schemas() | {"Headers": _headers()},
        },
    }


def _event_name(kind: str) -> str:
    """``user.created`` -> ``UserCreatedEvent``."""
    return "".join(word.capitalize() for word in kind.replace("-", ".").split(".")) + "Event"


def _event_schema(kind: str, model: type[WireModel]) -> dict[str, Any]:
    data = {"$ref": f"#/components/schemas/{model.__name__}"}
    return {
        "description": f"An event of the type {kind}.",
        "allOf": [
            {"$ref": "#/components/schemas/Event"},
            {"type": "object", "properties": {"eventType": {"const": kind}, "data": data}},
        ],
    }


def _headers() -> dict[str, Any]:
    text = {"type": "string"}
    return {
        "type": "object",
        "properties": {
            "message-id": {**text, "description": "The message's id, equal to messageId where the value has one."},
            "content-type": {**text, "examples": [CONTENT_TYPE]},
            "traceparent": {**text, "description": "W3C trace context."},
            "encryption-key-id": {**text, "description": "The key that the value is encrypted with; absent in clear."},
        },
    }


def _channel(address: str, messages: list[str], description: str) -> dict[str, Any]:
    return {
        "address": address,
        "description": description,
        "messages": {name: {"$ref": f"#/components/messages/{name}"} for name in messages},
        "bindings": {"kafka": {"topic": address, "bindingVersion": BINDING_VERSION}},
    }


def _operation(
    action: str, channel: str, messages: list[str], binding: Mapping[str, Any] | None = None
) -> dict[str, Any]:
    found: dict[str, Any] = {
        "action": action,
        "channel": {"$ref": f"#/channels/{channel}"},
        "messages": [{"$ref": f"#/channels/{channel}/messages/{name}"} for name in messages],
    }
    return found | ({"bindings": {"kafka": {**binding, "bindingVersion": BINDING_VERSION}}} if binding else {})


def _message(name: str) -> dict[str, Any]:
    known_by = "$message.header#/message-id" if name == "DeadLetter" else "$message.payload#/messageId"
    return {
        "name": name,
        "contentType": CONTENT_TYPE,
        "headers": {"$ref": "#/components/schemas/Headers"},
        "payload": {"$ref": f"#/components/schemas/{name}"},
        "correlationId": {"location": known_by},
    }
