"""The parts of a redrive: who is chosen, where keys go, in which order, how it is changed, and when it stops."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.test_redrive_plan import PLAN
from workbench.config import Profile
from workbench.errors import RedriveError, UsageError
from workbench.problems.partitioners import crc32, murmur2
from workbench.redrive import schema, transform
from workbench.redrive.audit import Audit, audit_file
from workbench.redrive.candidates import Candidate, candidates, chosen_groups, counted, leave_out
from workbench.redrive.dead_letters import Dialects
from workbench.redrive.lock import locked
from workbench.redrive.ordering import ordered, steps
from workbench.redrive.outgoing import Record, dropped_early, kept_headers, outgoing, own_headers
from workbench.redrive.permission import confirm, require_redrive
from workbench.redrive.placement import place
from workbench.redrive.plan import HOME_MADE, UNWRAP, Row
from workbench.redrive.reading import Raw
from workbench.redrive.scan import is_stale
from workbench.redrive.stepping import Pace, judged, require_few
from workbench.redrive.targets import Readers, usable
from workbench.redrive.warnings import expected_duplicates

KNOWN = Dialects({})


def letter(offset: int, message_id: str | None = None, group: str = "v1:aaa111", **more: Any) -> Candidate:
    given = {"origin": ("orders", 0, offset), "consumer": "billing", "at_ms": 1_000 + offset, "replays": 0, **more}
    return Candidate("dlq", 0, offset, message_id, group, "replay", **given)


DEAD = """CREATE TABLE dead (topic VARCHAR, partition INT, "offset" BIGINT, message_id VARCHAR, fingerprint VARCHAR,
 disposition VARCHAR, origin_topic VARCHAR, origin_partition INT, origin_offset BIGINT, "group" VARCHAR, at_ms BIGINT,
 replay_count INT)"""


def chosen(*rows: tuple[Any, ...]) -> list[Candidate]:
    con = duckdb.connect()
    con.execute(DEAD)
    for row in rows:
        con.execute(f"INSERT INTO dead VALUES ({', '.join('?' * len(row))})", row)
    return candidates(con)


def row(
    offset: int, message_id: str | None, replays: int | None = None, disposition: str = "replay"
) -> tuple[Any, ...]:
    return (
        "dlq",
        0,
        offset,
        message_id,
        "v1:aaa111",
        disposition,
        "orders",
        0,
        offset,
        "billing",
        1000 + offset,
        replays,
    )


def test_only_the_newest_dead_letter_of_a_message_is_sent_and_older_ones_count_as_replays():
    found = chosen(row(0, "a"), row(1, "b"), row(2, "a"), row(3, "a"))
    leave_out(found, [], {("dlq", 0): 10}, max_replays=2)
    assert {one.offset: one.left_out for one in found} == {0: "superseded", 1: None, 2: "superseded", 3: "quarantined"}
    assert found[-1].replays == 2


def test_messages_of_which_only_the_topic_is_known_are_not_one_message():
    found = chosen(*(("dlq", 0, n, None, "v1:a", "replay", "orders", None, None, None, n, None) for n in range(3)))
    assert [one.left_out for one in found] == [None] * 3
    assert {one.home for one in found} == {None}


def test_headers_that_count_replays_are_believed():
    found = chosen(row(0, "a", 1), row(1, "b", 2))
    leave_out(found, [], {("dlq", 0): 10}, max_replays=2)
    assert [one.left_out for one in found] == [None, "quarantined"]


def test_what_was_recovered_or_is_not_committed_stays_out():
    found = chosen(row(0, "a", disposition="already_recovered"), row(1, "b"), row(9, "c"))
    leave_out(found, [], {("dlq", 0): 9}, max_replays=2)
    assert counted(found) == {"not_committed": 1, "already_recovered": 1}


def test_cause_groups_are_named_by_their_beginning_and_only_one_may_fit():
    found = [letter(0), letter(1, group="v1:aaa222"), letter(2, group="v1:bbb333")]
    assert chosen_groups(["v1:bbb333", "aaa1"], found) == ["v1:bbb333", "v1:aaa111"]
    for wrong in ("aaa", "ccc", "v2"):
        with pytest.raises(UsageError, match="--cause-group"):
            chosen_groups([wrong], found)


def test_topics_that_a_header_names_may_be_no_internal_ones_and_no_dead_letter_topics():
    letters = {"orders.dlq"}
    assert usable("orders", letters)
    for name in (None, "", "__consumer_offsets", "workbench-redrive-progress", "orders.dlq"):
        assert not usable(name, letters)


KEYS = [f"k-{number}".encode() for number in range(60)]


@pytest.mark.parametrize(("name", "function"), [("murmur2", murmur2), ("crc32", crc32)])
def test_a_key_goes_where_the_target_s_producers_put_it(name: str, function: Any):
    found = [letter(number, key=key, target="orders") for number, key in enumerate(KEYS)]
    seen = [(key, function(key) % 4) for key in KEYS[:20]]
    placed = place(found, "orders", 4, seen)
    assert placed.partitioner == name
    assert [one.target_partition for one in found] == [function(key) % 4 for key in KEYS]


def test_a_grown_topic_moves_keys_and_that_is_said():
    found = [letter(n, key=key, target="orders", origin=("orders", murmur2(key) % 3, n)) for n, key in enumerate(KEYS)]
    placed = place(found, "orders", 6, [(key, murmur2(key) % 6) for key in KEYS])
    assert placed.moved == sum(murmur2(key) % 3 != murmur2(key) % 6 for key in KEYS) > 0
    assert placed.was == ("murmur2/3",)


def test_an_unknown_partitioner_keeps_the_partition_and_no_key_keeps_it_too():
    found = [letter(n, key=key, target="orders", origin=("orders", n % 4, n)) for n, key in enumerate(KEYS)]
    placed = place(found, "orders", 4, [(key, n % 4) for n, key in enumerate(KEYS)])
    assert (placed.partitioner, placed.moved) == (None, 0)
    bare = [letter(n, key=None, target="orders", origin=("orders", n % 8, n)) for n in range(16)]
    placed = place(bare, "orders", 4, [])
    assert placed.unkeyed == 16
    assert all(one.target_partition < 4 for one in bare)
    assert [one.target_partition for one in bare][:4] == [0, 1, 2, 3]


places = st.tuples(st.integers(0, 3), st.integers(0, 200))


@settings(max_examples=50)
@given(
    st.lists(
        st.tuples(places, st.sampled_from("xyz"), st.sampled_from("abcdef")), unique_by=lambda i: i[0], max_size=40
    )
)
def test_every_chosen_letter_is_sent_once_and_the_order_of_a_key_is_kept(given_letters: list[Any]):
    found = [
        letter(
            n,
            group=f"v1:{group}",
            key=key.encode(),
            target="orders",
            origin=("orders", ord(key) % 3, at[1] * 4 + at[0]),
        )
        for n, (at, group, key) in enumerate(given_letters)
    ]
    sent, canaries = ordered(found)
    assert sorted(map(id, sent)) == sorted(map(id, found))
    assert len({one.fingerprint for one in sent[:canaries]}) == canaries
    for key in {one.key for one in found}:
        offsets = [one.origin[2] for one in sent if one.key == key and one.origin]
        assert offsets == sorted(offsets)


@settings(max_examples=50)
@given(st.integers(0, 60_000), st.integers(0, 100), st.integers(0, 60_000))
def test_the_ramp_covers_every_row_once_from_wherever_it_goes_on(total: int, canaries: int, done: int):
    canaries, done = min(canaries, total), min(done, total)
    at = done
    for first, end in steps(total, canaries, done):
        assert (first, end > first) == (at, True)
        assert not first < canaries < end
        at = end
    assert at == total


def test_the_ramp_begins_with_one_two_five_twenty():
    assert list(steps(100, 1)) == [(0, 1), (1, 3), (3, 8), (8, 28), (28, 78), (78, 100)]
    assert list(steps(100, 4))[:4] == [(0, 1), (1, 3), (3, 4), (4, 24)]


def test_a_poisoned_cause_group_stops_a_run_that_looks_well_as_a_whole():
    rows = tuple(Row("dlq", 0, n, "orders", 0, None, 0, "v1:bad" if n == 50 else "v1:good", 0) for n in range(200))
    plan = replace(PLAN, rows=rows, groups={"v1:bad": 1, "v1:good": 199})
    came = judged(plan, 100, {50, 150})
    assert (came.back, came.worst_group, came.worst_share) == (1, "v1:bad", 1.0)
    with pytest.raises(RedriveError, match=r"1 of 100 copies came back"):
        require_few(plan, came, Pace())
    few = judged(plan, 100, {1, 2, 3})
    require_few(plan, few, Pace())
    with pytest.raises(RedriveError, match="Stopped"):
        require_few(plan, few, Pace(max_refail=0.02))


def test_newer_records_are_told_by_offset_at_home_and_by_time_elsewhere():
    one = letter(5, key=b"k", target="orders")
    assert is_stale(one, {(b"k", 0): (6, 0)}, 3)
    assert not is_stale(one, {(b"k", 0): (5, 9_999)}, 3)
    assert is_stale(one, {(b"k", 2): (0, 2_000)}, 3)
    assert not is_stale(one, {(b"k", 2): (99, 900), (b"other", 0): (99, 9_999)}, 3)
    assert not is_stale(replace_key(one, None), {(b"k", 0): (6, 0)}, 3)


def replace_key(one: Candidate, key: bytes | None) -> Candidate:
    return replace(one, key=key)


def test_other_groups_that_read_the_message_see_it_twice():
    readers = Readers({("billing", "orders", 0): 99, ("audit", "orders", 0): 3, ("late", "orders", 0): 0}, "")
    found = [letter(n, target="orders") for n in range(5)]
    assert expected_duplicates(found, readers) == {"audit": 3}


SPRING = [
    ("kafka_dlt-original-topic", b"orders"),
    ("kafka_dlt-exception-fqcn", b"x.Y"),
    ("trace", b"1"),
    ("error", b"mine"),
]


def raw(value: bytes | None = b"{}", headers: Any = (), key: bytes | None = b"k") -> Raw:
    return Raw(0, 5, 1_000, 0, key, value, list(headers))


def test_the_dead_lettering_s_headers_are_stripped_the_message_s_stay():
    row_ = Row("dlq", 0, 5, "orders", 1, "orders/1/9", 1, "v1:a", 0)
    made = outgoing(row_, raw(headers=[*SPRING, ("workbench-redrive-count", b"1")]), "strip", KNOWN)
    assert made.headers == (("trace", b"1"), ("error", b"mine"))
    kept = outgoing(row_, raw(headers=SPRING), "keep", KNOWN)
    assert kept.headers == tuple(SPRING)
    home = kept_headers(
        [("x-original-topic", b"orders"), ("dlq-reason", b"?"), ("trace", b"1")], "strip", KNOWN, home_made=True
    )
    assert home == [("trace", b"1")]


def test_headers_of_the_user_s_own_dialect_are_stripped_too():
    own = Dialects({"billing": {"origin_topic": "header:X-From", "payload": "json:$.inner"}})
    assert kept_headers([("X-From", b"orders"), ("trace", b"1")], "strip", own, home_made=False) == [("trace", b"1")]
    made = outgoing(
        Row("dlq", 0, 5, "orders", 1, None, 0, "v1:a", UNWRAP),
        raw(b'{"inner": "text"}', [("X-From", b"o")]),
        "strip",
        own,
    )
    assert made.value == b"text"


def test_headers_dropped_before_they_are_read_are_those_dropped_after():
    import pyarrow as pa

    from workbench.capture.schema import RAW
    from workbench.redrive.reading import headers_of

    own = Dialects({"billing": {"origin_topic": "header:X-From"}})
    lists = [
        [*SPRING, ("trace", b"2"), ("x", None), ("X-From", b"o")],
        [],
        None,
        [("workbench-redrive-count", b"1")],
        SPRING,
    ]
    column = pa.array(
        [found and [{"name": name, "value": value} for name, value in found] for found in lists],
        RAW.field("headers").type,
    )
    plain = Row("dlq", 0, 5, "orders", 1, None, 0, "v1:a", 0)
    early = headers_of(column, dropped_early([plain], "strip", own))
    assert early == [kept_headers(found or [], "strip", own, home_made=False) for found in lists]
    assert headers_of(column.slice(1), dropped_early([plain], "strip", own)) == early[1:]


def test_headers_that_are_kept_or_needed_are_not_dropped_early():
    plain = Row("dlq", 0, 5, "orders", 1, None, 0, "v1:a", 0)
    assert dropped_early([plain], "keep", KNOWN) is None
    assert dropped_early([plain, plain._replace(flags=UNWRAP)], "strip", KNOWN) is None
    assert dropped_early([plain._replace(flags=HOME_MADE)], "strip", KNOWN) is None


def test_an_envelope_is_taken_off():
    value = json.dumps({"originalMessage": "the message", "error": {"message": "no"}, "metadata": {}}).encode()
    made = outgoing(Row("dlq", 0, 5, "orders", 1, None, 0, "v1:a", UNWRAP), raw(value), "strip", KNOWN)
    assert made.value == b"the message"
    null = json.dumps({"originalMessage": None, "error": {"message": "no"}, "metadata": {}}).encode()
    assert KNOWN.wraps(KNOWN.decode(raw(null), "dlq"))
    assert KNOWN.message(raw(null), "dlq") is None


def test_our_own_headers_say_plan_origin_letter_count_and_time():
    found = dict(own_headers(PLAN, Row("dlq", 1, 5, "orders", 1, "orders/1/9", 1, "v1:a", HOME_MADE), b"now"))
    assert found == {
        "workbench-redrive-plan": PLAN.id.encode(), "workbench-redrive-origin": b"orders/1/9",
        "workbench-redrive-letter": b"dlq/1/5", "workbench-redrive-count": b"2", "workbench-redrive-at": b"now",
    }  # fmt: skip


def record(value: bytes | None = b'{"amount": 1}', offset: int = 0) -> Record:
    return Record("orders", 0, b"k", value, (("h", b"1"),), 1_000, None, f"dlq/0/{offset}")


CODE = """
import dataclasses
from pydantic import BaseModel
def mend(record):
    if b"drop" in record.value: return None
    if b"fail" in record.value: raise ValueError(record.value)
    if b"move" in record.value: return dataclasses.replace(record, topic="payments")
    if b"whole" in record.value: return dataclasses.replace(record, key=b"other")
    return {"mended": True}
