"""What is kept of a record: ids, sizes, hashes, event names, verdicts of expressions; on friendly and hostile bytes."""

from __future__ import annotations

import hashlib
import json
import string

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.capture_rows import column, derived, values
from workbench.capture import CAPTURE, WANTABLE, capture_schema

HEADER = st.tuples(st.text(max_size=8), st.none() | st.binary(max_size=12))
SCALAR = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=20)
)
DOCUMENT = st.recursive(
    SCALAR,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)
VALUE = st.one_of(
    st.none(),
    st.binary(max_size=40),
    DOCUMENT.map(lambda document: json.dumps(document).encode()),
    st.builds(lambda identity: json.dumps({"messageId": identity}).encode(), DOCUMENT),
)
RECORD = st.fixed_dictionaries(
    {
        "key": st.none() | st.binary(max_size=12),
        "value": VALUE,
        "headers": st.lists(HEADER, max_size=4),
        "timestamp_ms": st.integers(-(2**63), 2**63 - 1),
        "timestamp_type": st.sampled_from([-1, 0, 1]),
    }
)


def is_plain_json(value: bytes) -> bool:
    try:
        json.loads(value.decode())
    except (ValueError, RecursionError):
        return False
    return True


@settings(max_examples=40, deadline=None)
@given(
    st.lists(RECORD, min_size=1, max_size=12), st.sampled_from(["json:$.messageId", "header:a", "key", "coordinates"])
)
def test_every_record_becomes_one_row_and_keeps_its_place(records, id_from):
    table = derived(
        records, id_from, role="dead_letters", where="value->>'$.a' = 'x'", business_key="key || headers['a']",
        compare="epoch(timestamp)", include_values=True,
    )  # fmt: skip
    assert table.schema == capture_schema(include_values=True)
    rows = table.to_pylist()
    assert [row["offset"] for row in rows] == list(range(len(records)))
    for row, record in zip(rows, records, strict=True):
        assert row["key"] == record["key"]
        assert row["value"] == record["value"]
        assert row["value_size"] == (None if record["value"] is None else len(record["value"]))
        assert row["key_size"] == (None if record["key"] is None else len(record["key"]))
        assert row["timestamp_ms"] == (record["timestamp_ms"] if record["timestamp_type"] >= 0 else None)
        assert row["header_names"] == [name for name, _ in record["headers"]]
        assert [(pair["name"], pair["value"]) for pair in row["headers"]] == record["headers"]
        assert row["message_id"] is None or 0 < len(row["message_id"]) <= 512


@settings(max_examples=40, deadline=None)
@given(st.lists(VALUE, min_size=1, max_size=12))
def test_a_value_is_decoded_exactly_when_it_is_json_or_a_tombstone(contents):
    """DuckDB also takes a few writings that Python does not (trailing commas), so only one direction is exact."""
    for value, decoded in zip(contents, column("decoded", values(*contents)), strict=True):
        if value is None or is_plain_json(value):
            lone_surrogate = value is not None and b"\\ud" in value.lower()
            assert decoded or lone_surrogate
        elif decoded:
            assert value.decode().strip()


@settings(max_examples=40, deadline=None)
@given(st.lists(DOCUMENT, min_size=1, max_size=12))
def test_only_texts_and_numbers_are_ids(identities):
    contents = [json.dumps({"messageId": identity}).encode() for identity in identities]
    for identity, found in zip(identities, column("message_id", values(*contents)), strict=True):
        if isinstance(identity, bool) or identity is None or isinstance(identity, list | dict) or identity == "":
            assert found is None
        elif isinstance(identity, str):
            if not any("\ud800" <= letter <= "\udfff" for letter in identity):
                assert found == identity
        elif isinstance(identity, int):
            assert found == str(identity)
        else:
            assert float(found) == identity


