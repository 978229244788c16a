"""What can go wrong with a message, by what is done about it.

TRANSIENT   a network or a service is away for a while   tried again
PERMANENT   bad format, no authorisation, a bug          dead-lettered at once: the same bytes fail the same way
BUSINESS    a rule of the business says no               dead-lettered at once, for people to look at
"""

from __future__ import annotations

import socket
import sys
from email.utils import parsedate_to_datetime
from enum import StrEnum
from typing import Any, ClassVar

from confluent_kafka import KafkaError, KafkaException

from workbench.errors import WorkbenchError


class Category(StrEnum):
    """Kinds of failures."""

    TRANSIENT = "transient"
    PERMANENT = "permanent"
    BUSINESS = "business"


class ProcessingError(WorkbenchError):
    """A message could not be processed; handlers raise one of the three below."""

    category: ClassVar[Category] = Category.PERMANENT


class TransientError(ProcessingError):
    """It may pass by itself.

    Attributes:
        retry_after: seconds to wait at least before the next attempt; None leaves that to the backoff.
    """

    category = Category.TRANSIENT

    def __init__(self, message: str, *, retry_after: float | None = None, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.retry_after = retry_after


class PermanentError(ProcessingError):
    """It fails the same way each time."""


class BusinessError(ProcessingError):
    """A rule of the business refuses it."""

    category = Category.BUSINESS


class SendError(WorkbenchError):
    """A message was not acknowledged.

    Attributes:
        topic: where it was to go.
        message_id: its id; None where it has none.
        reason: librdkafka's name for it, ``_MSG_TIMED_OUT``.
        in_doubt: whether it may be in the log all the same: the answer is missing, not negative.
    """

    def __init__(
        self, message: str, *, topic: str, message_id: str | None, reason: str, in_doubt: bool = False, hint: str = ""
    ) -> None:
        super().__init__(message, hint=hint)
        self.topic = topic
        self.message_id = message_id
        self.reason = reason
        self.in_doubt = in_doubt


# HTTP's words for "later": request timeout, too early, too many requests.
_LATER = frozenset({408, 425, 429})


def category_of(error: BaseException) -> Category:
    """The category of any error; what nobody knows is permanent, for a bug does not pass by itself."""
    if isinstance(error, ProcessingError):
        return error.category
    if isinstance(error, KafkaException):
        return Category.TRANSIENT if _passes(error.args[0]) else Category.PERMANENT
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return Category.TRANSIENT
    return Category.TRANSIENT if _http_passes(error) else Category.PERMANENT


def _passes(error: object) -> bool:
    # Local transport errors have no flag of their own; idempotent producers never report them as final.
    codes = {KafkaError._TRANSPORT, KafkaError._ALL_BROKERS_DOWN, KafkaError._TIMED_OUT}  # noqa: SLF001
    return isinstance(error, KafkaError) and not error.fatal() and (error.retriable() or error.code() in codes)


def _http_passes(error: BaseException) -> bool:
    # Services may still use the older of the two; an error of a library that was never loaded cannot be met.
    return any(_passes_in(module, error) for name in ("httpx2", "httpx") if (module := sys.modules.get(name)))


def _passes_in(client: Any, error: BaseException) -> bool:
    if isinstance(error, client.HTTPStatusError):
        return bool(error.response.status_code >= 500 or error.response.status_code in _LATER)
    return isinstance(error, client.TransportError) and not isinstance(error, client.UnsupportedProtocol)


def retry_after_of(error: BaseException, *, now: float) -> float | None:
    """Seconds that the failing side asks to wait; None where it does not ask.

    Args:
        error: a ``TransientError``, or an HTTP error with the header Retry-After (seconds or a date).
        now: epoch seconds, for dates.
    """
    if isinstance(error, TransientError):
        return error.retry_after
    response = getattr(error, "response", None)
    text = getattr(response, "headers", {}).get("retry-after", "").strip()
    if text.isdigit():
        return float(text)
    try:
        return max(parsedate_to_datetime(text).timestamp() - now, 0.0) if text else None
    except ValueError:
        return None
