"""The cluster as tables, on a real broker: what is there, what is unknown, what is refused, and that reading changes nothing."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Consumer, ConsumerGroupTopicPartitions, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from tests.kafka.commits import commit
from workbench.config import profile_from_options
from workbench.errors import AccessDenied, ConfigError, NotFound, SourceUnavailable
from workbench.sandbox.incidents.late_write import write_late
from workbench.sandbox.kafka import start
from workbench.sandbox.mock import start_mock
from workbench.sources import Cluster, connect
from workbench.sources.groups import COMMITTED_SCHEMA, GROUPS_SCHEMA, MEMBERS_SCHEMA
from workbench.sources.offset_fetch import fetch_with_consumers
from workbench.sources.topics import OFFSETS_SCHEMA, PARTITIONS_SCHEMA

pytestmark = pytest.mark.kafka

QUIET = {"log_level": 0}


@pytest.fixture
def admin(kafka: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": kafka, **QUIET})


@pytest.fixture
def cluster(kafka: str) -> Cluster:
    return connect(profile_from_options(kafka)).cluster


def make(admin: AdminClient, name: str, partitions: int = 1, **config: str) -> str:
    wanted = {key.replace("_", "."): value for key, value in config.items()}
    admin.create_topics([NewTopic(name, partitions, 1, config=wanted)])[name].result()
    while name not in admin.list_topics().topics:  # the controller has it; the broker learns of it a moment later
        time.sleep(0.05)
    return name


def produce(kafka: str, topic: str, count: int, partition: int = 0, at_ms: int = 0) -> None:
    producer = Producer({"bootstrap.servers": kafka, **QUIET})
    for number in range(count):
        producer.produce(topic, str(number), partition=partition, timestamp=at_ms + number if at_ms else 0)
    producer.flush()


@contextmanager
def joined(kafka: str, group: str, topic: str, **settings: str) -> Iterator[Consumer]:
    """A member with partitions, in the state the broker then calls stable."""
    consumer = Consumer({"bootstrap.servers": kafka, "group.id": group, **settings, **QUIET})
    consumer.subscribe([topic])
    try:
        while not consumer.assignment():
            consumer.poll(0.1)
        yield consumer
    finally:
        consumer.close()


def test_info_names_the_cluster_and_its_brokers(cluster: Cluster, kafka: str):
    info = cluster.info()
    assert info["cluster_id"]
    assert f"{info['brokers'][0]['host']}:{info['brokers'][0]['port']}" in kafka
    assert info["controller_id"] in {broker["id"] for broker in info["brokers"]}


def test_topics_are_a_row_a_partition(cluster: Cluster, admin: AdminClient, topic_name: str):
    make(admin, topic_name, 3)
    found = cluster.topics([topic_name])
    assert found.table.schema == PARTITIONS_SCHEMA
    rows = found.rows()
    assert [row["partition"] for row in rows] == [0, 1, 2]
    assert {row["leader"] for row in rows} == {1}
    assert rows[0] | {"partition": 0} == {
        "topic": topic_name, "topic_id": rows[0]["topic_id"], "partition": 0, "leader": 1, "leader_epoch": 0,
        "replicas": [1], "isr": [1],
    }  # fmt: skip
    assert len(rows[0]["topic_id"]) == 22


def test_a_topic_made_again_has_another_id(cluster: Cluster, admin: AdminClient, topic_name: str):
    make(admin, topic_name)
    before = cluster.topics([topic_name]).rows()[0]["topic_id"]
    admin.delete_topics([topic_name])[topic_name].result()
    while topic_name in admin.list_topics().topics:
        time.sleep(0.1)
    make(admin, topic_name)
    assert cluster.topics([topic_name]).rows()[0]["topic_id"] != before


def test_internal_topics_come_only_when_asked_for(cluster: Cluster, admin: AdminClient, topic_name: str):
    make(admin, topic_name)
    commit(admin, topic_name, TopicPartition(topic_name, 0, 0))
    names = set(cluster.topics().table.column("topic").to_pylist())
    assert topic_name in names
    assert "__consumer_offsets" not in names
    assert "__consumer_offsets" in cluster.topics(include_internal=True).table.column("topic").to_pylist()
    assert cluster.topics(["__consumer_offsets"]).table.num_rows > 0


def test_what_does_not_exist_is_a_failure_and_is_not_made(cluster: Cluster, admin: AdminClient, topic_name: str):
    """The broker would create a topic for anyone who asks for its metadata without forbidding it."""
    gone = {topic_name: f"topic {topic_name} does not exist"}
    assert cluster.topics([topic_name]).failures == gone
    assert gone.items() <= cluster.offsets([topic_name]).failures.items()
    assert cluster.offsets_at([topic_name], 0).failures == gone
    assert cluster.topic_configs([topic_name]).failures == gone
    assert cluster.committed("nobody", [topic_name]).failures == gone
    assert cluster.open_transactions([topic_name]).failures == gone
    assert cluster.groups([topic_name]).failures == {topic_name: f"group {topic_name} does not exist"}
    with pytest.raises(NotFound):
        cluster.require_topics([topic_name])
    assert topic_name not in admin.list_topics().topics


def test_a_missing_topic_is_answered_with_the_nearest(cluster: Cluster, admin: AdminClient, topic_name: str):
    make(admin, topic_name)
    cluster.require_topics([topic_name])
    with pytest.raises(NotFound) as caught:
        cluster.require_topics([topic_name + "s"])
    assert topic_name in caught.value.hint


def test_offsets_of_full_empty_and_trimmed_partitions(
    cluster: Cluster, admin: AdminClient, kafka: str, topic_name: str
):
    make(admin, topic_name, 3)
    start_ms = int(time.time() * 1000) - 60_000
    produce(kafka, topic_name, 10, partition=0, at_ms=start_ms)
    produce(kafka, topic_name, 5, partition=1)
    admin.delete_records([TopicPartition(topic_name, 1, 3)])[TopicPartition(topic_name, 1)].result()
    found = cluster.offsets([topic_name])
    assert found.table.schema == OFFSETS_SCHEMA
    full, trimmed, empty = found.rows()
    places = ("log_start_offset", "last_stable_offset", "high_watermark")
    assert [[row[name] for name in places] for row in (full, trimmed, empty)] == [[0, 10, 10], [3, 5, 5], [0, 0, 0]]
    assert (full["max_timestamp_ms"], empty["max_timestamp_ms"]) == (start_ms + 9, None)
    assert full["log_size_bytes"] > empty["log_size_bytes"] == 0
    assert not any(row["error"] for row in found.rows())
    assert set(cluster.offsets([topic_name], sizes=False).table.column("log_size_bytes").to_pylist()) == {None}


def test_a_partition_that_answers_nothing_is_unknown_not_zero(cluster: Cluster, admin: AdminClient, topic_name: str):
    make(admin, topic_name)
    found = cluster.offsets([topic_name, topic_name + "-x"], sizes=False)
    assert found.table.num_rows == 1
    assert "does not exist" in found.failures[topic_name + "-x"]


def test_configs_say_what_was_set(cluster: Cluster, admin: AdminClient, topic_name: str):
    make(admin, topic_name, retention_ms="3600000")
    rows = {row["name"]: row for row in cluster.topic_configs([topic_name]).rows()}
    assert (rows["retention.ms"]["value"], rows["retention.ms"]["is_default"]) == ("3600000", False)
    assert (rows["cleanup.policy"]["value"], rows["cleanup.policy"]["is_default"]) == ("delete", True)
    assert {"min.insync.replicas", "max.message.bytes", "message.timestamp.type", "retention.bytes"} <= rows.keys()
    brokers = {row["name"]: row["value"] for row in cluster.broker_configs().rows()}
    assert int(brokers["offsets.retention.minutes"]) > 0


def test_committed_offsets_have_a_row_where_there_is_a_commit(
    cluster: Cluster, admin: AdminClient, kafka: str, topic_name: str
):
    make(admin, topic_name, 3)
    produce(kafka, topic_name, 4)
    commit(admin, topic_name, TopicPartition(topic_name, 0, 2, "rewind"), TopicPartition(topic_name, 2, 0))
    found = cluster.committed(topic_name, [topic_name])
    assert found.table.schema == COMMITTED_SCHEMA
    assert [(row["partition"], row["committed_offset"]) for row in found.rows()] == [(0, 2), (2, 0)]
    assert found.rows()[0]["metadata"] == "rewind"
    assert found.rows()[0]["leader_epoch"] is None
    assert cluster.committed(topic_name).table.equals(found.table)
    assert cluster.committed("nobody-" + topic_name, [topic_name]).table.num_rows == 0


@pytest.mark.parametrize("protocol", ["classic", "consumer"])
def test_groups_and_their_members(cluster: Cluster, admin: AdminClient, kafka: str, topic_name: str, protocol: str):
    make(admin, topic_name, 2)
    settings = {"group.protocol": protocol, "client.id": "worker", "group.instance.id": "one"}
    with joined(kafka, topic_name, topic_name, **settings):
        group = cluster.groups([topic_name])
        members = cluster.members([topic_name])
    assert (group.table.schema, members.table.schema) == (GROUPS_SCHEMA, MEMBERS_SCHEMA)
    (row,) = group.rows()
    assert (row["state"], row["type"], row["member_count"], row["coordinator"]) == ("Stable", protocol, 1, 1)
    assert [(one["topic"], one["partition"]) for one in members.rows()] == [(topic_name, 0), (topic_name, 1)]
    assert {(one["client_id"], one["group_instance_id"]) for one in members.rows()} == {("worker", "one")}


def test_a_member_without_partitions_has_a_row_of_its_own(
    cluster: Cluster, admin: AdminClient, kafka: str, topic_name: str
):
    make(admin, topic_name, 1)
    with joined(kafka, topic_name, topic_name) as first:
        second = Consumer({"bootstrap.servers": kafka, "group.id": topic_name, **QUIET})
        second.subscribe([topic_name])
        while cluster.groups([topic_name]).rows()[0]["member_count"] < 2 or state(cluster, topic_name) != "Stable":
            first.poll(0.1)
            second.poll(0.1)
        places = [row["partition"] for row in cluster.members([topic_name]).rows()]
        second.close()
    assert sorted(places, key=str) == [0, None]


def state(cluster: Cluster, group: str) -> str:
    return cluster.groups([group]).rows()[0]["state"]


def test_five_hundred_groups_of_twelve_partitions(cluster: Cluster, admin: AdminClient, topic_name: str):
    """Every group's commits are asked for at the same time, for all partitions at once."""
    make(admin, topic_name, 12)
    names = [f"{topic_name}-{number}" for number in range(500)]
    places = [TopicPartition(topic_name, partition, 7) for partition in range(12)]
    commit(admin, names[0], *places)
    asked = {name: admin.alter_consumer_group_offsets([ConsumerGroupTopicPartitions(name, places)]) for name in names}
    assert all(future[name].result() for name, future in asked.items())
    assert cluster.committed(names, [topic_name]).table.num_rows == 6000
    reading = cluster.groups_reading([topic_name]).rows()
    assert {row["group"] for row in reading} == set(names)
    assert {row["partitions"] for row in reading} == {12}
    assert cluster.groups(names).table.num_rows == 500


