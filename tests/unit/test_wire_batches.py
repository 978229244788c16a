"""The bytes of a Fetch response: what was written is read back, and no bytes at all bring it down."""

from __future__ import annotations

import struct

import google_crc32c
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from tests.unit.wire_batches import CODECS, Crafted, Record, encode, encode_record, sized, varint
from workbench.capture.schema import RAW
from workbench.capture.wire.batches import HEAD_BYTES, body, split
from workbench.capture.wire.codecs import Codecs
from workbench.capture.wire.errors import DamagedBatch, NotForWire
from workbench.capture.wire.rows import rows_of

EVERYTHING = {"key", "value", "headers", "timestamp", "leader_epoch"}
END = 1 << 62
untimed = settings(deadline=None)

some_bytes = st.none() | st.binary(max_size=40)
names = st.text(max_size=8).map(lambda text: text.encode("utf-8", "replace")) | st.binary(max_size=4)
headers = st.lists(st.tuples(names, some_bytes), max_size=3).map(tuple)
milliseconds = st.integers(-1, 4_000_000_000_000)
records = st.builds(Record, some_bytes, some_bytes, headers, milliseconds)


@st.composite
def responses(draw):
    """Batches as a log holds them, some compacted, with the offsets that they stand at."""
    out, base = [], draw(st.integers(0, 1 << 40))
    for rows in draw(st.lists(st.lists(records, max_size=12), min_size=1, max_size=4)):
        gaps = draw(st.lists(st.integers(1, 5), min_size=len(rows), max_size=len(rows)))
        deltas = [sum(gaps[: index + 1]) - 1 for index in range(len(rows))]
        spread = tuple(
            Record(row.value, row.key, row.headers, row.timestamp, delta)
            for row, delta in zip(rows, deltas, strict=True)
        )
        last = (deltas[-1] if deltas else 0) + draw(st.integers(0, 3))
        out.append(
            Crafted(
                spread, base, draw(st.sampled_from(list(CODECS))), draw(st.none() | milliseconds), last_delta=last,
                epoch=draw(st.integers(-1, 9)),
            )
        )  # fmt: skip
        base += last + 1 + draw(st.integers(0, 2))
    return out


def read(data, low=0, high=END, want=EVERYTHING):
    """(rows, damage) of a response's bytes."""
    found = split(data, "t", 5, low)
    pairs, damage = [], found.damage
    for batch in found.batches:
        try:
            pairs.append((batch, body(batch, "t", 5, Codecs()), False))
        except DamagedBatch as error:
            damage = error
            break
    rows, broken = rows_of(pairs, "t", 5, low=low, high=high, want=want)
    rows.validate(full=True)
    return rows, broken or damage


def expected(batch, low, high):
    for index, record in enumerate(batch.records):
        offset = batch.base_offset + (index if record.delta is None else record.delta)
        if low <= offset < high:
            yield {
                "topic": "t",
                "partition": 5,
                "offset": offset,
                "timestamp_ms": record.timestamp if batch.append_ms is None else batch.append_ms,
                "timestamp_type": 0 if batch.append_ms is None else 1,
                "leader_epoch": None if batch.epoch < 0 else batch.epoch,
                "key": record.key,
                "value": record.value,
                "headers": readable(record.headers),
                "is_aborted": False,
            }


def readable(pairs):
    try:
        return [{"name": name.decode(), "value": value} for name, value in pairs]
    except UnicodeDecodeError:
        return [{"name": "\ufffd", "value": None}]


@untimed
@given(responses(), st.integers(0, 60), st.integers(0, 60))
def test_what_was_written_is_read_back_within_the_range(batches, skip, keep):
    low = batches[0].base_offset + skip
    rows, damage = read(b"".join(map(encode, batches)), low, low + keep)
    assert damage is None
    assert rows.schema.equals(RAW)
    assert rows.to_pylist() == [row for batch in batches for row in expected(batch, low, low + keep)]


@untimed
@given(responses())
def test_what_is_not_wanted_is_null(batches):
    rows, damage = read(b"".join(map(encode, batches)), want=set())
    assert damage is None
    empty = ("timestamp_ms", "timestamp_type", "leader_epoch", "key", "value", "headers")
    assert all(rows[name].null_count == rows.num_rows for name in empty)
    assert rows["offset"].to_pylist() == [row["offset"] for batch in batches for row in expected(batch, 0, END)]


@untimed
@given(responses(), st.data())
def test_a_cut_response_gives_its_whole_batches(batches, data):
    encoded = [encode(batch) for batch in batches]
    whole = b"".join(encoded)
    at = data.draw(st.integers(0, len(whole)))
    rows, damage = read(whole[:at])
    assert damage is None
    kept, size = [], 0
    for batch, raw in zip(batches, encoded, strict=True):
        size += len(raw)
        if size <= at:
            kept += expected(batch, 0, END)
    assert rows.to_pylist() == kept


