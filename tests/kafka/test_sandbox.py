"""The sandbox on real Kafka: it starts, breaks on request, heals, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from confluent_kafka import Consumer, KafkaException, Producer, ShareConsumer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

from workbench.errors import SandboxError
from workbench.sandbox import kafka as kafka_module
from workbench.sandbox.kafka import Kafka, start
from workbench.sandbox.mock import start_mock
from workbench.sandbox.processes import end, is_alive

pytestmark = pytest.mark.kafka

PATIENCE_SECONDS = 90.0


@pytest.fixture(scope="module")
def cluster() -> Iterator[Kafka]:
    with start(nodes=3) as kafka:
        yield kafka


def eventually(check: Callable[[], bool]) -> None:
    """Waits until something holds; fails when it never does."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.1)


def admin(bootstrap: str) -> AdminClient:
    return AdminClient({"bootstrap.servers": bootstrap, "log_level": 0})


def create(bootstrap: str, topic: str, partitions: int = 1, **config: str) -> None:
    settings = {name.replace("_", "."): value for name, value in config.items()}
    client = admin(bootstrap)  # its requests end when nobody holds it
    (made,) = client.create_topics([NewTopic(topic, partitions, config=settings)]).values()
    made.result(30)


def produce(bootstrap: str, topic: str, *values: str) -> None:
    producer = Producer({"bootstrap.servers": bootstrap, "acks": "all", "log_level": 0})
    for value in values:
        producer.produce(topic, value, partition=0)
    assert producer.flush(60) == 0


def watermarks(bootstrap: str, topic: str) -> tuple[int, int]:
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "unused", "log_level": 0})
    try:
        low, high = consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=20)
    finally:
        consumer.close()
    return low, high


def leaders(bootstrap: str, topic: str) -> set[int]:
    try:
        found = admin(bootstrap).list_topics(topic, timeout=5).topics[topic]
    except KafkaException:
        return {-1}
    return {partition.leader for partition in found.partitions.values()} or {-1}


def test_every_broker_answers_and_lists_all(cluster: Kafka):
    for address in cluster.bootstrap.split(","):
        assert set(admin(address).list_topics(timeout=20).brokers) == {1, 2, 3}
    assert len(cluster.pids) == 4


def test_a_killed_broker_hands_its_partitions_over_and_comes_back(cluster: Kafka, topic_name: str):
    """The controller is none of the brokers: topics can be made while one is dead."""
    create(cluster.bootstrap, topic_name, partitions=6)
    produce(cluster.bootstrap, topic_name, "before")
    cluster.kill(2)
    assert not cluster.is_up(2)
    eventually(lambda: not {2, -1} & leaders(cluster.bootstrap, topic_name))
    produce(cluster.bootstrap, topic_name, "while it is dead")
    cluster.restart(2)
    assert cluster.is_up(2)
    assert watermarks(cluster.bootstrap, topic_name) == (0, 2)


def test_all_brokers_may_be_killed_and_keep_their_data(cluster: Kafka, topic_name: str):
    create(cluster.bootstrap, topic_name)
    produce(cluster.bootstrap, topic_name, "a", "b")
    for node in (1, 2, 3):
        cluster.kill(node)
    assert len(cluster.pids) == 1
    cluster.restart(1, 2, 3)
    eventually(lambda: -1 not in leaders(cluster.bootstrap, topic_name))
    assert watermarks(cluster.bootstrap, topic_name) == (0, 2)


def test_a_node_is_shut_down_in_order(cluster: Kafka, topic_name: str):
    create(cluster.bootstrap, topic_name, partitions=3)
    cluster.stop_node(3)
    eventually(lambda: not {3, -1} & leaders(cluster.bootstrap, topic_name))
    cluster.restart(3)
    assert "shut down completed" in cluster.nodes[3].log_file.read_text()


def test_a_node_that_is_not_there_is_named(cluster: Kafka):
    with pytest.raises(SandboxError, match="no node 7"):
        cluster.kill(7)


def test_internal_topics_are_on_every_broker(cluster: Kafka, topic_name: str, unique: str):
    create(cluster.bootstrap, topic_name)
    sender = Producer({"bootstrap.servers": cluster.bootstrap, "transactional.id": unique, "log_level": 0})
    sender.init_transactions(60)
    sender.begin_transaction()
    sender.produce(topic_name, "x")
    sender.commit_transaction(60)
    found = admin(cluster.bootstrap).list_topics(timeout=20).topics["__transaction_state"]
    assert {len(partition.replicas) for partition in found.partitions.values()} == {3}


