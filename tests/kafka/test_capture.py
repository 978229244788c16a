"""Capture on a real broker: every record once, exactly up to the end, whatever is in the log."""

from __future__ import annotations

import threading
import time

import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient

from tests.kafka.capture_topics import (
    create,
    lowest_offset,
    messages,
    produce,
    ranges,
    rows,
    settings,
    spec,
    transaction,
)
from workbench.capture import (
    BATCHES,
    RAW,
    CaptureSpec,
    IdFrom,
    Limits,
    PartitionRange,
    TopicSpec,
    capture,
    resolve_id_from,
    sample,
)
from workbench.errors import UsageError

pytestmark = pytest.mark.kafka


def test_every_record_once_by_one_process_or_several(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 3)
    produce(kafka, topic_name, messages(30_000, partitions=3))
    found = {}
    for processes in (1, 2):
        captured = capture(settings(kafka), spec(kafka, topic_name, processes=processes), tmp_path / str(processes))
        assert not captured.truncated
        assert captured.reader == "wire"
        assert captured.seconds > 0
        assert (
            captured.outcome.select(["next_offset", "records", "error", "truncated"]).to_pylist()
            == [{"next_offset": 10_000, "records": 10_000, "error": None, "truncated": False}] * 3
        )
        found[processes] = rows(captured, "partition", "offset", "message_id", "key", "value_hash", "due", "is_aborted")
    assert found[1] == found[2]
    assert sorted(row[2] for row in found[1]) == sorted(f"m-{number}" for number in range(30_000))


def test_only_the_range_is_read(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, messages(1_000))
    part = PartitionRange(topic_name, 0, 100, 333, 1_000)
    whole = CaptureSpec((TopicSpec(topic_name, "source", IdFrom("key"), (part,)),), processes=1)
    captured = capture(settings(kafka), whole, tmp_path)
    assert rows(captured, "offset") == list(range(100, 333))


def test_an_empty_topic_is_a_capture_without_files(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 2)
    captured = capture(settings(kafka), spec(kafka, topic_name), tmp_path)
    assert captured.files == ()
    assert captured.outcome["records"].to_pylist() == [0, 0]
    assert not captured.truncated


def test_hostile_records_are_kept_and_counted(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 1, max_message_bytes="2000000")
    megabyte = b'{"messageId": "big", "note": "' + b"x" * 1_000_000 + b'"}'
    records = [
        {"value": b"\xff\xfe", "key": b"\xff"},
        {"value": None, "key": b"gone"},
        {"value": b'{"messageId": 5}', "headers": [("a", None), ("a", b"\xff"), ("a", b"")]},
        {"value": megabyte},
        {"value": b"[" * 200_000},
        {"value": b"", "key": b""},
        {"value": b'{"messageId": "late"}', "timestamp": 1},
    ]
    produce(kafka, topic_name, records)
    captured = capture(settings(kafka), spec(kafka, topic_name, include_values=True), tmp_path)
    found = rows(captured, "value", "key", "message_id", "decoded", "header_names", "value_size", "timestamp_ms")
    assert [row[0] for row in found] == [record["value"] for record in records]
    assert [row[1] for row in found] == [b"\xff", b"gone", None, None, None, b"", None]
    assert [row[2] for row in found] == [None, None, "5", "big", None, None, "late"]
    assert [row[3] for row in found] == [False, True, True, True, False, False, True]
    assert found[2][4] == ["a", "a", "a"]
    assert found[1][5] is None
    assert found[6][6] == 1
    (headers,) = [row for row in rows(captured, "headers") if row]
    assert [pair["value"] for pair in headers] == [None, b"\xff", b""]


class NotUtf8(str):
    """A header name as a client in another language may send it."""

    __slots__ = ()

    def encode(self, *_):
        return b"\xff\xfename"


def test_header_names_that_are_not_utf8_cost_only_the_headers(kafka, topic_name, tmp_path):
    from kafka import KafkaProducer

    create(kafka, topic_name, 1)
    sender = KafkaProducer(bootstrap_servers=kafka, allow_auto_create_topics=False)
    sender.send(topic_name, b'{"messageId": "a"}', headers=[(NotUtf8("x"), b"1"), ("fine", b"2")], partition=0).get(20)
    sender.send(topic_name, b'{"messageId": "b"}', headers=[("fine", b"2")], partition=0).get(20)
    sender.close()
    captured = capture(settings(kafka), spec(kafka, topic_name), tmp_path)
    assert rows(captured, "message_id", "header_names") == [("a", ["\ufffd"]), ("b", ["fine"])]


