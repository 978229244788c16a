"""The consumer on a real broker: nothing lost, nothing repeated where it ends in order, whatever happens around it."""

from __future__ import annotations

import threading
import time
from collections import Counter

import pytest

from tests.kafka.integration_parts import Service, delete_topic, running, until
from workbench.errors import UsageError
from workbench.integration.consumer import MessageConsumer
from workbench.integration.deadletters import DeadLetterHandler
from workbench.integration.failures import BusinessError, PermanentError, SendError, TransientError
from workbench.integration.outlets import AtLeastOnce
from workbench.integration.producer import MessageProducer
from workbench.integration.retries import RetryHandler
from workbench.sandbox.kafka import Kafka, start

pytestmark = pytest.mark.kafka

MODES = [("least", "classic"), ("least", "consumer"), ("once", "classic"), ("once", "consumer")]


@pytest.mark.parametrize(("mode", "protocol"), MODES)
def test_each_record_has_one_ending(kafka, topic_name, mode, protocol):
    """Good ones are delivered, bad ones dead-lettered at once, flaky ones tried again in their place."""
    flaky: Counter[str] = Counter()

    def fault(record):
        if record.message_id == "m-10":
            raise PermanentError("bad format")
        if record.message_id == "m-20":
            raise BusinessError("no such user")
        if record.message_id in {"m-30", "m-40"}:
            flaky[record.message_id] += 1
            if record.message_id == "m-40" or flaky["m-30"] < 3:
                raise TransientError("mail server is away")

    service = Service(kafka, topic_name, mode, protocol, fault).open()
    sent = service.send(range(300))
    with running(service.consumer()):
        until(lambda: service.count() == 297 and service.count("dead_lettered") == 3, "all endings")
    assert service.delivered() == Counter({one: 1 for one in sent if one not in {"m-10", "m-20", "m-40"}})
    assert sorted(letter["metadata"]["attempts"] for letter in service.letters()) == [1, 1, 3]
    assert service.committed() == 300
    value = service.metrics.value
    counted = {
        category: value("message_processing_failures_total", topic=service.source, category=category)
        for category in ("permanent", "business", "transient")
    }
    assert counted == {"permanent": 1, "business": 1, "transient": 5}
    assert value("message_processing_duration_seconds_count", topic=service.source) == 300
    assert value("message_end_to_end_latency_seconds_count", topic=service.source) == 300
    assert value("message_retries_total", topic=service.source) == 4
    by_key = Counter(service.seen)
    assert set(by_key.values()) == {1}


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_stops_and_rebalances_lose_and_repeat_nothing(kafka, topic_name, protocol):
    """At least once, and yet each copy once: members come, go in the middle of their work, and come back."""
    service = Service(kafka, topic_name, "least", protocol, lambda _: time.sleep(0.002), partitions=4).open()
    sent = service.send(range(1500))
    with running(service.consumer(batch_size=50)):
        until(lambda: service.count() > 100, "the first member's work")
        with running(service.consumer(batch_size=50, client="second")) as second:
            until(second.consumer.assigned.is_set, "the second member's assignment")
            until(lambda: service.count() > 500, "work of both")
        until(lambda: service.count() > 700, "the first member's work alone")
    with running(service.consumer()) as third:
        until(lambda: service.count() == 1500, "the rest")
        assert third.error is None
    assert service.delivered() == Counter(sent)
    assert service.committed() == 1500


def test_a_slow_record_does_not_cost_the_membership(kafka, topic_name):
    """It takes longer than max.poll.interval.ms; partitions are paused, and nobody is thrown out of the group."""

    def fault(record):
        if record.message_id == "m-3":
            time.sleep(12)

    service = Service(kafka, topic_name, fault=fault, partitions=1).open()
    sent = service.send(range(50))
    settings = {"max.poll.interval.ms": 8000, "session.timeout.ms": 8000}
    with running(service.consumer(settings=settings)):
        until(
            lambda: service.metrics.value("consumer_paused_partitions", group=service.group, topic=service.source),
            "the pause",
        )
        until(lambda: service.count() == 50, "everything")
    assert service.delivered() == Counter(sent)
    assert service.seen == sent
    assert service.metrics.value("consumer_rebalances_total", group=service.group) == 1
    assert service.metrics.value("consumer_paused_partitions", group=service.group, topic=service.source) == 0


