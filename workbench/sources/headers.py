"""Headers of messages as the client library gives them, past a fault of its own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

Headers = Sequence[tuple[str, bytes | None]]
# Stands for the headers of a record whose header names are not UTF-8: the client library cannot give them.
UNREADABLE: Headers = (("\ufffd", None),)


def headers_of(messages: Sequence[Any]) -> list[Headers | None]:
    """Headers of each message; ``UNREADABLE`` where a name is not UTF-8.

    For such a name the client library sets an error *and* returns a list with a hole in it that ends the process when
    it is touched, and keeps that list for the next call. ``map`` checks each result and drops such a list untouched,
    and no message is asked twice.
    """
    from confluent_kafka import Message

    found: list[Headers | None] = []
    asked = map(cast("Any", Message.headers), messages)
    while len(found) < len(messages):
        try:
            found.extend(asked)
        except (UnicodeDecodeError, SystemError):
            found.append(UNREADABLE)
    return found