def test_retention_acts_while_one_waits(kafka: str, topic_name: str):
    create(kafka, topic_name, retention_ms="1000", segment_ms="500")
    produce(kafka, topic_name, "old")
    eventually(lambda: watermarks(kafka, topic_name)[0] == 1)


def test_compaction_acts_while_one_waits(kafka: str, topic_name: str):
    create(
        kafka,
        topic_name,
        cleanup_policy="compact",
        segment_ms="100",
        min_cleanable_dirty_ratio="0.01",
        max_compaction_lag_ms="500",
    )
    producer = Producer({"bootstrap.servers": kafka, "log_level": 0})

    def first_is_gone() -> bool:
        producer.produce(topic_name, "value", key="key", partition=0)
        producer.flush(20)
        return first_offset(kafka, topic_name) > 0

    eventually(first_is_gone)


def first_offset(bootstrap: str, topic: str) -> int:
    settings = {"bootstrap.servers": bootstrap, "group.id": "unused", "enable.auto.commit": False, "log_level": 0}
    consumer = Consumer(settings)
    consumer.assign([TopicPartition(topic, 0, 0)])
    try:
        message = consumer.poll(20)
        return message.offset() if message is not None and not message.error() else -1
    finally:
        consumer.close()


def test_share_groups_are_on(kafka: str, topic_name: str, unique: str):
    create(kafka, topic_name)
    consumer = ShareConsumer({"bootstrap.servers": kafka, "group.id": f"share-{unique}", "log_level": 0})
    consumer.subscribe([topic_name])

    def something_came() -> bool:
        produce(kafka, topic_name, "shared")
        return any(not message.error() for message in consumer.poll(1.0) or [])

    try:
        eventually(something_came)
    finally:
        consumer.close()


def test_a_setting_that_does_not_fit_names_the_log_and_leaves_no_process(tmp_path: Path):
    with pytest.raises(SandboxError, match=r"node 1 .*num\.io\.threads") as caught:
        start(data_dir=tmp_path / "data", settings={"num.io.threads": "0"})
    log = Path(caught.value.hint.removeprefix("Its log: "))
    assert "num.io.threads" in log.read_text()
    assert not (log.parent / "data").exists()
    assert not processes_that_name(str(tmp_path))


def test_a_port_that_is_taken_meanwhile_is_exchanged_for_another(monkeypatch: pytest.MonkeyPatch, cluster: Kafka):
    """Between our look and the broker's bind, somebody else may take a port."""
    look = kafka_module.free_ports
    taken = [cluster.nodes[1].port]
    monkeypatch.setattr(
        kafka_module, "free_ports", lambda count: [*look(count - len(taken)), *(taken and [taken.pop()])]
    )
    with start() as kafka:
        assert taken == []
        assert kafka.bootstrap not in cluster.bootstrap
        assert admin(kafka.bootstrap).list_topics(timeout=20).brokers.keys() == {1}


def test_a_folder_in_use_is_refused(tmp_path: Path):
    (tmp_path / "mine.txt").write_text("keep me")
    with pytest.raises(SandboxError, match="not empty"):
        start(data_dir=tmp_path)
    assert (tmp_path / "mine.txt").read_text() == "keep me"


