"""What comes in and what goes out: a record read, a message to be written, and the receipt for it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

MESSAGE_ID = "message-id"
CONTENT_TYPE = "content-type"
MESSAGE_TYPE = "message-type"

Headers = Sequence[tuple[str, bytes | None]]
Place = tuple[str, int]


class Record(NamedTuple):
    """A record as it was read.

    Attributes:
        topic: its topic.
        partition: its partition.
        offset: its offset.
        timestamp_ms: CreateTime or LogAppendTime, epoch milliseconds; -1 where it has none.
        key: its key; null where it has none.
        value: its value; null for a tombstone.
        headers: in order, repeats included.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    key: bytes | None
    value: bytes | None
    headers: Headers

    @classmethod
    def of(cls, message: Any) -> Record:
        """The record of a client's message."""
        return cls(
            message.topic(),
            message.partition(),
            message.offset(),
            message.timestamp()[1],
            message.key(),
            message.value(),
            message.headers() or (),
        )

    @property
    def place(self) -> Place:
        """Topic and partition."""
        return self.topic, self.partition

    @property
    def message_id(self) -> str | None:
        """The id in the header ``message-id``; None without one."""
        found = self.header(MESSAGE_ID)
        return found.decode("utf-8", "replace") if found is not None else None

    def header(self, name: str) -> bytes | None:
        """The last value of a header; None where it is missing or null."""
        return next((value for key, value in reversed(self.headers) if key == name), None)


class Outgoing(NamedTuple):
    """A message to be written.

    Attributes:
        topic: where to.
        value: the record's value; null for a tombstone.
        key: the record's key.
        message_id: goes into the header ``message-id``; null leaves the headers as they are.
        headers: further headers, in order.
        content_type: goes into the header ``content-type``; null sets none.
        timestamp_ms: CreateTime; null is when it is sent.
    """

    topic: str
    value: bytes | None
    key: bytes | None = None
    message_id: str | None = None
    headers: tuple[tuple[str, bytes | None], ...] = ()
    content_type: str | None = "application/json"
    timestamp_ms: int | None = None

    def all_headers(self) -> list[tuple[str, bytes | None]]:
        """Its headers, with message id and content type first; what ``headers`` names already is not said twice."""
        if not self.headers and self.message_id is not None and self.content_type is not None:
            return [(MESSAGE_ID, self.message_id.encode()), (CONTENT_TYPE, self.content_type.encode())]
        found = list(self.headers)
        named = {name for name, _ in found}
        if self.content_type is not None and CONTENT_TYPE not in named:
            found.insert(0, (CONTENT_TYPE, self.content_type.encode()))
        if self.message_id is not None and MESSAGE_ID not in named:
            found.insert(0, (MESSAGE_ID, self.message_id.encode()))
        return found


class Receipt(NamedTuple):
    """Where an acknowledged message is.

    Attributes:
        topic: its topic.
        partition: its partition.
        offset: its offset.
        timestamp_ms: the time the broker keeps for it.
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
