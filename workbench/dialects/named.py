"""Dialects that are a fixed set of headers, one text each: what each header of a framework means."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from workbench.dialects import fields
from workbench.dialects.exceptions import chain_of, parse_head, unwrapped
from workbench.dialects.model import DeadLetter, Hop, Record, from_hops

Decoder = Callable[[Record], DeadLetter | None]


def count(raw: bytes | None) -> int | None:
    """A small number of times."""
    return fields.number(raw, fields.INT32_MAX)


# What an attribute of the normal form is read with; also for home-made headers and users' own mappings.
READERS: dict[str, Callable[[bytes | None], Any]] = {
    "topic": fields.topic,
    "partition": fields.partition,
    "offset": fields.number,
    "timestamp_ms": fields.moment_ms,
    "group": fields.text,
    "stage": fields.text,
    "executing_class": fields.text,
    "exception_class": fields.text,
    "message": fields.text,
    "stack": fields.text,
    "code": fields.text,
    "at_ms": fields.moment_ms,
    "attempts": count,
    "first_failure_ms": fields.moment_ms,
}
# These belong to the dead letter, not to one of its hops.
OF_LETTER = ("attempts", "first_failure_ms")

KARAFKA = {
    "source_topic": "topic", "source_partition": "partition", "source_offset": "offset",
    "source_consumer_group": "group", "source_attempts": "attempts",
}  # fmt: skip
LARAVEL = {
    "kafka_throwable_message": "message", "kafka_throwable_code": "code", "kafka_throwable_class_name": "exception_class",
}  # fmt: skip
SILVERBACK = {
    "x-source-topic": "topic", "x-source-partition": "partition", "x-source-offset": "offset",
    "x-source-timestamp": "timestamp_ms", "x-source-consumer-group-id": "group", "x-source-consumer-group-name": "group",
    "x-failed-attempts": "attempts", "x-failure-reason": "message",
}  # fmt: skip
NSERVICEBUS = {
    "NServiceBus.FailedQ": "topic", "NServiceBus.ProcessingEndpoint": "group", "NServiceBus.TimeOfFailure": "at_ms",
    "NServiceBus.ExceptionInfo.ExceptionType": "exception_class", "NServiceBus.ExceptionInfo.Message": "message",
    "NServiceBus.ExceptionInfo.StackTrace": "stack",
}  # fmt: skip
MASSTRANSIT = {
    "MT-Fault-ExceptionType": "exception_class", "MT-Fault-Message": "message", "MT-Fault-StackTrace": "stack",
    "MT-Fault-Timestamp": "at_ms", "MT-Fault-ConsumerType": "executing_class", "MT-Fault-RetryCount": "attempts",
    "MT-Reason": "stage",
}  # fmt: skip
REBUS = {"rbs2-error-details": "stack", "rbs2-source-queue": "topic", "rbs2-delivery-count": "attempts"}
REDPANDA = {
    "fallback_error": "message", "kafka_topic": "topic", "kafka_partition": "partition", "kafka_offset": "offset",
}  # fmt: skip
KNATIVE = {
    "ce_knativeerrorcode": "code", "ce_knativeerrordest": "executing_class", "ce_knativeerrordata": "message",
}  # fmt: skip
SYMFONY = "X-Message-Stamp-Symfony\\Component\\Messenger\\Stamp\\"
_NSERVICEBUS_TIME = re.compile(r"(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d):(\d{1,6}) Z\Z")


def read(found: Mapping[str, bytes | None], names: Mapping[str, str]) -> dict[str, Any]:
    """Attributes of the normal form out of headers of known meaning; the first one that can be read counts."""
    out: dict[str, Any] = {}
    for name, attribute in names.items():
        if name in found and out.get(attribute) is None:
            out[attribute] = READERS[attribute](found[name])
    return out


def letter_of(dialect: str, hops: list[dict[str, Any]], guessed: tuple[str, ...] = ()) -> DeadLetter:
    """The normal form out of attributes, oldest hop first; the exception's class and message also from its stack."""
    made = [_hop({name: value for name, value in hop.items() if name not in OF_LETTER}) for hop in hops]
    of_letter = {name: hops[-1].get(name) for name in OF_LETTER if hops[-1].get(name) is not None}
    return from_hops(dialect, made, **of_letter, guessed=guessed)


def _hop(values: dict[str, Any]) -> Hop:
    named, stack, message = values.get("exception_class"), values.get("stack"), values.get("message")
    if not named and stack and "\n" in stack and (chain := chain_of(stack)):
        named, message = chain[0].exception_class, message or chain[0].message
    # .NET writes assembly-qualified names: "Shop.Broken, Shop, Version=1.0.0.0".
    named = named.split(", ")[0] if named else None
    exception_class, message = unwrapped(named, None, message, stack)
    code = None if values.get("code") in ("", "0", "null", "none") else values.get("code")
    return Hop(**{**values, "exception_class": exception_class, "message": message, "code": code})


