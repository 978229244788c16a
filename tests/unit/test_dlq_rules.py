"""Each dlq rule: it fires, it stays silent just inside its limits, and it is undecided without what it needs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builder import NOW_MS
from tests.unit.test_dlq import HOME, POISON, TRANSIENT, WEEK_MS, Queue
from workbench.report import Report

HOUR_MS, DAY_MS = 3_600_000, 86_400_000
CODE, RULE = "java.lang.NullPointerException", "javax.validation.ValidationException"


def state_of(report: Report, code: str) -> str:
    """confirmed, suspected, undecided or ruled_out."""
    found = {item.code: item.state for item in report.findings}
    if code in found:
        return found[code]
    if code in {item.code for item in report.undecided}:
        return "undecided"
    assert code in report.ruled_out
    return "ruled_out"


def test_poison_payload():
    queue = Queue()
    queue.many(6, POISON, readable=False)
    assert state_of(queue.report(), "dlq-poison-payload") == "confirmed"
    staged = Queue()
    staged.add("a", "org.apache.kafka.connect.errors.DataException", stage="VALUE_CONVERTER")
    assert state_of(staged.report(), "dlq-poison-payload") == "confirmed"
    readable = Queue()
    readable.many(6, POISON, readable=True)
    assert state_of(readable.report(), "dlq-poison-payload") == "suspected"
    other = Queue()
    other.many(6, CODE, readable=True)
    assert state_of(other.report(), "dlq-poison-payload") == "ruled_out"


def outage(traffic: bool = True, count: int = 6, during: int = 0, **fields: Any) -> Queue:
    """Refused connections for five seconds; before and after, unless it is still going on, the sink gets messages."""
    queue = Queue()
    start = NOW_MS - 30_000
    for number in range(count):
        queue.many(1, TRANSIENT, at_ms=start + number * 1000, origin_partition=number % 3, key=f"k{number}", **fields)
    for number in range(during):
        queue.world.put("out", f"d{number}", timestamp_ms=start + 1000 + number * 10)
    queue.world.put("out", "before", timestamp_ms=start - 1000)
    if traffic:
        queue.world.put("out", "after", timestamp_ms=start + 20_000)
    return queue


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        (outage(), "confirmed"),
        (outage(traffic=False), "suspected"),
        (outage(count=4), "ruled_out"),
        (outage(during=50), "ruled_out"),
    ],
)
def test_dependency_outage(queue: Queue, expected: str):
    assert state_of(queue.report(), "dlq-dependency-outage") == expected


def test_an_outage_of_one_key_alone_is_none():
    queue = Queue()
    for number in range(8):
        queue.add(f"m{number}", TRANSIENT, key="k", at_ms=NOW_MS - 500_000 + number)
    assert state_of(queue.report(), "dlq-dependency-outage") == "ruled_out"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"attempts": 1}, "confirmed"),
        ({"attempts": 3}, "ruled_out"),
        ({}, "undecided"),
        ({"attempts": 5, "first_failure_ms": NOW_MS - 31_000, "last_failure_ms": NOW_MS - 30_500}, "ruled_out"),
    ],
)
def test_retry_budget(fields: dict[str, Any], expected: str):
    assert state_of(outage(**fields).report(), "dlq-retry-budget") == expected


def test_tries_that_end_before_the_outage_does_are_too_few():
    queue = outage()
    for number, letter in enumerate(queue.letters):
        at = letter["at_ms"]
        letter |= {"attempts": 4, "first_failure_ms": at - 300, "last_failure_ms": at, "origin_partition": number % 3}
    assert state_of(queue.report(), "dlq-retry-budget") == "confirmed"


def regression(**second: Any) -> Queue:
    queue = Queue()
    queue.add("old", RULE, at_ms=NOW_MS - HOUR_MS, app_version="1.0")
    queue.world.put("out", "fine", timestamp_ms=NOW_MS - HOUR_MS)
    for number in range(6):
        queue.add(f"n{number}", CODE, at_ms=NOW_MS - 60_000 + number, **{"app_version": "1.1", **second})
    return queue


def test_code_regression():
    assert state_of(regression().report(), "dlq-code-regression") == "confirmed"
    assert state_of(regression(app_version="1.0").report(), "dlq-code-regression") == "ruled_out"
    assert state_of(regression(app_version=None).report(), "dlq-code-regression") == "undecided"


def test_a_deployment_in_the_log_dates_a_regression():
    for at, expected in ((NOW_MS - 70_000, "confirmed"), (NOW_MS - 2 * HOUR_MS, "ruled_out")):
        queue = regression(app_version=None)
        queue.world.service = [{"at_ms": at, "event": "deployed"}]
        assert state_of(queue.report(), "dlq-code-regression") == expected


def test_validation_rejects():
    steady = Queue()
    for number in range(6):
        steady.add(f"m{number}", RULE, at_ms=NOW_MS - HOUR_MS + number * 600_000, key=f"k{number}")
    assert state_of(steady.report(), "dlq-validation-rejects") == "confirmed"
    steady.world.put("out", "long ago", timestamp_ms=NOW_MS - 10 * DAY_MS)
    assert state_of(steady.report(), "dlq-validation-rejects") == "suspected"
    few = Queue()
    few.many(4, RULE)
    assert state_of(few.report(), "dlq-validation-rejects") == "ruled_out"


@pytest.mark.parametrize(("spread", "expected"), [(1, "confirmed"), (5, "ruled_out")])
def test_single_key(spread: int, expected: str):
    queue = Queue()
    for number in range(10):
        queue.add(f"m{number}", CODE, key=f"k{number % 5}" if number < spread else "k0")
    queue.world.put("out", "x", key=b"another")
    assert state_of(queue.report(), "dlq-single-key") == expected


def test_of_a_single_key_nothing_stands_out():
    queue = Queue()
    for number in range(10):
        queue.add(f"m{number}", CODE, key="k")
    assert state_of(queue.report(), "dlq-single-key") == "ruled_out"


def test_one_tenant_stands_out_where_there_are_others():
    queue = Queue()
    for number in range(10):
        queue.add(f"m{number}", CODE, key=f"k{number}", tenant=1 if number == 9 else 0)
    assert state_of(queue.report(), "dlq-single-key") == "confirmed"


@pytest.mark.parametrize(
    ("code", "expected"), [("delivery-count-exceeded", "confirmed"), ("rejected-by-client", "ruled_out")]
)
def test_delivery_count(code: str, expected: str):
    queue = Queue()
    queue.add("a", None, code=code, dialect="share_group", group="g", attempts=5)
    assert state_of(queue.report(), "dlq-delivery-count") == expected


def test_not_drained():
    queue = Queue()
    queue.add("a", CODE, at_ms=NOW_MS - 25 * HOUR_MS)
    report = queue.report()
    assert state_of(report, "dlq-not-drained") == "confirmed"
    assert "5 d 23 h" in next(item.summary for item in report.findings if item.code == "dlq-not-drained")
    queue.drained(1)
    assert state_of(queue.report(), "dlq-not-drained") == "ruled_out"
    queue.drains = None
    assert state_of(queue.report(), "dlq-not-drained") == "undecided"
    young = Queue()
    young.add("a", CODE, at_ms=NOW_MS - 23 * HOUR_MS)
    assert state_of(young.report(), "dlq-not-drained") == "ruled_out"


def test_what_was_drained_or_recovered_needs_no_cause():
    queue = Queue()
    queue.many(6, POISON, readable=False)
    queue.drained(6)
    report = queue.report()
    assert (report.findings, report.verdict) == ((), "ok")


@pytest.mark.parametrize(
    ("dead_letters", "origin", "expected"),
    [
        (DAY_MS, WEEK_MS, "confirmed"),
        (WEEK_MS, WEEK_MS, "ruled_out"),
        (-1, WEEK_MS, "ruled_out"),
        (WEEK_MS, -1, "confirmed"),
        (None, WEEK_MS, "undecided"),
    ],
)
def test_short_retention(dead_letters: int | None, origin: int, expected: str):
    queue = Queue()
    queue.add("a", CODE)
    queue.homes = [
        {"topic": "dlq", "role": "dead_letters", **HOME, "retention_ms": dead_letters},
        {"topic": "in", "role": "origin", **HOME, "retention_ms": origin},
    ]
    assert state_of(queue.report(), "dlq-short-retention") == expected


def test_dead_letters_that_are_gone_before_anybody_read_them():
    queue = Queue()
    queue.add("a", CODE)
    queue.world.offsets["dlq", 0] |= {"log_start_offset": 4, "high_watermark": 5}
    assert state_of(queue.report(), "dlq-short-retention") == "confirmed"
    queue.drained(4)
    assert state_of(queue.report(), "dlq-short-retention") == "ruled_out"


def test_under_provisioned():
    queue = Queue()
    for number in range(4):
        queue.add(f"m{number}", CODE, origin_partition=0)
    assert state_of(queue.report(), "dlq-under-provisioned") == "ruled_out"
    queue.homes[0] |= {"partitions": 1}
    assert state_of(queue.report(), "dlq-under-provisioned") == "confirmed"
    queue.add("other", CODE, origin_partition=2)
    assert state_of(queue.report(), "dlq-under-provisioned") == "ruled_out"
    for letter in queue.letters:
        letter["dialect"] = "connect"
    assert state_of(queue.report(), "dlq-under-provisioned") == "ruled_out"
    queue.homes[1] |= {"replication": 3}
    assert state_of(queue.report(), "dlq-under-provisioned") == "confirmed"
    queue.homes = None
    assert state_of(queue.report(), "dlq-under-provisioned") == "undecided"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"header_bytes": 500_000}, "confirmed"),
        ({"header_bytes": 499_999}, "ruled_out"),
        ({"header_bytes": 400_000, "hops": 2}, "ruled_out"),
        ({"header_bytes": 490_000, "hops": 1}, "ruled_out"),
    ],
)
def test_oversize_headers(fields: dict[str, Any], expected: str):
    queue = Queue()
    queue.add("a", CODE, **fields)
    assert state_of(queue.report(), "dlq-oversize-headers") == expected
    queue.homes = [{**queue.homes[0], "max_message_bytes": None}]
    assert state_of(queue.report(), "dlq-oversize-headers") == "undecided"


def test_one_hop_more_would_not_fit():
    queue = Queue()
    record = queue.world.put("dlq", "a", value_size=300_000)
    queue.letters.append({"topic": "dlq", "partition": 0, "offset": record["offset"], "at_ms": NOW_MS, "cause": 0,
                          "guessed": [], "has_cause": True, "has_payload": True, "hops": 2, "header_bytes": 480_000,
                          "origin_topic": "in"})  # fmt: skip
    queue.grouper.number(None)
    assert state_of(queue.report(), "dlq-oversize-headers") == "confirmed"


def test_a_healthy_queue_has_no_finding():
    """Few dead letters, old, read by the team's group, kept as long as the source keeps its records."""
    queue = Queue()
    queue.many(3, CODE, at_ms=NOW_MS - 3 * DAY_MS)
    queue.many(2, TRANSIENT, at_ms=NOW_MS - 2 * DAY_MS)
    queue.drained(5)
    report = queue.report()
    assert report.findings == ()
    assert report.verdict == "ok"
