"""The admin client of librdkafka behind deadlines: it never writes, nor logs to the terminal, nor waits for ever."""

from __future__ import annotations

import concurrent.futures
import logging
import time
from collections.abc import Callable, Hashable, Mapping
from typing import Any, TypeVar

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient

from workbench.errors import SourceError
from workbench.sources.mapping import as_source_error, bad_setting, fault_of, unreachable

K = TypeVar("K", bound=Hashable)
Futures = Mapping[K, "concurrent.futures.Future[Any]"]

# What a profile may hold for other clients and would change what reading does, or load code into this process.
NOT_FOR_READING = frozenset(
    {"group.id", "group.instance.id", "group.protocol", "transactional.id", "enable.auto.commit", "auto.offset.reset",
     "enable.auto.offset.store", "isolation.level", "allow.auto.create.topics", "enable.partition.eof",
     "plugin.library.paths"}
)  # fmt: skip
_REFUSED_SECONDS = 2.0  # how long all brokers must stay down at first contact before we give up early
_RETRIES = 5  # a topic made, or a leader moved, a moment ago settles within a second
_PAUSE_SECONDS = 0.25


def silent_logger() -> logging.Logger:
    """A logger for librdkafka's own lines, which would otherwise go to the user's terminal."""
    logger = logging.getLogger("workbench.librdkafka")
    if not logger.handlers:
        logger.addHandler(logging.NullHandler())
        logger.propagate = False
    return logger


class Admin:
    """librdkafka's admin client, asked in bulk and answered within a deadline."""

    def __init__(self, settings: Mapping[str, str], timeout_seconds: float) -> None:
        self.bootstrap = settings.get("bootstrap.servers", "")
        self.timeout_seconds = timeout_seconds
        self._last_trouble: KafkaError | None = None
        self._down_since: float | None = None
        self._reached = False
        # False once a cluster has shown that it has none (librdkafka's mock): then nothing is asked that waits for it.
        self.has_controller = True
        self._kept = {key: value for key, value in settings.items() if key not in NOT_FOR_READING}
        settings_with_callback: dict[str, Any] = {**self._kept, "error_cb": self._note}
        try:
            self._client = AdminClient(settings_with_callback, logger=silent_logger())
        except KafkaException as error:
            raise bad_setting(error) from None

    def reading_settings(self) -> dict[str, Any]:
        """Settings of a consumer that never commits or creates; it wants a ``group.id`` yet."""
        return {
            **self._kept,
            "enable.auto.commit": "false",
            "enable.auto.offset.store": "false",
            "allow.auto.create.topics": "false",
        }

    def _note(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN:  # noqa: SLF001
            self._down_since = self._down_since or time.monotonic()
        else:
            self._last_trouble = error

    def call(self, verb: str, *args: Any, **options: Any) -> Any:
        """A future, or a dict of futures, of an admin call; the deadline is set here."""
        return getattr(self._client, verb)(*args, request_timeout=self.timeout_seconds, **options)

    def one(self, future: concurrent.futures.Future[Any], operation: str, resource: str) -> Any:
        """The result of one call.

        Raises:
            SourceError: of the fitting kind, naming the operation and resource.
        """
        self._wait({"": future})
        try:
            return future.result()
        except KafkaException as error:
            raise self._error(error, operation, resource) from None

    def each(self, futures: Futures[K]) -> tuple[dict[K, Any], dict[K, Any]]:
        """(results, errors) of many calls that run at the same time; errors are for ``mapping.reason``."""
        self._wait(futures)
        results: dict[K, Any] = {}
        errors: dict[K, Any] = {}
        for key, future in futures.items():
            try:
                results[key] = future.result()
            except KafkaException as error:
                errors[key] = error
        return results, errors

    def settled(self, ask: Callable[[list[K]], Futures[K]], keys: list[K]) -> tuple[dict[K, Any], dict[K, Any]]:
        """As ``each``, and asks again for partitions whose leader was not there yet."""
        results: dict[K, Any] = {}
        errors: dict[K, Any] = {}
        for attempt in range(_RETRIES):
            if not keys:
                break
            had, errors_now = self.each(ask(keys))
            results |= had
            errors = {key: value for key, value in errors.items() if key not in had} | errors_now
            keys = [key for key, error in errors_now.items() if fault_of(error).kind == "leaderless"]
            if keys and attempt + 1 < _RETRIES:
                time.sleep(_PAUSE_SECONDS)
        return results, errors

    def metadata(self, seconds: float | None = None) -> Any:
        """Names and partitions of all topics we may describe; never asked for one by name, which could create it."""
        try:
            found = self._client.list_topics(timeout=seconds or self.timeout_seconds)
        except KafkaException as error:
            self._client.poll(0)  # brings the connection's own report, which says more
            raise self._error(error, "Describe", "the cluster") from None
        self._reached = True
        return found

    def answers_within(self, future: concurrent.futures.Future[Any], seconds: float) -> bool:
        """Whether a call has ended, either way, by then."""
        self._poll_for({future}, time.monotonic() + seconds)
        return future.done()

    def _wait(self, futures: Futures[K]) -> None:
        if self._poll_for(set(futures.values()), time.monotonic() + self.timeout_seconds + 1):
            raise unreachable(self._last_trouble, self.bootstrap, self.timeout_seconds)

    def _poll_for(self, pending: set[concurrent.futures.Future[Any]], deadline: float) -> bool:
        """Serves the client until the calls have ended or the time has come; whether some are left."""
        while pending and time.monotonic() < deadline:
            self._client.poll(0)
            done, pending = concurrent.futures.wait(pending, timeout=0.05)
            self._reached = self._reached or any(future.exception() is None for future in done)
            if pending and not self._reached:
                self._give_up_early()
        return bool(pending)

    def _give_up_early(self) -> None:
        """At first contact a refused login or connection will not heal by waiting for the whole deadline."""
        if self._last_trouble is None:
            return
        down = self._down_since is not None and time.monotonic() - self._down_since > _REFUSED_SECONDS
        if down or fault_of(self._last_trouble).kind == "login":
            raise unreachable(self._last_trouble, self.bootstrap, self.timeout_seconds)

    def _error(self, error: KafkaException, operation: str, resource: str) -> SourceError:
        if not self._reached and fault_of(error).code < 0:
            return unreachable(self._last_trouble, self.bootstrap, self.timeout_seconds)
        return as_source_error(error, operation, resource, self.bootstrap)
