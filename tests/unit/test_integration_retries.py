"""Only what may pass is tried again; a breaker stops what keeps failing and lets one probe through."""

from __future__ import annotations

import threading

import httpx
import httpx2
import pytest
from confluent_kafka import KafkaError, KafkaException

from workbench.integration.breaker import BreakerOpen, CircuitBreaker
from workbench.integration.failures import (
    BusinessError,
    Category,
    PermanentError,
    TransientError,
    category_of,
    retry_after_of,
)
from workbench.integration.formats import Event, InvalidMessage
from workbench.integration.metrics import Metrics
from workbench.integration.retries import RetryHandler

FAST = RetryHandler(attempts=4, first_wait_seconds=0.001, longest_wait_seconds=0.002)


def answered(status: int, **headers: str) -> httpx2.HTTPStatusError:
    request = httpx2.Request("POST", "http://mail.example")
    response = httpx2.Response(status, request=request, headers=headers)
    return httpx2.HTTPStatusError("no", request=request, response=response)


def invalid() -> Exception:
    with pytest.raises(InvalidMessage) as caught:
        Event.from_wire(b"{}")
    return caught.value


CATEGORIES = [
    (TransientError("x"), Category.TRANSIENT),
    (PermanentError("x"), Category.PERMANENT),
    (BusinessError("x"), Category.BUSINESS),
    (ConnectionResetError(), Category.TRANSIENT),
    (TimeoutError(), Category.TRANSIENT),
    (httpx2.ReadTimeout("x"), Category.TRANSIENT),
    (httpx.ReadTimeout("x"), Category.TRANSIENT),
    (httpx.UnsupportedProtocol("x"), Category.PERMANENT),
    (httpx2.UnsupportedProtocol("x"), Category.PERMANENT),
    (answered(503), Category.TRANSIENT),
    (answered(429), Category.TRANSIENT),
    (answered(401), Category.PERMANENT),
    (answered(400), Category.PERMANENT),
    (KafkaException(KafkaError(KafkaError._TRANSPORT)), Category.TRANSIENT),
    (KafkaException(KafkaError(KafkaError.TOPIC_AUTHORIZATION_FAILED)), Category.PERMANENT),
    (KeyError("a bug"), Category.PERMANENT),
    (FileNotFoundError("a bug too"), Category.PERMANENT),
]


@pytest.mark.parametrize(("error", "category"), CATEGORIES, ids=lambda value: getattr(value, "value", repr(value)))
def test_every_error_has_a_category(error, category):
    assert category_of(error) is category


def test_what_does_not_fit_its_format_is_permanent():
    assert category_of(invalid()) is Category.PERMANENT


def test_only_the_failing_side_sets_a_time():
    now = 1_700_000_000.0
    assert retry_after_of(TransientError("x", retry_after=7), now=now) == 7
    assert retry_after_of(answered(503, **{"retry-after": "30"}), now=now) == 30
    assert retry_after_of(answered(503, **{"retry-after": "Tue, 14 Nov 2023 22:13:30 GMT"}), now=now) == 10
    assert retry_after_of(answered(503, **{"retry-after": "soon"}), now=now) is None
    assert retry_after_of(ConnectionResetError(), now=now) is None


class Flaky:
    """Fails with the given errors in turn, then succeeds."""

    def __init__(self, *errors: Exception) -> None:
        self.errors = list(errors)
        self.calls = 0

    def __call__(self) -> str:
        self.calls += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


def test_a_transient_error_is_tried_again_and_each_failure_is_told():
    told: list[Exception] = []
    flaky = Flaky(TransientError("a"), ConnectionResetError("b"))
    assert FAST.call(flaky, on_failure=told.append) == "done"
    assert (flaky.calls, [type(error) for error in told]) == (3, [TransientError, ConnectionResetError])


@pytest.mark.parametrize("error", [PermanentError("x"), BusinessError("x"), KeyError("x")])
def test_anything_else_is_raised_at_once(error):
    flaky = Flaky(error)
    with pytest.raises(type(error)):
        FAST.call(flaky)
    assert flaky.calls == 1


def test_a_permanent_error_ends_the_attempts():
    flaky = Flaky(TransientError("a"), PermanentError("b"))
    with pytest.raises(PermanentError):
        FAST.call(flaky)
    assert flaky.calls == 2


def test_attempts_are_capped_and_the_last_error_is_raised():
    flaky = Flaky(*(TransientError(str(number)) for number in range(9)))
    with pytest.raises(TransientError, match="3"):
        FAST.call(flaky)
    assert flaky.calls == 4