PROGRAM = """
import sys, time
from pathlib import Path
from workbench.sandbox.kafka import start
kafka = start()
print(kafka.pids[0], kafka.data_dir, flush=True)
if sys.argv[1] == "wait":
    time.sleep(600)
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, None])
def test_no_broker_outlives_the_program_that_started_it(how: signal.Signals | None):
    """Killed, ended, interrupted, or come to its end without a word about the sandbox."""
    argument = "wait" if how else "end"
    program = subprocess.Popen([sys.executable, "-c", PROGRAM, argument], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    pid, folder = program.stdout.readline().split()
    if how:
        program.send_signal(how)
    program.communicate()
    eventually(lambda: not psutil.pid_exists(int(pid)) or not is_alive(psutil.Process(int(pid))))
    eventually(lambda: not Path(folder).exists())


@pytest.fixture
def sandbox(tmp_path: Path) -> Iterator[Callable[..., subprocess.CompletedProcess[str]]]:
    """Runs ``workbench sandbox ...`` with a state folder of its own, and ends what is left at the end."""
    folder = tmp_path / "sandbox"

    def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "workbench.cli", "sandbox", *arguments],
            env={**os.environ, "WORKBENCH_SANDBOX_DIR": str(folder), **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    yield run
    end(processes_that_name(str(folder)), grace_seconds=0)


def processes_that_name(text: str) -> list[psutil.Process]:
    """Live processes with this text in their command line, ours excepted."""
    return [
        process
        for process in psutil.process_iter(["cmdline"])
        if process.pid != os.getpid() and any(text in word for word in process.info["cmdline"] or [])
    ]


def test_up_status_and_down_find_each_other(sandbox: Callable[..., subprocess.CompletedProcess[str]]):
    assert sandbox("status").returncode == 1
    first = sandbox("up", "--json")
    assert first.returncode == 0, first.stderr
    told = json.loads(first.stdout)
    assert told.keys() == {"bootstrap", "pids", "data", "version", "kind", "services"}
    assert told["services"] == {}
    assert admin(told["bootstrap"]).list_topics(timeout=20).brokers.keys() == {1}

    assert json.loads(sandbox("up", "--json").stdout) == told
    assert "running already" in sandbox("up").stdout
    assert json.loads(sandbox("status", "--json").stdout) == told
    assert sandbox("up", "--nodes", "3").returncode == 1

    assert json.loads(sandbox("down", "--json").stdout) == {"pids": told["pids"], "spared": []}
    assert not psutil.pid_exists(told["pids"][0])
    assert not Path(told["data"]).exists()
    assert sandbox("down").stdout == "No sandbox was running.\n"


def test_up_starts_a_node_that_was_killed_and_starts_anew_when_all_were(
    sandbox: Callable[..., subprocess.CompletedProcess[str]], unique: str
):
    told = json.loads(sandbox("up", "--nodes", "2", "--json").stdout)
    create(told["bootstrap"], unique)
    os.kill(told["pids"][0], signal.SIGKILL)
    eventually(lambda: "down" in sandbox("status").stdout)
    healed = json.loads(sandbox("up", "--json").stdout)
    assert healed["bootstrap"] == told["bootstrap"]
    assert len(healed["pids"]) == len(told["pids"])
    assert unique in admin(healed["bootstrap"]).list_topics(timeout=20).topics

    for pid in healed["pids"]:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: sandbox("status").returncode == 1)
    anew = json.loads(sandbox("up", "--json").stdout)
    assert len(anew["pids"]) == 1
    assert unique not in admin(anew["bootstrap"]).list_topics(timeout=20).topics


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_up_that_is_broken_off_leaves_nothing(tmp_path: Path, how: signal.Signals):
    program = subprocess.Popen(
        [sys.executable, "-m", "workbench.cli", "sandbox", "up", "--nodes", "2"],
        env={**os.environ, "WORKBENCH_SANDBOX_DIR": str(tmp_path)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    server = str(tmp_path / "data" / "node-1" / "server.properties")
    eventually(lambda: bool(processes_that_name(server)))
    program.send_signal(how)
    program.wait()
    eventually(lambda: not processes_that_name(str(tmp_path)))
    assert not (tmp_path / "state.json").exists()
    if how == signal.SIGINT:
        assert not (tmp_path / "data").exists()


def test_maven_out_of_reach_is_one_sentence_that_offers_the_mock(
    sandbox: Callable[..., subprocess.CompletedProcess[str]], tmp_path: Path
):
    nowhere = "http://127.0.0.1:9"
    done = sandbox("up", WORKBENCH_CACHE=str(tmp_path / "cache"), HTTPS_PROXY=nowhere, https_proxy=nowhere, NO_PROXY="")
    assert done.returncode == 1
    assert "cannot be fetched from Maven Central" in done.stderr
    assert "--mock" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_mock_is_started_found_and_ended(sandbox: Callable[..., subprocess.CompletedProcess[str]], topic_name: str):
    told = json.loads(sandbox("up", "--mock", "--nodes", "2", "--json").stdout)
    assert told["kind"] == "mock"
    produce(told["bootstrap"], topic_name, "a", "b")
    assert watermarks(told["bootstrap"], topic_name) == (0, 2)
    assert json.loads(sandbox("down", "--json").stdout)["pids"] == told["pids"]


def test_the_mock_runs_inside_a_program_too(topic_name: str):
    with start_mock(brokers=3) as mock:
        assert len(mock.bootstrap.split(",")) == 3
        produce(mock.bootstrap, topic_name, "a")
        assert watermarks(mock.bootstrap, topic_name) == (0, 1)
