"""Exceptions as frameworks write them: chains in Java, .NET, JavaScript and Python stack traces, and what merely wraps."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

# Classes that say only "something below me failed": the user's exception is their cause.
WRAPPERS = frozenset(
    {
        "MassTransit.ConsumerException",
        "System.AggregateException",
        "System.Reflection.TargetInvocationException",
        "akka.stream.alpakka.kafka.ConsumerFailed",
        "io.micronaut.configuration.kafka.exceptions.KafkaListenerException",
        "io.smallrye.mutiny.CompositeException",
        "io.smallrye.reactive.messaging.ProcessingException",
        "java.lang.reflect.InvocationTargetException",
        "java.lang.reflect.UndeclaredThrowableException",
        "java.util.concurrent.CompletionException",
        "java.util.concurrent.ExecutionException",
        "org.apache.camel.CamelExecutionException",
        "org.apache.camel.RuntimeCamelException",
        "org.apache.kafka.streams.errors.StreamsException",
        "org.apache.kafka.streams.errors.internals.FailedProcessingException",
        "org.springframework.cloud.stream.binder.kafka.KafkaBinderException",
        "org.springframework.core.NestedRuntimeException",
        "org.springframework.kafka.KafkaException",
        "org.springframework.kafka.listener.ListenerExecutionFailedException",
        "org.springframework.kafka.listener.TimestampedException",
        "org.springframework.messaging.MessageDeliveryException",
        "org.springframework.messaging.MessageHandlingException",
        "org.springframework.messaging.MessagingException",
    }
)
# Java com.shop.Order$Bad, .NET Shop.Outer+Bad, PHP App\Errors\Bad, Ruby Shop::Bad.
_CLASS = re.compile(r"[A-Za-z_$][\w$]*(?:(?:[./+\\]|::)[\w$<>`-]+)*\Z")
# Where the head of an exception ends. A frame is indented by a tab or several spaces: one space is how Jackson continues
# its message (" at [Source: ...").
_END = re.compile(
    r"\n(?:(?:\t|[ \t]{2,})(?:at |\.\.\. \d+ (?:more|common frames)|Suppressed: |Caused by: |\.\.\.$|--- End of )"
    r"|Stack trace:$|#0 )",
    re.MULTILINE,
)
# How Java, .NET and JavaScript begin the exception inside: "Caused by: ", " ---> System.X: why", "  [cause]: Error: why".
_INSIDE = re.compile(r"\n(?:Caused by: | ?---> |  \[cause\]: )")
_PYTHON = "Traceback (most recent call last):"


@dataclass(frozen=True, slots=True)
class Cause:
    """One exception of a chain.

    Attributes:
        exception_class: its class, fully qualified where the language does that.
        message: its message, unchanged; null where it had none.
    """

    exception_class: str
    message: str | None


def causes_of(stack: str | None) -> tuple[Cause, ...]:
    """Read the chain of exceptions out of a stack trace, outermost first, leading wrappers taken off.

    A chain that is nothing but wrappers keeps its last one. What is not a stack trace gives an empty chain.
    """
    chain = chain_of(stack)
    for position, cause in enumerate(chain):
        if cause.exception_class not in WRAPPERS:
            return chain[position:]
    return chain[-1:]


@lru_cache(maxsize=64)
def chain_of(stack: str | None) -> tuple[Cause, ...]:
    """Read the whole chain of exceptions out of a stack trace, outermost first, wrappers included."""
    if not stack:
        return ()
    if _PYTHON in stack:
        return _python_chain(stack)
    return tuple(cause for head in _heads(stack) if (cause := parse_head(head)) is not None)


def _heads(stack: str) -> Iterable[str]:
    """Yield the heads "class: message" of a trace; a message may itself have several lines."""
    for part in _INSIDE.split(stack):
        end = _END.search(part)
        first, newline, rest = (part[: end.start()] if end else part.rstrip("\n")).partition("\n")
        yield first.rstrip("\r") + newline + rest


def _python_chain(stack: str) -> tuple[Cause, ...]:
    """Python prints the innermost exception first: read its heads and turn them round."""
    heads = [part.rstrip("\n").rsplit("\n  ", 1)[-1].split("\n", 1)[-1] for part in stack.split(_PYTHON)[1:]]
    chain = [parse_head(head.split("\n\n", 1)[0]) for head in heads]
    return tuple(cause for cause in reversed(chain) if cause is not None)


def parse_head(head: str) -> Cause | None:
    """Split "class: message"; None when it does not begin with a class."""
    name, colon, message = head.partition(": ")
    if not colon and name.endswith(":"):
        name = name[:-1]
    name = name.removeprefix("Uncaught ").strip()
    if len(name) > 500 or not _CLASS.match(name):
        return None
    return Cause(name, message or None)


def unwrapped(
    exception_class: str | None, cause_class: str | None, message: str | None, stack: str | None
) -> tuple[str | None, str | None]:
    """Class and message of the exception that means something: the thrown one unless it only wraps another.

    Args:
        exception_class: class that the framework caught.
        cause_class: class that the framework names as its cause.
        message: message of the caught exception.
        stack: stack trace, in which the cause's own message is found.
    """
    if exception_class and exception_class not in WRAPPERS:
        return exception_class, message
    chain = causes_of(stack)
    wanted = cause_class if cause_class and cause_class not in WRAPPERS else None
    for cause in chain:
        if wanted in (None, cause.exception_class) and cause.exception_class not in WRAPPERS:
            return cause.exception_class, cause.message
    return wanted or cause_class or exception_class, message
