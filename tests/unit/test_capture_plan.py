"""What is read by whom, what is left after an interruption, what it will cost, and where ids are."""

from __future__ import annotations

import json

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.unit.capture_rows import raw
from workbench.capture import CaptureSpec, IdFrom, Limits, PartitionRange, TopicSpec, estimate, resolve_id_from
from workbench.capture.lanes import divide, process_count
from workbench.capture.parts import Parts, Segment, interrupted_spec, owned, prepare, remaining
from workbench.errors import UsageError

RANGES = st.lists(
    st.builds(
        lambda topic, partition, start, size: PartitionRange(topic, partition, start, start + size, start + size),
        st.sampled_from("ab"), st.integers(0, 5), st.integers(0, 1_000), st.integers(0, 500_000),
    ),
    unique_by=lambda part: (part.topic, part.partition),
    max_size=10,
)  # fmt: skip


def spec(*parts: PartitionRange, **options) -> CaptureSpec:
    topics = dict.fromkeys(part.topic for part in parts)
    return CaptureSpec(
        tuple(
            TopicSpec(topic, "source", IdFrom("key"), tuple(part for part in parts if part.topic == topic))
            for topic in topics
        ),
        **options,
    )


def offsets_of(parts):
    """Inclusive-exclusive intervals by place, joined where they touch."""
    found: dict[tuple[str, int], list[list[int]]] = {}
    for part in sorted(parts, key=lambda one: (one.topic, one.partition, one.start_offset)):
        if part.offsets:
            runs = found.setdefault((part.topic, part.partition), [])
            if runs and runs[-1][1] == part.start_offset:
                runs[-1][1] = part.end_offset
            else:
                runs.append([part.start_offset, part.end_offset])
    return found


@given(RANGES, st.integers(1, 6))
def test_lanes_are_the_ranges_each_offset_once(ranges, count):
    lanes = divide(ranges, count)
    assert len(lanes) <= count
    assert offsets_of(part for lane in lanes for ranges in lane.rounds for part in ranges) == offsets_of(ranges)
    for lane in lanes:
        for one in lane.rounds:
            assert len({part.topic for part in one}) == 1
            assert len({part.partition for part in one}) == len(one)


@given(RANGES, st.integers(1, 6))
def test_lanes_are_about_equal(ranges, count):
    total = sum(part.offsets for part in ranges)
    for lane in divide(ranges, count):
        assert lane.offsets <= total / count * 1.2 + count


def test_whole_partitions_are_kept_where_that_is_even():
    ranges = [PartitionRange("t", partition, 0, 1_000 + partition, 2_000) for partition in range(6)]
    lanes = divide(ranges, 2)
    assert [len(lane.rounds[0]) for lane in lanes] == [3, 3]


def test_two_gaps_of_a_partition_are_read_in_two_rounds():
    gaps = [PartitionRange("t", 0, 0, 10, 99), PartitionRange("t", 1, 0, 10, 99), PartitionRange("t", 0, 20, 30, 99)]
    (lane,) = divide(gaps, 1)
    assert [len(ranges) for ranges in lane.rounds] == [2, 1]


def test_processes():
    part = PartitionRange("t", 0, 0, 1_000_000, 1_000_000)
    assert process_count(spec(part), 1_000) == 1
    assert process_count(spec(part, processes=3), 1_000_000) == 3
    assert process_count(spec(part, processes=3, limits=Limits(max_records=5)), 1_000_000) == 1
    assert process_count(spec(part, processes=3, limits=Limits(max_records=2_000_000)), 1_000_000) == 3


@given(st.lists(st.tuples(st.integers(0, 100), st.integers(0, 30)), max_size=6))
def test_what_remains_is_what_no_segment_covers(covered):
    part = PartitionRange("t", 0, 10, 90, 90)
    segments = [Segment("t", 0, start, start + size, 0, 0) for start, size in covered]
    other = [Segment("t", 1, 0, 100, 0, 0), Segment("u", 0, 0, 100, 0, 0)]
    left = {offset for gap in remaining([part], segments + other) for offset in range(gap.start_offset, gap.end_offset)}
    done = {offset for start, size in covered for offset in range(start, start + size)}
    assert left == set(range(10, 90)) - done


def test_a_spec_survives_json():
    whole = spec(
        PartitionRange("t", 0, 1, 2, 3), where="key = 'a'", business_key="key", compare="key", include_values=True,
        want=frozenset({"key"}), limits=Limits(1, 2, 3.0, 4), processes=2,
    )  # fmt: skip
    assert CaptureSpec.from_json(json.loads(json.dumps(whole.to_json()))) == whole


def test_a_fingerprint_is_about_rows_not_pace():
    part = PartitionRange("t", 0, 1, 2, 3)
    assert spec(part).fingerprint() == spec(part, processes=2, limits=Limits(max_records=1)).fingerprint()
    assert spec(part).fingerprint() != spec(part, where="key = 'a'").fingerprint()


def test_unknown_parts_and_undecided_ids_are_refused():
    with pytest.raises(UsageError, match="no part 'colour'"):
        spec(PartitionRange("t", 0, 0, 1, 1), want=frozenset({"colour"}))
    with pytest.raises(UsageError, match="not decided"):
        CaptureSpec((TopicSpec("t", "source", IdFrom.parse("auto"), ()),))


