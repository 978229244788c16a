"""A share group (KIP-932) whose consumers give records up, and the broker's dead-letter queue for it (KIP-1191)."""

from __future__ import annotations

import time
from typing import Any

import confluent_kafka
import confluent_kafka.admin
from confluent_kafka import KafkaException

from workbench.errors import SandboxError
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.service import record_of

GIVE_UP_SECONDS = 90.0
# The library types these modules, but does not export by name what it documents.
_kafka: Any = confluent_kafka.admin
_clients: Any = confluent_kafka


def give_up_in_share_group(scene: Scene, ids: set[str]) -> None:
    """Reads the source in a share group that accepts everything but some messages, which it releases each time.

    Returns when the broker has written a dead letter for each of them.

    Raises:
        SandboxError: it did not.
    """
    group = f"{scene.group}-share"
    _configure(scene.bootstrap, group, scene.dead_letters)
    client = _clients.ShareConsumer(
        topics.client_settings(scene.bootstrap, **{"group.id": group, "share.acknowledgement.mode": "explicit"})
    )
    client.subscribe([scene.source])
    deadline = time.monotonic() + GIVE_UP_SECONDS
    try:
        while sum(topics.ends(scene.bootstrap, scene.dead_letters).values()) < len(ids):
            if time.monotonic() > deadline:
                raise SandboxError("The broker wrote no dead letters for the share group.", hint="Read its log.")
            _answer(client, client.poll(timeout=1.0), ids)
    finally:
        client.close()


def _answer(client: Any, messages: Any, ids: set[str]) -> None:
    kinds = _clients.AcknowledgeType
    for message in messages or ():
        if message.error() is None:
            client.acknowledge(message, kinds.RELEASE if record_of(message).id in ids else kinds.ACCEPT)
    client.commit_sync()


def _configure(bootstrap: str, group: str, dead_letters: str) -> None:
    wanted = {
        "share.auto.offset.reset": "earliest",
        "errors.deadletterqueue.topic.name": dead_letters,
        "errors.deadletterqueue.copy.record.enable": "true",
    }
    entries = [
        _kafka.ConfigEntry(name, value, incremental_operation=_kafka.AlterConfigOpType.SET)
        for name, value in wanted.items()
    ]
    resource = _kafka.ConfigResource(_kafka.ResourceType.GROUP, group, incremental_configs=entries)
    client = topics.admin(bootstrap)
    try:
        client.incremental_alter_configs([resource])[resource].result(timeout=topics.TIMEOUT_SECONDS)
    except KafkaException as error:
        raise SandboxError(f"The broker would not configure share group {group}: {error}.") from error
