"""Dead letters: grouped by cause, each with one disposition, and the risks of the queue itself."""

from __future__ import annotations

import struct
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.builder import NOW_MS, World
from workbench.dialects import DeadLetter, decode
from workbench.evidence import Evidence
from workbench.problems import dlq
from workbench.problems.dlq.causes import Grouper, cause_of
from workbench.problems.dlq.frames import top_frame
from workbench.problems.dlq.kinds import kind_of
from workbench.problems.dlq.letters import LETTERS
from workbench.problems.dlq.surroundings import DRAINS, HOMES
from workbench.report import Report

WEEK_MS = 7 * 86_400_000
HOME = {
    "partitions": 3,
    "replication": 1,
    "retention_ms": WEEK_MS,
    "cleanup_policy": "delete",
    "max_message_bytes": 1_000_000,
}
TRANSIENT, POISON = "java.net.SocketTimeoutException", "com.fasterxml.jackson.core.JsonParseException"


class Queue:
    """A dead-letter topic with its letters, a sink, and what stands around them."""

    def __init__(self, **facts: Any) -> None:
        self.world = World(source="", sinks=["out"], dead_letters=["dlq"], origin="", **facts)
        self.letters: list[dict[str, Any]] = []
        self.grouper = Grouper()
        self.drains: list[dict[str, Any]] | None = []
        self.homes: list[dict[str, Any]] | None = [
            {"topic": "dlq", "role": "dead_letters", **HOME}, {"topic": "in", "role": "origin", **HOME},
        ]  # fmt: skip

    def add(
        self, message_id: str | None, exception_class: str | None = POISON, key: str | None = None, **fields: Any
    ) -> None:
        at = fields.pop("at_ms", NOW_MS - 1000 + len(self.letters))
        record = self.world.put("dlq", message_id, timestamp_ms=at, key=None if key is None else key.encode())
        said = {name: fields.pop(name) for name in ("stack", "message", "code", "stage") if name in fields}
        letter = DeadLetter(dialect="spring_kafka", exception_class=exception_class, **said)
        self.letters.append(
            {
                "topic": "dlq", "partition": 0, "offset": record["offset"], "at_ms": at, "guessed": [],
                "origin_topic": "in", "origin_partition": 0, "origin_offset": record["offset"], "dialect": "spring_kafka",
                "cause": self.grouper.number(letter), "header_bytes": 10, "has_payload": True, "has_cause": True, "hops": 1,
                **fields,
            }
        )  # fmt: skip

    def many(self, count: int, exception_class: str | None = POISON, **fields: Any) -> None:
        """So many letters of different messages, keys and partitions."""
        for number in range(count):
            name = f"m{len(self.letters)}"
            self.add(name, exception_class, **{"key": f"k{number}", "origin_partition": number % 3, **fields})

    def drained(self, offset: int, group: str = "triage") -> None:
        assert self.drains is not None
        self.drains.append({"group": group, "topic": "dlq", "partition": 0, "committed_offset": offset})

    def evidence(self) -> Evidence:
        self.world.evidence()  # makes the logs of topics without a record
        evidence = self.world.evidence()
        causes = [cause._asdict() for cause in self.grouper.causes()]
        rows = [{**causes[row["cause"]], "grouped_by": causes[row["cause"]]["reason"], **row} for row in self.letters]
        tables = {"letters": pa.Table.from_pylist([{n: r.get(n) for n in LETTERS.names} for r in rows], LETTERS)}
        for name, table, schema in (("drains", self.drains, DRAINS), ("homes", self.homes, HOMES)):
            if table is not None:
                tables[name] = pa.Table.from_pylist(table, schema)
        return replace(evidence, tables={**evidence.tables, **tables})

    def report(self) -> Report:
        return dlq.diagnose(self.evidence())


def test_each_dead_letter_has_one_disposition():
    queue = Queue()
    for number in range(3):
        queue.add(f"t{number}", TRANSIENT)
    for number in range(4):
        queue.add(f"p{number}")
    queue.add("gone")
    queue.world.put("out", "gone")
    queue.add(None, None, has_cause=False)
    report = queue.report()
    assert report.ledger == {
        "dead_letters": 9, "replay": 3, "fix_first": 4, "discard": 0, "already_recovered": 1, "unknown": 1,
    }  # fmt: skip
    groups = report.to_dict()["groups"]
    assert [(group["exception_class"], group["count"], group["disposition"]) for group in groups] == [
        (POISON, 5, "fix_first"), (TRANSIENT, 3, "replay"), (None, 1, "unknown"),
    ]  # fmt: skip
    assert "others of the group differ" in groups[0]["reason"]
    assert sum(group["count"] for group in groups) == report.ledger["dead_letters"]


def test_only_the_newest_dead_letter_of_a_message_is_acted_on():
    queue = Queue()
    queue.add("m", TRANSIENT)
    queue.add("m", TRANSIENT)
    ledger = queue.report().ledger
    assert (ledger["replay"], ledger["discard"]) == (1, 1)


def test_what_was_sent_back_twice_is_fixed_first():
    queue = Queue()
    queue.add("m", TRANSIENT, replay_count=2)
    assert queue.report().ledger["fix_first"] == 1