def test_offsets_at_a_time(cluster: Cluster, admin: AdminClient, kafka: str, topic_name: str):
    make(admin, topic_name, 2)
    start_ms = int(time.time() * 1000) - 60_000
    produce(kafka, topic_name, 10, at_ms=start_ms)
    found = [(row["partition"], row["offset"]) for row in cluster.offsets_at([topic_name], start_ms + 4).rows()]
    assert found == [(0, 4), (1, None)]


def test_an_open_transaction_is_seen_and_does_not_hang(
    cluster: Cluster, admin: AdminClient, kafka: str, topic_name: str
):
    make(admin, topic_name)
    producer = Producer({"bootstrap.servers": kafka, "transactional.id": topic_name, **QUIET})
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce(topic_name, b"x")
    producer.flush()
    (row,) = cluster.open_transactions([topic_name]).rows()
    assert (row["transactional_id"], row["coordinator_state"], row["hanging"]) == (topic_name, "Ongoing", False)
    assert (row["partition"], row["start_offset"]) == (0, 0)
    offsets = cluster.offsets([topic_name], sizes=False).rows()[0]
    assert (offsets["last_stable_offset"], offsets["high_watermark"]) == (0, 1)
    producer.commit_transaction()
    while cluster.offsets([topic_name], sizes=False).rows()[0]["last_stable_offset"] < 2:
        time.sleep(0.05)
    assert cluster.open_transactions([topic_name]).rows() == []


