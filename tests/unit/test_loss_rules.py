"""Each loss rule: fires, stays silent just inside, and is undecided when its evidence is missing."""

from __future__ import annotations

import dataclasses

import pytest

from tests.unit.builder import NOW_MS, World
from workbench.problems import loss
from workbench.report import Finding, Report

HOUR_MS = 3_600_000


def ids(n: int, prefix: str = "m") -> list[str]:
    return [f"{prefix}{i}" for i in range(n)]


def found(report: Report, code: str) -> Finding | None:
    return next((item for item in report.findings if item.code == code), None)


def state_of(report: Report, code: str) -> str:
    """Where a rule ended; each rule ends in exactly one place."""
    finding = found(report, code)
    places = [finding.state] if finding else []
    places += ["ruled_out"] * (code in report.ruled_out)
    places += ["undecided"] * any(item.code == code for item in report.undecided)
    assert len(places) == 1, (code, places)
    return places[0]


def diagnose(world: World) -> Report:
    return loss.diagnose(world.evidence())


def without(world: World, table: str) -> Report:
    evidence = world.evidence()
    tables = {name: rows for name, rows in evidence.tables.items() if name != table}
    return loss.diagnose(dataclasses.replace(evidence, tables=tables, missing={table: "denied"}))


def overtaken(retention_ms: int, first_age_ms: int = HOUR_MS) -> World:
    """The group committed 20; the log now starts at 50."""
    world = World()
    world.put("in", "kept", offset=50, timestamp_ms=NOW_MS - first_age_ms)
    world.put("out", "kept", timestamp_ms=NOW_MS - first_age_ms)
    world.commit(20)
    world.offsets[("in", 0)]["log_start_offset"] = 50
    world.config("in", retention_ms=str(retention_ms), cleanup_policy="delete")
    return world


def test_retention_overtook_fires_when_the_oldest_kept_is_old_enough() -> None:
    report = diagnose(overtaken(HOUR_MS))
    finding = found(report, "loss-retention-overtook")
    assert finding
    assert (finding.state, finding.count, finding.count_is_upper_bound) == ("confirmed", 30, True)
    assert report.facts["lost_offsets_upper_bound"] == 30
    assert (report.verdict, report.ledger["lost"]) == ("critical", 0)
    assert state_of(report, "loss-records-deleted") == "ruled_out"


def test_records_deleted_is_suspected_where_nothing_is_old_enough() -> None:
    report = diagnose(overtaken(HOUR_MS + 1))
    assert state_of(report, "loss-records-deleted") == "suspected"
    assert state_of(report, "loss-retention-overtook") == "ruled_out"
    assert report.verdict == "warning"


def test_retention_by_size_leaves_no_less_than_its_limit() -> None:
    for size, expected in ((1000, "confirmed"), (999, "ruled_out")):
        world = overtaken(7 * 24 * HOUR_MS)
        world.config("in", retention_bytes="1000")
        world.offsets[("in", 0)]["log_size_bytes"] = size
        assert state_of(diagnose(world), "loss-retention-overtook") == expected


def test_a_commit_at_the_log_start_lost_nothing() -> None:
    world = overtaken(HOUR_MS)
    world.commit(50)
    report = diagnose(world)
    assert (report.verdict, report.facts["lost_offsets_upper_bound"]) == ("ok", 0)


def test_a_long_silence_is_not_assumed_in_a_busy_topic() -> None:
    world = World()
    for n in range(100):  # steady traffic in another partition for ten days
        world.put("in", f"b{n}", partition=1, timestamp_ms=NOW_MS - (100 - n) * 2_400 * 3_600)
        world.put("out", f"b{n}", timestamp_ms=NOW_MS - (100 - n) * 2_400 * 3_600)
    world.put("in", "kept", offset=50, timestamp_ms=NOW_MS - 600_000)
    world.put("out", "kept")
    world.commit(20)
    world.commit(100, partition=1)
    world.offsets[("in", 0)]["log_start_offset"] = 50
    world.config("in", retention_ms=str(9 * 24 * HOUR_MS))
    assert state_of(diagnose(world), "loss-records-deleted") == "suspected"


