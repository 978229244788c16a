"""The integration as an AsyncAPI 3 document, from what was observed."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

VERSION = "3.0.0"
BINDING_VERSION = "0.5.0"


def asyncapi(facts: Mapping[str, Any], bootstrap: str) -> dict[str, Any]:
    """The document: a channel for each topic with the observed schema, what the group receives and what it sends.

    Args:
        facts: as ``observe`` returns them.
        bootstrap: host:port of the brokers to begin with.
    """
    mine = facts["integration"]
    names = {topic: _key(topic, number) for number, topic in enumerate(facts["topics"])}
    return {
        "asyncapi": VERSION,
        "info": {"title": mine["name"], "version": "1.0.0", "description": "As observed on the running system."},
        "defaultContentType": "application/json",
        "servers": {"kafka": {"host": bootstrap.split(",", maxsplit=1)[0], "protocol": "kafka"}},
        "channels": {names[topic]: _channel(topic, names[topic], found) for topic, found in facts["topics"].items()},
        "operations": _operations(mine, names),
        "components": {
            "messages": {key: _message(key) for key in names.values()},
            "schemas": {
                name: schema for topic, key in names.items() for name, schema in _schemas(facts["topics"][topic], key)
            },
        },
    }


def _key(topic: str, number: int) -> str:
    return f"{re.sub(r'[^A-Za-z0-9]+', '_', topic)[:60]}_{number}"


def _channel(topic: str, key: str, found: Mapping[str, Any]) -> dict[str, Any]:
    counts = {"partitions": found["partitions"], "replicas": found["replication"]}
    return {
        "address": topic,
        "description": found["role"],
        "messages": {key: {"$ref": f"#/components/messages/{key}"}},
        "bindings": {"kafka": {**counts, "bindingVersion": BINDING_VERSION}},
    }


def _message(key: str) -> dict[str, Any]:
    return {
        "headers": {"$ref": f"#/components/schemas/{key}_headers"},
        "payload": {"$ref": f"#/components/schemas/{key}"},
    }


def _schemas(found: Mapping[str, Any], key: str) -> Iterator[tuple[str, dict[str, Any]]]:
    """The schemas of a topic's values and headers."""
    headers = {name: {"type": "string"} for name in found["headers"]}
    always = [name for name, how in found["headers"].items() if how == "always"]
    yield key, found["schema"] or {}
    yield f"{key}_headers", {"type": "object", "properties": headers, **({"required": always} if always else {})}


def _operations(mine: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    reads = [mine["source"], *(stop.partition(":")[0] for stop in mine["through"])]
    writes = [*reads[1:], *mine["sinks"], *mine["retry_topics"], *mine["dead_letters"]]
    out: dict[str, Any] = {}
    for action, topics in (("receive", reads), ("send", writes)):
        for topic in dict.fromkeys(topics):
            if topic in names:
                out[f"{action}_{names[topic]}"] = {"action": action, "channel": {"$ref": f"#/channels/{names[topic]}"}}
    return out
