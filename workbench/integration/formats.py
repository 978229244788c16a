"""What goes over the wire: events, notifications, answers, errors and dead letters; camelCase there, snake_case here.

What is read from the wire (``from_wire``) takes the wire's names only and converts nothing: a number is no text, and a
time is ISO 8601 with its zone. Members that this version does not know are passed over, so that a later minor version of
an event can be read; another major version is refused.
"""

from __future__ import annotations

import json
import math
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    ConfigDict,
    Field,
    JsonValue,
    PlainSerializer,
    ValidationError,
    model_validator,
)
from pydantic.alias_generators import to_camel

from workbench.errors import WorkbenchError

CONTENT_TYPE = "application/json"
VERSION = "1.0"
VALIDATION_ERROR = "VALIDATION_ERROR"
UNSUPPORTED_VERSION = "UNSUPPORTED_VERSION"
# Nothing that a second attempt could mend: the same bytes fail the same way.
PERMANENT_CODES = frozenset({VALIDATION_ERROR, UNSUPPORTED_VERSION})
_SHOWN_PROBLEMS = 3
# Member -> its pattern in words.
_EXPECTED = {"email": "a valid e-mail address", "version": "major.minor, as in 1.0"}


def _utc(moment: datetime) -> datetime:
    return moment.astimezone(UTC)


def _iso(moment: datetime) -> str:
    """Milliseconds, as all clients of all languages can read them; microseconds only where there are some."""
    digits: Literal["milliseconds", "microseconds"] = "microseconds" if moment.microsecond % 1000 else "milliseconds"
    return moment.astimezone(UTC).isoformat(timespec=digits).replace("+00:00", "Z")


def _finite(value: Any) -> Any:
    """The same value; NaN and numbers that overflow are refused, since they would be written as null."""
    left = [value]
    while left:
        item = left.pop()
        if isinstance(item, float) and not math.isfinite(item):
            raise ValueError("numbers that JSON can hold")
        left += item.values() if isinstance(item, dict) else item if isinstance(item, list) else ()
    return value


Moment = Annotated[AwareDatetime, AfterValidator(_utc), PlainSerializer(_iso, return_type=str)]
# Ids become header values and ledger rows; what is longer is somebody's payload.
MessageId = Annotated[str, Field(min_length=1, max_length=256)]
Name = Annotated[str, Field(min_length=1, max_length=256)]
# Deliberately loose: whether an address exists is not the format's business. RE2 and Python read it alike.
Email = Annotated[str, Field(pattern=r"^[^@\s]+@[^@\s]+\.[^@\s]+$", max_length=320)]


class WireModel(BaseModel):
    """Base of what is sent and received."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        validate_by_name=True,
        validate_by_alias=True,
        frozen=True,
        extra="ignore",
        field_title_generator=lambda name, _: to_camel(name),
    )

    @classmethod
    def from_wire(cls, value: bytes | str) -> Self:
        """The model of a received JSON text.

        Raises:
            InvalidMessage: it is not JSON, or a member is missing or wrong; each is named, no content is shown.
        """
        try:
            return cls.model_validate_json(value, strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            raise InvalidMessage.of(error, cls.__name__) from None

    def to_wire(self) -> bytes:
        """UTF-8 JSON with the wire's names; members that are not given are left out."""
        return self.model_dump_json(by_alias=True, exclude_none=True).encode()


class ErrorDetails(WireModel):
    """Which member is wrong.

    Attributes:
        field: its path, ``data.email``.
        value: what was there, redacted: its kind and size, never its content.
        expected: what would be right.
    """

    field: str
    value: str
    expected: str