def test_a_write_after_the_end_of_its_transaction_hangs(topic_name: str):
    """What the coordinator has finished and a partition holds open: the case its own lists do not show."""
    with start(settings={"transaction.partition.verification.enable": "false"}) as broker:
        make(AdminClient({"bootstrap.servers": broker.bootstrap, **QUIET}), topic_name)
        producer = Producer({"bootstrap.servers": broker.bootstrap, "transactional.id": "late", **QUIET})
        producer.init_transactions()
        producer.begin_transaction()
        producer.produce(topic_name, b"x", partition=0)
        producer.commit_transaction()
        cluster = connect(profile_from_options(broker.bootstrap)).cluster
        # The commit has been answered before its marker is in the log; a write before the marker would end with it.
        while cluster.offsets([topic_name], sizes=False).rows()[0]["last_stable_offset"] < 2:
            time.sleep(0.05)
        write_late(broker.bootstrap, topic_name, "late")
        found = cluster.open_transactions([topic_name])
        assert found.failures == {}
        (row,) = found.rows()
        (once,) = cluster.open_transactions([topic_name], times=1).rows()
    assert (row["hanging"], row["start_offset"], row["coordinator_state"]) == (True, 2, "CompleteCommit")
    assert "without this partition" in row["reason"]
    assert once["hanging"] is None
    assert "asked once" in once["reason"]


