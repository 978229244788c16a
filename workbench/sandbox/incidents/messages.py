"""Messages of the planted integration: user events as a user service would send them."""

from __future__ import annotations

import json
import random
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

EVENT_TYPES = ("user.created", "user.updated", "user.deleted", "user.login", "user.password-changed")
VERSIONS = ("1.0", "1.1", "2.0")


@dataclass(frozen=True)
class Message:
    """One message of the source.

    Attributes:
        id: its ``messageId``.
        key: the record's key; None is a null key.
        value: the decoded JSON value.
        headers: of the record.
        timestamp_ms: the record's CreateTime; None is "when it is sent".
    """

    id: str
    key: str | None
    value: Mapping[str, Any]
    headers: tuple[tuple[str, bytes | None], ...] = ()
    timestamp_ms: int | None = None

    @property
    def event_type(self) -> str:
        """Type of the event."""
        return str(self.value["eventType"])

    @property
    def version(self) -> str:
        """Version of the event's schema."""
        return str(self.value["version"])

    def body(self) -> bytes:
        """The record's value."""
        return json.dumps(self.value, separators=(",", ":")).encode()

    def with_key(self, key: str) -> Message:
        """The same message under another key."""
        return replace(self, key=key)


@dataclass
class Writer:
    """Makes messages; ids are never repeated.

    Attributes:
        rng: all choices are drawn from it.
        id_form: ``uuid`` or ``counter``.
        prefix: of counted ids.
        with_header: whether records carry the id in a header ``message-id`` too.
    """

    rng: random.Random
    id_form: str = "uuid"
    prefix: str = "evt"
    with_header: bool = False
    _count: int = field(default=0)

    def write(self, count: int, *, users: int | None = None, padding: int = 0) -> list[Message]:
        """Makes messages in the order of their ids.

        Args:
            count: how many.
            users: how many different keys; by default about one for three messages.
            padding: characters of ballast in each value.
        """
        return [self._message(users or max(count // 3, 2), padding) for _ in range(count)]

    def _message(self, users: int, padding: int) -> Message:
        self._count += 1
        message_id = self._id()
        user = f"user-{self.rng.randrange(users):05d}"
        value = {
            "messageId": message_id,
            "timestamp": iso(datetime.now(UTC)),
            "source": "user-service",
            "eventType": self.rng.choice(EVENT_TYPES),
            "version": self.rng.choice(VERSIONS),
            "data": {
                "userId": user,
                "email": f"{user}@example.com",
                "requestId": f"{self.rng.getrandbits(64):016x}",
            },
        }
        if padding:
            value["attachment"] = f"{self.rng.getrandbits(padding * 4):0{padding}x}"
        headers = (("message-id", message_id.encode()),) if self.with_header else ()
        return Message(message_id, user, value, headers)

    def _id(self) -> str:
        if self.id_form == "uuid":
            return str(uuid.UUID(int=self.rng.getrandbits(128), version=4))
        return f"{self.prefix}-{self._count:06d}"


def iso(at: datetime) -> str:
    """A time as the services write it."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def sample(rng: random.Random, messages: Sequence[Message], low: int, high: int) -> list[Message]:
    """Between ``low`` and ``high`` of the messages, in their order."""
    count = min(rng.randint(low, high), len(messages))
    chosen = set(rng.sample(range(len(messages)), count))
    return [message for index, message in enumerate(messages) if index in chosen]


def shuffled(rng: random.Random, messages: Sequence[Message]) -> list[Message]:
    """The messages in another order."""
    return rng.sample(list(messages), len(messages))
