"""Loss where the target, or the source, is a table."""

from __future__ import annotations

from typing import Any

import pytest

from tests.unit.builder import NOW_MS, World
from tests.unit.test_loss_rules import diagnose, found, ids, state_of, without
from workbench.problems import duplicates

REJECTED, DELETED, DROPPED, UNPUBLISHED = (
    "loss-target-rejected", "loss-target-deleted", "loss-consumer-dropped", "outbox-unpublished",
)  # fmt: skip
TABLE = "sql:orders"


def into_table(lost: list[str], count: int = 30, **said: Any) -> World:
    """Thirty messages, of which some are not in the table."""
    world = World(sinks=[TABLE])
    world.store(TABLE, **said)
    world.flow(ids(count), lost)
    world.commit()
    return world


def logged(lost: list[str], error: str, **said: Any) -> World:
    world = into_table(lost, **said)
    world.service = [
        {"at_ms": NOW_MS, "level": "error", "event": "not stored", "error": error, "message_id": one} for one in lost
    ]
    return world


LOST = ["m3", "m11", "m20"]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        ('IntegrityError: duplicate key value violates unique constraint "orders_pkey"', "a unique constraint"),
        ("UNIQUE constraint failed: orders.id", "a unique constraint"),
        ("(1062, \"Duplicate entry 'a' for key 'PRIMARY'\")", "a unique constraint"),
        ('null value in column "b" of relation "t" violates not-null constraint', "a column that must not be null"),
        ("NOT NULL constraint failed: orders.user_id", "a column that must not be null"),
        ("ORA-01400: cannot be NULL", "a column that must not be null"),
        ("Cannot add or update a child row: a foreign key constraint fails", "a foreign key"),
        ('new row for relation "t" violates check constraint "t_c_check"', "a check constraint"),
        ("value too long for type character varying(5)", "a type or length"),
        ("invalid input syntax for type integer", "a type or length"),
        ('ERROR: value "9999999999" is out of range for type integer', "a type or length"),
        ("sqlalchemy.exc.DataError: (psycopg.errors.X) ...", "a type or length"),
        ("Violation of PRIMARY KEY constraint 'PK'. Cannot insert duplicate key in object", "a unique constraint"),
        ("org.hibernate.exception.ConstraintViolationException: could not execute statement", "a check constraint"),
        ("PSQLException SQLSTATE: 23503", "a foreign key"),
        ("Data truncation: Incorrect datetime value: '0000' for column 'at'", "a type or length"),
    ],
)
def test_a_refused_row_is_told_by_the_words_of_its_database(error: str, kind: str) -> None:
    report = diagnose(logged(LOST, error))
    assert (state_of(report, REJECTED), report.causes[REJECTED], report.verdict) == ("confirmed", 3, "critical")
    finding = found(report, REJECTED)
    assert finding
    assert kind in finding.summary
    assert TABLE in finding.summary
    assert state_of(report, DROPPED) == "ruled_out"


@pytest.mark.parametrize(
    "error",
    [
        "KeyError: 'profile'", "Connection refused", "timed out", "java.lang.StackOverflowError",
        "Fetch offset 5 is out of range for partition in-0", "OFFSET_OUT_OF_RANGE", "FileExistsError: file already exists",
        "jakarta.validation.ConstraintViolationException: name: must not be blank", "NullPointerException: orderId cannot be null",
        "ClassCastException: class A cannot be cast to class B", 'NumberFormatException: Value out of range. Value:"200" Radix:10',
        "log truncation detected", "ArithmeticException: integer overflow", "BufferOverflowException",
    ],
)  # fmt: skip
def test_another_error_is_the_consumers(error: str) -> None:
    report = diagnose(logged(LOST, error))
    assert (state_of(report, REJECTED), state_of(report, DROPPED)) == ("ruled_out", "confirmed")


def test_the_same_error_for_a_topic_is_the_consumers() -> None:
    world = World()
    world.flow(ids(30), LOST)
    world.commit()
    world.service = [
        {"at_ms": NOW_MS, "level": "error", "error": "UNIQUE constraint failed", "message_id": one} for one in LOST
    ]
    report = diagnose(world)
    assert (state_of(report, REJECTED), state_of(report, DROPPED)) == ("ruled_out", "confirmed")


def test_a_refused_copy_of_what_is_there_is_no_loss() -> None:
    world = logged([], "")
    world.service = [{"at_ms": NOW_MS, "level": "error", "error": "UNIQUE constraint failed", "message_id": "m3"}]
    assert diagnose(world).verdict == "ok"


def test_without_the_services_log_and_an_audit_neither_is_ruled_out() -> None:
    report = without(logged(LOST, "UNIQUE constraint failed"), "service_log")
    assert (state_of(report, REJECTED), state_of(report, DELETED)) == ("undecided", "undecided")
    assert state_of(report, DROPPED) == "suspected"


def gone(*message_ids: str, at_ms: int | None = NOW_MS) -> list[dict[str, Any]]:
    return [{"topic": TABLE, "message_id": one, "at_ms": at_ms} for one in message_ids]