@contextmanager
def silent() -> Iterator[str]:
    """A port that accepts connections and never says a word."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield f"127.0.0.1:{listener.getsockname()[1]}"


def test_a_listener_that_never_answers_is_one_sentence(capfd: pytest.CaptureFixture[str]):
    with silent() as address, pytest.raises(SourceUnavailable) as caught:
        connect(profile_from_options(address), timeout_seconds=3)
    assert "no answer within" in str(caught.value)
    assert address in str(caught.value)
    assert caught.value.retriable
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("address", ["127.0.0.1:1", "no-such-host.invalid:9092"])
def test_an_address_where_nothing_is_is_one_sentence(address: str, capfd: pytest.CaptureFixture[str]):
    with pytest.raises(SourceUnavailable) as caught:
        connect(profile_from_options(address))
    assert "cannot be reached" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_the_wrong_protocol_is_said(kafka: str):
    settings = {"security.protocol": "SASL_PLAINTEXT", "sasl.mechanism": "PLAIN", "sasl.username": "u"}
    with pytest.raises(AccessDenied) as caught:
        connect(profile_from_options(kafka, {**settings, "sasl.password": "hush"}))
    assert "hush" not in f"{caught.value} {caught.value.hint}"


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [("securty.protocol", "SSL", "security.protocol"), ("security.protocol", "hush", "security.protocol")],
)
def test_a_setting_that_does_not_fit_is_named_without_its_value(kafka: str, key: str, value: str, said: str):
    with pytest.raises(ConfigError) as caught:
        connect(profile_from_options(kafka, {key: value}))
    assert said in f"{caught.value} {caught.value.hint}"
    assert "hush" not in str(caught.value)


def _all_stopped(pid: int) -> bool:
    states = [
        task.joinpath("stat").read_text().rpartition(")")[2].split()[0] for task in Path(f"/proc/{pid}/task").iterdir()
    ]
    return set(states) == {"T"}


def test_a_broker_that_stops_answering_in_between_ends_in_reasons(topic_name: str):
    with start() as broker:
        make(AdminClient({"bootstrap.servers": broker.bootstrap, **QUIET}), topic_name)
        cluster = connect(profile_from_options(broker.bootstrap), timeout_seconds=3).cluster
        os.kill(broker.pids[0], signal.SIGSTOP)
        try:
            while not _all_stopped(broker.pids[0]):  # a thread that still runs may answer
                time.sleep(0.01)
            with pytest.raises(SourceUnavailable, match="did not answer"):
                cluster.info()
            assert topic_name in cluster.topics([topic_name]).failures
            assert cluster.offsets([topic_name], sizes=False).table.num_rows == 0
        finally:
            os.kill(broker.pids[0], signal.SIGCONT)


def test_a_group_is_asked_for_where_no_group_ever_was(topic_name: str):
    """The coordinator is only being made: it answers that it is none, which librdkafka's own call does not survive."""
    with start(nodes=1) as broker:
        produce(broker.bootstrap, topic_name, 1)
        cluster = connect(profile_from_options(broker.bootstrap)).cluster
        found = cluster.committed(["nobody", "somebody"], [topic_name])
        assert (found.rows(), found.failures) == ([], {})
        commit(
            AdminClient({"bootstrap.servers": broker.bootstrap, **QUIET}), "somebody", TopicPartition(topic_name, 0, 1)
        )
        assert [row["committed_offset"] for row in cluster.committed(["nobody", "somebody"]).rows()] == [1]


