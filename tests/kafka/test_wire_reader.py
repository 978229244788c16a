"""The wire reader on a real broker: the same rows as the client library's, byte for byte."""

from __future__ import annotations

import pyarrow as pa
import pytest
from confluent_kafka import TopicPartition
from confluent_kafka.admin import AdminClient

from tests.kafka.capture_topics import create, messages, produce, ranges, rows, settings, spec, transaction
from tests.kafka.test_capture import NotUtf8
from workbench.capture import RAW, Limits, PartitionRange, capture
from workbench.capture.reader import ClientReader, consumer_settings
from workbench.capture.wire.errors import NotForWire
from workbench.capture.wire.reader import WireReader

pytestmark = pytest.mark.kafka
EVERYTHING = {"key", "value", "headers", "timestamp", "leader_epoch"}
CODECS = ("none", "gzip", "snappy", "lz4", "zstd")


def read(reader, parts, want=EVERYTHING):
    """(rows in log order, last positions, last errors)."""
    batches, positions, errors = [], {part.partition: part.start_offset for part in parts}, {}
    try:
        for chunk in reader.read(parts[0].topic, parts, want, lambda: False):
            batches += [] if chunk.batch is None else [chunk.batch]
            positions |= chunk.positions
            errors |= chunk.errors
    finally:
        reader.close()
    table = pa.Table.from_batches(batches, schema=RAW)
    table.validate(full=True)
    # The client library cannot tell what was aborted: whole captures are compared in that.
    table = table.drop_columns(["is_aborted"])
    return table.sort_by([("partition", "ascending"), ("offset", "ascending")]), positions, errors


def both(kafka, parts, want=EVERYTHING):
    """What both readers give, which must be the same."""
    client = read(ClientReader(consumer_settings(settings(kafka), "read_uncommitted")), parts, want)
    wire = read(WireReader(settings(kafka)), parts, want)
    assert wire[0].to_pylist() == client[0].to_pylist()
    assert wire[1:] == client[1:]
    return wire


def hostile():
    return [
        {"value": b"\xff\xfe", "key": b"\xff"},
        {"value": None, "key": b"gone"},
        {"value": b"", "key": b""},
        {"value": b"a", "headers": [("a", None), ("a", b"\xff"), ("a", b""), ("ä", b"1")]},
        {"value": b"y" * 1_000_000, "key": b"k" * 1000},
        {"value": b"late", "timestamp": 1},
    ]


def mixed(kafka, topic, unique):
    create(kafka, topic, 3, max_message_bytes="2000000")
    for number, codec in enumerate(CODECS):
        options = {"compression.type": codec}
        produce(kafka, topic, messages(3_000, number * 3_000, partitions=3, padding=150), **options)
        produce(kafka, topic, hostile(), **options)
        for commit in (True, False):
            with transaction(kafka, f"t-{unique}-{codec}", commit=commit) as producer:
                for index in range(20):
                    producer.produce(topic, value=f"{codec}-{index}", partition=index % 2)


def test_both_readers_give_the_same_rows_whatever_is_in_the_log(kafka, topic_name, unique):
    mixed(kafka, topic_name, unique)
    with transaction(kafka, f"open-{unique}", commit=None) as producer:
        producer.produce(topic_name, value=b"open", partition=2)
    table, positions, errors = both(kafka, ranges(kafka, topic_name))
    assert table.num_rows == 5 * (3_000 + 6 + 40) + 1
    assert errors == {}
    assert positions == {part.partition: part.end_offset for part in ranges(kafka, topic_name)}


def test_ranges_are_kept_exactly(kafka, topic_name):
    create(kafka, topic_name, 2)
    produce(kafka, topic_name, messages(10_000, partitions=2), **{"compression.type": "lz4"})
    parts = (
        PartitionRange(topic_name, 0, 1_234, 4_321, 5_000),
        PartitionRange(topic_name, 1, 4_999, 5_000, 5_000),
    )
    table, positions, _ = both(kafka, parts)
    assert table["offset"].to_pylist() == [*range(1_234, 4_321), 4_999]
    assert positions == {0: 4_321, 1: 5_000}


def test_only_what_is_wanted_is_filled(kafka, topic_name):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, messages(100))
    for want in (set(), {"key"}, {"value", "timestamp"}, {"headers", "leader_epoch"}):
        both(kafka, ranges(kafka, topic_name), want)


