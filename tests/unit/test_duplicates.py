"""The duplicates ledger and its rules: fires, silent just inside, undecided without evidence."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.builder import NOW_MS, World
from workbench.evidence import Evidence
from workbench.problems import duplicates
from workbench.problems.partitioners import crc32, fits, fnv1a, murmur2
from workbench.report import Report

HOUR_MS = 3_600_000


def ids(n: int) -> list[str]:
    return [f"m{i}" for i in range(n)]


def healthy() -> World:
    world = World()
    world.flow(ids(20), key=b"k")
    world.commit()
    return world


def diagnose(world: World, **tables: Any) -> Report:
    evidence = world.evidence()
    placement = {"key_placement": duplicates._key_placement(evidence)}
    return duplicates.diagnose(dataclasses.replace(evidence, tables={**evidence.tables, **placement, **tables}))


def codes(report: Report) -> dict[str, str]:
    return {item.code: item.state for item in report.findings}


def assert_balances(report: Report) -> None:
    ledger = report.ledger
    assert (ledger["records"] or 0) == (ledger["messages"] or 0) + (ledger["extra_copies"] or 0)
    assert sum(report.causes.values()) == ledger["extra_copies"]


def test_one_copy_a_place_is_ok() -> None:
    report = diagnose(healthy())
    assert (report.verdict, report.ledger) == (
        "ok", {"records": 40, "messages": 40, "extra_copies": 0, "reprocessed": 0},
    )  # fmt: skip
    assert not report.undecided


def test_the_source_alone_can_be_checked() -> None:
    world = World(sinks=[])
    world.put("in", "a")
    world.put("in", "a")
    assert diagnose(world).ledger["extra_copies"] == 1


def test_application_resend_has_a_new_create_time() -> None:
    world = healthy()
    again = world.put("in", "m3", key=b"k")
    assert codes(diagnose(world)) == {"duplicates-application-resend": "suspected"}  # a restarted producer looks alike
    world.batch(again)
    assert codes(diagnose(world)) == {"duplicates-application-resend": "confirmed"}


def test_what_was_twice_at_the_source_is_not_blamed_on_the_consumer() -> None:
    world = healthy()
    world.put("in", "m3", key=b"k")
    world.put("out", "m3", key=b"k")
    report = diagnose(world)
    assert report.causes["duplicates-application-resend"] == 2
    assert report.ledger["reprocessed"] == 0


def test_producer_retry_shares_its_create_time() -> None:
    world = healthy()
    first = world.put("in", "r", key=b"k", value_hash=7)
    world.put("in", "r", key=b"k", value_hash=7, timestamp_ms=first["timestamp_ms"])
    report = diagnose(world)
    assert codes(report) == {"duplicates-producer-retry": "suspected"}
    assert report.verdict == "info"


def test_another_value_is_not_a_retry() -> None:
    world = healthy()
    first = world.put("in", "r", key=b"k", value_hash=7)
    world.put("in", "r", key=b"k", value_hash=8, timestamp_ms=first["timestamp_ms"])
    assert "duplicates-producer-retry" not in codes(diagnose(world))


def test_an_idempotent_producer_rules_retries_out() -> None:
    world = healthy()
    first = world.put("in", "r", value_hash=7)
    world.put("in", "r", value_hash=7, timestamp_ms=first["timestamp_ms"])
    world.facts["producer_config"] = {"enable.idempotence": "true"}
    assert "duplicates-producer-retry" in diagnose(world).ruled_out


def retried(**batch) -> World:
    """Two records that differ in nothing but their offset, each in a batch of its own."""
    world = healthy()
    first = world.put("in", "r", value_hash=7)
    again = world.put("in", "r", value_hash=7, timestamp_ms=first["timestamp_ms"])
    world.batch(first, crc=5)
    world.batch(again, **{"crc": 5, **batch})
    return world


def test_the_same_batch_stored_twice_confirms_a_retry() -> None:
    report = diagnose(retried())
    assert codes(report) == {"duplicates-producer-retry": "confirmed"}


@pytest.mark.parametrize("other", [{"crc": 6}, {"records": 2}, {"first_timestamp_ms": 1}])
def test_batches_that_were_cut_differently_leave_a_retry_suspected(other) -> None:
    assert codes(diagnose(retried(**other))) == {"duplicates-producer-retry": "suspected"}


def test_an_idempotent_producer_s_copies_of_one_moment_are_the_application_s() -> None:
    world = retried()
    for head in world.batches or []:
        head["producer_id"] = 4
    assert codes(diagnose(world)) == {"duplicates-application-resend": "confirmed"}


def restarted(repeated: int, fresh: int, *, late: bool = False) -> World:
    """Producer 1 sends m0..m9, producer 2 sends the last of them again and then messages of its own."""
    world = World()
    old = [world.put("in", f"m{n}") for n in range(10)]
    world.batch(*old, producer_id=1)
    new = [world.put("in", f"m{n}") for n in range(10 - repeated, 10)] + [
        world.put("in", f"n{n}") for n in range(fresh)
    ]
    world.batch(*new, producer_id=2)
    if late:
        world.batch(world.put("in", "late"), producer_id=1)
    return world


def test_a_producer_that_took_over_and_repeated_itself_was_restarted() -> None:
    for world in (restarted(4, 5), restarted(4, 0)):
        report = diagnose(world)
        assert codes(report) == {"duplicates-producer-restart": "confirmed"}
        assert report.causes["duplicates-producer-restart"] == 4


def test_two_producers_that_both_go_on_are_no_restart() -> None:
    assert codes(diagnose(restarted(4, 5, late=True))) == {"duplicates-application-resend": "confirmed"}


def test_a_tool_that_sends_some_again_is_no_restart() -> None:
    world = World()
    old = [world.put("in", f"m{n}") for n in range(10)]
    world.batch(*old, producer_id=1)
    world.batch(*[world.put("in", f"m{n}") for n in (1, 4, 8)], producer_id=2)
    assert codes(diagnose(world)) == {"duplicates-application-resend": "confirmed"}


def test_the_same_producer_is_no_restart() -> None:
    world = restarted(4, 5)
    for head in world.batches or []:
        head["producer_id"] = 1
    assert codes(diagnose(world)) == {"duplicates-application-resend": "confirmed"}


def test_without_batches_a_restart_is_not_decided() -> None:
    world = healthy()
    world.put("in", "m3", key=b"k", timestamp_type="append")
    world.missing["batches"] = "the client library read"
    (found,) = [item for item in diagnose(world).undecided if item.code == "duplicates-producer-restart"]
    assert "--reader wire" in found.reason


def test_append_time_hides_the_difference_between_retry_and_resend() -> None:
    world = healthy()
    world.put("in", "m3", key=b"k", timestamp_type="append")
    assert codes(diagnose(world)) == {"duplicates-application-resend": "suspected"}


def test_reprocessing_is_undetermined_between_rewind_and_crash() -> None:
    world = healthy()
    for name in ids(5):
        world.put("out", name, key=b"k")
    report = diagnose(world)
    assert codes(report) == {"duplicates-offset-rewind": "suspected", "duplicates-crash-before-commit": "suspected"}
    assert (report.causes["undetermined"], report.ledger["reprocessed"]) == (5, 5)
    assert {item.candidates for item in report.findings} == {5}
    assert any(item.code == "duplicates-rebalance" for item in report.undecided)


def test_a_sink_that_keeps_the_source_time_is_not_a_retry() -> None:
    world = World()
    record = world.put("in", "a", value_hash=1)
    world.put("out", "a", value_hash=1, timestamp_ms=record["timestamp_ms"])
    world.put("out", "a", value_hash=1, timestamp_ms=record["timestamp_ms"])
    assert "duplicates-producer-retry" not in codes(diagnose(world))


@pytest.mark.parametrize(
    "fields",
    [
        {"replay_count": 1},
        {"dialect": "spring", "origin_topic": "in", "origin_partition": 0, "origin_offset": 3},
    ],
)
def test_redrive_headers_on_the_copy(fields: dict[str, Any]) -> None:
    world = healthy()
    world.put("out", "m3", key=b"k", **fields)
    assert codes(diagnose(world)) == {"duplicates-redrive": "confirmed"}


def test_a_copy_after_a_dead_letter_of_its_message() -> None:
    for dead_letter_age, expected in ((2 * HOUR_MS, True), (0, False)):
        world = World(dead_letters=["dlq"])
        world.flow(ids(20), key=b"k")
        world.put("dlq", "m3", timestamp_ms=NOW_MS - dead_letter_age)
        world.put("in", "m3", key=b"k")
        world.put("out", "m3", key=b"k")
        assert ("duplicates-redrive" in codes(diagnose(world))) is expected


def test_read_uncommitted_sees_the_aborted_copy() -> None:
    world = World(isolation="read_uncommitted")
    world.flow(ids(5))
    world.put("in", "t", is_aborted=True)
    world.put("in", "t")
    world.put("out", "t")
    world.put("out", "t")
    report = diagnose(world)
    assert codes(report) == {"duplicates-read-uncommitted": "confirmed"}
    assert report.causes["duplicates-read-uncommitted"] == 2


def test_read_committed_does_not_count_the_aborted_copy() -> None:
    world = healthy()
    world.put("in", "t", is_aborted=True)
    world.put("in", "t")
    world.put("out", "t")
    assert diagnose(world).verdict == "ok"


def test_without_the_consumers_isolation_an_aborted_copy_is_only_suspected() -> None:
    world = healthy()
    world.put("in", "t", is_aborted=True)
    world.put("in", "t")
    world.put("out", "t")
    world.put("out", "t")
    assert codes(diagnose(world)) == {"duplicates-read-uncommitted": "suspected"}
    world.facts["consumer_config"] = {"isolation.level": "read_committed"}
    assert "duplicates-read-uncommitted" in diagnose(world).ruled_out


def moved(first: str, later: str, n: int = 20, partitions: int = 6) -> World:
    hashes = {"murmur2": murmur2, "crc32": crc32}
    world = World(sinks=[])
    for partition in range(partitions):
        world.offsets[("in", partition)] = world._log("in", partition)
    for i in range(n):
        key = f"user-{i}".encode()
        world.put("in", f"m{i}", hashes[first](key) % partitions, key=key)
        world.put("in", f"m{i}", hashes[later](key) % partitions, key=key, timestamp_ms=NOW_MS - 1000 + i)
    return world


def test_partitioner_change_is_proven_by_two_pairs() -> None:
    report = diagnose(moved("murmur2", "crc32"))
    assert codes(report)["duplicates-partitioner-change"] == "confirmed"
    finding = next(item for item in report.findings if item.code == "duplicates-partitioner-change")
    assert "crc32/6" in finding.summary
    assert "murmur2/6" in finding.summary


def test_one_partitioner_explains_all() -> None:
    assert "duplicates-partitioner-change" in diagnose(moved("murmur2", "murmur2")).ruled_out


def test_partitioner_change_is_undecided_without_placement() -> None:
    report = duplicates.diagnose(moved("murmur2", "crc32").evidence())
    assert any(item.code == "duplicates-partitioner-change" for item in report.undecided)


def test_partitioners_agree_with_kafka() -> None:
    # Java's Utils.murmur2 test values, made positive as the default partitioner does; CRC-32's and FNV-1a's check values.
    known = {b"21": -973932308, b"foobar": -790332482, b"a-little-bit-long-string": -985981536, b"abc": 479470107}
    assert {key: murmur2(key) for key in known} == {key: value & 0x7FFFFFFF for key, value in known.items()}
    assert crc32(b"123456789") == 0xCBF43926
    assert fnv1a(b"") == 0x100000000 - 0x811C9DC5
    assert "murmur2/6" in fits(b"abc", murmur2(b"abc") % 6, 6)


def test_content_mismatch_needs_compare() -> None:
    world = World()
    world.put("in", "a", compare_hash=1)
    world.put("out", "a", compare_hash=2)
    world.put("in", "b", compare_hash=3)
    world.put("out", "b", compare_hash=3)
    assert diagnose(world).verdict == "ok"
    world.facts["compare"] = "value->>'$.x'"
    report = diagnose(world)
    assert codes(report) == {"content-mismatch": "confirmed"}
    assert report.findings[0].count == 1


def test_business_duplicates_are_a_note() -> None:
    world = healthy()
    world.put("in", "x1", business_key_hash=5)
    world.put("in", "x2", business_key_hash=5)
    world.facts["business_key"] = "value->>'$.order'"
    report = diagnose(world)
    assert not report.findings
    assert [note.code for note in report.notes] == ["duplicates-business"]


def test_a_second_copy_at_the_sink_without_a_source_is_unexplained() -> None:
    world = healthy()
    world.put("out", "stranger")
    world.put("out", "stranger")
    report = diagnose(world)
    assert (report.causes["unexplained"], report.verdict) == (1, "warning")


rows = st.lists(
    st.tuples(
        st.sampled_from(["in", "out", "dlq"]),
        st.sampled_from([None, "a", "b", "c"]),
        st.integers(0, 2),
        st.fixed_dictionaries(
            {
                "is_aborted": st.sampled_from([None, False, True]),
                "timestamp_ms": st.sampled_from([None, NOW_MS - HOUR_MS, NOW_MS, 2**61]),
                "timestamp_type": st.sampled_from([None, "create", "append"]),
                "key": st.sampled_from([None, b"", b"k", b"\xff"]),
                "value_hash": st.sampled_from([None, 1, 2]),
                "replay_count": st.sampled_from([None, None, 1]),
            }
        ),
    ),
    max_size=30,
)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(made=rows, isolation=st.sampled_from(["read_committed", "read_uncommitted"]))
def test_the_ledger_balances_and_survives_saving(tmp_path: Path, made: list[Any], isolation: str) -> None:
    world = World(dead_letters=["dlq"], isolation=isolation)
    for topic, message_id, partition, fields in made:
        world.put(topic, message_id, partition, **fields)
    evidence = world.evidence()
    evidence = dataclasses.replace(
        evidence, tables={**evidence.tables, "key_placement": duplicates._key_placement(evidence)}
    )
    report = duplicates.diagnose(evidence)
    assert_balances(report)
    assert duplicates.diagnose(Evidence.load(evidence.save(tmp_path / "evidence"))) == report
