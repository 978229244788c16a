"""The accuracy table counts what was found, missed and wrongly named."""

from __future__ import annotations

from typing import Any

from tests.unit.builder import World
from tests.unit.test_loss_rules import ids
from workbench.problems import loss
from workbench.sandbox.accuracy import Table, without
from workbench.sandbox.incidents.truth import Truth

CODE = "loss-consumer-dropped"


def dropped() -> World:
    world = World()
    world.flow(ids(40), lost=["m3", "m9"])
    world.commit()
    world.service = [{"message_id": i, "level": "error", "event": "handler", "error": "KeyError"} for i in ("m3", "m9")]
    return world


def truth(**fields: Any) -> Truth:
    return Truth(incident="i", problem="loss", seed=1, options={}, ledger={}, **fields)


def test_a_right_report_is_found_with_its_ids() -> None:
    table = Table()
    table.add(
        truth(findings={CODE: "confirmed"}, causes={CODE: 4}, ids={CODE: ["m3", "m9", "m11", "gone"]}),
        loss.examine(dropped().evidence()),
        2.0,
    )
    score = table.scores[CODE]
    assert (score.planted, score.found, score.missed, score.wrong) == (1, 1, 0, 0)
    assert (score.ids_right, score.ids_wrong, score.ids_unknown) == (2, 1, 1)
    assert table.faults == []
    assert f"| {CODE} | 1 | 1 | 0 | 0 | 0 | 2 | 1 | 1 | 2.0 |" in table.lines()


def test_what_was_not_planted_is_wrongly_named_and_what_is_not_found_is_missed() -> None:
    table = Table()
    examination = loss.examine(dropped().evidence())
    table.add(truth(clean=True), examination, 1.0)
    table.add(truth(findings={"loss-compacted": "confirmed", "loss-retention-overtook": "confirmed"}), examination, 1.0)
    assert (table.clean, table.alarms, table.scores[CODE].wrong) == (1, 1, 2)
    assert table.scores["loss-compacted"].open == 1
    assert table.scores["loss-retention-overtook"].missed + table.scores["loss-retention-overtook"].open == 1


def test_with_less_evidence_a_suspicion_is_no_wrong_name() -> None:
    table = Table()
    evidence = without(dropped().evidence(), ("service_log",))
    assert evidence.missing["service_log"] == "denied"
    table.add(truth(findings={"loss-compacted": "confirmed"}), loss.examine(evidence), 0, "no logs")
    assert CODE not in table.scores
    assert table.scores["loss-compacted"].open == 1