def test_the_sent_log_names_the_ids_that_retention_took() -> None:
    world = overtaken(HOUR_MS)
    world.sent = [
        {"message_id": f"gone{n}", "partition": 0, "offset": 20 + n, "at_ms": NOW_MS - 2 * HOUR_MS, "acked": True}
        for n in range(30)
    ]
    report = diagnose(world)
    finding = found(report, "loss-retention-overtook")
    assert finding
    assert (finding.count, finding.count_is_upper_bound) == (30, False)
    assert report.causes["loss-retention-overtook"] == report.ledger["lost"] == 30


def test_retention_is_undecided_without_commits() -> None:
    world = overtaken(HOUR_MS)
    world.put("in", "lost")
    world.put("in", "delivered")
    world.put("out", "delivered")
    report = without(world, "committed")
    assert state_of(report, "loss-retention-overtook") == "undecided"
    assert report.verdict == "undecided"


DELETED = "loss-records-deleted"
RESUMED_MS = NOW_MS - 2 * HOUR_MS  # when the group came back


def resumed(retention_ms: int, stop: int = 20, age_ms: int = HOUR_MS) -> World:
    """The group committed ``stop``, came back when the log started at 50, and has read on to the end since."""
    world = World()
    for n in range(stop):  # delivered, and gone of the source by now
        world.put("out", f"m{n}", timestamp_ms=NOW_MS - 9 * HOUR_MS + n)
    for n in range(50, 60):
        world.put("in", f"m{n}", offset=n, timestamp_ms=RESUMED_MS - 1_000)
        world.put("out", f"m{n}", timestamp_ms=RESUMED_MS)
    world.offsets[("in", 0)]["log_start_offset"] = 50
    world.config("in", retention_ms=str(retention_ms), cleanup_policy="delete")
    world.commit(60)
    world.generation(NOW_MS - 10 * HOUR_MS, "a")
    world.committed_at(NOW_MS - 10 * HOUR_MS + 1, 0)
    world.committed_at(RESUMED_MS - age_ms, stop)
    world.generation(RESUMED_MS - 1_000, "b")
    world.committed_at(RESUMED_MS, 60)
    world.sent = [
        {"message_id": f"m{n}", "partition": 0, "offset": n, "acked": True,
         "at_ms": RESUMED_MS - (age_ms if n < 50 else 1_000)}
        for n in range(60)
    ]  # fmt: skip
    return world


def test_retention_is_known_where_the_group_has_gone_on_since() -> None:
    report = diagnose(resumed(HOUR_MS))
    assert state_of(report, "loss-retention-overtook") == "confirmed"
    assert report.causes["loss-retention-overtook"] == report.ledger["lost"] == 30
    assert state_of(report, "loss-records-deleted") == "ruled_out"


def test_a_group_that_came_back_before_the_limit_lost_to_no_retention() -> None:
    report = diagnose(resumed(HOUR_MS + 1))
    assert state_of(report, "loss-retention-overtook") == "ruled_out"
    assert (state_of(report, "loss-records-deleted"), report.ledger["lost"]) == ("suspected", 30)


def test_what_was_read_before_retention_took_it_is_not_lost() -> None:
    report = diagnose(resumed(HOUR_MS, stop=50))
    assert (report.verdict, report.ledger["lost"]) == ("ok", 0)


def test_without_a_sent_log_the_sinks_count_says_that_retention_overtook() -> None:
    for stop, expected, count in ((20, "suspected", 30), (50, "ruled_out", 0)):
        world = resumed(HOUR_MS, stop)
        world.sent = None
        report = diagnose(world)
        assert state_of(report, "loss-retention-overtook") == expected
        assert report.facts["lost_offsets_upper_bound"] == count


def stepping(*steps: int, missing: int = 30) -> World:
    """The group went on after a short while, with these commits before; no producer kept a log."""
    world = resumed(HOUR_MS, age_ms=60_000)
    world.sent = None
    world.history = None
    world.generation(NOW_MS - 10 * HOUR_MS, "a")
    for number, offset in enumerate((0, *steps)):
        world.committed_at(RESUMED_MS - 60_000 - 1_000 * (10 - number), offset)
    world.committed_at(RESUMED_MS, 60)
    for n in range(20, 50 - missing):
        world.put("out", f"m{n}", timestamp_ms=RESUMED_MS)
    return world


