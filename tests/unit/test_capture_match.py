"""Searching a capture: what fits is kept whatever way it is written, and nothing else is."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.capture_rows import derived
from workbench.capture import CaptureSpec, IdFrom, Match, TopicSpec
from workbench.capture.tracing import trace_ids_of

TRACE = "0af7651916cd43dd8448eb211c80319c"
EVERYTHING = frozenset({"headers", "origin", "aborted"})


def kept(
    rows: list[dict[str, Any]], match: Match, id_from: str = "json:$.messageId", role: str = "source"
) -> list[int]:
    """Offsets of the rows that a match keeps."""
    found = derived(rows, id_from, role, match=match, want=EVERYTHING)
    return found["offset"].to_pylist()


def value(message_id: Any, **more: Any) -> dict[str, Any]:
    return {"value": json.dumps({"messageId": message_id, **more}).encode()}


IDS = [
    "m-1", "m-11", "m", 'q"uo\'te', "a\\b", "x/y", "' OR 1=1 --", "žluťoučký", "日本", "7", "7.5", "0", "",
]  # fmt: skip


@settings(max_examples=15, deadline=None)
@given(st.lists(st.sampled_from(IDS), min_size=1, max_size=6), st.data())
def test_a_match_keeps_what_a_whole_capture_gives_that_id(ids: list[str], data: Any):
    wanted = data.draw(st.sampled_from(ids))
    ascii_only = data.draw(st.booleans())
    rows = [{"value": json.dumps({"messageId": one}, ensure_ascii=ascii_only).encode()} for one in ids]
    whole = derived(rows, want=EVERYTHING)["message_id"].to_pylist()
    assert kept(rows, Match(ids=(wanted,))) == [at for at, found in enumerate(whole) if found == wanted and found]


@pytest.mark.parametrize("written", [b"1000.0", b"1e3", b"1.0e3"])
def test_numbers_are_found_however_they_are_written(written: bytes):
    assert kept([{"value": b'{"messageId": %s}' % written}], Match(ids=("1000.0",))) == [0]


def test_a_text_that_only_contains_the_id_is_not_kept():
    rows = [value("m-1"), value("m-10"), value("x", note="m-1"), {"value": b"m-1"}, {"value": None}]
    assert kept(rows, Match(ids=("m-1",))) == [0]


def test_ids_are_found_in_headers_keys_and_binary_keys():
    rows = [{"headers": [("message-id", b"h-1")]}, {"headers": [("other", b"h-1")]}]
    assert kept(rows, Match(ids=("h-1",)), "header:message-id") == [0]
    assert kept([{"key": b"k"}, {"key": b"kk"}, {"key": None}], Match(ids=("k",)), "key") == [0]
    assert kept([{"key": b"\x00\x01"}], Match(ids=("hex:0001",)), "key") == [0]
    assert kept([{}, {}], Match(ids=("in/0/1",)), "coordinates") == [1]


def test_a_dead_letter_is_found_by_the_id_inside_its_envelope_and_by_its_origin():
    letter = [("kafka_dlt-original-topic", b"in"), ("kafka_dlt-original-partition", b"\0\0\0\3"),
              ("kafka_dlt-original-offset", b"\0\0\0\0\0\0\0\x29")]  # fmt: skip
    rows = [{"headers": letter, "value": b"\xff\xfe"}, {"value": b"{}"}]
    for role in ("dead_letters", "sink"):
        assert kept(rows, Match(origins=(("in", 3, 41),)), role=role) == [0]
        assert kept(rows, Match(origins=(("in", 3, 4),)), role=role) == []


def test_keys_places_and_traces_keep_too():
    headers = [("traceparent", f"00-{TRACE.upper()}-b7ad6b7169203331-01".encode())]
    rows = [{"key": b"bob"}, {"headers": headers}, {"value": TRACE.encode()}, {}]
    assert kept(rows, Match(keys=("bob",))) == [0]
    assert kept(rows, Match(trace_ids=(TRACE,))) == [1]
    assert kept(rows, Match(places=(("in", 0, 3),))) == [3]
    assert kept(rows, Match(keys=("bob",), trace_ids=(TRACE,), places=(("in", 0, 3),))) == [0, 1, 3]
    assert kept(rows, Match()) == []


@pytest.mark.parametrize(
    ("name", "given_value", "found"),
    [
        ("traceparent", f"00-{TRACE}-b7ad6b7169203331-01", [TRACE]),
        ("b3", f"{TRACE}-b7ad6b7169203331-1", [TRACE]),
        ("X-B3-TraceId", "8448eb211c80319c", [TRACE[16:].zfill(32)]),
        ("uber-trace-id", "448eb211c80319c:1:0:1", ["448eb211c80319c".zfill(32)]),
        ("traceparent", "00-" + "0" * 32 + "-b7ad6b7169203331-01", []),
        ("traceparent", "'; DROP TABLE", []),
        ("other", TRACE, []),
    ],
)
def test_traces_are_told_by_the_headers_of_the_common_propagators(name: str, given_value: str, found: list[str]):
    assert trace_ids_of([(name, given_value.encode()), (name, None)]) == found


def test_a_match_goes_to_worker_processes_and_back():
    match = Match(ids=("a'\"",), keys=("k",), trace_ids=(TRACE,), places=(("in", 0, 1),), origins=(("in", 0, 2),))
    spec = CaptureSpec((TopicSpec("in", "source", IdFrom("key"), ()),), match=match)
    again = CaptureSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert Match.from_json(json.loads(json.dumps(asdict(match)))) == match
    assert spec.fingerprint() != CaptureSpec(spec.topics).fingerprint()