def text_headers(dialect: str, names: Mapping[str, str], *needed: str) -> Decoder:
    """A decoder for a fixed set of headers; a set that comes again is a further hop, oldest first.

    Args:
        dialect: its name.
        names: header -> attribute of the normal form.
        *needed: one of these must be there.
    """

    def decode(record: Record) -> DeadLetter | None:
        own = [pair for pair in record.headers if pair[0] in names]
        if not any(name in needed for name, _ in own):
            return None
        return letter_of(dialect, [read(found, names) for found in fields.sets(own)])

    decode.__doc__ = f"Dead letters of {dialect}: {', '.join(names)}."
    return decode


karafka = text_headers("karafka", KARAFKA, "source_topic")
laravel = text_headers("laravel_kafka", LARAVEL, *LARAVEL)
silverback = text_headers(
    "silverback", SILVERBACK, "x-source-consumer-group-id", "x-source-consumer-group-name", "x-failed-attempts"
)
redpanda = text_headers("redpanda_connect", REDPANDA, "fallback_error")


def nservicebus(record: Record) -> DeadLetter | None:
    """NServiceBus: the failed endpoint's queue stands for the origin; its times have colons before the milliseconds."""
    found = {name: raw for name, raw in record.headers if name in NSERVICEBUS}
    if not any(name.startswith(("NServiceBus.FailedQ", "NServiceBus.ExceptionInfo.")) for name in found):
        return None
    values = read(found, NSERVICEBUS)
    at = _NSERVICEBUS_TIME.match(fields.text(found.get("NServiceBus.TimeOfFailure")) or "")
    if at:
        values["at_ms"] = fields.iso_ms(f"{at[1]}.{at[2]}Z")
    return letter_of("nservicebus", [values])


def masstransit(record: Record) -> DeadLetter | None:
    """MassTransit: ``MT-Fault-*``; the origin is the end of the input address, the count is of retries."""
    found = {name: raw for name, raw in record.headers if name.startswith("MT-")}
    if not any(name.startswith("MT-Fault-") for name in found):
        return None
    values = read(found, MASSTRANSIT)
    if values.get("attempts") is not None:
        values["attempts"] += 1
    address = fields.text(found.get("MT-Fault-InputAddress")) or ""
    values["topic"] = fields.topic(address.split("?")[0].rsplit("/", 1)[-1].encode()) if address else None
    return letter_of("masstransit", [values], guessed=("origin_topic",) if values["topic"] else ())


def rebus(record: Record) -> DeadLetter | None:
    """Rebus: the whole exception as one text, and the queue it was read from."""
    found = {name: raw for name, raw in record.headers if name in REBUS}
    if "rbs2-error-details" not in found:
        return None
    return letter_of("rebus", [read(found, REBUS)])


def knative(record: Record) -> DeadLetter | None:
    """Knative Eventing: CloudEvents extensions; the answer's body is in base64, its HTTP status is the code."""
    found = {name: raw for name, raw in record.headers if name in KNATIVE}
    if "ce_knativeerrorcode" not in found and "ce_knativeerrordest" not in found:
        return None
    values = read(found, KNATIVE)
    values["message"] = _unpacked(values.get("message"))
    return letter_of("knative", [values])


def _unpacked(text: str | None) -> str | None:
    try:
        return base64.b64decode(text, validate=True).decode("utf-8", "replace") or None if text else None
    except (binascii.Error, ValueError):
        return text


def symfony(record: Record) -> DeadLetter | None:
    """Symfony Messenger: each stamp is a JSON list in a header of its own."""
    found = {name.removeprefix(SYMFONY): raw for name, raw in record.headers if name.startswith(SYMFONY)}
    error, sent, again = (
        _stamp(found.get(name)) for name in ("ErrorDetailsStamp", "SentToFailureTransportStamp", "RedeliveryStamp")
    )
    if not error and not sent:
        return None
    text: Callable[[Any], str | None] = lambda value: value if isinstance(value, str) else None  # noqa: E731 - used thrice below
    retries = again.get("retryCount")
    letter = letter_of(
        "symfony_messenger",
        [
            {
                "topic": fields.topic((text(sent.get("originalReceiverName")) or "").encode("utf-8", "replace")),
                "exception_class": text(error.get("exceptionClass")),
                "message": text(error.get("exceptionMessage")),
                "code": str(error["exceptionCode"]) if error.get("exceptionCode") else None,
            }
        ],
    )
    counted = retries + 1 if isinstance(retries, int) and 0 <= retries < fields.INT32_MAX else None
    return replace(letter, attempts=counted, guessed=("origin_topic",) if letter.origin_topic else ())


def _stamp(raw: bytes | None) -> dict[str, Any]:
    """The newest stamp of a list, or nothing."""
    try:
        stamps = json.loads(raw or b"[]")
    except (ValueError, RecursionError):
        return {}
    newest = stamps[-1] if isinstance(stamps, list) and stamps else stamps
    return newest if isinstance(newest, dict) else {}


def head_of(text: str | None) -> tuple[str | None, str | None]:
    """Class and message of a text "class: message"; only the message where it names no class."""
    head = parse_head(text) if text else None
    if head and (head.message is not None or "." in head.exception_class):
        return head.exception_class, head.message
    return None, text