def test_rows_that_the_table_says_were_deleted() -> None:
    world = into_table(LOST, knows_removed=True)
    world.removed = gone(*LOST, "m99")
    report = diagnose(world)
    assert (state_of(report, DELETED), report.causes) == (
        "confirmed",
        {DELETED: 3, "undetermined": 0, "unexplained": 0},
    )
    assert state_of(report, DROPPED) == "ruled_out"


def test_rows_that_the_table_says_were_not_deleted_are_not() -> None:
    world = into_table(LOST, knows_removed=True)
    world.removed = gone("m99")
    report = diagnose(world)
    assert (state_of(report, DELETED), state_of(report, DROPPED)) == ("ruled_out", "suspected")


def test_a_row_that_is_deleted_beside_one_that_is_there_is_delivered() -> None:
    world = into_table([], knows_removed=True)
    world.removed = gone("m3")
    assert diagnose(world).verdict == "ok"


def test_all_of_one_type_missing_is_no_proof_where_rows_may_have_been_deleted() -> None:
    """A clean-up by type and a consumer that drops a type look alike, unless the table says what was deleted."""
    states = []
    for knows in (False, True):
        world = World(sinks=[TABLE])
        world.store(TABLE, knows_removed=knows)
        world.flow(ids(40, "a"), event_type="login")
        world.flow(ids(10, "b"), ids(10, "b"), event_type="order")
        world.commit()
        states.append(state_of(diagnose(world), DROPPED))
    assert states == ["suspected", "confirmed"]


def test_a_table_that_keeps_rows_for_a_day_cannot_verify_older_messages() -> None:
    world = into_table(["m3"], keeps_seconds=600.0)
    report = diagnose(world)
    assert (report.ledger["lost"], report.ledger["unverifiable"]) == (0, 1)


def test_a_table_without_any_id_of_the_source_is_doubted() -> None:
    world = World(sinks=[TABLE])
    world.store(TABLE)
    world.flow(ids(5), ids(5))
    for one in ids(5, "x"):
        world.put(TABLE, one)
    world.commit()
    report = diagnose(world)
    assert any("none of the 5 ids" in item.reason for item in report.undecided)


def test_a_quiet_or_healthy_table_of_old_rows_is_not_doubted() -> None:
    for young in (True, False):
        world = World(sinks=[TABLE])
        world.store(TABLE)
        for one in ids(5, "x"):
            world.put(TABLE, one)
        if young:
            world.put("in", "m1", timestamp_ms=NOW_MS - 1000)
            world.commit()
        report = diagnose(world)
        assert (report.verdict, report.undecided) == ("ok", ())
        assert duplicates.diagnose(world.evidence()).verdict == "ok"


def test_what_was_odd_about_a_table_is_noted() -> None:
    report = diagnose(into_table([], id_type="int64", unreadable_times=2, skipped={"lines that are no JSON object": 4}))
    assert {note.code for note in report.notes} >= {"ids-as-text", "unreadable-times", "lines-skipped"}
    assert report.verdict == "ok"


# ---- outboxes ----


def outbox(lost: list[str], count: int = 20, *, old: bool = True, **said: Any) -> World:
    """A table of twenty rows, and the topic that they are published to."""
    world = World(source=TABLE, sinks=["out"])
    world.store(TABLE, **said)
    world.flow(ids(count), lost, **({} if old else {"timestamp_ms": NOW_MS - 1000}))
    return world


def test_rows_that_a_relay_marked_or_went_past_were_never_published() -> None:
    report = diagnose(outbox(["m3", "m9"], ordered=True, published_up_to=19))
    assert (state_of(report, UNPUBLISHED), report.causes[UNPUBLISHED], report.verdict) == ("confirmed", 2, "critical")
    assert report.ledger["waiting"] == 0


def test_rows_that_a_relay_has_not_come_to_wait() -> None:
    report = diagnose(outbox(["m18", "m19"], ordered=True, published_up_to=17))
    assert (report.verdict, report.ledger["waiting"], report.ledger["lost"]) == ("ok", 2, 0)
    assert state_of(report, UNPUBLISHED) == "ruled_out"


def test_without_a_mark_only_rows_before_a_published_one_are_certain() -> None:
    report = diagnose(outbox(["m3", "m19"]))
    assert (state_of(report, UNPUBLISHED), report.causes[UNPUBLISHED]) == ("confirmed", 2)
    assert state_of(diagnose(outbox(["m18", "m19"])), UNPUBLISHED) == "suspected"


def test_rows_without_order_or_of_equal_times_are_only_suspected() -> None:
    assert state_of(diagnose(outbox(["m3"], time=None)), UNPUBLISHED) == "suspected"
    assert state_of(diagnose(outbox(["m3"], time=None, ordered=True)), UNPUBLISHED) == "confirmed"
    world = outbox(["m3"])
    for row in world.records:
        row["timestamp_ms"] = NOW_MS - 3_600_000
    assert state_of(diagnose(world), UNPUBLISHED) == "suspected"


def test_young_rows_are_in_flight() -> None:
    report = diagnose(outbox(["m3"], old=False))
    assert (report.ledger["in_flight"], report.ledger["lost"], report.verdict) == (1, 0, "ok")


def test_rows_without_an_id_are_in_doubt() -> None:
    world = outbox([])
    world.put(TABLE, None)
    assert diagnose(world).verdict == "undecided"
