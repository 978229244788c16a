"""Sinks on another cluster: gaps and loops fire, stay silent just inside, and what may still come is not lost."""

from __future__ import annotations

import pytest

from tests.unit.builder import NOW_MS, World
from tests.unit.test_duplicates import codes, ids
from tests.unit.test_duplicates import diagnose as diagnose_duplicates
from tests.unit.test_loss_rules import diagnose, state_of
from workbench.errors import ConfigError, UsageError
from workbench.problems.scope import scope_from

EAST = "profile:east/in"
GAP, LOOP = "loss-mirror-gap", "duplicates-mirror-loop"


def mirrored(*lost: str, count: int = 10, age_ms: int = 3_600_000) -> World:
    world = World(sinks=[EAST])
    for name in ids(count):
        world.put("in", name, timestamp_ms=NOW_MS - age_ms)
        if name not in lost:
            world.put(EAST, name, timestamp_ms=NOW_MS - age_ms)
    return world


def test_the_mirror_went_past_a_message() -> None:
    report = diagnose(mirrored("m3", "m4"))
    assert (state_of(report, GAP), report.causes[GAP], report.ledger["lost"]) == ("confirmed", 2, 2)
    assert all(item.code != "ledger" for item in report.undecided)


def test_what_lies_behind_the_last_mirrored_message_waits() -> None:
    report = diagnose(mirrored("m8", "m9", age_ms=1_000))
    assert (report.verdict, report.ledger["waiting"], report.ledger["lost"]) == ("ok", 2, 0)


def test_what_waits_for_too_long_leaves_the_ledger_undecided() -> None:
    report = diagnose(mirrored("m8", "m9"))
    assert (report.verdict, report.ledger["waiting"]) == ("undecided", 2)
    assert "2 messages on 1 partitions" in report.undecided[0].reason


def test_everything_that_is_there_is_ok() -> None:
    assert diagnose(mirrored()).verdict == "ok"


def test_between_a_group_and_another_cluster_the_group_s_rules_hold() -> None:
    world = mirrored("m3")
    world.commit()
    assert state_of(diagnose(world), GAP) == "ruled_out"


def looped(rounds: int = 2, count: int = 5, *, first: int | None = 7, copy: int | None = None) -> World:
    """Each message came round; the first is the application's, the others are the mirror's."""
    world = World(sinks=[EAST])
    for at in range(rounds + 1):
        found = [world.put("in", name, timestamp_ms=NOW_MS - 10_000 - number) for number, name in enumerate(ids(count))]
        world.batch(*found, producer_id=copy if at else first, crc=at)
        if at < rounds:
            there = [world.put(EAST, name, timestamp_ms=NOW_MS - 10_000 - n) for n, name in enumerate(ids(count))]
            world.batch(*there, crc=100 + at)
    return world


def test_copies_of_another_producer_that_the_other_cluster_has_came_round() -> None:
    report = diagnose_duplicates(looped(rounds=1))
    assert codes(report) == {LOOP: "confirmed"}
    assert report.causes[LOOP] == report.ledger["extra_copies"] == 5


def test_without_producer_ids_it_takes_nearly_all_messages_and_two_rounds() -> None:
    assert codes(diagnose_duplicates(looped(rounds=2, first=None))) == {LOOP: "confirmed"}
    few = looped(rounds=1, first=None)
    assert codes(diagnose_duplicates(few))[LOOP] == "suspected"


def test_the_same_producer_is_no_loop() -> None:
    assert LOOP not in codes(diagnose_duplicates(looped(rounds=1, first=7, copy=7)))


def test_a_copy_that_the_other_cluster_does_not_have_is_no_loop() -> None:
    world = looped(rounds=1)
    world.records = [row for row in world.records if row["topic"] == "in"]
    assert LOOP not in codes(diagnose_duplicates(world))


def test_only_a_sink_may_be_on_another_cluster() -> None:
    with pytest.raises(UsageError, match="only a sink may be"):
        scope_from(source="profile:127.0.0.1:9/in", sink=["out"])
    with pytest.raises(UsageError, match="only a sink may be"):
        scope_from(source="in", sink=["out"], dead_letters=["profile:127.0.0.1:9/dead"])


@pytest.mark.parametrize("name", ["profile:", "profile:east", "profile:/in", "profile:127.0.0.1:9/"])
def test_a_name_without_a_cluster_or_a_topic_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="names no topic of another cluster"):
        scope_from(source="in", sink=[name])


def test_a_profile_that_is_not_there_is_named() -> None:
    from workbench.config import Config

    with pytest.raises(ConfigError, match="east"):
        scope_from(source="in", sink=[EAST], **Config().reading())