def test_append_time_is_the_brokers(kafka, topic_name):
    create(kafka, topic_name, 1, message_timestamp_type="LogAppendTime")
    produce(kafka, topic_name, messages(100))
    table, *_ = both(kafka, ranges(kafka, topic_name))
    assert set(table["timestamp_type"].to_pylist()) == {1}


def test_header_names_that_are_not_utf8(kafka, topic_name):
    from kafka import KafkaProducer

    create(kafka, topic_name, 1)
    sender = KafkaProducer(bootstrap_servers=kafka, allow_auto_create_topics=False)
    sender.send(topic_name, b"a", headers=[("ok", b"0"), (NotUtf8("x"), b"1"), ("fine", b"2")], partition=0).get(20)
    sender.send(topic_name, b"b", headers=[("fine", b"2")], partition=0).get(20)
    sender.close()
    table, *_ = both(kafka, ranges(kafka, topic_name))
    assert table["headers"].to_pylist()[0] == [{"name": "\ufffd", "value": None}]


def test_a_batch_larger_than_a_fetch_is_read(kafka, topic_name):
    create(kafka, topic_name, 2, max_message_bytes="2000000")
    produce(kafka, topic_name, [{"value": b"x" * 1_500_000, "partition": one % 2} for one in range(6)])
    table, *_ = read(WireReader(settings(kafka), Limits(max_bytes_per_second=1)), ranges(kafka, topic_name))
    assert table.num_rows == 6


def test_a_partition_of_markers_only_ends(kafka, topic_name, unique):
    create(kafka, topic_name, 1)
    with transaction(kafka, f"t-{unique}", commit=True) as producer:
        producer.produce(topic_name, value=b"x", partition=0)
    truncate(kafka, topic_name, 1)
    table, positions, errors = both(kafka, ranges(kafka, topic_name))
    assert (table.num_rows, positions, errors) == (0, {0: 2}, {})


def truncate(kafka, topic, offset):
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.delete_records([TopicPartition(topic, 0, offset)]).values():
        future.result(20)


def test_deleted_records_are_told_in_the_same_words(kafka, topic_name):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, messages(1_000))
    parts = ranges(kafka, topic_name)
    truncate(kafka, topic_name, 400)
    table, _, errors = both(kafka, parts)
    assert table["offset"].to_pylist() == list(range(400, 1_000))
    assert "0 to 399 were deleted" in errors[0]


def test_offsets_beyond_the_log_are_told_in_the_same_words(kafka, topic_name):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, messages(10))
    _, _, errors = both(kafka, (PartitionRange(topic_name, 0, 50, 60, 60),))
    assert "the log now ends at 10" in errors[0]


def test_a_topic_that_is_gone_is_told_in_the_same_words(kafka, topic_name):
    _, _, errors = both(kafka, (PartitionRange(topic_name, 0, 0, 60, 60),))
    assert errors == {0: f"topic {topic_name} does not exist"}


def test_a_reader_that_is_left_early_reads_again(kafka, topic_name):
    create(kafka, topic_name, 1)
    produce(kafka, topic_name, messages(1_000))
    reader, parts = WireReader(settings(kafka)), ranges(kafka, topic_name)
    for _ in reader.read(topic_name, parts, EVERYTHING, lambda: False):
        break
    assert list(reader.read(topic_name, parts, EVERYTHING, lambda: True)) == []
    assert read(reader, parts)[0].num_rows == 1_000


def test_no_broker_is_left_to_the_client_reader():
    with pytest.raises(NotForWire):
        WireReader({"bootstrap.servers": "127.0.0.1:9"})


def test_a_capture_is_the_same_by_either_reader(kafka, topic_name, unique, tmp_path):
    mixed(kafka, topic_name, unique)
    found = {}
    for reader in ("wire", "client", "auto"):
        done = capture(settings(kafka), spec(kafka, topic_name, reader=reader, include_values=True), tmp_path / reader)
        assert done.reader == ("client" if reader == "client" else "wire")
        found[reader] = (rows(done, *done.schema.names), done.outcome.to_pylist())
    assert found["wire"] == found["client"] == found["auto"]
