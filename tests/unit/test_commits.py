"""Records of ``__consumer_offsets``: what Kafka writes is read, what nobody knows is a row, and no bytes bring it down."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workbench.sources.commits.reading import partition_of
from workbench.sources.commits.records import (
    Assigned,
    Commit,
    Epoch,
    Generation,
    GroupRemoved,
    Joined,
    Member,
    Other,
    Unknown,
    decoded,
    group_of,
)
from workbench.sources.commits.tables import COMMITS, GENERATIONS, MEMBERS, rows_of

TOPIC_ID = bytes(range(16))


def text(value: str | None) -> bytes:
    return struct.pack(">h", -1) if value is None else struct.pack(">h", len(value.encode())) + value.encode()


def blob(value: bytes) -> bytes:
    return struct.pack(">i", len(value)) + value


def compact(value: str) -> bytes:
    return bytes([len(value.encode()) + 1]) + value.encode()


def offset_key(group: str = "g", topic: str = "t", partition: int = 3, version: int = 1) -> bytes:
    return struct.pack(">h", version) + text(group) + text(topic) + struct.pack(">i", partition)


def offset_value(version: int) -> bytes:
    out = struct.pack(">hq", version, 42)
    if version >= 3:
        out += struct.pack(">i", 7)
    out += compact("m\0") if version >= 4 else text("m\0")
    out += struct.pack(">q", 1_000)
    if version == 1:
        out += struct.pack(">q", 9_999)
    return out + (b"\x01\x00\x10" + TOPIC_ID if version >= 4 else b"")


@pytest.mark.parametrize("version", range(5))
def test_a_commit_of_every_version(version: int):
    topic_id = "AAECAwQFBgcICQoLDA0ODw" if version >= 4 else None
    epoch = 7 if version >= 3 else -1
    assert decoded(offset_key(), offset_value(version)) == Commit("g", "t", 3, 42, epoch, "m", 1_000, topic_id)


def test_a_removed_offset_and_a_removed_group():
    assert decoded(offset_key(), None) == Commit("g", "t", 3)
    assert decoded(struct.pack(">h", 2) + text("g"), None) == GroupRemoved("g")


def generation(version: int) -> bytes:
    assigned = struct.pack(">hi", 0, 1) + text("t") + struct.pack(">iii", 2, 0, 5) + blob(b"")
    member = text("m-1") + (text(None) if version >= 3 else b"") + text("client") + text("/host")
    member += struct.pack(">i", 300) if version >= 1 else b""
    member += struct.pack(">i", 45) + blob(b"any") + blob(assigned)
    head = struct.pack(">h", version) + text("consumer") + struct.pack(">i", 9) + text("range") + text("m-1")
    return head + (struct.pack(">q", 77) if version >= 2 else b"") + struct.pack(">i", 1) + member


@pytest.mark.parametrize("version", range(4))
def test_a_generation_of_every_version_that_is_written(version: int):
    member = Member("m-1", "client", "/host", None, 45, 300 if version >= 1 else None, (("t", (0, 5)),))
    expected = Generation("g", 9, "range", 77 if version >= 2 else None, (member,))
    assert decoded(struct.pack(">h", 2) + text("g"), generation(version)) == expected


def test_groups_of_the_new_protocol():
    assert decoded(struct.pack(">h", 3) + text("g"), struct.pack(">hi", 0, 4) + b"\0") == Epoch("g", 4)
    key = struct.pack(">h", 5) + text("g") + text("m")
    value = b"\0\0\0\0" + compact("c") + compact("/h") + b"\x02" + compact("t") + b"\0" + struct.pack(">i", 9) + b"\0\0"
    assert decoded(key, value) == Joined("g", Member("m", "c", "/h", None, None, 9, subscribed=("t",)))
    assert decoded(key, None) == Joined("g", Member("m"), left=True)
    current = struct.pack(">h", 8) + text("g") + text("m")
    held = b"\x02" + bytes(15) + b"\x01" + b"\x03" + struct.pack(">ii", 0, 5) + b"\0"
    given = struct.pack(">hiib", 0, 4, 3, 0) + held + b"\x01" + b"\0"
    assert decoded(current, given) == Assigned("g", "m", (("AAAAAAAAAAAAAAAAAAAAAQ", (0, 5)),))
    assert decoded(current, None) == Other("g")


def test_a_newer_version_is_unknown_and_says_so():
    assert decoded(offset_key(), struct.pack(">hq", 5, 1)) == Unknown("g", "unknown version 5")
    assert decoded(offset_key(), offset_value(3)[:-2]).__class__ is Unknown


@given(st.binary(max_size=80), st.none() | st.binary(max_size=120))
def test_no_bytes_bring_it_down(key: bytes, value: bytes | None):
    decoded(key, value)
    group_of(key)


@given(st.sampled_from([1, 2, 3, 5, 8]), st.binary(max_size=120))
def test_no_value_brings_it_down(kind: int, value: bytes):
    for version in range(6):
        key = struct.pack(">h", kind) + text("g") + text("t") + struct.pack(">i", 0)
        found = decoded(key, struct.pack(">h", version) + value)
        assert isinstance(found, Commit | Generation | Epoch | Joined | Assigned | Unknown)


@pytest.mark.parametrize(
    ("group", "partition"), [("", 0), ("a", 47), ("polygenelubricants", 0), ("grüße-😀", 29), ("order-service", 8)]
)
def test_the_partition_of_a_group_is_java_s(group: str, partition: int):
    units = group.encode("utf-16-be")
    value = 0
    for at in range(0, len(units), 2):
        value = (value * 31 + int.from_bytes(units[at : at + 2], "big")) % (1 << 32)
    signed = value - (1 << 32) if value >= 1 << 31 else value
    assert partition_of(group, 50) == (0 if signed == -(1 << 31) else abs(signed) % 50)
    if group in ("", "a", "polygenelubricants"):
        assert partition_of(group, 50) == partition


def test_rows_say_who_was_there_when_a_commit_was_written():
    member = Member("m", "c", "/h", assignment=(("t", (0, 1)),))
    commit = Commit("g", "t", 0, 5, -1, "", 1, None)
    events = [
        Generation("g", 1, "range", 1, (member,)),
        commit,
        Generation("g", 2, None, 2, ()),
        commit,
        Commit("g", "t", 0),
    ]
    tables = rows_of("g", [(number, number * 10, event) for number, event in enumerate(events)], whole=True).tables()
    assert [row["members"] for row in tables["commit_history"].to_pylist()] == [1, 0, 0]
    assert [row["removed"] for row in tables["commit_history"].to_pylist()] == [False, False, True]
    assert [(row["joined"], row["left"]) for row in tables["generations"].to_pylist()] == [(1, 0), (0, 1)]
    assert [row["partitions"] for row in tables["group_members"].to_pylist()] == [[0, 1]]
    assert [tables[name].schema for name in tables] == [COMMITS, GENERATIONS, MEMBERS]


def test_members_of_the_new_protocol_hold_what_they_were_given():
    events = [
        Commit("g", "t", 0, 5, -1, "", 1, "topic-id"),
        Epoch("g", 1),
        Joined("g", Member("m", "c", "/h")),
        Assigned("g", "m", (("topic-id", (0, 1)),)),
        Joined("g", Member("n", "d", "/h")),
    ]
    tables = rows_of("g", [(number, number, event) for number, event in enumerate(events)], whole=True).tables()
    held = [(row["member_id"], row["topic"], row["partitions"]) for row in tables["group_members"].to_pylist()]
    assert held == [("m", None, []), ("m", "t", [0, 1]), ("m", "t", [0, 1]), ("n", None, [])]


def test_what_lies_before_the_reading_is_unknown_not_empty():
    commit = Commit("g", "t", 0, 5, -1, "", 1, None)
    tables = rows_of("g", [(7, 1, commit), (8, 2, Generation("g", 4, "range", 1, ()))], whole=False).tables()
    assert tables["commit_history"].to_pylist()[0]["members"] is None
    assert tables["generations"].to_pylist()[0]["joined"] is None
