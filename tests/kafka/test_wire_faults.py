"""The wire reader while brokers go and come: every readable record once, or which range could not be read and why."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from confluent_kafka.admin import AdminClient, NewTopic

from tests.kafka.capture_topics import messages, produce, ranges, rows, settings
from workbench.capture import CaptureSpec, IdFrom, Limits, ScanProgress, TopicSpec, capture
from workbench.sandbox.incidents.disk import overwrite
from workbench.sandbox.kafka import Kafka, start

pytestmark = [pytest.mark.kafka, pytest.mark.reliability]
PARTITIONS, RECORDS = 6, 30_000
# The scan takes a few seconds, so that the fault comes in its middle.
PACE = Limits(max_bytes_per_second=4_000_000)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Kafka]:
    with start(nodes=3) as found:
        yield found


def filled(cluster: Kafka, topic: str) -> CaptureSpec:
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    made = NewTopic(topic, PARTITIONS, 3, config={"min.insync.replicas": "2"})
    for future in admin.create_topics([made]).values():
        future.result(20)
    produce(cluster.bootstrap, topic, messages(RECORDS, partitions=PARTITIONS, padding=500), acks="all")
    topics = (TopicSpec(topic, "source", IdFrom.parse("json:$.messageId"), ranges(cluster.bootstrap, topic)),)
    return CaptureSpec(topics, processes=1, reader="wire", limits=PACE)


def leader(cluster: Kafka, topic: str) -> int:
    """A broker that leads a partition of the topic, and is not the controller's node."""
    found = AdminClient({"bootstrap.servers": cluster.bootstrap}).list_topics(topic, timeout=20)
    return next(part.leader for part in found.topics[topic].partitions.values() if part.leader not in (-1, 1))


def once(act: Callable[[], None]) -> Callable[[ScanProgress], None]:
    """Does it when a quarter of the scan is done."""
    acted: list[bool] = []

    def told(progress: ScanProgress) -> None:
        if not acted and progress.offsets > progress.total_offsets / 4:
            acted.append(True)
            act()

    return told


@pytest.mark.parametrize("comes_back", [False, True])
def test_a_leader_that_is_killed_in_the_middle_costs_no_record(cluster, topic_name, tmp_path, comes_back: bool):
    spec = filled(cluster, topic_name)
    victim = leader(cluster, topic_name)

    def fail() -> None:
        cluster.kill(victim)
        if comes_back:
            cluster.restart(victim)

    done = capture(settings(cluster.bootstrap), spec, tmp_path, once(fail))
    if not comes_back:
        cluster.restart(victim)
    ids = rows(done, "message_id")
    assert (len(ids), len(set(ids))) == (RECORDS, RECORDS)
    assert (done.truncated, done.reader) == (False, "wire")
    assert done.outcome["error"].to_pylist() == [None] * PARTITIONS


def test_without_any_broker_what_was_read_is_kept_and_the_rest_is_named(cluster, topic_name, tmp_path, monkeypatch):
    monkeypatch.setattr("workbench.capture.wire.reader.GIVE_UP_SECONDS", 4.0)
    spec = filled(cluster, topic_name)
    nodes = [plan.node_id for plan in cluster.nodes]

    def fail() -> None:
        for node in nodes:
            cluster.kill(node)

    done = capture(settings(cluster.bootstrap), spec, tmp_path, once(fail))
    ids = rows(done, "message_id")
    assert 0 < len(ids) == len(set(ids)) < RECORDS
    assert done.truncated
    unread = [row for row in done.outcome.to_pylist() if row["truncated"]]
    assert all("no answer for" in row["error"] for row in unread)
    assert sum(row["records"] for row in done.outcome.to_pylist()) == len(ids)
    cluster.restart(*nodes)
    whole = capture(settings(cluster.bootstrap), spec, tmp_path)
    assert sorted(rows(whole, "message_id")) == sorted({f"m-{number}" for number in range(RECORDS)})


@pytest.mark.parametrize("damaged", [(10,), (0, 20), (10, 20), (40,), (0, 10, 20, 30, 40)])
def test_damaged_batches_are_stepped_over_and_named(cluster, topic_name, tmp_path, damaged: tuple[int, ...]):
    admin = AdminClient({"bootstrap.servers": cluster.bootstrap})
    for future in admin.create_topics([NewTopic(topic_name, 1, 3)]).values():
        future.result(20)
    for _ in range(5):  # a batch each
        produce(cluster.bootstrap, topic_name, messages(10, partitions=1), acks="all")
    for offset in damaged:
        assert overwrite(cluster.data_dir, topic_name, 0, offset) == (offset, offset + 10)
    topics = (TopicSpec(topic_name, "source", IdFrom.parse("json:$.messageId"), ranges(cluster.bootstrap, topic_name)),)
    done = capture(settings(cluster.bootstrap), CaptureSpec(topics, processes=1, reader="wire"), tmp_path)
    (outcome,) = done.outcome.to_pylist()
    assert rows(done, "offset") == [n for n in range(50) if n // 10 * 10 not in damaged]
    assert outcome["next_offset"] == 50
    for offset in damaged:
        assert f"offsets {offset} to {offset + 9} are damaged: the checksum" in outcome["error"]