def test_bad_values_between_good_ones_cost_nobody_their_id():
    good = b'{"messageId": "m1", "eventType": "a"}'
    contents = [good, b"\xff\xfe", good, b"not json", None, b"", good, b"[" * 100_000, b'{"messageId": ']
    table = derived(values(*contents))
    assert table["message_id"].to_pylist() == ["m1", None, "m1", None, None, None, "m1", None, None]
    assert table["decoded"].to_pylist() == [True, False, True, False, True, False, True, False, False]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("7", "7"),
        ("0", "0"),
        ("-3", "-3"),
        ("9007199254740993", "9007199254740993"),
        ("12345678901234567890123", "12345678901234567890123"),
        ('"{550e8400-e29b}"', "{550e8400-e29b}"),
        ('"true"', "true"),
        ('"[x]"', "[x]"),
        ('"false alarm"', "false alarm"),
        ("true", None),
        ("false", None),
        ("null", None),
        ('""', None),
        ("{}", None),
        ("[1]", None),
        ('" "', " "),
        ('"a\\u0000b"', "a\0b"),
    ],
)
def test_what_counts_as_an_id_in_json(text, found):
    assert column("message_id", values(f'{{"messageId": {text}}}'.encode())) == [found]


def test_huge_ids_become_their_digest():
    long, longest = "x" * 512, "y" * 1_000_000
    contents = [json.dumps({"messageId": text}).encode() for text in (long, longest)]
    digest = "sha256:" + hashlib.sha256(longest.encode()).hexdigest()
    assert column("message_id", values(*contents)) == [long, digest]


def test_ids_from_headers_take_the_last_of_a_name():
    records = [
        {"headers": [("id", b"1"), ("other", None), ("id", b"2")]},
        {"headers": [("id", None)]},
        {"headers": [("ID", b"3")]},
        {"headers": []},
        {"headers": [("id", b"")]},
        {"headers": [("id", b"\xff\x01")]},
        {"headers": [("id", (5).to_bytes(8, "big"))]},
    ]
    assert column("message_id", records, "header:id") == [
        "2", None, None, None, None, "hex:ff01", "hex:0000000000000005",
    ]  # fmt: skip


def test_ids_from_keys_and_coordinates():
    records = [{"key": b"k"}, {"key": None}, {"key": b"\xff"}, {"key": b""}]
    assert column("message_id", records, "key") == ["k", None, "hex:ff", None]
    assert column("message_id", records, "coordinates") == ["in/0/0", "in/0/1", "in/0/2", "in/0/3"]


def test_a_header_name_with_quotes_is_only_a_name():
    name = "x'] OR 1=1 --\""
    assert column("message_id", [{"headers": [(name, b"1")]}], f"header:{name}") == ["1"]


def test_event_names_prefer_headers_and_refuse_content():
    records = [
        {"headers": [("ce_type", b"a.b")], "value": b'{"eventType": "json"}'},
        {"value": b'{"eventType": "json", "type": "other", "version": 2}'},
        {"value": b'{"type": "other", "version": "1.0"}'},
        {"value": b'{"eventType": "jane@example.org paid 5", "type": "fallback"}'},
        {"headers": [("event-type", b"\xff")], "value": b'{"eventType": "json"}'},
        {"value": b'{"eventType": "line\\n"}'},
        {"value": b"not json"},
    ]
    table = derived(records)
    assert table["event_type"].to_pylist() == ["a.b", "json", "other", "fallback", "json", None, None]
    assert table["event_version"].to_pylist() == [None, "2", "1.0", None, None, None, None]


@given(st.text(max_size=120))
@settings(max_examples=40, deadline=None)
def test_an_event_name_is_kept_only_when_it_is_plain(text):
    (found,) = column("event_type", values(json.dumps({"eventType": text}).encode()))
    plain = 0 < len(text) <= 100 and set(text) <= set(string.ascii_letters + string.digits + "._:/-")
    assert found == (text if plain else None)


def test_a_predicate_decides_what_is_due_for_the_source_only():
    records = values(b'{"t": "heartbeat"}', b'{"t": "order"}', b"{}", b"\xff", None)
    where = "value->>'$.t' <> 'heartbeat'"
    # What cannot be decoded cannot fail the predicate; a missing field does, as SQL says.
    assert column("due", records, where=where) == [False, True, False, True, False]
    assert column("due", records, role="sink", where=where) == [True] * 5


def test_expressions_that_fail_for_a_record_are_null_for_that_record():
    records = values(b'{"n": "1"}', b'{"n": "x"}', b'{"n": 3}')
    assert column("due", records, where="(value->>'$.n')::INTEGER > 0") == [True, False, True]
    hashes = column("business_key_hash", records, business_key="(value->>'$.n')::INTEGER")
    assert [found is None for found in hashes] == [False, True, False]


