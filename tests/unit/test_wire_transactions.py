"""Aborted transactions and markers, told from the bytes of a response and its aborted list."""

from __future__ import annotations

from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.wire_batches import Crafted, Record, encode, marker
from workbench.capture.schema import BATCHES
from workbench.capture.wire.batches import body, split
from workbench.capture.wire.codecs import Codecs
from workbench.capture.wire.errors import DamagedBatch
from workbench.capture.wire.heads import Head, heads_batch
from workbench.capture.wire.transactions import Aborted, Marker, marker_of

ABORT, COMMIT = 0, 1
STABLE = 1 << 60


def written(base, producer=1, transactional=True):
    return Crafted((Record(b"v"),), base, producer_id=producer, transactional=transactional)


def judged(batches, aborted, below=STABLE):
    """Base offset -> whether it was aborted, of the batches that are no markers."""
    state, out = Aborted(aborted, below), {}
    for batch in split(b"".join(map(encode, batches)), "t", 0, 0).batches:
        found = marker_of(batch, body(batch, "t", 0, Codecs()), "t", 0) if batch.is_control else None
        verdict = state.is_aborted(batch, found)
        if not batch.is_control:
            out[batch.base_offset] = verdict
    return out


def test_a_transaction_is_aborted_from_its_first_offset_to_its_marker():
    log = [written(0), marker(COMMIT, 1, 1), written(2), written(3), marker(ABORT, 4, 1), written(5)]
    assert judged(log, [(2, 1)]) == {0: False, 2: True, 3: True, 5: False}


def test_producers_are_told_apart_where_they_interleave():
    log = [written(0, 1), written(1, 2), written(2, 1), marker(ABORT, 3, 1), written(4, 2), marker(COMMIT, 5, 2)]
    assert judged(log, [(0, 1)]) == {0: True, 1: False, 2: True, 4: False}


def test_a_producer_that_aborts_twice_is_judged_twice():
    log = [written(0), marker(ABORT, 1, 1), written(2), marker(COMMIT, 3, 1), written(4), marker(ABORT, 5, 1)]
    assert judged(log, [(4, 1), (0, 1)]) == {0: True, 2: False, 4: True}


def test_a_response_that_begins_in_the_middle_of_a_transaction():
    assert judged([written(7), marker(ABORT, 8, 1), written(9)], [(2, 1)]) == {7: True, 9: False}


def test_plain_records_of_the_same_producer_are_nobody_s_transaction():
    assert judged([written(0), written(1, transactional=False), marker(ABORT, 2, 1)], [(0, 1)]) == {0: True, 1: False}


def test_what_was_not_stable_when_the_scan_began_is_not_judged():
    assert judged([written(0), written(1), marker(ABORT, 2, 1)], [(0, 1)], below=1) == {0: True, 1: False}


def test_a_marker_says_what_it_is():
    (batch,) = split(encode(marker(ABORT, 4, 9, 12)), "t", 0, 0).batches
    found = marker_of(batch, body(batch, "t", 0, Codecs()), "t", 0)
    assert found == Marker("abort", 12)
    table = heads_batch([Head(batch, found, False)], "t", 0)
    assert table.schema.equals(BATCHES)
    row = table.to_pylist()[0]
    assert (row["marker"], row["coordinator_epoch"], row["producer_id"], row["is_control"]) == ("abort", 12, 9, True)
    assert row["size_bytes"] == len(encode(marker(ABORT, 4, 9, 12)))


def test_control_records_of_other_kinds_are_no_markers():
    (leader_change,) = split(encode(Crafted((Record(b"x", b"\0\0\0\2"),), control=True)), "t", 0, 0).batches
    assert marker_of(leader_change, body(leader_change, "t", 0, Codecs()), "t", 0) == Marker(None, None)
    (unknown,) = split(encode(marker(9, 0, 1)), "t", 0, 0).batches
    assert marker_of(unknown, body(unknown, "t", 0, Codecs()), "t", 0) == Marker(None, None)


@settings(deadline=None)
@given(st.binary(max_size=60))
@example(b"\xff" * 20)
@example(b"")
def test_any_bytes_are_a_marker_or_the_named_error(raw):
    (batch,) = split(encode(marker(ABORT, 5, 1)), "t", 3, 0).batches
    try:
        assert marker_of(batch, raw, "t", 3).kind in ("abort", "commit", None)
    except DamagedBatch as error:
        assert (error.topic, error.partition, error.offset) == ("t", 3, 5)  # noqa: PT017 - both ends are right


def test_a_producer_without_an_identity_has_nulls():
    (batch,) = split(encode(written(0, -1, transactional=False)), "t", 0, 0).batches
    row = heads_batch([Head(batch, None, False)], "t", 0).to_pylist()[0]
    assert (row["producer_id"], row["producer_epoch"], row["base_sequence"]) == (None, None, None)
    assert row["records"] == 1