def test_a_far_longer_step_to_the_log_start_says_that_records_were_deleted() -> None:
    report = diagnose(stepping(5, 10, 15, 20))
    assert (state_of(report, DELETED), report.facts["lost_offsets_upper_bound"]) == ("suspected", 30)
    assert state_of(report, "loss-retention-overtook") == "ruled_out"


def test_without_the_history_what_did_not_arrive_leaves_it_undecided() -> None:
    assert state_of(without(stepping(5, 10, 15, 20), "commit_history"), DELETED) == "undecided"
    assert state_of(without(stepping(5, 10, 15, 20, missing=0), "commit_history"), DELETED) == "ruled_out"


def test_a_step_like_the_others_says_nothing() -> None:
    assert diagnose(stepping(9, 20)).verdict == "ok"


def test_a_step_of_which_most_arrived_says_nothing() -> None:
    assert state_of(diagnose(stepping(5, 10, 15, 20, missing=15)), DELETED) == "suspected"
    assert diagnose(stepping(5, 10, 15, 20, missing=14)).verdict == "ok"


def test_a_resumed_group_is_no_case_without_its_history() -> None:
    report = without(resumed(HOUR_MS), "commit_history")
    assert state_of(report, "loss-retention-overtook") == "undecided"
    assert state_of(report, "unexplained") == "suspected"
    assert (report.ledger["lost"], report.causes["unexplained"]) == (30, 30)


def with_hole(policy: str) -> World:
    world = World()
    world.put("in", "a")
    world.put("out", "a")
    world.put("in", "c", offset=2)
    world.put("out", "c")
    world.commit()
    world.config("in", cleanup_policy=policy)
    world.sent = [
        {"message_id": name, "partition": 0, "offset": n, "acked": True, "at_ms": NOW_MS - HOUR_MS}
        for n, name in enumerate("abc")
    ]
    return world


def test_compacted_fires_on_an_acknowledged_offset_that_holds_nothing() -> None:
    report = diagnose(with_hole("compact"))
    assert state_of(report, "loss-compacted") == "confirmed"
    assert report.causes["loss-compacted"] == 1


def test_compacted_is_ruled_out_where_nothing_is_compacted() -> None:
    assert state_of(diagnose(with_hole("delete")), "loss-compacted") == "ruled_out"


def test_compacted_is_undecided_without_a_sent_log() -> None:
    world = with_hole("compact")
    world.put("in", "lost")
    world.commit(2)
    world.commit()
    world.sent = None
    for n in range(3):
        world.put("in", f"tail{n}")
    world.commit()
    assert state_of(diagnose(world), "loss-compacted") == "undecided"


def aborted_at_sink(*, commit: int | None = None) -> World:
    world = World()
    world.flow(ids(10))
    world.put("in", "undone")
    world.put("out", "undone", is_aborted=True)
    world.commit(commit)
    return world


def test_aborted_transaction_fires_where_the_input_is_committed() -> None:
    report = diagnose(aborted_at_sink())
    assert state_of(report, "loss-aborted-transaction") == "confirmed"
    assert report.causes["loss-aborted-transaction"] == 1


def test_an_aborted_output_whose_input_is_not_committed_waits() -> None:
    report = diagnose(aborted_at_sink(commit=10))
    assert (report.ledger["waiting"], report.ledger["lost"], report.verdict) == (1, 0, "ok")


def test_a_retried_transaction_is_healthy() -> None:
    world = aborted_at_sink()
    world.put("out", "undone")
    assert diagnose(world).verdict == "ok"


def test_aborted_transaction_is_only_suspected_without_commits() -> None:
    assert state_of(without(aborted_at_sink(), "committed"), "loss-aborted-transaction") == "suspected"