class InvalidMessage(WorkbenchError):
    """A message does not fit its format; nothing of its content is in the text.

    Attributes:
        code: ``VALIDATION_ERROR`` or ``UNSUPPORTED_VERSION``; both are permanent.
        details: each wrong member.
    """

    def __init__(self, message: str, *, code: str = VALIDATION_ERROR, details: tuple[ErrorDetails, ...] = ()) -> None:
        super().__init__(message, hint="Send it anew in the format that `workbench integration asyncapi` prints.")
        self.code = code
        self.details = details

    @classmethod
    def of(cls, error: ValidationError, what: str, *, inside: str = "") -> Self:
        """The error for what pydantic found; ``inside`` is the path of the part that was checked."""
        details = tuple(_details(item, inside) for item in error.errors(include_url=False, include_context=False)[:64])
        shown = ", ".join(f"{item.field}: {item.expected}" for item in details[:_SHOWN_PROBLEMS])
        more = f" and {error.error_count() - _SHOWN_PROBLEMS} more" if error.error_count() > _SHOWN_PROBLEMS else ""
        return cls(f"The message is no valid {what} ({shown}{more}).", details=details)

    def reply(self, message_id: str | None, *, now: datetime) -> ErrorReply:
        """The answer to who sent it; ``message_id`` is null where it could not be read."""
        body = ErrorBody(code=self.code, message=str(self), details=self.details[0] if self.details else None)
        return ErrorReply(message_id=message_id, timestamp=now, error=body, retryable=False)


class Event(WireModel):
    """Something that happened at a source: the request format.

    Attributes:
        message_id: unique for the message, equal in each copy of it.
        timestamp: when it happened at the source.
        source: the service it comes from.
        event_type: what happened, ``user.created``.
        version: of the event's format, ``major.minor``.
        data: what belongs to the type; see ``DATA_TYPES`` for those that are known.
    """

    READABLE: ClassVar[str] = "1"  # the major version

    message_id: MessageId
    timestamp: Moment
    source: Name
    event_type: Name
    version: Annotated[str, Field(pattern=r"^[0-9]{1,4}\.[0-9]{1,4}$")]
    data: Annotated[dict[str, JsonValue], AfterValidator(_finite)]

    @classmethod
    def new(cls, source: str, event_type: str, data: Mapping[str, Any]) -> Self:
        """An event that happens now, with an id of its own; send the same object again, never a new one for a retry."""
        return cls(
            message_id=str(uuid.uuid4()),
            timestamp=datetime.now(UTC),
            source=source,
            event_type=event_type,
            version=VERSION,
            data=dict(data),
        )

    @classmethod
    def from_wire(cls, value: bytes | str) -> Self:
        """The event of a received JSON text, its data checked where the type is known.

        Raises:
            InvalidMessage: it does not fit, or its major version is another one (``code`` says which).
        """
        event = super().from_wire(value)
        if event.version.split(".")[0] != cls.READABLE:
            wrong = ErrorDetails(field="version", value=event.version, expected=f"{cls.READABLE}.x")
            sentence = f"Version {event.version} of an event cannot be read here; {cls.READABLE}.x can."
            raise InvalidMessage(sentence, code=UNSUPPORTED_VERSION, details=(wrong,))
        event.typed_data()
        return event

    def typed_data(self) -> WireModel | None:
        """The data as the model of the event's type; None where the type is not known here.

        Raises:
            InvalidMessage: the data does not fit the type.
        """
        model = DATA_TYPES.get(self.event_type)
        if model is None:
            return None
        try:
            return model.model_validate(self.data, strict=True, by_alias=True, by_name=False)
        except ValidationError as error:
            raise InvalidMessage.of(error, f"{self.event_type} event", inside="data") from None


class UserMetadata(WireModel):
    """Where a user came from, as far as the source knows."""

    source: str | None = None
    user_agent: str | None = None


class UserCreated(WireModel):
    """Data of ``user.created``."""

    user_id: Name
    email: Email
    metadata: UserMetadata | None = None


DATA_TYPES: Mapping[str, type[WireModel]] = {"user.created": UserCreated}