def test_a_first_attempt_of_the_caller_counts():
    told: list[Exception] = []
    flaky = Flaky(*(TransientError(str(number)) for number in range(9)))
    with pytest.raises(TransientError):
        FAST.call(flaky, first=TransientError("mine"), on_failure=told.append)
    assert (flaky.calls, len(told)) == (3, 4)


class Waits(threading.Event):
    """Notes how long it was waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: list[float] = []

    def wait(self, timeout=None):
        self.noted.append(timeout)
        return False


def test_what_is_asked_for_is_never_undercut():
    waits = Waits()
    RetryHandler().call(Flaky(TransientError("x", retry_after=45)), halt=waits)
    assert waits.noted == [45]


def test_waits_grow_within_their_cap():
    waits = Waits()
    handler = RetryHandler(attempts=12, first_wait_seconds=0.5, longest_wait_seconds=8, total_seconds=None)
    with pytest.raises(TransientError):
        handler.call(Flaky(*(TransientError("x") for _ in range(12))), halt=waits)
    assert len(waits.noted) == 11
    assert all(0.5 <= wait <= 8 for wait in waits.noted)
    assert len(set(waits.noted)) > 5  # drawn, so that many callers do not come back at once
    assert max(waits.noted[:2]) <= 1


def test_a_wait_beyond_the_budget_is_not_begun():
    impatient = RetryHandler(attempts=9, first_wait_seconds=0.001, total_seconds=5)
    flaky = Flaky(TransientError("x", retry_after=3600))
    with pytest.raises(TransientError):
        impatient.call(flaky)
    assert flaky.calls == 1


def test_a_stop_ends_the_wait():
    halt = threading.Event()
    flaky = Flaky(TransientError("x", retry_after=3600), TransientError("y"))
    threading.Timer(0.05, halt.set).start()
    with pytest.raises(TransientError):
        RetryHandler(total_seconds=None).call(flaky, halt=halt)


# ---- the breaker ----


def failing() -> None:
    raise ConnectionResetError


def opened(metrics: Metrics | None = None, reset_seconds: float = 60.0) -> CircuitBreaker:
    breaker = CircuitBreaker("mail", failures=2, reset_seconds=reset_seconds, metrics=metrics)
    for _ in range(2):
        with pytest.raises(ConnectionResetError):
            breaker.call(failing)
    return breaker


def test_it_opens_and_refuses_without_a_try():
    metrics = Metrics()
    breaker = opened(metrics)
    with pytest.raises(BreakerOpen) as refused:
        breaker.call(lambda: pytest.fail("tried"))
    assert 0 < (refused.value.retry_after or 0) <= 60
    assert category_of(refused.value) is Category.TRANSIENT
    assert metrics.value("circuit_breaker_state", breaker="mail", state="open") == 1
    assert metrics.value("circuit_breaker_state", breaker="mail", state="closed") == 0
    assert metrics.value("circuit_breaker_rejected_total", breaker="mail") == 1


def test_a_probe_closes_it_or_opens_it_again():
    metrics = Metrics()
    breaker = opened(metrics, reset_seconds=0)
    with pytest.raises(ConnectionResetError):
        breaker.call(failing)
    assert breaker.state == "open"
    assert breaker.call(lambda: "works") == "works"
    assert breaker.state == "closed"
    assert metrics.value("circuit_breaker_transitions_total", breaker="mail", state="half-open") == 2


def test_only_one_probe_goes_through():
    breaker = opened(reset_seconds=0)
    with breaker.guard():
        assert breaker.state == "half-open"
        with pytest.raises(BreakerOpen):
            breaker.call(lambda: pytest.fail("a second probe"))
    assert breaker.state == "closed"


def test_a_refusal_of_the_message_proves_that_the_other_side_works():
    breaker = CircuitBreaker("mail", failures=2)
    for _ in range(5):
        with pytest.raises(PermanentError):
            breaker.call(lambda: (_ for _ in ()).throw(PermanentError("bad address")))
    assert breaker.state == "closed"


def test_calls_run_side_by_side():
    """A lock held during a call would let a slow dependency stop everybody."""
    breaker = CircuitBreaker("mail")
    with breaker.guard():
        done = threading.Thread(target=breaker.call, args=(lambda: None,))
        done.start()
        done.join(timeout=20)
        assert not done.is_alive()


def test_a_refused_call_is_no_attempt():
    """The breaker is asked again when it may probe; what was never tried does not use up the attempts."""
    breaker = opened(reset_seconds=0.02)
    told: list[Exception] = []
    patient = RetryHandler(attempts=1, first_wait_seconds=0.001, longest_wait_seconds=0.002)
    assert patient.call(lambda: breaker.call(lambda: "works"), on_failure=told.append) == "works"
    assert {type(error) for error in told} == {BreakerOpen}
