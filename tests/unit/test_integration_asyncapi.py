"""The AsyncAPI 3 document: its structure as the specification demands it, and its schemas against real messages."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator, ValidationError
from typer.testing import CliRunner

from workbench.cli import app
from workbench.integration.asyncapi import document, json_schemas
from workbench.integration.formats import Ack, Acknowledgment, DeadLetter, ErrorBody, ErrorReply, Event, Notification

NOW = datetime(2026, 1, 31, 12, tzinfo=UTC)


def closed(required: list[str], **properties: Any) -> dict[str, Any]:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "patternProperties": {r"^x-[\w\d\.\x2d_]+$": True},
        "additionalProperties": False,
    }


def refer(to: str) -> dict[str, Any]:
    return closed(["$ref"], **{"$ref": {"type": "string", "pattern": f"^#/{to}"}})


TEXT, NAMED = {"type": "string"}, {"propertyNames": {"pattern": r"^[\w\d.\-_]+$"}, "type": "object"}
KAFKA = {"type": "object", "required": ["kafka"], "additionalProperties": False}
# Written after the tables of the specification (3.0.0) and of its Kafka bindings (0.5.0): the objects that the document uses.
INFO = closed(
    ["title", "version"], title=TEXT, version=TEXT, description=TEXT, license=closed(["name"], name=TEXT, url=TEXT)
)
SERVER = closed(["host", "protocol"], host={"type": "string", "pattern": r"^[^/\s]+$"}, protocol=TEXT, description=TEXT)
COUNT = {"type": "integer", "minimum": 1}
CHANNEL_BINDING = closed([], topic=TEXT, partitions=COUNT, replicas=COUNT, bindingVersion={"const": "0.5.0"})
CHANNEL = closed(
    [],
    address={"type": ["string", "null"]},
    description=TEXT,
    messages={**NAMED, "additionalProperties": refer("components/messages/")},
    bindings={
        **KAFKA,
        "properties": {
            "kafka": closed(
                [],
                topic=TEXT,
                partitions={"type": "integer"},
                replicas={"type": "integer"},
                bindingVersion={"const": "0.5.0"},
            )
        },
    },
)
OPERATION = closed(
    ["action", "channel"],
    action={"enum": ["send", "receive"]},
    channel=refer(r"channels/[^/]+$"),
    messages={"type": "array", "items": refer(r"channels/[^/]+/messages/[^/]+$")},
    bindings={
        **KAFKA,
        "properties": {"kafka": closed([], groupId={"type": "object"}, bindingVersion={"const": "0.5.0"})},
    },
)
MESSAGE = closed(
    [],
    name=TEXT,
    contentType=TEXT,
    headers=refer("components/schemas/"),
    payload=refer("components/schemas/"),
    correlationId=closed(["location"], location={"pattern": r"^\$message\.(header|payload)#(/([^/~]|~[01])*)*$"}),
)
DOCUMENT = closed(
    ["asyncapi", "info"],
    asyncapi={"const": "3.0.0"},
    info=INFO,
    defaultContentType=TEXT,
    servers={**NAMED, "additionalProperties": SERVER},
    channels={"type": "object", "additionalProperties": CHANNEL},
    operations={"type": "object", "additionalProperties": OPERATION},
    components=closed(
        [],
        schemas={**NAMED, "additionalProperties": {"type": "object"}},
        messages={**NAMED, "additionalProperties": MESSAGE},
    ),
)


def pointed(root: Any, pointer: str) -> Any:
    for part in pointer.removeprefix("#/").split("/"):
        root = root[part.replace("~1", "/").replace("~0", "~")]
    return root


def references(value: Any) -> set[str]:
    if isinstance(value, dict):
        own = {value["$ref"]} if isinstance(value.get("$ref"), str) else set()
        return own.union(*(references(inner) for inner in value.values()))
    return set().union(*(references(inner) for inner in value)) if isinstance(value, list) else set()


def test_the_document_has_the_structure_of_asyncapi_3():
    Draft202012Validator(DOCUMENT).validate(document())


@pytest.mark.parametrize(
    ("path", "wrong"),
    [
        ("operations/notify/action", "publish"),  # as in AsyncAPI 2
        ("operations/notify/channel", "user.notifications"),
        ("channels/events/subscribe", {}),
        ("servers/kafka/url", "localhost:9092"),
        ("components/messages/Notification/correlationId/location", "messageId"),
        ("asyncapi", "2.6.0"),
    ],
)
def test_the_structure_bites(path, wrong):
    changed = document()
    *place, last = path.split("/")
    (pointed(changed, "#/" + "/".join(place)) if place else changed)[last] = wrong
    with pytest.raises(ValidationError):
        Draft202012Validator(DOCUMENT).validate(changed)


def test_every_reference_leads_somewhere_and_operations_use_their_own_channels_messages():
    found = document()
    for pointer in references(found):
        assert isinstance(pointed(found, pointer), dict), pointer
    for operation in found["operations"].values():
        for message in operation["messages"]:
            assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")


def test_each_schema_is_a_json_schema_with_the_names_of_the_wire():
    for name, schema in json_schemas().items():
        Draft202012Validator.check_schema(schema)
        assert "_" not in "".join(schema.get("properties", {})), name


def validator(name: str) -> Draft202012Validator:
    """Of one schema; the others are found where the document refers to them."""
    return Draft202012Validator({"$ref": f"#/components/schemas/{name}", "components": {"schemas": json_schemas()}})


def samples() -> dict[str, Any]:
    history = {"attempts": 3, "first_failure": NOW, "last_failure": NOW}
    done = Acknowledgment(received=True, processed=True, stored=True)
    return {
        "UserCreatedEvent": Event.new("user-service", "user.created", {"userId": "1", "email": "a@b.c"}),
        "Notification": Notification(message_id="m", id="1", email="a@b.c", created_at=NOW),
        "DeadLetter": DeadLetter(original_message=None, error={"message": "x", "timestamp": NOW}, metadata=history),
        "Ack": Ack(message_id="m", timestamp=NOW, processing_time=150, acknowledgment=done),
        "ErrorReply": ErrorReply(
            timestamp=NOW, error=ErrorBody(code="BUSY", message="x"), retryable=True, retry_after=3
        ),
    }


@pytest.mark.parametrize("name", samples())
def test_what_is_sent_fits_its_schema(name):
    wire = json.loads(samples()[name].to_wire())
    validator(name).validate(wire)
    for member in wire:
        broken = {**wire, member: {"of": "another kind"}} if member != "data" else {**wire, member: "text"}
        with pytest.raises(ValidationError):
            validator(name).validate(broken)


def test_the_command_prints_it_with_the_topics_of_a_file(tmp_path: Path):
    path = tmp_path / "integration.yml"
    path.write_text(
        "integration:\n"
        "  producer: { brokers: 'b-1:9092', topic: orders }\n"
        "  consumer: { brokers: 'b-1:9092,b-2:9092', groupId: billing }\n"
        "  topics: { userNotifications: bills, deadLetters: orders.dlq }\n"
    )
    printed = CliRunner().invoke(app, ["integration", "asyncapi", "--config", str(path)])
    found = json.loads(printed.stdout)
    Draft202012Validator(DOCUMENT).validate(found)
    assert {channel["address"] for channel in found["channels"].values()} == {"orders", "bills", "orders.dlq"}
    assert found["operations"]["onEvent"]["bindings"]["kafka"]["groupId"]["enum"] == ["billing"]
    assert found["servers"]["kafka"]["host"] == "b-1:9092"
    plain = CliRunner().invoke(app, ["integration", "settings", "--config", str(path)])
    assert json.loads(plain.stdout)["producer"]["bootstrap.servers"] == "b-1:9092"