@pytest.mark.parametrize("mode", ["least", "once"])
def test_attempts_are_counted_across_redeliveries(kafka, topic_name, mode):
    """Another process goes on with the count where a stopped one left it; the first failure stays the first."""
    ending = threading.Event()

    def fault(record):
        if record.message_id == "m-5":
            raise (PermanentError if ending.is_set() else TransientError)("away")

    service = Service(kafka, topic_name, mode, fault=fault, partitions=1).open()
    service.send(range(10))
    patient = RetryHandler(attempts=99, first_wait_seconds=0.01, longest_wait_seconds=0.02, total_seconds=None)

    def failed() -> float:
        return (
            service.metrics.value("message_processing_failures_total", topic=service.source, category="transient") or 0
        )

    with running(service.consumer(retry=patient)):
        until(lambda: failed() >= 4, "some attempts")
    before = int(failed())
    stopped_at = time.time()
    assert service.committed() == 5
    ending.set()
    with running(service.consumer(retry=patient)):
        until(lambda: service.count("dead_lettered") == 1 and service.count() == 9, "the rest")
    (letter,) = service.letters()
    assert letter["metadata"]["attempts"] == before + 1
    assert letter["metadata"]["firstFailure"] < time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(stopped_at + 1))
    assert set(service.delivered().values()) == {1}


def test_without_dead_letters_a_failure_ends_the_consumer_uncommitted(kafka, topic_name):
    def fault(record):
        if record.message_id == "m-5":
            raise PermanentError("bad format")

    service = Service(kafka, topic_name, fault=fault, partitions=1).open()
    service.send(range(10))
    with running(service.consumer(dead_letters=None)) as going:
        assert isinstance(going.ended(), PermanentError)
    assert service.committed() == 5
    assert set(service.delivered()) == {f"m-{n}" for n in range(5)}


def test_a_missing_topic_is_said_before_anything_is_read(kafka, topic_name):
    service = Service(kafka, topic_name).open()
    service.send(range(3))
    with running(service.consumer(dead_letters=DeadLetterHandler(f"{topic_name}.nowhere"))) as going:
        error = going.ended()
    assert isinstance(error, PermanentError)
    assert "nowhere" in str(error)
    assert error.hint
    assert service.committed() == 0
    assert service.seen == []


def test_an_eager_assignor_is_refused(kafka):
    settings = {"bootstrap.servers": kafka, "group.id": "g", "partition.assignment.strategy": "range"}
    with pytest.raises(UsageError, match="cooperative"):
        MessageConsumer(settings, ["t"], lambda _: None, AtLeastOnce(MessageProducer({"bootstrap.servers": kafka})))


@pytest.fixture(scope="module")
def strict():
    """A broker of our own that makes no topics by itself, and that may be killed."""
    with start(settings={"auto.create.topics.enable": "false"}) as cluster:
        yield cluster


@pytest.mark.parametrize("mode", ["least", "once"])
def test_a_dead_letter_topic_that_vanishes_stops_the_consumer(strict: Kafka, topic_name, mode):
    """The dead letter has no place: the error says so, the offset is not committed, and nothing is lost."""
    arrived = threading.Event()

    def fault(record):
        if record.message_id == "m-0":
            return
        arrived.wait(60)
        raise PermanentError("bad format")

    service = Service(strict.bootstrap, topic_name, mode, fault=fault, partitions=1).open()
    settings = {"bootstrap.servers": strict.bootstrap, "message.timeout.ms": 15_000}
    outlet = AtLeastOnce(MessageProducer(settings, metrics=service.metrics)) if mode == "least" else None
    service.send(range(2))
    with running(service.consumer(outlet)) as going:
        until(lambda: service.seen == ["m-0"], "the first record")
        delete_topic(strict.bootstrap, service.dead_letters)
        arrived.set()
        error = going.ended()
    assert isinstance(error, SendError)
    assert service.dead_letters in str(error)
    assert service.committed() < 2
    assert service.metrics.value("messages_dead_lettered_total", topic=service.source, category="permanent") == 0


@pytest.mark.load
@pytest.mark.parametrize(("mode", "protocol"), MODES)
def test_a_broker_that_is_away_costs_nothing(strict: Kafka, topic_name, mode, protocol):
    """Killed in the middle of the work and started again: the consumer goes on by itself."""
    service = Service(strict.bootstrap, topic_name, mode, protocol, fault=lambda _: time.sleep(0.002)).open()
    sent = service.send(range(2000))
    with running(service.consumer(batch_size=100)) as going:
        until(lambda: service.count() > 200, "some work")
        strict.kill(1)
        time.sleep(8)
        strict.restart(1)
        until(lambda: service.committed() == 2000 or going.error is not None, "the rest")
        assert going.error is None
    found = service.delivered()
    assert set(found) == set(sent)
    if mode == "once":
        assert set(found.values()) == {1}