def test_consumers_ask_where_the_other_client_cannot(cluster: Cluster, kafka: str, admin: AdminClient, topic_name: str):
    make(admin, topic_name, 2)
    produce(kafka, topic_name, 3)
    commit(admin, f"{topic_name}-group", TopicPartition(topic_name, 0, 2))
    found = fetch_with_consumers(
        cluster.admin.reading_settings(), [f"{topic_name}-group"], [(topic_name, 0), (topic_name, 1)], 30
    )
    assert [(row.partition, row.offset) for row in found.commits[f"{topic_name}-group"]] == [(0, 2)]
    assert not found.group_errors
    assert not found.topic_errors


def test_librdkafkas_mock_answers_what_it_can_and_says_what_it_cannot(topic_name: str):
    with start_mock() as mock:
        produce(mock.bootstrap, topic_name, 4)
        cluster = connect(profile_from_options(mock.bootstrap)).cluster
        assert cluster.info()["controller_id"] is None
        assert next(row["high_watermark"] for row in cluster.offsets([topic_name]).rows()) == 4
        cluster.require_topics([topic_name])
        with pytest.raises(NotFound):
            cluster.require_topics([topic_name + "-x"])
        assert topic_name in cluster.topic_configs([topic_name]).failures
        assert topic_name in cluster.offsets_at([topic_name], 0).failures
        assert "groups" in cluster.groups().failures
        assert cluster.committed("nobody", [topic_name]).rows() == []


def test_client_settings_only_assign(cluster: Cluster, kafka: str):
    profile = profile_from_options(kafka, {"group.id": "mine", "enable.auto.commit": "true", "client.id": "me"})
    first, second = Cluster(profile).client_settings(), Cluster(profile).client_settings()
    assert first["group.id"] != second["group.id"]
    assert first["group.id"].startswith("workbench-")
    assert (first["enable.auto.commit"], first["allow.auto.create.topics"]) == ("false", "false")
    assert first["client.id"] == "me"
    Consumer({**first, **QUIET}).close()