@pytest.mark.parametrize("reader", ["wire", "client"])
def test_aborted_records_are_marked_and_trailing_markers_do_not_hang(kafka, topic_name, unique, tmp_path, reader):
    create(kafka, topic_name, 2)
    for number, commit in enumerate([True, False, True, False]):
        with transaction(kafka, f"t-{unique}", commit=commit) as producer:
            for index in range(5):
                producer.produce(topic_name, value=f'{{"messageId": "{number}-{index}"}}', partition=index % 2)
    captured = capture(settings(kafka), spec(kafka, topic_name, reader=reader), tmp_path)
    marked = {row[0]: row[1] for row in rows(captured, "message_id", "is_aborted")}
    assert marked == {f"{number}-{index}": number in (1, 3) for number in range(4) for index in range(5)}
    assert captured.outcome["next_offset"].to_pylist() == captured.outcome["end_offset"].to_pylist()
    assert not captured.truncated


def test_a_capture_that_does_not_ask_leaves_is_aborted_unknown(kafka, topic_name, unique, tmp_path):
    create(kafka, topic_name, 1)
    with transaction(kafka, f"t-{unique}", commit=False) as producer:
        producer.produce(topic_name, value=b'{"messageId": "a"}', partition=0)
    captured = capture(settings(kafka), spec(kafka, topic_name, want=frozenset()), tmp_path)
    assert rows(captured, "message_id", "is_aborted") == [("a", None)]


def test_a_partition_of_markers_only_ends(kafka, topic_name, unique, tmp_path):
    create(kafka, topic_name, 1)
    with transaction(kafka, f"t-{unique}", commit=True) as producer:
        producer.produce(topic_name, value=b"x", partition=0)
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([TopicPartition(topic_name, 0, 1)]).values():
        future.result(20)
    (part,) = ranges(kafka, topic_name)
    assert (part.start_offset, part.end_offset) == (1, 2)
    captured = capture(settings(kafka), spec(kafka, topic_name), tmp_path)
    assert captured.files == ()
    assert captured.outcome["next_offset"].to_pylist() == [2]


@pytest.mark.parametrize("reader", ["wire", "client"])
def test_an_open_transaction_at_the_end_is_read_and_not_waited_for(kafka, topic_name, unique, tmp_path, reader):
    create(kafka, topic_name, 1)
    with transaction(kafka, f"a-{unique}", commit=False) as aborted:
        aborted.produce(topic_name, value=b'{"messageId": "aborted"}', partition=0)
    produce(kafka, topic_name, messages(3))
    with transaction(kafka, f"t-{unique}", commit=None) as open_one:
        open_one.produce(topic_name, value=b'{"messageId": "open"}', partition=0)
        open_one.flush(20)
        produce(kafka, topic_name, messages(2, start=3))
        (part,) = ranges(kafka, topic_name)
        assert part.last_stable_offset < part.end_offset
        captured = capture(settings(kafka), spec(kafka, topic_name, reader=reader), tmp_path)
    open_one.abort_transaction(20)
    assert rows(captured, "message_id", "is_aborted") == [
        ("aborted", True), ("m-0", False), ("m-1", False), ("m-2", False), ("open", False), ("m-3", False),
        ("m-4", False),
    ]  # fmt: skip
    assert not captured.truncated


@pytest.mark.parametrize("reader", ["wire", "client"])
def test_a_transaction_that_ends_behind_the_range_still_counts(kafka, topic_name, unique, tmp_path, reader):
    create(kafka, topic_name, 1)
    with transaction(kafka, f"t-{unique}", commit=False) as producer:
        for index in range(5):
            producer.produce(topic_name, value=f'{{"messageId": "aborted-{index}"}}', partition=0)
        producer.flush(20)
        produce(kafka, topic_name, messages(5))
    (whole,) = ranges(kafka, topic_name)
    part = PartitionRange(topic_name, 0, 2, 7, whole.last_stable_offset)
    windowed = CaptureSpec(
        (TopicSpec(topic_name, "source", IdFrom.parse("json:$.messageId"), (part,)),), processes=1, reader=reader
    )
    captured = capture(settings(kafka), windowed, tmp_path / "window")
    assert rows(captured, "is_aborted") == [True, True, True, False, False]
    cut = capture(
        settings(kafka), spec(kafka, topic_name, reader=reader, limits=Limits(max_records=6)), tmp_path / "cut"
    )
    assert rows(cut, "is_aborted") == [True] * 5 + [False]
    full = capture(settings(kafka), spec(kafka, topic_name, reader=reader), tmp_path / "cut")
    assert rows(full, "is_aborted") == [True] * 5 + [False] * 5


