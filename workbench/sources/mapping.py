"""Errors of the Kafka clients as the workbench's own, in one place for each library.

Both libraries carry the protocol's error codes, so what they say is first brought to a ``Fault`` and judged by its
code, never by words in its message.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Literal

from confluent_kafka import KafkaError, KafkaException

from workbench.config import nearest
from workbench.errors import AccessDenied, ConfigError, NotFound, SourceError, SourceUnavailable

Kind = Literal["denied", "login", "missing", "leaderless", "unsupported", "unavailable"]

# Protocol error codes (positive in both libraries).
_DENIED = {29: "topic", 30: "group", 31: "cluster", 53: "transactional id", 65: "delegation token"}
_LOGIN = {33, 34, 58}  # UNSUPPORTED_SASL_MECHANISM, ILLEGAL_SASL_STATE, SASL_AUTHENTICATION_FAILED
_MISSING = {
    3,
    69,
    100,
    105,
}  # UNKNOWN_TOPIC_OR_PARTITION, GROUP_ID_NOT_FOUND, UNKNOWN_TOPIC_ID, TRANSACTIONAL_ID_NOT_FOUND
_LEADERLESS = {
    5,
    6,
    72,
    74,
    75,
    78,
}  # LEADER_NOT_AVAILABLE, NOT_LEADER, LISTENER_NOT_FOUND, epochs, OFFSET_NOT_AVAILABLE
_UNSUPPORTED = {35, 42}  # UNSUPPORTED_VERSION, INVALID_REQUEST
SECURITY_DISABLED = 54

# librdkafka's own codes are negative.
_LOCAL: dict[int, Kind] = {
    KafkaError._AUTHENTICATION: "login",  # noqa: SLF001 - librdkafka's public names of local errors
    KafkaError._UNKNOWN_TOPIC: "missing",  # noqa: SLF001
    KafkaError._UNKNOWN_PARTITION: "missing",  # noqa: SLF001
    KafkaError._UNSUPPORTED_FEATURE: "unsupported",  # noqa: SLF001
}

# librdkafka prefixes its reports with the listener and ends them with a state that only its authors need.
_NOISE = re.compile(r"^([a-z_+]+://)?\S+?(/bootstrap|/\d+)?: |\s*\(after \d+ms in state \w+\)", re.IGNORECASE)

_KNOWN_SETTINGS = (
    "bootstrap.servers", "client.id", "security.protocol", "sasl.mechanism", "sasl.mechanisms", "sasl.username",
    "sasl.password", "sasl.oauthbearer.method", "sasl.oauthbearer.client.id", "sasl.oauthbearer.client.secret",
    "sasl.oauthbearer.scope", "sasl.oauthbearer.token.endpoint.url", "sasl.oauthbearer.extensions",
    "sasl.kerberos.service.name", "ssl.ca.location", "ssl.ca.pem", "ssl.certificate.location",
    "ssl.certificate.pem", "ssl.key.location", "ssl.key.password", "ssl.key.pem", "ssl.keystore.location",
    "ssl.keystore.password", "ssl.crl.location", "ssl.endpoint.identification.algorithm",
    "enable.ssl.certificate.verification", "socket.timeout.ms", "socket.keepalive.enable", "broker.address.family",
    "client.dns.lookup", "metadata.max.age.ms", "fetch.message.max.bytes", "receive.message.max.bytes",
)  # fmt: skip


@dataclass(frozen=True)
class Fault:
    """What a client library reported.

    Attributes:
        kind: what a caller can do about it.
        text: the library's words, without addresses and internals.
        code: the protocol's error code; negative for the client's own.
    """

    kind: Kind
    text: str
    code: int


def fault_of(error: Any) -> Fault:
    """The fault behind an exception or error object of confluent-kafka, or an exception of kafka-python."""
    if isinstance(error, KafkaException):
        error = error.args[0]
    if isinstance(error, KafkaError):
        code, text = error.code(), _NOISE.sub("", error.str())
        return Fault(_LOCAL.get(code) or _kind(code), text.removeprefix("Broker: ").removeprefix("Local: "), code)
    return _fault_of_python_client(error)


def _kind(code: int) -> Kind:
    if code in _DENIED:
        return "denied"
    if code in _LOGIN:
        return "login"
    if code in _MISSING:
        return "missing"
    if code in _LEADERLESS:
        return "leaderless"
    return "unsupported" if code in _UNSUPPORTED else "unavailable"


def _fault_of_python_client(error: Any) -> Fault:
    """kafka-python's exceptions carry ``errno``: the protocol's code, or a negative one or none for its own."""
    code = getattr(error, "errno", None)
    name = type(error).__name__
    if isinstance(code, int) and code > 0 and not isinstance(error, OSError):
        return Fault(_kind(code), name.removesuffix("Error"), code)
    if name in {"UnsupportedVersionError", "IncompatibleBrokerVersion"}:
        return Fault("unsupported", "the broker's version does not offer it", -1)
    if name == "SaslAuthenticationFailedError":
        return Fault("login", "authentication failed", -1)
    return Fault("unavailable", name, -1)


def reason(error: Any, operation: str, resource: str = "") -> str:
    """One phrase for a table of failures, for example ``"DescribeConfigs denied on topic orders"``."""
    fault = fault_of(error)
    on = f" on {resource}" if resource else ""
    if fault.kind == "denied":
        return f"{operation} denied{on}"
    if fault.kind == "missing":
        return f"{resource} does not exist" if resource else "does not exist"
    if fault.kind == "leaderless":
        return f"no leader answers{on} ({fault.text})"
    if fault.kind == "unsupported":
        return f"{operation} is not offered by the broker"
    return f"{operation} failed{on}: {fault.text}"


def as_source_error(error: Any, operation: str, resource: str, endpoint: str) -> SourceError:
    """The error to raise when nothing at all could be learnt.

    Args:
        error: of either library.
        operation: Kafka's name of the right it needs: Describe, Read, DescribeConfigs.
        resource: on what: ``topic orders``, ``group billing``, ``the cluster``.
        endpoint: the bootstrap addresses.
    """
    fault = fault_of(error)
    if fault.kind == "denied":
        hint = f"Ask for {operation} on {resource}; `workbench doctor --acls` prints the exact grants."
        return AccessDenied(
            f"{endpoint} denied {operation} on {resource}.", source="cluster", endpoint=endpoint, hint=hint
        )
    if fault.kind == "login":
        return login_refused(fault.text, endpoint)
    if fault.kind == "missing":
        return NotFound(f"{resource} does not exist on {endpoint}.", source="cluster", endpoint=endpoint)
    message = f"{endpoint} did not answer {operation} on {resource}: {fault.text}."
    hint = "" if fault.kind == "unsupported" else "Try again; `workbench doctor` shows what can be reached."
    return SourceUnavailable(
        message, source="cluster", endpoint=endpoint, hint=hint, retriable=fault.kind != "unsupported"
    )


def login_refused(text: str, endpoint: str) -> AccessDenied:
    """The brokers did not accept who we say we are."""
    return AccessDenied(
        f"{endpoint} refused the login: {text.rstrip('.')}.",
        source="cluster",
        endpoint=endpoint,
        hint="Check security.protocol, sasl.mechanism, sasl.username and the password in the profile.",
    )


def unreachable(last: Any | None, endpoint: str, seconds: float) -> SourceError:
    """No broker answered in time.

    Args:
        last: the last error the client reported on its connections; None when it reported none.
        endpoint: the bootstrap addresses.
        seconds: how long it was waited for.
    """
    if last is None:
        why = f"connected, but there was no answer within {seconds:.0f} s"
        hint = "What listens there does not speak Kafka, or the broker hangs. Check the port and the broker's log."
    else:
        fault = fault_of(last)
        if fault.kind == "login":
            return login_refused(fault.text, endpoint)
        why = _why(fault)
        hint = "Check host, port and security.protocol, and that the broker runs."
    return SourceUnavailable(
        f"Kafka at {endpoint} cannot be reached: {why}.", source="cluster", endpoint=endpoint, hint=hint, retriable=True
    )


def _why(fault: Fault) -> str:
    return fault.text.replace("Connect to ipv4#", "connect to ").replace("Connect to ipv6#", "connect to ").rstrip(".")


def bad_setting(error: KafkaException) -> ConfigError:
    """A client setting that librdkafka refuses, with the nearest one it knows."""
    text = error.args[0].str().rstrip(".")
    unknown = re.search(r'No such configuration property: "([^"]*)"', text)
    if unknown:
        hint = (
            nearest(unknown[1], _KNOWN_SETTINGS)
            or "Settings have librdkafka's names (its CONFIGURATION.md lists them)."
        )
        return ConfigError(f"Unknown client setting {unknown[1]!r}.", hint=hint)
    if 'property "' in text and "Invalid value" in text:
        text = re.sub(r'Invalid value "[^"]*"', "Invalid value", text)  # the value may be a secret
    return ConfigError(
        f"The client's settings do not fit: {text}.", hint="Check the profile's kafka table or -X options."
    )
