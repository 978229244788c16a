"""Routes of two hops: each message and each copy belongs to the hop where it went missing or came to be."""

from __future__ import annotations

import pytest

from tests.unit.builder import NOW_MS, World
from tests.unit.test_duplicates import ids
from workbench.errors import UsageError
from workbench.evidence import Evidence
from workbench.problems import duplicates, loss
from workbench.problems.hops.route import hops_of
from workbench.problems.parts import Part
from workbench.problems.scope import scope_from
from workbench.report import Report
from workbench.tables import table_of


def route(first: World, second: World, problem: str = "loss") -> Evidence:
    """The evidence of ``in`` to ``mid`` to ``out``, from that of its hops."""
    facts = {**first.facts, "sinks": ["out"], "group": "g", "through": ["mid:h"]}
    tables, parts = {}, []
    for number, world in enumerate((first, second)):
        found = world.evidence()
        if problem == "duplicates":
            placement = {"key_placement": table_of(duplicates.PLACEMENT_SCHEMA, [])}
            found = Evidence({**found.tables, **placement}, found.facts, found.missing)
        tables |= {f"h{number}_{name}": table for name, table in found.tables.items()}
        parts.append(Part(f"h{number}", str(number), problem, found).to_fact())
    return Evidence(tables, {**facts, "parts": parts}, {})


def worlds(count: int = 10) -> tuple[World, World]:
    first, second = World("in", ["mid"]), World("mid", ["out"])
    for world, here, there in ((first, "in", "mid"), (second, "mid", "out")):
        for name in ids(count):
            world.put(here, name)
            world.put(there, name)
    return first, second


def without(world: World, topic: str, *names: str) -> None:
    world.records = [row for row in world.records if row["topic"] != topic or row["message_id"] not in names]


def diagnose(first: World, second: World) -> Report:
    first.commit()
    second.commit(group="h")
    return loss.diagnose(route(first, second))


def balances(report: Report) -> bool:
    coming = report.ledger["sent"]
    for hop in report.sections["hops"]:
        stayed = sum(hop[name] for name in ("dead_lettered", "retrying", "waiting", "in_flight", "filtered", "hidden",
                                            "unverifiable", "lost"))  # fmt: skip
        if (hop["came"], hop["passed"]) != (coming, coming - stayed):
            return False
        coming = hop["passed"]
    return coming == report.ledger["delivered"]


def test_a_route_that_brings_everything_is_ok() -> None:
    report = diagnose(*worlds())
    assert (report.verdict, report.ledger["delivered"], balances(report)) == ("ok", 10, True)


def test_a_message_is_lost_at_the_hop_that_it_did_not_get_past() -> None:
    first, second = worlds()
    without(first, "mid", "m2")
    without(second, "mid", "m2")
    without(second, "out", "m2", "m5", "m6")
    report = diagnose(first, second)
    assert [hop["lost"] for hop in report.sections["hops"]] == [1, 2]
    assert (report.ledger["lost"], balances(report)) == (3, True)
    assert {finding.subject["hop"] for finding in report.findings} == {"in -> mid", "mid -> out"}


def test_what_others_sent_into_the_middle_is_not_the_route_s() -> None:
    first, second = worlds()
    for number in range(3):
        second.put("mid", f"other{number}")
    report = diagnose(first, second)
    assert (report.verdict, report.ledger["sent"], report.ledger["lost"]) == ("ok", 10, 0)


def test_what_waits_at_a_hop_waits() -> None:
    first, second = worlds()
    first.commit()
    second.commit(8, group="h")
    without(second, "out", "m8", "m9")
    report = loss.diagnose(route(first, second))
    assert (report.verdict, report.ledger["waiting"], report.sections["hops"][1]["waiting"]) == ("ok", 2, 2)


def test_a_copy_belongs_to_the_hop_where_it_came_to_be() -> None:
    first, second = worlds()
    first.put("mid", "m1", timestamp_ms=NOW_MS - 1_000)
    second.put("mid", "m1", timestamp_ms=NOW_MS - 1_000)
    second.put("out", "m1", timestamp_ms=NOW_MS - 900)  # carried on
    second.put("out", "m4", timestamp_ms=NOW_MS - 800)  # its own
    report = duplicates.diagnose(route(first, second, "duplicates"))
    assert [(hop["carried"], hop["arose"]) for hop in report.sections["hops"]] == [(0, 1), (1, 1)]
    assert report.ledger == {"records": 33, "messages": 30, "extra_copies": 3, "reprocessed": 2}
    assert sum(report.causes.values()) == 3


def test_hops_go_from_the_source_to_the_sinks() -> None:
    found = hops_of("in", "g", ["a:h", "b:i"], ["out", "sql:t"])
    assert [hop.label for hop in found] == ["in -> a", "a -> b", "b -> out, sql:t"]
    assert [hop.group for hop in found] == ["g", "h", "i"]


@pytest.mark.parametrize("text", ["mid", "mid:", ":h"])
def test_a_stop_without_topic_or_group_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="--through"):
        scope_from(source="in", sink=["out"], through=[text])