def test_what_the_client_library_can_no_longer_check_is_unknown(kafka, topic_name, unique, tmp_path):
    """The records are deleted between the first look and the second."""
    create(kafka, topic_name, 1)
    with transaction(kafka, f"t-{unique}", commit=False) as producer:
        producer.produce(topic_name, value=b'{"messageId": "aborted"}', partition=0)
    produce(kafka, topic_name, messages(10))
    with transaction(kafka, f"t-{unique}", commit=True) as producer:
        producer.produce(topic_name, value=b'{"messageId": "last"}', partition=0)

    def delete(progress) -> None:
        if progress.step == "reading" and progress.offsets == progress.total_offsets:
            admin = AdminClient({"bootstrap.servers": kafka})
            for future in admin.delete_records([TopicPartition(topic_name, 0, 5)]).values():
                future.result(20)

    captured = capture(settings(kafka), spec(kafka, topic_name, reader="client"), tmp_path, delete)
    assert len(rows(captured, "offset")) == 12
    assert set(rows(captured, "is_aborted")) <= {None, False}
    assert rows(captured, "is_aborted")[0] is None


def test_record_batches_are_kept_beside_the_records(kafka, topic_name, unique, tmp_path):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, messages(3), **{"enable.idempotence": True, "compression.type": "lz4"})
    with transaction(kafka, f"t-{unique}", commit=False) as producer:
        producer.produce(topic_name, value=b"{}", partition=0)
    captured = capture(settings(kafka), spec(kafka, topic_name), tmp_path)
    table = pq.read_table(captured.batches[0])
    assert table.schema.remove_metadata().equals(BATCHES)
    plain, doomed, marker = table.sort_by("base_offset").to_pylist()
    assert (plain["records"], plain["codec"], plain["is_transactional"], plain["base_sequence"]) == (3, "lz4", False, 0)
    assert (doomed["is_aborted"], doomed["is_transactional"], doomed["marker"]) == (True, True, None)
    assert (marker["marker"], marker["is_control"], marker["base_offset"]) == ("abort", True, 4)
    assert marker["producer_id"] == doomed["producer_id"] != plain["producer_id"]


def test_a_compacted_log_with_holes_is_read_to_its_end(kafka, topic_name, unique, tmp_path):
    create(
        kafka, topic_name, 1, cleanup_policy="compact", segment_ms="100", min_cleanable_dirty_ratio="0.001",
        delete_retention_ms="100", max_compaction_lag_ms="100",
    )  # fmt: skip
    for _ in range(3):
        produce(kafka, topic_name, messages(50))
        time.sleep(0.2)
    with transaction(kafka, f"t-{unique}", commit=False) as producer:
        producer.produce(topic_name, value=b'{"messageId": "aborted"}', key=b"other", partition=0)
    while True:  # the test's own time limit ends it
        produce(kafka, topic_name, [{"key": b"roll", "value": b'{"messageId": "roll"}'}])
        captured = capture(settings(kafka), spec(kafka, topic_name), tmp_path / str(time.monotonic()))
        (outcome,) = captured.outcome.to_pylist()
        assert outcome["next_offset"] == outcome["end_offset"]
        marked = dict(rows(captured, "message_id", "is_aborted"))
        if outcome["records"] < 100 and None not in marked.values():  # null: compacted while it was looked at
            break
        time.sleep(0.5)
    assert outcome["error"] is None
    assert marked.pop("aborted", True) is True
    assert set(marked.values()) == {False}


def test_a_topic_that_grows_while_it_is_read_ends_where_it_ended(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 2)
    produce(kafka, topic_name, messages(20_000, partitions=2))
    whole = spec(kafka, topic_name)
    done = threading.Event()

    def write() -> None:
        producer = Producer({"bootstrap.servers": kafka, "linger.ms": 5})
        while not done.is_set():
            producer.produce(topic_name, b'{"messageId": "late"}', partition=0)
            producer.poll(0)
            if len(producer) > 1_000:
                producer.flush()
        producer.flush()

    writer = threading.Thread(target=write)
    writer.start()
    try:
        captured = capture(settings(kafka), whole, tmp_path)
    finally:
        done.set()
        writer.join()
    found = rows(captured, "message_id")
    assert len(found) == len(set(found)) == 20_000
    assert "late" not in found


