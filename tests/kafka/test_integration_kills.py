"""kill -9 of the service in the middle of its work; the workbench's own checks say what became of every message."""

from __future__ import annotations

import threading

import httpx2
import pytest

from tests.kafka.integration_parts import until
from tests.kafka.integration_process import Flow, process

pytestmark = [pytest.mark.kafka, pytest.mark.load, pytest.mark.timeout(3600)]

# Work may take long on a small machine; a hang is a failure all the same.
SECONDS = 240.0


def caught_up(flow: Flow) -> bool:
    """Whether the group has committed everything: nothing waits in the loss ledger."""
    ledger = flow.check("loss")["ledger"]
    return ledger["waiting"] == 0 and ledger["in_flight"] == 0


def survive(flow: Flow, count: int, kills: int, *options: str) -> None:
    """Sends events, kills the service several times while it works, and lets the last one finish."""
    sending = threading.Thread(target=flow.send, args=(count,))
    sending.start()
    for number in range(kills):
        with process(flow, *options) as service:
            until(lambda part=number + 1: flow.written() >= count * part // (kills + 2), "some work", SECONDS)
            service.kill()
    with process(flow, *options) as service:
        until(lambda: flow.written() >= count, "the work", SECONDS)
        sending.join()
        until(lambda: caught_up(flow), "the last commit", SECONDS)
        assert service.end() == 0


def nothing_lost(flow: Flow, count: int) -> None:
    report = flow.check("loss")
    assert report["verdict"] == "ok", report
    assert report["ledger"]["sent"] == count
    assert (report["ledger"]["delivered"], report["ledger"]["lost"]) == (count, 0)


def exactly_once(flow: Flow, count: int) -> None:
    nothing_lost(flow, count)
    report = flow.check("duplicates")
    assert report["verdict"] == "ok", report
    assert report["ledger"] == {"records": 2 * count, "messages": 2 * count, "extra_copies": 0, "reprocessed": 0}


def each_copy_named(flow: Flow, count: int) -> None:
    """At least once: a crash may repeat messages; none of the copies is without a cause."""
    nothing_lost(flow, count)
    report = flow.check("duplicates")
    assert report["ledger"]["messages"] == 2 * count
    assert sum(report["causes"].values()) == report["ledger"]["extra_copies"]
    named = {code for code, number in report["causes"].items() if number}
    assert named <= {"duplicates-crash-before-commit"}, report


def test_a_killed_service_delivers_exactly_once(kafka, topic_name, tmp_path):
    flow = Flow(kafka, topic_name, tmp_path)
    survive(flow, 5000, 1, "--exactly-once")
    exactly_once(flow, 5000)


def test_a_killed_service_loses_nothing(kafka, topic_name, tmp_path):
    flow = Flow(kafka, topic_name, tmp_path)
    survive(flow, 5000, 1)
    each_copy_named(flow, 5000)


@pytest.mark.parametrize(("options", "verify"), [(("--exactly-once",), exactly_once), ((), each_copy_named)])
def test_200_000_events_and_three_kills(kafka, topic_name, tmp_path, options, verify):
    flow = Flow(kafka, topic_name, tmp_path)
    survive(flow, 200_000, 3, *options)
    verify(flow, 200_000)


def test_the_process_shows_its_metrics_and_health(kafka, topic_name, tmp_path):
    flow = Flow(kafka, topic_name, tmp_path, partitions=1)
    flow.send(20)
    with process(flow) as service:
        until(lambda: service.address, "its address")
        until(lambda: flow.written() == 20, "its work")
        shown = httpx2.get(f"{service.address}/metrics").text
        assert f'messages_processed_total{{result="success",topic="{flow.source}"}} 20.0' in shown
        health = httpx2.get(f"{service.address}/health")
        assert (health.status_code, health.json()["status"]) == (200, "ok")
        assert service.end() == 0


def test_a_service_without_its_dead_letter_topic_says_so(kafka, topic_name, tmp_path):
    flow = Flow(kafka, topic_name, tmp_path, partitions=1)
    flow.config.write_text(flow.config.read_text().replace(flow.dead_letters, "nowhere"))
    with process(flow) as service:
        assert service.program.wait(timeout=SECONDS) == 1
        service.end()
    said = "".join(service.said)
    assert "The dead-letter topic nowhere does not exist." in said
    assert "Traceback" not in said
