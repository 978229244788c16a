"""integration.yml in librdkafka's words: the settings of the producer and the consumer.

What the promise rests on is not for choice: idempotence, acknowledgement by all replicas, commits by hand, committed
records only, and the partitioner of the Java clients, so that a key goes where every other client sends it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from workbench.integration.auth import TokenSource
from workbench.integration.config import Client, Consumer, IntegrationConfig, Producer, Security
from workbench.integration.stores import keystore_settings, truststore_settings

_GUARANTEED_PRODUCER = {
    "acks": "all",
    "enable.idempotence": True,
    # librdkafka's own default hashes keys with CRC32, unlike the Java clients.
    "partitioner": "murmur2_random",
}
_GUARANTEED_CONSUMER = {
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "isolation.level": "read_committed",
    "allow.auto.create.topics": False,
    "check.crcs": True,
}
# Field of a section -> librdkafka's name.
_CLIENT = {
    "client_id": "client.id",
    "connection_timeout": "socket.connection.setup.timeout.ms",
}
_PRODUCER = {
    "retries": "retries",
    "request_timeout": "request.timeout.ms",
    "delivery_timeout": "delivery.timeout.ms",
    "linger": "linger.ms",
    "compression": "compression.type",
    "max_buffered_messages": "queue.buffering.max.messages",
}
_CONSUMER = {
    "group_id": "group.id",
    "request_timeout": "socket.timeout.ms",
    "session_timeout": "session.timeout.ms",
    "heartbeat_interval": "heartbeat.interval.ms",
    "max_poll_interval": "max.poll.interval.ms",
    "group_protocol": "group.protocol",
}
_BACKOFF = {"initial_retry_time": "retry.backoff.ms", "max_retry_time": "retry.backoff.max.ms"}


def producer_settings(config: IntegrationConfig, *, ask_for_token: bool = True) -> dict[str, Any]:
    """Settings for ``confluent_kafka.Producer``; they hold secrets.

    Args:
        config: the integration.
        ask_for_token: with OAUTHBEARER, whether the token endpoint is asked, and ``oauth_cb`` set.

    Raises:
        ConfigError: a keystore or truststore cannot be used.
        SourceError: with OAUTHBEARER, the token endpoint gives no token.
    """
    producer = config.integration.producer
    named = _named(producer, _CLIENT | _PRODUCER) | _named(producer.retry, _BACKOFF | {"retries": "retries"})
    return _settings(producer, config, ask_for_token=ask_for_token) | named | _GUARANTEED_PRODUCER


def consumer_settings(config: IntegrationConfig, *, ask_for_token: bool = True) -> dict[str, Any]:
    """Settings for ``confluent_kafka.Consumer``; they hold secrets.

    Args:
        config: the integration.
        ask_for_token: with OAUTHBEARER, whether the token endpoint is asked, and ``oauth_cb`` set.

    Raises:
        ConfigError: a keystore or truststore cannot be used.
        SourceError: with OAUTHBEARER, the token endpoint gives no token.
    """
    consumer = config.integration.consumer
    named = _named(consumer, _CLIENT | _CONSUMER) | _named(consumer.retry, _BACKOFF)
    # Java's ``none`` is librdkafka's ``error``: the group fails instead of choosing an end by itself.
    reset = {"none": "error"}.get(consumer.auto_offset_reset, consumer.auto_offset_reset)
    named["auto.offset.reset"] = reset
    if consumer.group_protocol == "classic":
        named["partition.assignment.strategy"] = "cooperative-sticky"
    return _settings(consumer, config, ask_for_token=ask_for_token) | named | _GUARANTEED_CONSUMER


def _settings(client: Client, config: IntegrationConfig, *, ask_for_token: bool) -> dict[str, Any]:
    found = security_settings(config.integration.security, ask_for_token=ask_for_token)
    return {"bootstrap.servers": ",".join(client.brokers), **found}


def security_settings(security: Security, *, ask_for_token: bool = True) -> dict[str, Any]:
    """``security.protocol`` and what belongs to it; also for admin clients. They hold secrets.

    Raises:
        ConfigError: a keystore or truststore cannot be used.
        SourceError: with OAUTHBEARER, the token endpoint gives no token.
    """
    found: dict[str, Any] = {"security.protocol": security.protocol}
    if security.ssl.enabled:
        found |= keystore_settings(security.ssl) | truststore_settings(security.ssl)
    sasl = security.sasl
    if sasl is None:
        return found
    found["sasl.mechanism"] = sasl.mechanism
    if sasl.oauth:
        return found | ({"oauth_cb": _ready(TokenSource(sasl.oauth))} if ask_for_token else {})
    return found | {
        "sasl.username": sasl.username,
        "sasl.password": sasl.password.get_secret_value() if sasl.password else None,
    }


def _ready(source: TokenSource) -> Callable[[str], tuple[str, float]]:
    """The callback of a source that has a token: the client's own error for a refused one says only that none came."""
    source.token()
    return source.oauth_cb


def _named(section: Producer | Consumer | Any, names: Mapping[str, str]) -> dict[str, Any]:
    """What a section sets, under librdkafka's names; what it leaves open stays librdkafka's default."""
    return {
        setting: getattr(section, name) for name, setting in names.items() if getattr(section, name, None) is not None
    }