@untimed
@given(responses(), st.data())
def test_a_flipped_bit_is_told_or_changes_no_record_unseen(batches, data):
    whole = bytearray(b"".join(map(encode, batches)))
    at = data.draw(st.integers(0, len(whole) - 1))
    whole[at] ^= 1 << data.draw(st.integers(0, 7))
    try:
        rows, damage = read(bytes(whole))
    except NotForWire:
        return
    if damage is not None:
        assert (damage.topic, damage.partition) == ("t", 5)
        assert damage.offset >= 0
    # What a record says is under the checksum; where it stands and who wrote it (offset, length, epoch) is not.
    kept = {(row["value"], row["key"], row["timestamp_ms"]) for batch in batches for row in expected(batch, 0, END)}
    assert {(row["value"], row["key"], row["timestamp_ms"]) for row in rows.to_pylist()} <= kept


@untimed
@given(st.binary(max_size=200), st.integers(-5, 300), st.sampled_from(list(CODECS)), st.integers(0, 1 << 31 - 1))
@example(b"", 1, "none", 0)
@example(varint(-1) + b"\0" * 10, 1, "none", 0)
@example(b"\xff" * 11, 1, "none", 0)
@example(varint(20) + b"\0\0\0" + varint((1 << 31) - 1) + b"x" * 20, 1, "none", 0)
@example(varint(9) + b"\0\0\0\1\1" + varint(1 << 30) + b"\0", 1, "none", 0)
def test_records_of_any_bytes_end_in_rows_or_in_the_named_error(raw, count, codec, last_delta):
    batch = Crafted((), 10, codec, last_delta=last_delta & 0x7FFFFFFF, extra={"count": count})
    rows, damage = read(encode(batch, raw))
    if damage is None:
        assert rows.num_rows == count
    else:
        assert rows.num_rows == 0
        assert (damage.topic, damage.partition, damage.offset) == ("t", 5, 10)


@untimed
@given(st.binary(max_size=400))
def test_a_response_of_any_bytes_ends_in_rows_or_in_the_named_error(raw):
    try:
        read(raw)
    except NotForWire:
        assert raw[16] in (0, 1)


def damaged(raw, count=1, **options):
    rows, damage = read(encode(Crafted((), 10, extra={"count": count}, **options), raw))
    assert rows.num_rows == 0
    return damage.why


def test_each_way_to_lie_about_sizes_has_its_name():
    good = encode_record(Record(b"v", b"k", ((b"h", b"1"),)), 0, 1_700_000_000_000)
    assert "bytes are left behind" in damaged(good + b"\0")
    assert "does not fit the batch" in damaged(good, 1_000)
    assert "does not fit the batch" in damaged(good, -1)
    assert "length is damaged" in damaged(good[:-1])
    assert "do not rise" in damaged(good + good, 2)
    inner = b"\0\0\0" + sized(b"k") + sized(b"v")
    assert "number of headers" in damaged(sized(inner + varint(1 << 40)))
    assert "number of headers" in damaged(sized(inner + varint(-1)))
    assert "header's name" in damaged(sized(inner + varint(1) + varint(-1) + varint(-1)))
    assert "header's value" in damaged(sized(inner + varint(1) + sized(b"n") + varint(9)))
    assert "does not fit its fields" in damaged(sized(inner + varint(0) + b"\0"))
    assert "a key" in damaged(sized(b"\0\0\0" + varint(-2) + b"\1\1\1"))
    assert "ends before" in damaged(sized(b"\0" + b"\x80" * 9 + b"\x02" + b"\0\0\0\0\0"))


def test_a_damaged_batch_keeps_what_came_before_it():
    first, second = Crafted((Record(b"a"), Record(b"b"))), Crafted((Record(b"c"),), 2)
    raw = bytearray(encode(first) + encode(second))
    raw[-2] ^= 1
    rows, damage = read(bytes(raw))
    assert rows["value"].to_pylist() == [b"a", b"b"]
    assert damage.offset == 2
    assert "CRC-32C" in damage.why


def test_bytes_that_a_codec_cannot_read_are_damage():
    for codec in ("gzip", "snappy", "lz4", "zstd"):
        raw = encode(Crafted((Record(b"a" * 500),)))
        checked = bytearray(raw[21:])
        checked[1] |= CODECS[codec]
        head = raw[:17] + struct.pack(">I", google_crc32c.value(bytes(checked)))
        _, damage = read(head + bytes(checked))
        assert damage.why == f"{codec} cannot decompress it"


def test_old_formats_are_left_to_the_client_reader():
    old = struct.pack(">qiIbb", 0, 20, 0, 1, 0) + b"\0" * 20
    with pytest.raises(NotForWire, match="old format 1"):
        split(old, "t", 0, 0)


def test_a_batch_larger_than_the_response_says_how_large():
    raw = encode(Crafted((Record(b"x" * 10_000),)))
    assert split(raw[: HEAD_BYTES + 100], "t", 0, 0).cut == len(raw)