def test_the_sent_log_says_committed_and_the_log_says_aborted() -> None:
    for committed, expected in ((True, "confirmed"), (False, "ruled_out"), (None, "ruled_out")):
        world = World()
        world.flow(ids(5))
        world.put("in", "undone", is_aborted=True)
        world.commit()
        world.sent = [{"message_id": "undone", "acked": True, "committed": committed}]
        assert state_of(diagnose(world), "loss-aborted-transaction") == expected


def hidden(age_ms: int, *, hanging: bool | None = None) -> World:
    world = World()
    world.flow(ids(5))
    world.commit()
    world.put("in", "open", timestamp_ms=NOW_MS - age_ms)
    world.offsets[("in", 0)]["last_stable_offset"] = 5
    if hanging is not None:
        world.open = [{"topic": "in", "partition": 0, "producer_id": 7, "start_offset": 5, "hanging": hanging}]
    return world


def test_hanging_transaction_is_suspected_when_hidden_for_longer_than_expected() -> None:
    report = diagnose(hidden(300_000))
    assert state_of(report, "loss-hanging-transaction") == "suspected"
    assert (report.ledger["hidden"], report.ledger["lost"]) == (1, 0)


def test_a_young_open_transaction_is_healthy() -> None:
    report = diagnose(hidden(299_000))
    assert (report.verdict, report.ledger["hidden"]) == ("ok", 1)


def test_the_coordinator_confirms_a_hanging_transaction() -> None:
    assert state_of(diagnose(hidden(1000, hanging=True)), "loss-hanging-transaction") == "confirmed"


def sent_world(**row: object) -> World:
    world = World()
    world.flow(ids(5))
    world.commit()
    world.sent = [*({"message_id": name, "acked": True} for name in ids(5)), {"message_id": "x", **row}]
    return world


@pytest.mark.parametrize(
    ("row", "code"),
    [
        ({"error": "Local: Queue full"}, "loss-producer-queue-full"),
        ({"error": "BufferError: Local: Queue full"}, "loss-producer-queue-full"),
        ({"error": "KafkaError{code=MSG_SIZE_TOO_LARGE}"}, "loss-oversize-record"),
        ({"error": "org.apache.kafka.common.errors.RecordTooLargeException"}, "loss-oversize-record"),
        ({"size_bytes": 1_048_589}, "loss-oversize-record"),
        ({"size_bytes": 900_000}, "loss-producer-error-ignored"),
        ({"error": "Broker: Not enough in-sync replicas", "acked": False}, "loss-producer-error-ignored"),
        ({"acked": False}, "loss-producer-error-ignored"),
        ({}, "loss-producer-error-ignored"),
    ],
)
def test_a_message_of_the_sent_log_that_is_not_in_the_log(row: dict[str, object], code: str) -> None:
    report = diagnose(sent_world(**row))
    assert [item.code for item in report.findings] == [code]
    assert state_of(report, code) == "confirmed"
    assert report.causes[code] == 1


def test_an_acknowledged_message_is_not_called_an_ignored_error() -> None:
    report = diagnose(sent_world(acked=True, partition=0, offset=99))
    assert found(report, "loss-producer-error-ignored") is None
    assert report.causes["unexplained"] == 1


def test_silence_under_acks_zero_is_no_ignored_error() -> None:
    world = sent_world()
    world.facts["producer_config"] = {"acks": "0"}
    report = diagnose(world)
    assert state_of(report, "loss-producer-error-ignored") == "ruled_out"
    assert state_of(report, "loss-acks-zero") == "suspected"


def test_small_neighbours_die_with_an_oversize_record() -> None:
    world = World()
    world.flow(ids(5))
    world.commit()
    near = [{"message_id": "n1"}, {"message_id": "big", "size_bytes": 3_000_000}, {"message_id": "n2"}]
    world.sent = [{"message_id": "m0"}, *near, {"message_id": "m1"}, {"message_id": "far"}, {"message_id": "m2"}]
    report = diagnose(world)
    assert report.causes["loss-oversize-record"] == 3
    assert report.causes["loss-producer-error-ignored"] == 1