class Order(BaseModel):
    amount: int
"""


@pytest.fixture
def code(tmp_path: Path) -> Path:
    path = tmp_path / "mend.py"
    path.write_text(CODE)
    return path


def test_a_function_changes_drops_or_fails_record_by_record(code: Path):
    text = f"{code}:mend"
    change = transform.load(transform.describe(text), text)
    found = change([record(), record(b"drop"), record(b"fail secret"), record(b"move"), record(b"whole")])
    assert found[0].record is not None
    assert found[0].record.value == b'{"mended": true}'
    assert [one.left_out for one in found] == [None, "transform_dropped", "transform_failed", "transform_failed", None]
    assert found[2].why == "ValueError"
    assert found[4].record is not None
    assert found[4].record.key == b"other"


def test_code_runs_only_when_it_is_named_and_is_what_the_plan_was_made_with(code: Path):
    text = f"{code}:mend"
    described = transform.describe(text)
    code.write_text("raise SystemExit('ran')")
    for given_again, why in (
        (None, "a plan alone may not"),
        (f"{code}:other", "is not the plan's"),
        (text, "was changed"),
    ):
        with pytest.raises(RedriveError, match=why):
            transform.load(described, given_again)
    with pytest.raises(RedriveError, match="no transformation"):
        transform.load(None, text)
    assert "workbench_redrive_user_code" not in sys.modules


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("json_merge_patch(value, '{\"amount\": 2}')", b'{"amount":2}'),
        ("value->>'$.amount'", b"1"),
        ("{'a': value->'$.amount', 'key': key, 'h': headers['h']}", b'{"a":1,"key":"k","h":"1"}'),
        ("CASE WHEN partition = 0 THEN 'zero' END", b"zero"),
    ],
)
def test_an_expression_gives_the_new_value(expression: str, value: bytes):
    change = transform.load(transform.describe(expression), None)
    (found,) = change([record()])
    assert found.record is not None
    assert found.record.value == value


def test_an_expression_fails_for_the_records_it_cannot_be_computed_for():
    change = transform.load(transform.describe("(value->>'$.amount')::INT"), None)
    found = change([record(offset=1), record(b"\xff\xfe", 2), record(b'{"amount": "much"}', 3), record(None, 4)])
    assert [one.left_out for one in found] == [None, *["transform_failed"] * 3]


@pytest.mark.parametrize(
    "expression",
    ["(SELECT content FROM read_text('/etc/passwd'))", "getenv('HOME')", "1; DROP TABLE rows", "nonsense(", ""],
)
def test_an_expression_reaches_nothing_but_the_record(expression: str):
    if not expression:
        assert transform.describe(expression) is None
        return
    with pytest.raises(UsageError, match="--transform"):
        transform.describe(expression)


def test_values_must_fit_a_json_schema_or_a_model(code: Path, tmp_path: Path):
    file = tmp_path / "order.json"
    file.write_text(
        json.dumps({"type": "object", "required": ["amount"], "properties": {"amount": {"type": "integer"}}})
    )
    for text in (str(file), f"{code}:Order"):
        change = schema.load(schema.describe(text), text, transform.unchanged)
        found = change([record(), record(b'{"amount": "secret"}'), record(b"no json"), record(None)])
        assert [one.left_out for one in found] == [None, *["schema_failed"] * 3]
        assert all("secret" not in one.why for one in found)


def test_a_schema_fetches_nothing_and_one_that_is_none_is_refused(tmp_path: Path):
    file = tmp_path / "order.json"
    file.write_text('{"$ref": "http://127.0.0.1:9/schema.json"}')
    change = schema.load(schema.describe(str(file)), None, transform.unchanged)
    assert change([record()])[0].left_out == "schema_failed"
    file.write_text('{"type": "no such type"}')
    with pytest.raises(UsageError, match="no JSON schema"):
        schema.describe(str(file))


def test_a_profile_must_allow_it_and_production_is_asked_for_the_topic():
    plain = Profile("orders", {})
    with pytest.raises(RedriveError, match="redrive"):
        require_redrive(plain)
    require_redrive(replace(plain, redrive=True))
    confirm(replace(plain, redrive=True), ["orders"], None, yes=False)
    for profile in (replace(plain, production=True), Profile("shop-prod", {}), Profile("live", {})):
        with pytest.raises(RedriveError, match="production"):
            confirm(profile, ["orders"], None, yes=False)
        with pytest.raises(RedriveError, match="not the topic's name"):
            confirm(profile, ["orders"], lambda _: "order", yes=False)
        confirm(profile, ["orders"], lambda _: "orders\n", yes=False)
        confirm(profile, ["orders"], None, yes=True)
    confirm(Profile("products", {}), ["orders"], None, yes=False)


def test_two_runs_of_one_plan_are_kept_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    with locked(PLAN):
        with pytest.raises(RedriveError, match="Another run"), locked(PLAN):
            pass
        with locked(replace(PLAN, canaries=2)):
            pass
    with locked(PLAN):
        pass


def test_the_audit_says_how_far_earlier_runs_were_whatever_else_is_in_the_file(tmp_path: Path):
    file = audit_file(tmp_path / "plan.json")
    audit = Audit(file, PLAN, {})
    assert audit.sent() == 0
    audit.write("step", done=3)
    file.write_text(file.read_text() + '{"plan": "other", "done": 99}\n[1]\n{"cut')
    assert audit.sent() == 3
    assert file.name == "plan.audit.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
