"""The loss ledger: each due message has exactly one disposition, whatever the records look like."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.builder import NOW_MS, World
from workbench.errors import EvidenceError
from workbench.evidence import Evidence
from workbench.problems import checking, loss
from workbench.report import Report


def ids(n: int, prefix: str = "m") -> list[str]:
    return [f"{prefix}{i}" for i in range(n)]


def diagnose(world: World) -> Report:
    return loss.diagnose(world.evidence())


def assert_balances(report: Report) -> None:
    parts = {name: count or 0 for name, count in report.ledger.items() if name != "sent"}
    assert report.ledger["sent"] == sum(parts.values())
    assert sum(report.causes.values()) == report.ledger["lost"]
    assert all(count >= 0 for count in parts.values())


def test_everything_delivered_is_ok() -> None:
    world = World()
    world.flow(ids(50))
    world.commit()
    report = diagnose(world)
    assert report.verdict == "ok"
    assert report.ledger["sent"] == report.ledger["delivered"] == 50
    assert not report.findings
    assert not report.undecided


def test_an_empty_topic_has_nothing_due() -> None:
    report = diagnose(World())
    assert report.verdict == "ok"
    assert report.ledger["sent"] == 0
    assert [note.code for note in report.notes if note.code == "nothing-due"]


def test_each_disposition() -> None:
    world = World(dead_letters=["dlq"], retry_topics=["retry"], expected_latency_seconds=60)
    world.flow(ids(10))
    world.put("in", "filtered", due=False)
    world.put("in", "dead")
    world.put("dlq", "dead")
    world.put("in", "retrying")
    world.put("retry", "retrying")
    world.put("in", "gone")
    world.put("in", "young", timestamp_ms=NOW_MS - 1000)
    world.commit()
    world.put("in", "waiting")
    report = diagnose(world)
    assert report.ledger == {
        "sent": 16, "delivered": 10, "dead_lettered": 1, "retrying": 1, "waiting": 1, "in_flight": 1, "filtered": 1,
        "hidden": 0, "unverifiable": 0, "lost": 1,
    }  # fmt: skip
    assert_balances(report)


def test_filtered_outranks_delivered() -> None:
    world = World()
    world.flow(["x"], due=False)
    report = diagnose(world)
    assert (report.ledger["filtered"], report.ledger["delivered"]) == (1, 0)


def test_waiting_is_unknown_without_a_group_and_the_verdict_undecided() -> None:
    world = World()
    world.flow(ids(20), lost=["m3"])
    report = diagnose(world)
    assert report.ledger["waiting"] is None
    assert report.ledger["lost"] == 1
    assert report.verdict == "undecided"
    assert report.causes == {"undetermined": 1, "unexplained": 0}


def test_an_unknown_group_is_never_ok() -> None:
    world = World(group="typo", group_exists=False, groups_near=["type"])
    world.flow(ids(5))
    world.committed = {}
    report = diagnose(world)
    assert report.verdict == "undecided"
    assert "type" in report.undecided[0].reason


def test_a_partition_without_a_commit_is_waiting() -> None:
    world = World()
    world.flow(ids(5), lost=ids(5))
    world.put("in", "other", partition=1)
    world.commit(0, partition=1)
    report = diagnose(world)
    assert report.ledger["waiting"] == 6
    assert report.ledger["lost"] == 0


def test_each_sink_is_due_a_copy_unless_any_will_do() -> None:
    def world(*, any_sink: bool) -> World:
        made = World(sinks=["a", "b"], any_sink=any_sink)
        made.flow(ids(5))
        made.put("in", "half")
        made.put("a", "half")
        made.commit()
        return made

    assert diagnose(world(any_sink=False)).ledger["lost"] == 1
    assert diagnose(world(any_sink=True)).ledger["lost"] == 0


def test_dead_letters_are_joined_by_origin_coordinates() -> None:
    world = World(dead_letters=["dlq"])
    world.flow(ids(5))
    record = world.put("in", "poison")
    world.put("dlq", None, origin_topic="in", origin_partition=0, origin_offset=record["offset"])
    world.commit()
    report = diagnose(world)
    assert (report.ledger["dead_lettered"], report.ledger["lost"]) == (1, 0)


def test_hidden_behind_the_last_stable_offset_of_source_or_sink() -> None:
    world = World()
    world.flow(ids(5))
    world.put("in", "s")
    world.commit()
    world.put("out", "s")
    world.offsets[("out", 0)]["last_stable_offset"] = 5
    world.put("in", "open")
    world.offsets[("in", 0)]["last_stable_offset"] = 6
    report = diagnose(world)
    assert (report.ledger["hidden"], report.ledger["lost"]) == (2, 0)


def test_aborted_only_ids_were_never_sent() -> None:
    world = World()
    world.flow(ids(5))
    world.put("in", "undone", is_aborted=True)
    world.commit()
    report = diagnose(world)
    assert report.verdict == "ok"
    assert (report.ledger["sent"], report.facts["aborted_only"]) == (5, 1)


def test_a_later_record_of_the_key_supersedes_on_a_compacted_sink() -> None:
    world = World()
    world.put("in", "old", key=b"k")
    world.put("in", "new", key=b"k")
    world.put("in", "other", key=b"z")
    world.put("out", "new", key=b"k", offset=1)
    world.commit()
    world.config("out", cleanup_policy="compact")
    report = diagnose(world)
    assert (report.ledger["delivered"], report.ledger["lost"]) == (2, 1)
    world.configs = []
    world.config("out", cleanup_policy="delete")
    assert diagnose(world).ledger["lost"] == 2


def test_older_than_what_the_sink_still_keeps_is_unverifiable() -> None:
    world = World()
    for n in range(20):
        world.put("in", f"m{n}", timestamp_ms=NOW_MS - 10_000_000 + n * 1000)
        if n >= 10 and n != 15:
            world.put("out", f"m{n}", offset=n, timestamp_ms=NOW_MS - 10_000_000 + n * 1000)
    world.offsets[("out", 0)]["log_start_offset"] = 10
    world.commit()
    report = diagnose(world)
    assert (report.ledger["unverifiable"], report.ledger["lost"]) == (10, 1)
    assert_balances(report)


def test_all_unverifiable_is_never_ok() -> None:
    world = World()
    for n in range(5):
        world.put("in", f"m{n}")
    world.offsets[("out", 0)] = world._log("out", 0) | {"log_start_offset": 5, "high_watermark": 5}
    world.commit()
    assert diagnose(world).verdict == "undecided"


@pytest.mark.parametrize("role", ["sink", "dead"])
def test_a_topic_not_read_to_its_end_leaves_the_missing_unverifiable(role: str) -> None:
    world = World(dead_letters=["dlq"])
    world.flow(ids(5), lost=["m1"])
    world.commit()
    world.scan[("out" if role == "sink" else "dlq", 0)] = {"error": "the broker went away", "next_offset": 0}
    report = diagnose(world)
    assert (report.ledger["unverifiable"], report.ledger["lost"]) == (1, 0)
    assert report.verdict == "undecided"


def test_records_without_an_id_are_counted_and_in_doubt() -> None:
    world = World()
    world.flow(ids(5))
    world.put("in", None)
    world.commit()
    report = diagnose(world)
    assert report.facts["unidentified"] == 1
    assert report.verdict == "undecided"


def test_a_tombstone_has_no_id_to_lose() -> None:
    world = World()
    world.flow(ids(5))
    world.put("in", None, value_size=None, key=b"k")
    world.commit()
    assert diagnose(world).verdict == "ok"


def test_sink_ids_without_a_source_are_facts() -> None:
    world = World()
    world.flow(ids(5))
    world.put("out", "stranger")
    world.commit()
    report = diagnose(world)
    assert (report.verdict, report.facts["unmatched_at_sink"]) == ("ok", 1)


def test_the_window_decides_what_is_due() -> None:
    world = World(since="2023-11-14T22:00:00+00:00", until="2023-11-14T22:10:00+00:00")
    inside = 1_699_999_200_000 + 60_000
    world.put("in", "before", timestamp_ms=inside - 120_000)
    world.put("in", "inside", timestamp_ms=inside)
    world.put("out", "inside", timestamp_ms=inside)
    world.put("in", "after", timestamp_ms=inside + 3_000_000)
    world.commit()
    report = diagnose(world)
    assert report.ledger["sent"] == report.ledger["delivered"] == 1


def test_ids_of_the_sent_log_are_sent_too() -> None:
    world = World()
    world.flow(ids(5))
    world.commit()
    world.sent = [{"message_id": name} for name in [*ids(5), "never"]]
    report = diagnose(world)
    assert (report.ledger["sent"], report.ledger["lost"]) == (6, 1)


def test_hostile_timestamps_do_not_break_the_ledger() -> None:
    world = World()
    for n, at in enumerate((-5, 0, 2**62, 4_102_444_800_000)):
        world.put("in", f"t{n}", timestamp_ms=at)
    world.put("in", "none", timestamp_ms=None)
    world.commit()
    assert_balances(diagnose(world))


def test_nothing_read_is_unknown_never_zero() -> None:
    evidence = World().evidence()
    tables = {name: table for name, table in evidence.tables.items() if name != "records"}
    report = loss.diagnose(Evidence(tables, evidence.facts, {"records": "Read denied on topic in"}))
    assert report.verdict == "undecided"
    assert set(report.ledger.values()) == {None}
    assert "Read denied" in report.undecided[0].reason


records = st.lists(
    st.tuples(
        st.sampled_from(["in", "out", "out2", "retry", "dlq"]),
        st.sampled_from([None, *ids(6)]),
        st.integers(0, 2),
        st.fixed_dictionaries(
            {
                "is_aborted": st.sampled_from([None, False, False, True]),
                "due": st.booleans(),
                "timestamp_ms": st.sampled_from([None, NOW_MS - 3_600_000, NOW_MS - 1000, -1, 2**61]),
                "event_type": st.sampled_from([None, "a", "b'; DROP TABLE records; --"]),
                "key": st.sampled_from([None, b"", b"k", b"\xff"]),
            }
        ),
    ),
    max_size=40,
)


def _world(rows: list[Any], any_sink: bool, isolation: str, commits: list[int], sent: list[Any] | None) -> World:
    world = World(
        sinks=["out", "out2"], retry_topics=["retry"], dead_letters=["dlq"], any_sink=any_sink, isolation=isolation
    )
    for topic, message_id, partition, fields in rows:
        world.put(topic, message_id, partition, **fields)
    for partition, offset in enumerate(commits):
        world.offsets.setdefault(("in", partition), world._log("in", partition))
        world.commit(offset, partition)
    world.sent = sent
    world.config("in", cleanup_policy="compact,delete", retention_ms="1000")
    return world


sent_logs = st.none() | st.lists(
    st.fixed_dictionaries(
        {
            "message_id": st.sampled_from([*ids(8)]),
            "partition": st.sampled_from([None, 0, 1]),
            "offset": st.sampled_from([None, 0, 5, 99]),
            "acked": st.sampled_from([None, True, False]),
            "committed": st.sampled_from([None, True, False]),
            "size_bytes": st.sampled_from([None, 10, 5_000_000]),
            "error": st.sampled_from([None, "Local: Queue full", "x' OR 1=1"]),
        }
    ),
    max_size=10,
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    records,
    st.booleans(),
    st.sampled_from(["read_committed", "read_uncommitted"]),
    st.lists(st.integers(0, 12), max_size=3),
    sent_logs,
)
def test_the_ledger_balances_for_any_input(
    rows: list[Any], any_sink: bool, isolation: str, commits: list[int], sent: list[Any] | None
) -> None:
    assert_balances(diagnose(_world(rows, any_sink, isolation, commits, sent)))


@settings(
    max_examples=8, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(rows=records, commits=st.lists(st.integers(0, 12), max_size=2), sent=sent_logs)
def test_saved_evidence_gives_the_same_report(
    tmp_path: Path, rows: list[Any], commits: list[int], sent: list[Any] | None
) -> None:
    evidence = _world(rows, False, "read_committed", commits, sent).evidence()
    loaded = Evidence.load(evidence.save(tmp_path / "evidence"))
    assert loss.diagnose(loaded) == loss.diagnose(evidence)
    assert "key" not in loaded.tables["records"].schema.names


def test_the_ledger_file_lists_what_was_not_simply_delivered(tmp_path: Path) -> None:
    world = World()
    world.flow([*ids(5), "jane@example.org"], lost=["m2", "jane@example.org"])
    world.commit()
    rows = pq.read_table(loss.examine(world.evidence()).write_ledger(tmp_path / "ledger.parquet")).to_pylist()
    assert [(row["disposition"], row["topic"], row["offset"]) for row in rows] == [("lost", "in", 2), ("lost", "in", 5)]
    assert rows[0]["message_id"] == "m2"
    assert rows[1]["message_id"].startswith("hmac:")


def test_evidence_that_lacks_a_fact_is_refused_in_one_sentence(tmp_path: Path) -> None:
    evidence = World().evidence()
    facts = {name: value for name, value in evidence.facts.items() if name != "isolation"}
    folder = Evidence(evidence.tables, facts).save(tmp_path / "evidence")
    with pytest.raises(EvidenceError, match="lacks isolation"):
        checking.evidence_in(folder)