def test_a_part_carries_what_it_covers_and_a_damaged_one_is_read_again(tmp_path):
    parts = Parts(tmp_path)
    segments = [Segment("t", 0, 0, 10, 2, 20), Segment("t", 1, 5, 6, 0, 0, "gone")]
    path = parts.write(pa.table({"a": [1, 2]}), segments)
    assert parts.segments() == segments
    assert parts.files() == (path,)
    path.write_bytes(path.read_bytes()[:-20])
    assert parts.segments() == []
    assert parts.files() == ()


def test_parts_without_rows_count_as_done_but_are_no_files(tmp_path):
    parts = Parts(tmp_path)
    parts.write(pa.table({"a": pa.array([], pa.int64())}), [Segment("t", 0, 0, 3, 0, 0)])
    assert parts.files() == ()
    assert remaining([PartitionRange("t", 0, 0, 3, 3)], parts.segments()) == []


def test_a_folder_is_for_one_capture(tmp_path):
    one = spec(PartitionRange("t", 0, 0, 1, 1))
    prepare(tmp_path / "a", one)
    assert prepare(tmp_path / "a", one)["complete"] is False
    assert interrupted_spec(tmp_path / "a") == one
    with pytest.raises(UsageError, match="another capture"):
        prepare(tmp_path / "a", spec(PartitionRange("t", 0, 0, 2, 2)))
    (tmp_path / "a" / "capture.json").write_text("{")
    with pytest.raises(UsageError, match="another capture"):
        prepare(tmp_path / "a", one)
    assert interrupted_spec(tmp_path / "a") is None
    assert interrupted_spec(tmp_path / "nothing") is None


def test_two_captures_cannot_write_to_one_folder(tmp_path):
    with owned(tmp_path), pytest.raises(UsageError, match="Another capture runs"), owned(tmp_path):
        pass
    with owned(tmp_path):
        pass


def offsets(**row):
    full = {"topic": "t", "partition": 0, "log_start_offset": 0, "high_watermark": 100, "log_size_bytes": 1_000}
    return pa.Table.from_pylist([{**full, **row}])


def test_an_estimate_is_the_ranges_share_of_the_log():
    whole = estimate(spec(PartitionRange("t", 0, 50, 100, 100)), offsets())
    assert (whole.records, whole.bytes) == (50, 500)
    assert whole.seconds > 0


def test_an_estimate_knows_limits_and_pace():
    part = PartitionRange("t", 0, 0, 100, 100)
    assert estimate(spec(part, limits=Limits(max_records=10)), offsets()).bytes == 100
    assert estimate(spec(part, limits=Limits(max_bytes_per_second=10)), offsets()).seconds == 100
    assert estimate(spec(part, limits=Limits(max_bytes_per_second=10, max_seconds=5)), offsets()).seconds == 5


def test_an_unknown_log_size_is_unknown_not_zero():
    part = PartitionRange("t", 0, 0, 100, 100)
    assert estimate(spec(part), offsets(log_size_bytes=None)).bytes is None
    assert estimate(spec(part), pa.Table.from_pylist([], schema=offsets().schema)).bytes is None
    assert estimate(spec(PartitionRange("t", 0, 5, 5, 5)), offsets(log_size_bytes=None)).bytes == 0


def with_ids(**where):
    return raw([where] * 10)


@pytest.mark.parametrize(
    ("record", "found"),
    [
        ({"headers": [("message-id", b"1")], "value": b'{"messageId": "x"}'}, "header:message-id"),
        ({"headers": [("ce_id", b"1")], "value": b'{"messageId": "x"}'}, "header:ce_id"),
        ({"value": b'{"id": "1", "specversion": "1.0", "messageId": "x"}'}, "json:$.id"),
        ({"value": b'{"id": "1", "messageId": "x"}'}, "json:$.messageId"),
        ({"value": b'{"messageId": 7}'}, "json:$.messageId"),
    ],
)
def test_auto_prefers_headers_then_cloud_events_then_json(record, found):
    assert str(resolve_id_from(raw([record] * 10))) == found


def test_auto_takes_what_most_records_have():
    records = [{"headers": [("message-id", b"1")], "value": b'{"messageId": "x"}'}] + [
        {"value": b'{"messageId": "y"}'}
    ] * 9
    assert str(resolve_id_from(raw(records))) == "json:$.messageId"
    few = [{"value": b'{"messageId": "y"}'}] + [{"value": b"\xff"}] * 9
    assert str(resolve_id_from(raw(few))) == "json:$.messageId"


def test_auto_without_ids_shows_names_but_no_content():
    records = [{"value": b'{"orderId": "secret-1"}', "headers": [("trace", b"secret-2")]}, {"value": b"\xff"}, {}]
    with pytest.raises(UsageError) as caught:
        resolve_id_from(raw(records), "orders")
    assert "orders" in str(caught.value)
    assert "'orderId'" in caught.value.hint
    assert "'trace'" in caught.value.hint
    assert "secret" not in caught.value.hint


@pytest.mark.parametrize(
    "value", [b"[" * 100_000, b'{"messageId": {"a": 1}}', b'{"messageId": true}', b'{"messageId": ""}']
)
def test_auto_is_not_fooled(value):
    with pytest.raises(UsageError):
        resolve_id_from(raw([{"value": value, "headers": [("message-id", None)]}]))
