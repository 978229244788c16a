"""A dead letter that could not be written: the service's log says so, or the topic is too small for it."""

from __future__ import annotations

import pytest

from tests.unit.builder import World
from tests.unit.test_loss_rules import diagnose, found, ids, state_of

CODE, DROPPED = "loss-dead-letter-write-failed", "loss-consumer-dropped"


def failing(*lines: dict[str, object], **fields: object) -> World:
    """Thirty messages; m7 is read, neither delivered nor dead-lettered; m20 is dead-lettered."""
    world = World(dead_letters=["in.dlq"])
    for name in ids(30):
        world.put("in", name, **(fields if name == "m7" else {}))
        if name not in ("m7", "m20"):
            world.put("out", name)
    world.put("in.dlq", "m20")
    world.commit()
    world.config("in.dlq", max_message_bytes="1000")
    if lines:
        world.service = [{"level": "error", "event": "", **line} for line in lines]
    return world


@pytest.mark.parametrize(
    "line",
    [
        {"message_id": "m7", "event": "could not write dead letter", "error": "Broker: Message size too large"},
        {
            "message_id": "m7",
            "event": "produce failed",
            "error": "Broker: Not enough in-sync replicas",
            "topic": "in.dlq",
        },
        {"partition": 0, "offset": 7, "event": "DLQ publish failed", "error": "TimeoutException"},
        {"message_id": "m7", "event": "error", "error": "Failed to produce to orders-dlt: not authorized"},
    ],
)
def test_the_log_says_that_the_dead_letter_was_not_written(line: dict[str, object]) -> None:
    handler = {"message_id": "m7", "event": "handler failed", "error": "KeyError"}
    for report in (diagnose(failing(line)), diagnose(failing(handler, line))):
        assert [(item.code, item.state, item.count) for item in report.findings] == [(CODE, "confirmed", 1)]


@pytest.mark.parametrize(
    "line",
    [
        {"message_id": "m7", "event": "handler failed", "error": "KeyError"},
        {"message_id": "m7", "event": "no dead letter queue configured, dropped", "error": "KeyError"},
    ],
)
def test_an_error_of_the_handler_alone_is_a_dropping_consumer(line: dict[str, object]) -> None:
    report = diagnose(failing(line))
    assert (state_of(report, DROPPED), state_of(report, CODE)) == ("confirmed", "ruled_out")


def test_a_failed_message_too_large_for_the_dead_letter_topic() -> None:
    line = {"message_id": "m7", "event": "handler failed", "error": "KeyError"}
    assert state_of(diagnose(failing(line, value_size=1_001)), CODE) == "confirmed"
    assert state_of(diagnose(failing(line, value_size=1_000)), CODE) == "ruled_out"


def test_size_alone_and_errors_without_a_name_are_not_enough() -> None:
    for world in (failing(value_size=1_001), failing({"event": "dead letter write failed", "error": "timed out"})):
        report = diagnose(world)
        assert [(item.code, item.state) for item in report.findings] == [(DROPPED, "suspected"), (CODE, "suspected")]
        assert report.causes["undetermined"] == 1


def test_it_is_undecided_without_the_services_log_and_silent_where_nothing_is_missing() -> None:
    assert state_of(diagnose(failing()), CODE) == "undecided"
    world = failing({"message_id": "m7", "event": "dead letter write failed", "error": "x"})
    world.put("in.dlq", "m7")  # a later attempt
    assert found(diagnose(world), CODE) is None
