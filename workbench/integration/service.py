"""The notification service of the pattern, as a process: events in, notifications out, everything else around it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.encryption import Keyring
from workbench.errors import UsageError
from workbench.integration.breaker import CircuitBreaker
from workbench.integration.config import IntegrationConfig
from workbench.integration.consumer import MessageConsumer
from workbench.integration.deadletters import DeadLetterHandler
from workbench.integration.endpoint import endpoint_client
from workbench.integration.formats import Notification
from workbench.integration.librdkafka import consumer_settings, producer_settings
from workbench.integration.metrics import Metrics
from workbench.integration.monitoring import Health, monitored
from workbench.integration.outlets import AtLeastOnce, ExactlyOnce, Outlet
from workbench.integration.producer import MessageProducer
from workbench.integration.records import MESSAGE_TYPE, Outgoing, Record
from workbench.integration.retries import RetryHandler
from workbench.integration.servicelog import service_log
from workbench.integration.tracing import NO_TRACING, Tracing, to_otlp_file, to_otlp_http
from workbench.integration.transform import DataTransformer

SERVICE = "notification-service"
Deliver = Callable[[Notification], None]


@dataclass(frozen=True, kw_only=True)
class ServiceOptions:
    """How the service runs, beside what ``integration.yml`` says.

    Attributes:
        exactly_once: outputs and positions go in transactions.
        instance: number of this process among those that run side by side; part of its transactional id.
        deliver: whether each notification is also posted to ``protocol.endpoint``, through the circuit breaker.
        host, port: of ``/metrics`` and ``/health``; port 0 takes a free one, None serves nothing.
        otlp_endpoint: where spans go over OTLP/HTTP.
        otlp_file: file for spans as OTLP JSON lines.
        log: file for the service log as JSON lines.
    """

    exactly_once: bool = False
    instance: int = 0
    deliver: bool = False
    host: str = "127.0.0.1"
    port: int | None = 0
    otlp_endpoint: str | None = None
    otlp_file: Path | None = None
    log: Path | None = None


class NotificationHandler:
    """The handler: one notification for each event, with the event's id.

    Args:
        sink: where notifications go.
        deliver: also hands each to somebody; an error of it is the message's error. None: nobody.
        transformer: reads and maps events.
        keyring: opens events and encrypts notifications; an event in clear is refused then. None: nothing is encrypted.
    """

    def __init__(
        self,
        sink: str,
        deliver: Deliver | None = None,
        transformer: DataTransformer | None = None,
        keyring: Keyring | None = None,
    ) -> None:
        self._sink = sink
        self._deliver = deliver
        self._transformer = transformer or DataTransformer()
        self._keyring = keyring

    def __call__(self, record: Record) -> list[Outgoing]:
        """The output for a record.

        Raises:
            InvalidMessage: it cannot be processed, now or later.
            EncryptionError: it cannot be opened: altered, in clear, or no key for it.
        """
        notification = self._transformer.transform(self._transformer.event(self._opened(record)))
        if self._deliver is not None:
            self._deliver(notification)
        value, key_id = self._sealed(notification)
        headers = ((MESSAGE_TYPE, b"notification.sent"), *key_id)
        return [Outgoing(self._sink, value, record.key, notification.message_id, headers)]

    def _opened(self, record: Record) -> Record:
        if self._keyring is None:
            return record
        message_id = record.message_id or ""
        clear = self._keyring.decrypt(record.value or b"", record.headers, topic=record.topic, message_id=message_id)
        return record._replace(value=clear)

    def _sealed(self, notification: Notification) -> tuple[bytes, list[tuple[str, bytes]]]:
        wire = notification.to_wire()
        if self._keyring is None:
            return wire, []
        return self._keyring.encrypt(wire, topic=self._sink, message_id=notification.message_id)


class HttpDelivery:
    """Posts notifications, through a circuit breaker; connections are pooled.

    Args:
        config: endpoint, timeout, pool and breaker.
        metrics: where the breaker is shown.
    """

    def __init__(self, config: IntegrationConfig, metrics: Metrics) -> None:
        if config.protocol is None:
            raise UsageError("There is no endpoint to deliver to.", hint="Add protocol.endpoint to integration.yml.")
        settings = config.integration.circuit_breaker
        self._client = endpoint_client(config.protocol, config.integration.pool)
        self._endpoint = config.protocol.endpoint
        self._breaker = CircuitBreaker(
            "notification-endpoint",
            failures=settings.threshold,
            reset_seconds=settings.timeout / 1000,
            metrics=metrics,
        )

    def __call__(self, notification: Notification) -> None:
        """Posts one; the receiver tells a repeated one by its message id.

        Raises:
            HTTPError: it was not taken.
            BreakerOpen: it was not tried.
        """
        headers = {"content-type": "application/json", "idempotency-key": notification.message_id}
        with self._breaker.guard():
            self._client.post(self._endpoint, content=notification.to_wire(), headers=headers).raise_for_status()

    def close(self) -> None:
        """Closes the connections."""
        self._client.close()


def run_service(config: IntegrationConfig, options: ServiceOptions, *, say: Callable[[str], None]) -> None:
    """Runs until SIGTERM or SIGINT, or until it fails; what is under way is finished and committed.

    Args:
        config: of ``integration.yml``.
        options: how it runs.
        say: called with one sentence when it is up.

    Raises:
        WorkbenchError: it cannot go on; what was not committed comes again.
    """
    metrics = Metrics()
    with ExitStack() as stack:
        stack.enter_context(service_log(options.log))
        tracing = _tracing(config, options)
        stack.callback(tracing.shutdown)
        consumer = build(config, options, metrics, tracing, stack=stack)
        stack.enter_context(_stopped_by_signals(consumer))
        if options.port is not None:
            health = Health({"assigned": consumer.assigned.is_set, "connected": lambda: _connected(metrics)})
            address = stack.enter_context(monitored(metrics, health, host=options.host, port=options.port))
            say(f"metrics {address}/metrics")
        consumer.run()


def build(
    config: IntegrationConfig,
    options: ServiceOptions,
    metrics: Metrics,
    tracing: Tracing,
    *,
    stack: ExitStack,
    outlet: Outlet | None = None,
) -> MessageConsumer:
    """The consumer of the service with all its parts; what must be closed at the end is given to ``stack``."""
    retry = config.integration.retry
    delivery = HttpDelivery(config, metrics) if options.deliver else None
    if delivery:
        stack.callback(delivery.close)
    return MessageConsumer(
        consumer_settings(config),
        [config.source],
        NotificationHandler(config.sink, delivery, keyring=_keyring(config)),
        outlet or _outlet(config, options, metrics, tracing),
        retry=RetryHandler(
            attempts=retry.max_retries + 1,
            first_wait_seconds=retry.base_delay / 1000,
            longest_wait_seconds=retry.max_delay / 1000,
            total_seconds=None,
        ),
        dead_letters=DeadLetterHandler(config.dead_letters, group=config.group),
        metrics=metrics,
        tracing=tracing,
    )


def _keyring(config: IntegrationConfig) -> Keyring | None:
    """The keys of ``integration.encryption``; None where nothing is encrypted."""
    wanted = config.integration.encryption
    if wanted is None:
        return None
    keys = {key_id: key.get_secret_value() for key_id, key in wanted.encryption_keys.items()}
    return Keyring.from_hex(keys, wanted.active_key)


def _outlet(config: IntegrationConfig, options: ServiceOptions, metrics: Metrics, tracing: Tracing) -> Outlet:
    settings: dict[str, Any] = producer_settings(config)
    if options.exactly_once:
        return ExactlyOnce(settings, f"{config.group}-{options.instance}", metrics=metrics, tracing=tracing)
    return AtLeastOnce(MessageProducer(settings, metrics=metrics, tracing=tracing))


def _tracing(config: IntegrationConfig, options: ServiceOptions) -> Tracing:
    group = config.group
    if options.otlp_file is not None:
        return to_otlp_file(SERVICE, options.otlp_file, group=group)
    if options.otlp_endpoint is not None:
        return to_otlp_http(SERVICE, options.otlp_endpoint, group=group)
    return NO_TRACING


def _connected(metrics: Metrics) -> bool:
    """Whether a connection stands; before the first statistics nobody knows better."""
    return metrics.value("connection_up", client="consumer") in {1, None}


@contextmanager
def _stopped_by_signals(consumer: MessageConsumer) -> Iterator[None]:
    """SIGTERM and SIGINT end the consumer in order; only the main thread can be told by signals."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.signal(number, lambda *_: consumer.stop()) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