def test_an_empty_queue_is_fine():
    report = Queue().report()
    assert (report.verdict, report.ledger["dead_letters"], report.to_dict()["groups"]) == ("ok", 0, [])


def codes(report: Report) -> dict[str, str]:
    """Findings without the one that every single unreadable payload is."""
    return {item.code: item.state for item in report.findings if item.code != "dlq-poison-payload"}


def test_letters_without_origin_or_cause_lack_context():
    for missing in ({"origin_topic": None}, {"has_cause": False}):
        queue = Queue()
        queue.add("a")
        queue.add("b", **missing)
        report = queue.report()
        assert codes(report) == {"dlq-context-missing": "confirmed"}
        assert report.findings[0].count == 1


def test_letters_with_both_have_their_context():
    queue = Queue()
    queue.add("a")
    assert "dlq-context-missing" in queue.report().ruled_out


def test_a_message_that_comes_back_after_replays_loops():
    queue = Queue()
    queue.add("a")
    queue.add("a", replay_count=1)
    assert codes(queue.report()) == {"dlq-redrive-loop": "confirmed"}


def test_twice_without_a_replay_is_no_loop_and_thrice_is_suspected():
    queue = Queue()
    queue.add("a")
    queue.add("a")
    assert "dlq-redrive-loop" in queue.report().ruled_out
    queue.add("a")
    assert codes(queue.report()) == {"dlq-redrive-loop": "suspected"}


def test_without_letters_nothing_is_known():
    report = dlq.diagnose(Queue().world.evidence())
    assert report.verdict == "undecided"
    assert set(report.ledger.values()) == {None}


STACK = """java.lang.RuntimeException: outer
\tat org.springframework.kafka.listener.Adapter.call(Adapter.java:1)
\tat com.shop.Outer.run(Outer.java:17)
Caused by: com.shop.NoProfile: user 4711
\tat java.base/java.util.Objects.requireNonNull(Objects.java:2)
\tat com.shop.Users$$SpringCGLIB$$0.lambda$find$3(<generated>)
\t... 3 more
"""


def test_the_frame_is_the_application_s_nearest_to_the_failure_without_what_a_build_changes():
    assert top_frame(STACK) == "com.shop.Users.lambda$find"
    assert top_frame(STACK.split("Caused by", maxsplit=1)[0]) == "com.shop.Outer.run"
    python = 'Traceback (most recent call last):\n  File "/srv/app/jobs.py", line 3, in run\n    x\n'
    assert top_frame(python + '  File "/usr/lib/python3.11/json/decoder.py", line 1, in decode\n') == "jobs.py:run"
    assert (
        top_frame("Error: x\n    at handle (/srv/consumer.js:42:11)\n    at node_modules (x)") == "consumer.js:handle"
    )
    assert top_frame("no stack at all") is None


def test_ids_in_messages_and_line_numbers_do_not_split_a_group():
    def letter(user: int, line: int) -> DeadLetter:
        stack = STACK.replace("4711", str(user)).replace("17", str(line))
        return DeadLetter(dialect="x", exception_class="com.shop.NoProfile", message=f"user {user}", stack=stack)

    assert cause_of(letter(1, 2)).fingerprint == cause_of(letter(77, 99)).fingerprint
    only = [cause_of(DeadLetter(dialect="x", message=f"No user 'u{n}' at 10:0{n}")) for n in (1, 2)]
    assert only[0].fingerprint == only[1].fingerprint
    assert only[0].reason == "message"


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        (TRANSIENT, "transient"), (POISON, "payload"), ("requests.exceptions.ConnectionError", "transient"),
        ("lab.Billing$Refused", "unknown"), ("KeyError", "code"), ("ValidationException", "validation"),
        ("org.apache.kafka.connect.errors.DataException", "payload"), (None, "unknown"),
    ],
)  # fmt: skip
def test_what_a_class_means(name: str | None, kind: str):
    assert kind_of(name, None) == kind


def test_names_that_are_no_names_are_not_shown():
    cause = cause_of(DeadLetter(dialect="x", exception_class="<script>alert(1)</script>", stage="a\x1b[31m"))
    assert (cause.exception_class, cause.stage) == (None, None)


names = st.sampled_from(
    ["x-exception", "kafka_dlt-exception-stacktrace", "dead-letter-reason", "x-original-topic", "error"]
)


@given(st.lists(st.tuples(names, st.none() | st.binary(max_size=60)), max_size=5), st.none() | st.binary(max_size=60))
def test_no_dead_letter_brings_it_down(headers: list[tuple[str, bytes | None]], value: bytes | None):
    cause = cause_of(decode(headers, value, "dlq"))
    assert cause.fingerprint.startswith("v2:")
    assert cause.kind in ("transient", "payload", "validation", "code", "unknown")


def test_numbers_that_fit_no_column_are_unknown():
    from workbench.problems.dlq.letters import _within

    assert _within(struct.unpack(">q", b"\x7f" + b"\xff" * 7)[0], (1 << 31) - 1) is None
    assert _within(-1, (1 << 31) - 1) == -1
