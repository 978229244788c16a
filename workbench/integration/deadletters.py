"""Dead letters: the message that was given up, with its error and its whole history."""

from __future__ import annotations

import re
import time
import traceback
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from workbench.integration.formats import DeadLetter, Failure, FailureHistory
from workbench.integration.records import CONTENT_TYPE, Outgoing, Record

# A redrive takes the headers of the origin off and leaves these: the history goes on when the message fails again.
ATTEMPTS = "integration-attempts"
FIRST_FAILURE = "integration-first-failure"
_METADATA = re.compile(r"attempts=(\d{1,9});first=(\d{1,15})\Z")
_MOST_STACK = 16_384


@dataclass(frozen=True, slots=True)
class History:
    """How often a message failed so far, and since when; times in epoch milliseconds.

    It outlives the process: consumers commit it as the metadata of the offset at which the message stands.
    """

    attempts: int = 0
    first_ms: int | None = None

    def failed(self) -> History:
        """The history with one failure more, now."""
        first = round(time.time() * 1000) if self.first_ms is None else self.first_ms
        return replace(self, attempts=self.attempts + 1, first_ms=first)

    def after(self, earlier: History) -> History:
        """This history as the continuation of an earlier one."""
        known = [first for first in (earlier.first_ms, self.first_ms) if first is not None]
        return History(self.attempts + earlier.attempts, min(known, default=None))

    def to_metadata(self) -> str:
        """As the metadata of a commit."""
        return f"attempts={self.attempts};first={self.first_ms}" if self.first_ms is not None else ""

    @classmethod
    def from_metadata(cls, text: str | None) -> History:
        """The history in a commit's metadata; an empty one where it says something else."""
        found = _METADATA.match(text or "")
        return cls(int(found[1]), int(found[2])) if found else cls()

    @classmethod
    def from_headers(cls, record: Record) -> History:
        """The history of a message that was a dead letter before and was sent back."""
        attempts, first = (record.header(name) or b"" for name in (ATTEMPTS, FIRST_FAILURE))
        if not attempts.isdigit() or not first.isdigit() or len(attempts) > 9 or len(first) > 15:
            return cls()
        return cls(int(attempts), int(first))


class DeadLetterHandler:
    """Makes dead letters: the document's envelope, with the origin in headers beside it.

    The consumer writes them and waits for the acknowledgement before it commits the source's offset; the headers of the
    message are kept.

    Args:
        topic: where they go; it must exist.
        group: the consumer's group, for the envelope.
        with_stack: whether the stack trace is kept; it may quote the message.
    """

    def __init__(self, topic: str, *, group: str | None = None, with_stack: bool = True) -> None:
        self.topic = topic
        self._group = group
        self._with_stack = with_stack

    def letter(self, record: Record, error: Exception, history: History) -> Outgoing:
        """The dead letter for a record.

        Args:
            record: what was given up.
            error: why.
            history: all failures, this one included.
        """
        whole = history.after(History.from_headers(record))
        return Outgoing(
            self.topic,
            self._envelope(record, error, whole),
            record.key,
            record.message_id,
            (*_kept(record), *_origin(record), *_told(whole)),
        )

    def _envelope(self, record: Record, error: Exception, history: History) -> bytes:
        first = _moment(history.first_ms if history.first_ms is not None else round(time.time() * 1000))
        now = max(first, _moment(round(time.time() * 1000)))  # the wall clock may have been set back
        text, raw = _payload(record.value)
        return DeadLetter(
            original_message=text,
            original_message_base64=raw,
            error=Failure(
                message=str(error),
                timestamp=now,
                code=_code(error),
                stack="".join(traceback.format_exception(error))[-_MOST_STACK:] if self._with_stack else None,
            ),
            metadata=FailureHistory(
                attempts=max(history.attempts, 1),
                first_failure=first,
                last_failure=now,
                original_topic=record.topic,
                original_partition=record.partition,
                original_offset=record.offset,
                original_timestamp=None if record.timestamp_ms < 0 else _moment(record.timestamp_ms),
                consumer_group=self._group,
            ),
        ).to_wire()


def _code(error: Exception) -> str:
    """The error's own code, else its class; its category is in a header."""
    code = getattr(error, "code", None)
    return code if isinstance(code, str) and code else f"{type(error).__module__}.{type(error).__qualname__}"


def _kept(record: Record) -> list[tuple[str, bytes | None]]:
    """The message's own headers; the content type was the value's, which is inside now."""
    dropped = {CONTENT_TYPE, ATTEMPTS, FIRST_FAILURE}
    return [pair for pair in record.headers if pair[0] not in dropped]


def _origin(record: Record) -> list[tuple[str, bytes | None]]:
    return [
        ("x-original-topic", record.topic.encode()),
        ("x-original-partition", b"%d" % record.partition),
        ("x-original-offset", b"%d" % record.offset),
        ("x-original-timestamp", b"%d" % record.timestamp_ms),
    ]


def _told(history: History) -> list[tuple[str, bytes | None]]:
    return [
        (ATTEMPTS, b"%d" % history.attempts),
        (FIRST_FAILURE, b"%d" % (history.first_ms or 0)),
    ]


def _payload(value: bytes | None) -> tuple[str | None, str | None]:
    """The value as text, or as base64 where it is none."""
    import base64

    if value is None:
        return None, None
    try:
        return value.decode(), None
    except UnicodeDecodeError:
        return None, base64.b64encode(value).decode()


def _moment(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
