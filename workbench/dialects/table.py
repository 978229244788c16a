"""The table of dialects, and the way through it."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, reduce

from workbench.dialects import apache, envelope, frameworks, homemade, meanings, named, redrive, services, spring
from workbench.dialects.model import DeadLetter, Headers, Record, joined

Decoder = Callable[[Record], DeadLetter | None]


@dataclass(frozen=True, slots=True)
class Dialect:
    """One way of marking dead letters.

    Attributes:
        decode: reads a record; None where its marks are missing. Never raises.
        prefixes: how its headers begin; a record without any of them is not asked.
        seen: whether records written by the real framework were decoded right; else it is from its sources only.
    """

    decode: Decoder
    prefixes: tuple[str, ...]
    seen: bool


DIALECTS: dict[str, Dialect] = {
    "connect": Dialect(apache.connect, (apache.CONNECT,), seen=True),
    "spring_kafka": Dialect(
        spring.spring_kafka,
        (
            spring.DLT,
            spring.RETRY,
            spring.SERIALISED,
            "kafka_original-",
            "kafka_exception-",
            "kafka_key-exception-",
        ),
        seen=True,
    ),
    "streams": Dialect(apache.streams, (apache.STREAMS,), seen=True),
    "share_group": Dialect(apache.share_group, (apache.SHARE,), seen=True),
    "spring_cloud_stream": Dialect(frameworks.spring_cloud_stream, ("x-original-", "x-exception-"), seen=False),
    "smallrye": Dialect(frameworks.smallrye, (frameworks.SMALLRYE, "deserialization-failure-"), seen=False),
    "smallrye_retry": Dialect(frameworks.smallrye_retry, (frameworks.DELAYED_RETRY,), seen=False),
    "watermill": Dialect(frameworks.watermill, frameworks.WATERMILL, seen=False),
    "karafka": Dialect(named.karafka, tuple(named.KARAFKA), seen=False),
    "laravel_kafka": Dialect(named.laravel, tuple(named.LARAVEL), seen=False),
    "silverback": Dialect(named.silverback, tuple(named.SILVERBACK), seen=False),
    "nservicebus": Dialect(named.nservicebus, ("NServiceBus.FailedQ", "NServiceBus.ExceptionInfo."), seen=False),
    "masstransit": Dialect(named.masstransit, ("MT-Fault-",), seen=False),
    "rebus": Dialect(named.rebus, ("rbs2-error-details",), seen=False),
    "redpanda_connect": Dialect(named.redpanda, ("fallback_error",), seen=False),
    "knative": Dialect(named.knative, ("ce_knativeerror",), seen=False),
    "symfony_messenger": Dialect(named.symfony, (named.SYMFONY,), seen=False),
}
# Asked in this order where a value is a JSON document; the last one guesses.
ENVELOPES: dict[str, Decoder] = {
    "json_envelope": envelope.json_envelope,
    "aws_lambda": services.aws_lambda,
    "ksqldb": services.ksqldb,
    "envelope": envelope.any_envelope,
}
_PREFIXES = tuple(prefix for dialect in DIALECTS.values() for prefix in dialect.prefixes)


def decode(
    headers: Headers,
    value: bytes | None,
    topic: str | None = None,
    *,
    timestamp_ms: int | None = None,
    own: Sequence[Decoder] = (),
) -> DeadLetter | None:
    """Decode a dead letter of any dialect into the normal form; never raises, whatever the bytes are.

    Args:
        headers: the record's headers in order, repeats included.
        value: the record's value; only envelopes look at it.
        topic: the topic the record was read from: retry topics are told by their name.
        timestamp_ms: the record's own timestamp where the producer set it. Connect and Streams keep the origin's,
            Spring's says when the record was given up. Null where the broker set it (LogAppendTime) or unknown.
        own: the user's own dialects, which are asked first.

    Returns:
        The normal form; None where nothing marks the record.
    """
    record = Record(headers, value, topic, timestamp_ms)
    for decoder in own:
        if (letter := decoder(record)) is not None:
            return letter
    wrapped = _by_value(record)
    # Most records carry no mark at all: their names, seen before, are all that is looked at.
    marked = any(is_marking(name) for name, _ in headers)
    outer = (_by_headers(record) or homemade.home_made(record)) if marked else None
    if wrapped is None:
        return outer
    if outer is not None and wrapped.dialect == "envelope" and outer.dialect != "headers":
        return outer  # what a framework says in headers is not mixed with guesses about the payload
    return wrapped if outer is None else _with_origin(wrapped, outer)


def _by_value(record: Record) -> DeadLetter | None:
    """Ask the dialects that wrap the message in a JSON document."""
    if record.value is None or not record.value.lstrip(b" \t\r\n\xef\xbb\xbf").startswith(b"{"):
        return None
    return next((letter for decoder in ENVELOPES.values() if (letter := decoder(record)) is not None), None)


def _by_headers(record: Record) -> DeadLetter | None:
    """Ask the dialects whose headers are there; several on one record are hops, in the order of their first header."""
    named = dict.fromkeys(one for name, _ in record.headers for one in _dialects_of(name))
    ordered = [letter for one in named if (letter := DIALECTS[one].decode(record)) is not None]
    return reduce(joined, ordered) if ordered else None


@lru_cache(maxsize=8192)
def _dialects_of(name: str) -> tuple[str, ...]:
    """The dialects that know a header of this name."""
    return tuple(one for one, dialect in DIALECTS.items() if name.startswith(dialect.prefixes))


def _with_origin(wrapped: DeadLetter, outer: DeadLetter) -> DeadLetter:
    """An envelope often travels with origin headers beside it: each says what the other does not."""
    taken = {n.name: getattr(outer, n.name) for n in dataclasses.fields(wrapped) if getattr(wrapped, n.name) is None}
    guessed = {name for name in outer.guessed if taken.get(name) is not None}
    return dataclasses.replace(wrapped, **taken, guessed=tuple(sorted({*wrapped.guessed, *guessed})))


@lru_cache(maxsize=8192)
def is_marking(name: str) -> bool:
    """Whether a header of this name can make ``decode`` or ``redrive_of`` find something: a cheap filter by name."""
    return name.startswith(_PREFIXES) or meanings.meaning(name) is not None or redrive.is_redrive_name(name)


def original_headers(headers: Headers) -> list[tuple[str, bytes | None]]:
    """The headers without those that the named dialects added, in order: what the origin carried."""
    return [pair for pair in headers if not pair[0].startswith(_PREFIXES)]