def test_expressions_see_all_that_is_promised():
    record = {
        "key": b"k", "value": b'{"a": {"b": 1}}', "headers": [("h", b"1"), ("h", b"2"), ("bad", b"\xff"), ("none", None)],
        "partition": 3, "offset": 9, "timestamp_ms": 0,
    }  # fmt: skip
    for where in (
        "key = 'k'", "value->>'$.a.b' = '1'", "headers['h'] = '2'", "headers['bad'] IS NULL", "headers['no'] IS NULL",
        'partition = 3 AND "offset" = 9', "timestamp = TIMESTAMPTZ '1970-01-01 00:00:00+00'",
    ):  # fmt: skip
        assert column("due", [record], where=where) == [True], where


def test_times_out_of_range_are_null_to_expressions_and_kept_as_they_are():
    records = [{"timestamp_ms": 2**62}, {"timestamp_ms": -(2**63)}, {"timestamp_ms": -1}]
    assert column("due", records, where="timestamp IS NULL") == [True, True, False]
    assert column("timestamp_ms", records) == [2**62, -(2**63), -1]


def test_hashes_agree_for_equal_content_and_differ_otherwise():
    records = values(b'{"a": 1, "z": 1}', b'{"z": 2, "a": 1}', b'{"a": 2}', None)
    compared = column("compare_hash", records, compare="value->>'$.a'")
    assert compared[0] == compared[1] != compared[2]
    assert compared[3] is None
    whole = column("value_hash", records)
    assert len(set(whole[:3])) == 3
    assert whole[3] is None


@pytest.mark.parametrize("part", sorted(WANTABLE))
def test_what_nobody_asks_for_is_null(part):
    filled = {
        "key": {"key", "key_size"}, "value_hash": {"value_hash"}, "headers": {"header_names"},
        "event": {"event_type", "event_version"}, "origin": {"origin_topic", "dialect"}, "leader_epoch": {"leader_epoch"},
        "aborted": {"is_aborted"}, "business_key": {"business_key_hash"}, "compare": {"compare_hash"},
    }[part]  # fmt: skip
    record = {
        "key": b"k", "value": b'{"messageId": "m", "eventType": "e", "version": "1"}',
        "headers": [("kafka_dlt-original-topic", b"orders"), ("kafka_dlt-original-partition", bytes(4))],
    }  # fmt: skip
    expressions = {"business_key": {"business_key": "key"}, "compare": {"compare": "key"}}.get(part, {})
    with_part = derived([record], want=frozenset({part}), **expressions)
    without = derived([record], want=frozenset())
    assert with_part.schema == without.schema == CAPTURE
    for name in filled:
        assert without[name].null_count == 1
        assert with_part[name].null_count == 0


def test_values_are_not_parsed_when_nothing_needs_them():
    table = derived([{"value": b"\xff", "key": b"k"}], "key", want=frozenset({"key"}))
    assert table["decoded"].to_pylist() == [True]


def test_origins_are_decoded_where_headers_say_something():
    marked = [("kafka_dlt-original-topic", b"orders"), ("kafka_dlt-original-partition", (2).to_bytes(4, "big")),
              ("kafka_dlt-original-offset", (7).to_bytes(8, "big"))]  # fmt: skip
    redriven = [("workbench-redrive-origin", b"orders/1/5"), ("workbench-redrive-count", b"2")]
    records = [{"headers": [("trace", b"1")]}, {"headers": marked}, {"headers": redriven}, {}]
    table = derived(records, role="sink")
    assert table["origin_topic"].to_pylist() == [None, "orders", "orders", None]
    assert table["origin_partition"].to_pylist() == [None, 2, 1, None]
    assert table["origin_offset"].to_pylist() == [None, 7, 5, None]
    assert table["replay_count"].to_pylist() == [None, None, 2, None]
    assert table["dialect"].to_pylist()[0] is None


def test_no_records_are_an_empty_table():
    table = derived([])
    assert table.num_rows == 0
    assert table.schema == CAPTURE
    assert isinstance(table, pa.Table)
