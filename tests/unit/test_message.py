"""One message: exactly one outcome whatever the evidence, a timeline in the order of its times, and no guess."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.builder import NOW_MS
from tests.unit.message_world import HOUR_AGO, TRACE, MessageWorld, said
from workbench.errors import UsageError
from workbench.evidence import Evidence
from workbench.problems import message
from workbench.problems.message.collecting import scoped
from workbench.problems.message.events import MOST_EVENTS, RANKS
from workbench.problems.message.outcome import OUTCOMES, WORST
from workbench.problems.message.subject import subject_of
from workbench.problems.scope import scope_from
from workbench.sealing import Seal


def delivered(world: MessageWorld) -> None:
    world.source()
    world.put("out", "m", timestamp_ms=HOUR_AGO + 3_120)
    world.commit()


def dead(world: MessageWorld) -> None:
    world.source()
    world.put("dlq", None, origin_topic="in", origin_partition=0, origin_offset=0, dialect="spring_kafka", attempts=2,
              exception_class="java.net.SocketTimeoutException", first_failure_ms=HOUR_AGO + 4_000)  # fmt: skip
    world.commit()


def retrying(world: MessageWorld) -> None:
    world.source()
    world.put("retry", "m", timestamp_ms=HOUR_AGO + 500)
    world.commit()


def waiting(world: MessageWorld) -> None:
    world.source()
    world.commit(0)


def in_flight(world: MessageWorld) -> None:
    world.source(NOW_MS - 1_000)
    world.commit()


def lost(world: MessageWorld) -> None:
    world.source()
    world.commit()


def hidden(world: MessageWorld) -> None:
    world.source()
    world.commit(0)
    world.offsets[("in", 0)]["last_stable_offset"] = 0


def filtered(world: MessageWorld) -> None:
    world.source(due=False)
    world.commit()


def aborted(world: MessageWorld) -> None:
    world.source(is_aborted=True)
    world.commit()


def nothing(world: MessageWorld) -> None:
    world.put("in", "other", matched=False)
    world.commit()


STORIES: dict[str, tuple[Callable[[MessageWorld], None], str, str]] = {
    "delivered": (delivered, "delivered", "ok"),
    "dead_lettered": (dead, "dead_lettered", "warning"),
    "retrying": (retrying, "retrying", "info"),
    "waiting": (waiting, "waiting", "info"),
    "in_flight": (in_flight, "in_flight", "info"),
    "lost": (lost, "lost", "critical"),
    "hidden": (hidden, "hidden", "info"),
    "filtered": (filtered, "filtered", "info"),
    "aborted": (aborted, "never_sent", "warning"),
    "nothing": (nothing, "never_sent", "warning"),
}


def told(name: str, **facts: Any) -> MessageWorld:
    world = MessageWorld(**facts)
    STORIES[name][0](world)
    return world


@pytest.mark.parametrize("name", STORIES)
def test_each_story_has_its_outcome_and_verdict(name: str):
    report = told(name).report()
    assert (report.facts["outcome"], report.verdict) == STORIES[name][1:]
    assert (
        report.ledger["messages"] == sum(count or 0 for key, count in report.ledger.items() if key != "messages") == 1
    )


@pytest.mark.parametrize("name", STORIES)
def test_a_saved_story_is_the_same_story(name: str, tmp_path):
    world = told(name)
    world.span(HOUR_AGO + 100, destination="in", partition=0, offset=0)
    evidence = world.evidence()
    evidence.save(tmp_path / "e", Seal(b"0" * 32))
    assert message.diagnose(Evidence.load(tmp_path / "e")).to_json() == message.diagnose(evidence).to_json()


# What is missing -> where a lost message would have been found, or whether it waits, is not known.
def without_group(world: MessageWorld) -> None:
    world.committed = None
    world.facts |= {"group": None, "group_exists": None}
    world.missing["committed"] = "no group was given (--group)"


def with_a_group_that_does_not_exist(world: MessageWorld) -> None:
    world.facts |= {"group_exists": False}


def without_a_sink(world: MessageWorld) -> None:
    world.facts |= {"sinks": []}


def with_a_sink_denied(world: MessageWorld) -> None:
    world.missing["out"] = "Read denied on topic out"


def with_dead_letters_denied(world: MessageWorld) -> None:
    world.missing["dlq"] = "Read denied on topic dlq"


def with_a_cut_scan(world: MessageWorld) -> None:
    world.scan[("out", 0)] = {"end_offset": 9, "next_offset": 3, "truncated": True}


def with_a_young_sink(world: MessageWorld) -> None:
    world.starts("out", 5, HOUR_AGO + 60_000)


def with_an_emptied_sink(world: MessageWorld) -> None:
    world.starts("out", 5, None)


def with_young_dead_letters(world: MessageWorld) -> None:
    world.starts("dlq", 5, HOUR_AGO - 60_000, kind="CreateTime")  # older, but not by more than clients' clocks differ


def with_a_compacted_sink(world: MessageWorld) -> None:
    world.config("out", cleanup_policy="compact")


def with_a_cut_search(world: MessageWorld) -> None:
    world.facts |= {"truncated": True}


def with_a_copy_without_id(world: MessageWorld) -> None:
    world.put("out", None, matched=False, trace_ids=[TRACE])


DOUBTS = [
    without_group, with_a_group_that_does_not_exist, without_a_sink, with_a_sink_denied, with_dead_letters_denied,
    with_a_cut_scan, with_a_young_sink, with_an_emptied_sink, with_young_dead_letters, with_a_compacted_sink,
    with_a_cut_search, with_a_copy_without_id,
]  # fmt: skip


@pytest.mark.parametrize("doubt", DOUBTS, ids=lambda one: one.__name__)
def test_missing_evidence_never_reads_as_lost(doubt: Callable[[MessageWorld], None]):
    world = told("lost")
    doubt(world)
    report = world.report()
    assert (report.facts["outcome"], report.verdict) == ("unverifiable", "undecided")
    assert report.undecided[0].reason


@pytest.mark.parametrize(
    "doubt",
    [with_a_sink_denied, with_dead_letters_denied, with_a_cut_search, with_a_copy_without_id],
    ids=lambda one: one.__name__,
)
def test_missing_evidence_never_reads_as_never_sent(doubt: Callable[[MessageWorld], None]):
    world = told("nothing")
    doubt(world)
    assert world.outcome() == "unverifiable"


def test_a_topic_that_reaches_back_far_enough_decides():
    world = told("lost")
    world.starts("out", 5, HOUR_AGO - 3_600_000)
    assert world.outcome() == "lost"


def test_what_the_source_no_longer_holds_was_perhaps_sent():
    world = told("nothing")
    world.starts("in", 1, HOUR_AGO)
    assert world.outcome() == "unverifiable"
    told_by_window = told("nothing", window=["2023-11-14T21:00:00+00:00", "2023-11-14T21:30:00+00:00"]).report()
    assert "--around" in told_by_window.facts["reason"]


def test_without_any_record_read_nothing_is_said():
    evidence = told("delivered").evidence()
    tables = {name: table for name, table in evidence.tables.items() if name not in ("records", "scan")}
    report = message.diagnose(replace(evidence, tables=tables, missing={"records": "topic in cannot be read"}))
    assert (report.facts["outcome"], report.verdict) == ("unverifiable", "undecided")


@pytest.mark.parametrize(
    ("line", "outcome"),
    [
        ({"acked": True, "offset": 7, "topic": "in", "partition": 0, "at_ms": HOUR_AGO}, "lost"),
        ({"acked": True, "at_ms": NOW_MS}, "in_flight"),
        ({"acked": False, "error": "queue full", "at_ms": HOUR_AGO}, "never_sent"),
        ({"error": "timed out"}, "never_sent"),
    ],
)
def test_the_producers_own_log_tells_lost_from_never_sent(line: dict[str, Any], outcome: str):
    world = told("nothing")
    world.sent = [{"message_id": "m", **line}]
    report = world.report()
    assert report.facts["outcome"] == outcome
    assert report.facts["lost_at"] == ("source" if outcome == "lost" else None)


def test_the_producers_span_does_so_too():
    for status, outcome in (("error", "never_sent"), ("unset", "lost")):
        world = told("nothing")
        world.span(HOUR_AGO, "producer", status=status, destination="in", partition=0, offset=7, message_id="in.0.7")
        assert world.outcome() == outcome


def test_where_it_was_lost_is_named():
    assert told("lost").report().facts["lost_at"] == "consumer"
    several = told("delivered", sinks=["out", "audit"])
    assert several.report().facts["lost_at"] == "sink audit"
    assert told("delivered", sinks=["out", "audit"], any_sink=True).outcome() == "delivered"


def test_uncommitted_and_hidden_copies_count_by_the_readers_isolation():
    for isolation, outcome in (("read_committed", "hidden"), ("read_uncommitted", "delivered")):
        world = told("delivered", isolation=isolation)
        world.offsets[("out", 0)]["last_stable_offset"] = 0
        assert world.outcome() == outcome


def test_a_story_says_who_read_it_how_often_it_failed_and_where_it_ended():
    world = told("dead_lettered")
    world.generation(HOUR_AGO - 1_000, "consumer-2")
    world.committed_at(HOUR_AGO + 9_000, 1)
    report = world.report()
    story = report.facts["story"]
    for words in ("Sent at 21:13:20.000 (in/0/0)", "failed twice", "dead-lettered", "(dlq/0/0)", "consumer-2"):
        assert words in story
    assert "SocketTimeoutException" in json.dumps(report.sections["timeline"])


def test_an_offset_set_by_hand_is_told_from_a_members_commit():
    world = told("lost")
    world.generation(HOUR_AGO - 1_000)
    world.committed_at(HOUR_AGO + 9_000, 1)
    assert "while the group had no members" in world.report().facts["story"]


def test_spans_join_by_coordinates_and_those_of_other_messages_stay_out():
    world = told("lost")
    world.span(HOUR_AGO + 3_120, destination="in", partition=0, offset=0, client_id="consumer-2", status="error",
               error="TimeoutError")  # fmt: skip
    world.span(HOUR_AGO + 3_121, destination="in", partition=0, offset=99, name="another message")
    world.noted = [{"trace_id": TRACE, "span_id": f"{1:016x}", "at_us": HOUR_AGO * 1000, "name": "validated"}]
    report = world.report()
    shown = json.dumps(report.sections["timeline"])
    assert "process, failed (TimeoutError)" in shown
    assert "validated" in shown
    assert "another message" not in shown
    assert "read at 21:13:23.120 by mailer (consumer-2), failed once" in report.facts["story"]


def test_clocks_that_differ_by_minutes_show_as_negative_gaps_with_a_name():
    world = MessageWorld()
    world.source()
    world.put("out", "m", timestamp_ms=HOUR_AGO - 120_000)
    world.commit()
    report = world.report()
    gaps = {row["event"]: row["gap_seconds"] for row in report.sections["timeline"]}
    assert gaps["delivered"] == -120.0
    assert "whoever writes out is at least 120.000 s behind that of whoever writes in" in said(report)["clock-skew"]
    assert report.facts["outcome"] == "delivered"
    assert "clock-skew" not in said(told("delivered").report())


def test_several_messages_of_a_key_have_an_outcome_each():
    world = MessageWorld(subject={"by": "key"})
    for name in ("a", "b", "c"):
        world.put("in", name)
    world.put("out", "a")
    world.commit()
    report = world.report()
    assert (report.ledger["messages"], report.ledger["delivered"], report.ledger["lost"]) == (3, 1, 2)
    assert report.facts["outcome"] == "lost"


def test_an_id_that_occurs_five_thousand_times_is_one_message_with_a_cut_timeline():
    world = MessageWorld()
    for number in range(2_500):
        world.source(HOUR_AGO + number)
        world.put("out", "m", timestamp_ms=HOUR_AGO + number + 1)
    world.commit()
    report = world.report()
    assert (report.ledger["messages"], report.facts["outcome"]) == (1, "delivered")
    assert (len(report.sections["timeline"]), report.facts["timeline_events"]) == (MOST_EVENTS, 5_000)
    assert "2,500 times in the source" in said(report)["sent-again"]


def test_ids_that_look_personal_stay_out_of_the_report(tmp_path):
    scope = scope_from(source="in", sink="out", message_id="bob@example.org")
    assert "bob" not in json.dumps(subject_of(scope).facts(show_ids=False))
    assert "bob" in json.dumps(subject_of(scope).facts(show_ids=True))


@pytest.mark.parametrize(
    "given_options",
    [{}, {"key": "k", "trace": "1" * 32}, {"trace": "xyz"}, {"at": "in"}, {"at": "in:x:1"}, {"message_id": "hmac:1"}],
)
def test_a_message_is_named_in_exactly_one_way(given_options: dict[str, str]):
    with pytest.raises(UsageError):
        subject_of(scope_from(source="in", **given_options))


def test_named_topics_get_roles_in_their_order_and_by_their_names():
    scope = scoped(scope_from(topic=["orders", "bills", "orders.dlq"], message_id="m"))
    assert (scope.source, scope.sinks, scope.dead_letters) == ("orders", ("bills",), ("orders.dlq",))
    with pytest.raises(UsageError):
        scoped(scope_from(message_id="m"))


RECORD = st.fixed_dictionaries(
    {
        "topic": st.sampled_from(["in", "out", "retry", "dlq"]), "message_id": st.sampled_from([None, "m", "n"]),
        "timestamp_ms": st.sampled_from([None, 0, HOUR_AGO, NOW_MS, NOW_MS + 10**9, 1 << 60]),
        "is_aborted": st.sampled_from([None, True, False]), "due": st.sampled_from([None, True, False]),
        "matched": st.booleans(), "origin_topic": st.sampled_from([None, "in", "dlq"]),
        "origin_offset": st.sampled_from([None, 0, 1]), "replay_count": st.sampled_from([None, 1]),
        "trace_ids": st.sampled_from([[], [TRACE]]),
    }
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(
    st.lists(RECORD, max_size=6),
    st.sampled_from([None, 0, 1, 99]),
    st.sampled_from(["id", "key", "trace", "place"]),
    st.lists(st.sampled_from(DOUBTS), max_size=2),
    st.lists(st.tuples(st.integers(-(10**6), 10**6), st.sampled_from(["consumer", "producer"])), max_size=3),
)
def test_whatever_the_evidence_there_is_one_outcome_and_an_ordered_timeline(
    rows: list[dict[str, Any]], commit: int | None, by: str, doubts: list[Any], spans: list[tuple[int, str]]
):
    world = MessageWorld(subject={"by": by})
    for row in rows:
        origin = 0 if row["origin_topic"] and row["origin_offset"] is not None else None
        world.put(row.pop("topic"), row.pop("message_id"), origin_partition=origin, **row)
    world.put("in", "elsewhere", matched=False)
    if commit is not None:
        world.commit(commit)
    for doubt in doubts:
        doubt(world)
    for shift, kind in spans:
        world.span(HOUR_AGO + shift, kind)
    report = world.report()
    assert report.facts["outcome"] in OUTCOMES
    assert set(OUTCOMES) == set(WORST)
    assert report.ledger["messages"] == sum(report.ledger[name] or 0 for name in OUTCOMES) >= 1
    assert (report.verdict == "undecided") == (report.facts["outcome"] == "unverifiable") == bool(report.undecided)
    times = [row["at"] for row in report.sections["timeline"]]
    known = [at for at in times if at is not None]
    assert known == sorted(known)
    assert times == [*known, *[None] * (len(times) - len(known))]
    assert {row["source"] for row in report.sections["timeline"]} <= set(RANKS)
    assert pa.table({"at": times}).num_rows == report.facts["timeline_events"]
    json.loads(report.to_json())