def test_the_producers_own_limit_counts() -> None:
    world = sent_world(size_bytes=60_000)
    world.facts["producer_config"] = {"max.request.size": "50000"}
    assert state_of(diagnose(world), "loss-oversize-record") == "confirmed"


@pytest.mark.parametrize("code", ["loss-producer-error-ignored", "loss-producer-queue-full", "loss-oversize-record"])
def test_producer_rules_are_undecided_without_a_sent_log(code: str) -> None:
    world = World()
    world.flow(ids(30), lost=["m3"])
    world.commit()
    assert state_of(diagnose(world), code) == "undecided"


def test_the_service_log_can_hold_the_send_error() -> None:
    world = sent_world()
    world.service = [{"message_id": "x", "level": "error", "error": "Local: Queue full", "event": "produce"}]
    assert state_of(diagnose(world), "loss-producer-queue-full") == "confirmed"


def dropping(lost_of_type: int, *, type_size: int = 5) -> World:
    world = World()
    world.flow(ids(50), event_type="user.created")
    world.flow(ids(type_size, "x"), lost=ids(lost_of_type, "x"), event_type="user.deleted")
    world.flow(ids(50, "n"), event_type="user.created")
    world.commit()
    return world


def test_consumer_dropped_is_confirmed_by_pattern() -> None:
    report = diagnose(dropping(5))
    finding = found(report, "loss-consumer-dropped")
    assert finding
    assert (finding.state, finding.count) == ("confirmed", 5)
    assert "user.deleted" in finding.summary


def test_not_all_of_a_type_is_no_pattern() -> None:
    report = diagnose(dropping(2))
    assert state_of(report, "loss-consumer-dropped") == "suspected"


def test_one_of_a_kind_may_be_chance() -> None:
    assert state_of(diagnose(dropping(1, type_size=1)), "loss-consumer-dropped") == "suspected"


def test_a_long_unbroken_run_is_unexplained() -> None:
    world = World()
    world.flow(ids(100), lost=ids(70)[50:])
    world.commit()
    report = diagnose(world)
    assert report.causes == {"undetermined": 0, "unexplained": 20}
    assert report.verdict == "critical"


def test_an_error_in_the_service_log_confirms_the_drop() -> None:
    world = World()
    world.flow(ids(50), lost=["m7"])
    world.commit()
    world.service = [
        {"topic": "in", "partition": 0, "offset": 7, "level": "ERROR", "error": "ValueError", "event": "handle"}
    ]
    assert state_of(diagnose(world), "loss-consumer-dropped") == "confirmed"


def test_a_message_not_committed_past_was_not_dropped() -> None:
    world = dropping(5)
    world.commit(50)
    report = diagnose(world)
    assert (report.ledger["waiting"], report.ledger["lost"], report.verdict) == (5, 0, "ok")


def test_consumer_dropped_is_undecided_without_commits() -> None:
    assert state_of(without(dropping(5), "committed"), "loss-consumer-dropped") == "undecided"


def test_causes_without_their_evidence_are_undecided_while_something_is_open() -> None:
    world = World()
    world.flow(ids(100), lost=ids(70)[50:])
    world.commit()
    reasons = {item.code: item.reason for item in diagnose(world).undecided}
    assert "__consumer_offsets" in reasons["loss-offset-reset-latest"]


def test_nothing_lost_rules_every_cause_out() -> None:
    world = World()
    world.flow(ids(10))
    world.commit()
    report = diagnose(world)
    assert not report.undecided
    assert {item.code for item in loss.RULES} <= set(report.ruled_out)


def test_an_id_with_two_possible_causes_is_undetermined_and_a_candidate_of_both() -> None:
    world = overtaken(HOUR_MS)
    world.configs = []  # retention.ms unknown: retention and deletion both fit
    world.sent = [{"message_id": "gone", "partition": 0, "offset": 30, "at_ms": NOW_MS - 2 * HOUR_MS, "acked": True}]
    report = diagnose(world)
    assert report.causes["undetermined"] == 1
    assert {item.code: item.candidates for item in report.findings} == {
        "loss-retention-overtook": 1,
        "loss-records-deleted": 1,
    }
