"""``workbench watch`` on a real broker, and lag told from what it kept."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

from tests.kafka.integration_parts import until
from workbench.config import Profile
from workbench.errors import AccessDenied
from workbench.problems import lag
from workbench.problems.lag import past
from workbench.problems.scope import scope_from
from workbench.sandbox.incidents import topics
from workbench.sandbox.kafka import start
from workbench.services.watch import Watching, watch
from workbench.sources import connect
from workbench.sources.history.store import HistoryStore

pytestmark = pytest.mark.kafka


def produce(bootstrap: str, topic: str, count: int) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "log_level": 0})
    for _ in range(count):
        producer.produce(topic, b"x", partition=0)
    assert producer.flush(60) == 0


def commit(bootstrap: str, topic: str, group: str, offset: int) -> None:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "log_level": 0})
    consumer.commit(offsets=[TopicPartition(topic, 0, offset)], asynchronous=False)
    consumer.close()


def watching(bootstrap: str, folder: Path, *more: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "workbench", "watch", "--bootstrap", bootstrap, "--out", str(folder), *more]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def seen(folder: Path, group: str) -> set[tuple[int | None, int | None]]:
    return {(one.committed_offset, one.log_end_offset) for one in HistoryStore(folder).samples(group, 0)}


def test_what_was_watched_is_the_past_where_commits_cannot_be_read(
    kafka: str, topic_name: str, unique: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "history"
    topics.create(kafka, topic_name, 1)
    produce(kafka, topic_name, 20)
    commit(kafka, topic_name, unique, 5)
    watcher = watching(kafka, folder, "--interval", "1s")
    try:
        until(lambda: (5, 20) in seen(folder, unique), "a look at 5 of 20")
        produce(kafka, topic_name, 10)
        commit(kafka, topic_name, unique, 8)
        until(lambda: (8, 30) in seen(folder, unique), "a look at 8 of 30")
        watcher.send_signal(signal.SIGKILL)
        watcher.communicate(timeout=30)
        assert (8, 30) in seen(folder, unique)
        watcher = watching(kafka, folder, "--interval", "1s", "--group", unique)
        produce(kafka, topic_name, 10)
        until(lambda: (8, 40) in seen(folder, unique), "a look at 8 of 40")
        watcher.send_signal(signal.SIGINT)
        _, said = watcher.communicate(timeout=30)
        assert watcher.returncode == 0
        assert "watching 1 groups" in said
        assert f"kept in {folder}, 0 failed" in said
    finally:
        watcher.kill()

    def denied(*_: object) -> None:
        raise AccessDenied("Read denied on topic __consumer_offsets.", source="cluster")

    monkeypatch.setattr(past, "commit_history", denied)
    time.sleep(1.1)
    with connect(Profile("p", {"bootstrap.servers": kafka}, history=str(folder))) as sources:
        evidence = lag.collect(sources, scope_from(group=unique, expected_latency="1s"), work_dir=tmp_path / "work")
    report = lag.diagnose(evidence)
    samples = {(row["committed_offset"], row["log_end_offset"]) for row in evidence.tables["samples"].to_pylist()}
    assert {(5, 20), (8, 30), (8, 40)} <= samples
    assert report.facts["history_from"] == "watch"
    assert report.facts["partitions"][0]["passed_seconds"] is not None


def test_a_broker_that_is_away_is_a_gap(tmp_path: Path) -> None:
    state = Watching()

    def told(now: Watching) -> None:
        if now.looks == 1 and not now.gaps:
            cluster.kill(1)
        elif now.gaps and not cluster.is_up(1):
            cluster.restart(1)
        if now.gaps and now.looks > 1:
            now.stopping.set()

    with (
        start(nodes=1) as cluster,
        connect(Profile("p", {"bootstrap.servers": cluster.bootstrap}), timeout_seconds=3) as sources,
    ):
        watch(sources.cluster, tmp_path, told, interval_seconds=0.5, looks=60, watching=state)
    assert state.gaps >= 1
    assert state.looks >= 2
    assert state.gap == ""


def test_one_look_and_no_cluster(kafka: str, tmp_path: Path) -> None:
    done = watching(kafka, tmp_path, "--once", "--live")
    shown, said = done.communicate(timeout=60)
    assert done.returncode == 0, said
    assert "1 looks" in shown
    nowhere = watching("127.0.0.1:1", tmp_path, "--once")
    _, said = nowhere.communicate(timeout=60)
    assert nowhere.returncode == 1
    assert "Traceback" not in said


def test_a_history_that_is_not_there_is_an_error(kafka: str, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "workbench", "check", "lag", "--bootstrap", kafka, "--group", "g"]
    done = subprocess.run([*command, "--history", str(tmp_path / "nope")], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (2, "")
    assert "There is no folder" in done.stderr