def test_a_topic_deleted_while_it_is_read_is_said_not_raised(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 2)
    produce(kafka, topic_name, messages(20_000, partitions=2, padding=1_000))
    whole = spec(kafka, topic_name, limits=Limits(max_bytes_per_second=3_000_000))
    deleted = []

    def delete(_progress) -> None:
        if not deleted:
            deleted.append(True)
            admin = AdminClient({"bootstrap.servers": kafka})
            for future in admin.delete_topics([topic_name]).values():
                future.result(20)

    captured = capture(settings(kafka), whole, tmp_path, delete)
    assert captured.truncated
    outcome = captured.outcome.to_pylist()
    assert all("does not exist" in row["error"] for row in outcome if row["truncated"])
    assert sum(row["records"] for row in outcome) == len(rows(captured, "offset")) < 20_000


def test_records_deleted_while_they_are_read_are_said_and_the_rest_is_read(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, messages(20_000, padding=1_000))
    whole = spec(kafka, topic_name, limits=Limits(max_bytes_per_second=3_000_000))
    deleted = []

    def delete(_progress) -> None:
        if not deleted:
            deleted.append(True)
            admin = AdminClient({"bootstrap.servers": kafka})
            for future in admin.delete_records([TopicPartition(topic_name, 0, 19_000)]).values():
                future.result(20)

    captured = capture(settings(kafka), whole, tmp_path, delete)
    (outcome,) = captured.outcome.to_pylist()
    assert lowest_offset(kafka, topic_name) == 19_000
    assert "to 18999 were deleted before they could be read" in outcome["error"]
    assert not outcome["truncated"]
    found = rows(captured, "offset")
    assert found[-1_000:] == list(range(19_000, 20_000))
    assert len(found) < 20_000


def test_a_limit_on_records_is_exact_and_a_larger_one_goes_on(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 3)
    produce(kafka, topic_name, messages(9_000, partitions=3))
    first = capture(settings(kafka), spec(kafka, topic_name, limits=Limits(max_records=1_234)), tmp_path)
    assert first.truncated
    assert len(rows(first, "offset")) == 1_234
    again = capture(settings(kafka), spec(kafka, topic_name, limits=Limits(max_records=1_234)), tmp_path)
    assert len(rows(again, "offset")) == 1_234
    whole = capture(settings(kafka), spec(kafka, topic_name), tmp_path)
    assert not whole.truncated
    found = rows(whole, "partition", "offset")
    assert len(found) == len(set(found)) == 9_000


def test_limits_on_bytes_and_seconds_cut(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, messages(5_000, padding=1_000))
    cut = capture(settings(kafka), spec(kafka, topic_name, limits=Limits(max_bytes=500_000)), tmp_path / "bytes")
    assert cut.truncated
    assert 0 < len(rows(cut, "offset")) < 5_000
    late = capture(settings(kafka), spec(kafka, topic_name, limits=Limits(max_seconds=1e-9)), tmp_path / "seconds")
    assert late.truncated


def test_another_capture_in_the_folder_is_refused(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, messages(10))
    capture(settings(kafka), spec(kafka, topic_name), tmp_path)
    with pytest.raises(UsageError, match="another capture"):
        capture(settings(kafka), spec(kafka, topic_name, id_from="key"), tmp_path)


def test_progress_tells_how_far_it_is(kafka, topic_name, tmp_path):
    create(kafka, topic_name, 2)
    produce(kafka, topic_name, messages(5_000, partitions=2))
    told = []
    capture(settings(kafka), spec(kafka, topic_name), tmp_path, told.append)
    assert told[-1].records == told[-1].offsets == told[-1].total_offsets == 5_000
    assert told[-1].bytes > 0


def test_a_sample_is_the_newest_records(kafka, topic_name, unique):
    create(kafka, topic_name, 2)
    produce(kafka, topic_name, messages(1_000, partitions=2))
    found = sample(settings(kafka), ranges(kafka, topic_name), records=100)
    assert found.schema == RAW
    assert found.num_rows == 100
    assert min(found["offset"].to_pylist()) == 450
    assert str(resolve_id_from(found, topic_name)) == "json:$.messageId"


def test_a_sample_looks_behind_trailing_markers(kafka, topic_name, unique):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, messages(3))
    for _ in range(3):
        with transaction(kafka, f"t-{unique}", commit=True) as producer:
            producer.produce(topic_name, value=b"x", partition=0)
    assert sample(settings(kafka), ranges(kafka, topic_name), records=2).num_rows > 0
