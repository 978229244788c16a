"""One replica in sync that may acknowledge alone: a risk before anything is lost."""

from __future__ import annotations

import pytest

from tests.unit.builder import World
from tests.unit.test_loss_rules import diagnose, ids, state_of

CODE = "loss-min-isr-too-low"


def alone(*isr: int, least: str | None = "1", producer: dict[str, str] | None = None, **where: object) -> World:
    world = World(producer_config={"acks": "all"} if producer is None else producer)
    world.flow(ids(5))
    world.commit()
    world.in_sync(*isr, **where)  # type: ignore[arg-type]
    if least:
        world.config("in", min_insync_replicas=least)
    return world


@pytest.mark.parametrize(
    ("world", "state", "verdict"),
    [
        (alone(2), "confirmed", "warning"),
        (alone(2, producer={"enable.idempotence": "true"}), "confirmed", "warning"),
        (alone(2, producer={}), "suspected", "info"),
        (alone(2, producer={"acks": "1"}), "ruled_out", "ok"),
        (alone(2, least="2"), "ruled_out", "ok"),
        (alone(2, 1), "ruled_out", "ok"),
        (alone(1, replicas=(1,)), "ruled_out", "ok"),
        (alone(2, least=None), "undecided", "undecided"),
        (alone(2, 1, least=None), "ruled_out", "ok"),
    ],
)
def test_only_one_in_sync_that_may_acknowledge_alone(world: World, state: str, verdict: str) -> None:
    report = diagnose(world)
    assert (state_of(report, CODE), report.verdict) == (state, verdict)


def test_it_says_how_many_partitions_and_where() -> None:
    world = alone(3)
    world.in_sync(2, 1, partition=1)
    (finding,) = diagnose(world).findings
    assert (finding.count, finding.subject) == (1, {"topic": "in", "partition": 0})
