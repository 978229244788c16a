"""Trying again: only what may pass by itself, ever later, with jitter, within limits."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import tenacity

from workbench.integration.breaker import BreakerOpen
from workbench.integration.failures import Category, category_of, retry_after_of

T = TypeVar("T")
OnFailure = Callable[[Exception], None]


@dataclass(frozen=True, kw_only=True)
class RetryHandler:
    """Calls an operation until it succeeds, fails for good, or has had its chances.

    Waits are drawn between the first wait and one that doubles each time (full jitter, so that many callers do not come
    back at once). What the failing side asks for (``retryAfter``, Retry-After) is never undercut. A call that a breaker
    refused is no attempt: nothing was tried. A wait ends when the caller is told to stop.

    Attributes:
        attempts: how often it is tried at most.
        first_wait_seconds: the shortest wait.
        longest_wait_seconds: cap of the backoff; what was asked for may be longer.
        total_seconds: no further attempt begins after this; None sets no limit.
    """

    attempts: int = 5
    first_wait_seconds: float = 0.2
    longest_wait_seconds: float = 30.0
    total_seconds: float | None = 120.0

    def call(
        self,
        operation: Callable[[], T],
        *,
        halt: threading.Event | None = None,
        on_failure: OnFailure | None = None,
        first: Exception | None = None,
    ) -> T:
        """The operation's result.

        Args:
            operation: what to try.
            halt: ends waits and further attempts; the last error is raised then.
            on_failure: told of each failed attempt, before the wait.
            first: how a first attempt failed that the caller made himself.

        Raises:
            Exception: the last error, as it was raised.
        """
        tries = _Tries(operation, on_failure, first)
        try:
            return tries()
        except Exception as error:
            if category_of(error) is not Category.TRANSIENT:
                raise
            # The library is built only where it is needed: most messages succeed at once.
            return self._again(tries.known(error), halt or threading.Event())

    def _again(self, tries: _Tries[T], halt: threading.Event) -> T:
        stops: list[Callable[[tenacity.RetryCallState], bool]] = [
            lambda _: tries.failed >= self.attempts,
            tenacity.stop_when_event_set(halt),
        ]
        if self.total_seconds is not None:
            stops.append(tenacity.stop_before_delay(self.total_seconds))
        retrying = tenacity.Retrying(
            retry=tenacity.retry_if_exception(lambda error: category_of(error) is Category.TRANSIENT),
            wait=self._wait,
            stop=lambda state: any(stop(state) for stop in stops),
            sleep=tenacity.nap.sleep_using_event(halt),
            reraise=True,
        )
        return retrying(tries)

    def _wait(self, state: tenacity.RetryCallState) -> float:
        drawn = tenacity.wait_random_exponential(
            multiplier=self.first_wait_seconds, max=self.longest_wait_seconds, min=self.first_wait_seconds
        )(state)
        error = state.outcome.exception() if state.outcome else None
        asked = retry_after_of(error, now=time.time()) if error else None
        return max(drawn, asked or 0.0)


@dataclass
class _Tries(Generic[T]):
    """The operation, counting failures; how the first attempt ended may be known already."""

    operation: Callable[[], T]
    on_failure: OnFailure | None
    first: Exception | None
    failed: int = 0
    told: Exception | None = field(default=None)

    def known(self, error: Exception) -> _Tries[T]:
        """The tries whose next result is this error, which was counted already."""
        self.told = error
        return self

    def __call__(self) -> T:
        if self.told is not None:
            error, self.told = self.told, None
            raise error
        try:
            if self.first is not None:
                error, self.first = self.first, None
                raise error
            return self.operation()
        except Exception as error:
            self.failed += not isinstance(error, BreakerOpen)
            if self.on_failure:
                self.on_failure(error)
            raise
