"""The circuit breaker around what a service calls: closed, open, or half-open with one probe (pybreaker)."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any, TypeVar

import pybreaker

from workbench.integration.failures import Category, TransientError, category_of
from workbench.integration.metrics import Metrics

T = TypeVar("T")


class BreakerOpen(TransientError):
    """The call was refused without a try; ``retry_after`` is when a probe may go through."""


class CircuitBreaker:
    """Stops calling what fails, and lets one call through after a while to see whether it is back.

    Only transient failures count: a refusal for what a message says proves that the other side works. Calls run side by
    side while it is closed; threads and asyncio may share one.

    Args:
        name: of what is called; the label ``breaker`` of its metrics.
        failures: in a row, until it opens.
        reset_seconds: until a probe.
        metrics: where its state is shown.
    """

    def __init__(
        self, name: str, *, failures: int = 5, reset_seconds: float = 60.0, metrics: Metrics | None = None
    ) -> None:
        self.name = name
        self.reset_seconds = reset_seconds
        self._metrics = metrics or Metrics()
        self._probing = threading.Lock()
        self._breaker = pybreaker.CircuitBreaker(
            fail_max=failures,
            reset_timeout=reset_seconds,
            exclude=[_proves_that_it_works],
            listeners=[_Shown(self._metrics)],
            name=name,
            throw_new_error_on_trip=False,  # the caller gets the error of the call itself
        )
        self._metrics.enter_breaker_state(name, self.state)

    @property
    def state(self) -> str:
        """``closed``, ``open`` or ``half-open``."""
        return str(self._breaker.current_state)

    def call(self, operation: Callable[[], T]) -> T:
        """The operation's result.

        Raises:
            BreakerOpen: it was not tried.
        """
        with self.guard():
            return operation()

    @contextmanager
    def guard(self) -> Iterator[None]:
        """Guards the block, which may await.

        Raises:
            BreakerOpen: before the block.
        """
        if self.state == "closed":
            with self._counted():
                yield
            return
        if not self._probing.acquire(blocking=False):
            self._refuse()
        try:
            with self._counted():
                yield
        finally:
            self._probing.release()

    @contextmanager
    def _counted(self) -> Iterator[None]:
        """Pybreaker's own guard; ``call`` would hold its lock for as long as the call takes."""
        calling = self._breaker.calling()
        try:
            calling.__enter__()
        except pybreaker.CircuitBreakerError:
            self._refuse()
        try:
            yield
        except BaseException as error:
            calling.__exit__(type(error), error, error.__traceback__)
            raise
        calling.__exit__(None, None, None)

    def _refuse(self) -> None:
        self._metrics.rejected.labels(self.name).inc()
        opened = self._breaker._state_storage.opened_at  # noqa: SLF001 - the only place that knows when
        passed = (datetime.now(UTC) - opened).total_seconds() if opened else 0.0
        wait = max(self.reset_seconds - passed, 0.05)
        raise BreakerOpen(f"Calls to {self.name} are suspended for {wait:.1f} s: it kept failing.", retry_after=wait)


class _Shown(pybreaker.CircuitBreakerListener):
    """Shows the state in the metrics."""

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics

    def state_change(self, cb: Any, old_state: Any, new_state: Any) -> None:  # noqa: ARG002 - pybreaker's interface
        self._metrics.enter_breaker_state(cb.name, new_state.name)
        self._metrics.transitions.labels(cb.name, new_state.name).inc()


def _proves_that_it_works(error: BaseException) -> bool:
    return isinstance(error, Exception) and category_of(error) is not Category.TRANSIENT
