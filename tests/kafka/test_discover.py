"""Discover proposes what is there: from ids that turn up elsewhere, names, headers and commits."""

from __future__ import annotations

import json
import time
import tomllib

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from tests.kafka.commits import commit
from workbench.cli import app
from workbench.config import load_config, profile_from_options
from workbench.errors import NotFound
from workbench.sources import Cluster, connect
from workbench.sources.discover import discover

pytestmark = pytest.mark.kafka

COUNT = 900


@pytest.fixture
def cluster(kafka: str) -> Cluster:
    return connect(profile_from_options(kafka)).cluster


def make(kafka: str, *names: str) -> None:
    admin = AdminClient({"bootstrap.servers": kafka})
    for future in admin.create_topics([NewTopic(name, 3, 1) for name in names]).values():
        future.result()
    while not set(names) <= admin.list_topics().topics.keys():
        time.sleep(0.05)


def flow(kafka: str, topic: str) -> None:
    """A source, its sink 2 s later under another name for the id, dead letters, and a topic that is not related."""
    make(kafka, topic, f"{topic}-out", f"{topic}.dlq", f"{topic}.retry", f"{topic}-unrelated")
    producer = Producer({"bootstrap.servers": kafka})
    start_ms = int(time.time() * 1000) - 600_000
    for number in range(COUNT):
        at_ms, one = start_ms + number * 20, f"{topic}/{number}"
        source = {"messageId": one, "createdAt": at_ms, "eventType": "created", "user": {"id": number % 40}}
        producer.produce(topic, json.dumps(source), key=str(number % 40), timestamp=at_ms)
        if number % 100 == 7:
            headers = [("__connect.errors.topic", topic.encode()), ("__connect.errors.partition", b"0")]
            producer.produce(f"{topic}.dlq", json.dumps(source), headers=headers, timestamp=at_ms + 500)
        else:
            headers = [("source-id", one.encode()), ("source-id", None), ("bytes", b"\xff\x00")]
            producer.produce(f"{topic}-out", b"<not json>", headers=headers, timestamp=at_ms + 2000)
        producer.produce(f"{topic}-unrelated", json.dumps({"orderId": f"o-{number}"}), timestamp=at_ms)
    producer.flush()


def test_a_flow_is_found(cluster: Cluster, kafka: str, topic_name: str, tmp_path):
    flow(kafka, topic_name)
    commit(AdminClient({"bootstrap.servers": kafka}), f"{topic_name}-group", TopicPartition(topic_name, 0, 5))
    found = discover(cluster, topic_name, profile="here")
    assert found.ids[0].id_from == "json:$.messageId"
    assert (found.ids[0].share, found.ids[0].distinct) == (1.0, 1.0)
    assert found.topics("sink") == [f"{topic_name}-out"]
    assert found.topics("retry_topic") == [f"{topic_name}.retry"]
    assert found.topics("dead_letters") == [f"{topic_name}.dlq"]
    assert [(use.group, use.state) for use in found.groups] == [(f"{topic_name}-group", "Empty")]
    (sink,) = (one for one in found.related if one.role == "sink")
    assert (sink.id_from, sink.median_seconds) == ("header:source-id", 2.0)

    path = tmp_path / "workbench.toml"
    path.write_text(found.toml)
    named = load_config(path).integration(topic_name)
    assert (named.profile, named.source, named.sinks) == ("here", topic_name, (f"{topic_name}-out",))
    assert (named.id_from, named.sink_id_from) == ("json:$.messageId", "header:source-id")
    assert (named.group, named.expected_latency) == (f"{topic_name}-group", "1m")


def test_an_empty_topic_is_said_to_be_empty(cluster: Cluster, kafka: str, topic_name: str):
    make(kafka, topic_name)
    found = discover(cluster, topic_name)
    assert (found.sampled, found.ids, found.groups) == (0, (), ())
    assert any("no records" in note for note in found.notes)
    assert tomllib.loads(found.toml)["integrations"][topic_name]["source"] == topic_name


def test_records_without_ids_are_said_to_have_none(cluster: Cluster, kafka: str, topic_name: str):
    make(kafka, topic_name)
    producer = Producer({"bootstrap.servers": kafka})
    for value in (b"\xff\xfe", None, b"", b"[1]", b'{"kind": "a"}', b"[" * 5000, b'{"at": 1}') * 5:
        producer.produce(topic_name, value, headers=[("null", None), ("twice", b"1"), ("twice", b"2")])
    producer.flush()
    found = discover(cluster, topic_name)
    assert (found.sampled, found.ids) == (35, ())
    assert any("different value" in note for note in found.notes)


def test_several_groups_are_left_to_a_person(cluster: Cluster, kafka: str, topic_name: str):
    make(kafka, topic_name)
    admin = AdminClient({"bootstrap.servers": kafka})
    for name in ("a", "b\n[evil]"):
        commit(admin, f"{topic_name}-{name}", TopicPartition(topic_name, 0, 0))
    found = discover(cluster, topic_name)
    assert len(found.groups) == 2
    assert "group" not in tomllib.loads(found.toml)["integrations"][topic_name]
    assert any("which one" in note for note in found.notes)


def test_a_topic_that_does_not_exist_is_not_made(cluster: Cluster, kafka: str, topic_name: str):
    with pytest.raises(NotFound):
        discover(cluster, topic_name)
    assert topic_name not in AdminClient({"bootstrap.servers": kafka}).list_topics().topics


def test_the_command_prints_toml_that_can_be_kept_as_it_is(kafka: str, topic_name: str):
    """Names are other people's: none of them leaves its comment line."""
    make(kafka, topic_name)
    for name in ("a", "b\n[evil]"):
        commit(AdminClient({"bootstrap.servers": kafka}), f"{topic_name}-{name}", TopicPartition(topic_name, 0, 0))
    done = CliRunner().invoke(app, ["discover", topic_name, "--bootstrap", kafka])
    assert done.exit_code == 0
    assert list(tomllib.loads(done.stdout)) == ["integrations"]
    as_json = json.loads(
        CliRunner().invoke(app, ["discover", topic_name, "--bootstrap", kafka, "--format", "json"]).stdout
    )
    assert as_json["topic"] == topic_name
    assert as_json["toml"] in done.stdout