class Notification(WireModel):
    """What the notification service writes for an event.

    Attributes:
        message_id: the event's, so that each notification is accounted for.
        id: of the user.
        created_at: when the event happened.
        source: where the user came from; ``unknown`` where the event does not say.
    """

    message_id: MessageId
    id: Name
    email: Email
    created_at: Moment
    source: str = "unknown"


class Acknowledgment(WireModel):
    """How far a message got."""

    received: bool
    processed: bool
    stored: bool


class Ack(WireModel):
    """The answer to a message that was taken: the response format.

    Attributes:
        processing_time: milliseconds.
    """

    message_id: MessageId
    status: Literal["success"] = "success"
    timestamp: Moment
    processing_time: Annotated[int, Field(ge=0)]
    acknowledgment: Acknowledgment


class ErrorBody(WireModel):
    """What went wrong; ``code`` is for programs, ``message`` for people."""

    code: Annotated[str, Field(pattern=r"^[A-Z][A-Z0-9_]*$", max_length=64)]
    message: str
    details: ErrorDetails | None = None


class ErrorReply(WireModel):
    """The answer to a message that was not taken: the error format.

    Attributes:
        message_id: null where it could not be read.
        retryable: whether the same message may be taken later; never for what does not fit its format.
        retry_after: seconds to wait before that; null means the sender's own backoff.
    """

    message_id: MessageId | None = None
    status: Literal["error"] = "error"
    timestamp: Moment
    error: ErrorBody
    retryable: bool = False
    retry_after: Annotated[int, Field(ge=0)] | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.retryable and self.error.code in PERMANENT_CODES:
            raise ValueError(f"an error that can be retried: {self.error.code} fails the same way each time")
        if self.retry_after is not None and not self.retryable:
            raise ValueError("no retryAfter where it is not retryable")
        return self


class Failure(WireModel):
    """Why a message was given up.

    Attributes:
        code: category or class of the error.
        stack: null where it is kept back, since it may hold content.
    """

    message: str
    timestamp: Moment
    code: str | None = None
    stack: str | None = None


class FailureHistory(WireModel):
    """How often and since when it failed, and where it comes from."""

    attempts: Annotated[int, Field(ge=1)]
    first_failure: Moment
    last_failure: Moment
    original_topic: str | None = None
    original_partition: int | None = None
    original_offset: int | None = None
    original_timestamp: Moment | None = None
    consumer_group: str | None = None


class DeadLetter(WireModel):
    """The envelope in a dead-letter topic.

    Attributes:
        original_message: the value as it was: a text; base64 in ``original_message_base64`` where it is not UTF-8.
    """

    original_message: str | None
    original_message_base64: str | None = None
    error: Failure
    metadata: FailureHistory

    def to_wire(self) -> bytes:
        """UTF-8 JSON; ``originalMessage`` is always there, by which the envelope is known."""
        found = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return json.dumps({"originalMessage": None, **found}, ensure_ascii=False).encode()


def _details(item: Mapping[str, Any], inside: str) -> ErrorDetails:
    path = ".".join(str(part) for part in (*([inside] if inside else []), *item["loc"])) or "the message"
    expected = item["msg"].removeprefix("Input should ").removeprefix("be ").removeprefix("Value error, ")
    if item["type"] == "string_pattern_mismatch":
        expected = _EXPECTED.get(path.rpartition(".")[2], expected)
    missing = item["type"] == "missing"
    return ErrorDetails(
        field=path[:256],
        value="missing" if missing else _redacted(item["input"]),
        expected="a value" if missing else expected,
    )


def _redacted(value: object) -> str:
    """Kind and size of a value; what it says stays private."""
    if isinstance(value, str | bytes):
        return f"a text of {len(value)} characters"
    if isinstance(value, Mapping):
        return f"an object of {len(value)} members"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    return {type(None): "null", bool: "a boolean", int: "a number", float: "a number"}.get(type(value), "another value")
