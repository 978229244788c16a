"""Codecs of record batches: what was compressed comes back, damage is an error, and a bomb is refused before it bursts."""

from __future__ import annotations

import gzip
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.unit.wire_batches import CODECS, Crafted, Record, compress, encode
from workbench.capture.wire.batches import body, split
from workbench.capture.wire.codecs import Codecs, TooLarge
from workbench.capture.wire.errors import DamagedBatch

untimed = settings(deadline=None)
PACKED = [name for name in CODECS if name != "none"]
contents = st.binary(max_size=3_000) | st.binary(min_size=1, max_size=20).map(lambda some: some * 5_000)


def restored(name, data, largest=1 << 20):
    return bytes(Codecs(largest).decompressed(name.removesuffix("-plain"), memoryview(data)))


@untimed
@given(st.sampled_from(list(CODECS)), contents)
def test_what_was_compressed_comes_back(name, data):
    assert restored(name, compress(name, data)) == data


@untimed
@given(st.sampled_from(PACKED), st.binary(max_size=300))
def test_bytes_that_are_no_codec_s_end_in_an_error(name, raw):
    try:
        found = restored(name, raw)
    except Exception:  # noqa: BLE001 - the codecs raise their own
        return
    assert len(found) <= 1 << 20


@pytest.mark.parametrize("name", PACKED)
def test_just_as_much_as_is_allowed_comes_out_and_no_byte_more(name):
    data = b"\0" * 100_000
    assert restored(name, compress(name, data), largest=100_000) == data
    with pytest.raises(TooLarge):
        restored(name, compress(name, data), largest=99_999)


def test_gzip_of_several_members_is_read_whole_and_bounded_together():
    twice = gzip.compress(b"a" * 60_000) + gzip.compress(b"b" * 60_000)
    assert restored("gzip", twice) == b"a" * 60_000 + b"b" * 60_000
    with pytest.raises(TooLarge):
        restored("gzip", twice, largest=100_000)


def test_snappy_that_claims_more_than_it_holds_is_refused_unread():
    claims = b"\xff\xff\xff\xff\x0f" + b"\0" * 10  # four GiB in its first five bytes
    with pytest.raises(TooLarge):
        restored("snappy", claims)
    framed = b"\x82SNAPPY\x00" + struct.pack(">ii", 1, 1)
    with pytest.raises(ValueError, match="cut"):
        restored("snappy", framed + struct.pack(">i", 1 << 20))


@pytest.mark.parametrize("name", ["lz4", "zstd"])
def test_bodies_stay_apart_in_memory_that_is_used_again(name):
    codecs = Codecs(arena=100_000)
    wanted = [bytes([number]) * (30_000 + number) for number in range(5)]  # the last ones need memory of their own
    for _ in range(2):
        found = [codecs.decompressed(name, memoryview(compress(name, one))) for one in wanted]
        assert [bytes(one) for one in found] == wanted
        codecs.forget()


def test_a_batch_that_expands_too_far_is_damage_with_its_place():
    bomb = encode(Crafted((Record(b"\0" * 3_000_000),), 70, "zstd"))
    (batch,) = split(bomb, "t", 5, 0).batches
    with pytest.raises(DamagedBatch, match="more than 256 MiB") as caught:
        body(batch, "t", 5, Codecs(largest=1_000_000))
    assert (caught.value.topic, caught.value.partition, caught.value.offset) == ("t", 5, 70)
