"""Lag with a cause: groups whose members live and do not keep up, each for a reason of its own."""

from __future__ import annotations

import time
from dataclasses import replace

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.late_write import write_late
from workbench.sandbox.incidents.living import Member, Sender, begin
from workbench.sandbox.incidents.messages import Message
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import producer, send
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.standing import (
    SETTLE_SECONDS,
    behind,
    joined,
    lag_truth,
    late_on,
    read_up_to,
    truth_now,
)
from workbench.sandbox.incidents.truth import Truth

DEFICIT = {"lag-throughput-deficit": "confirmed"}
BURST = {"lag-burst": "confirmed"}
SLOW = {"lag-slow-processing": "confirmed"}
HOT = {"lag-hot-partition": "confirmed"}
POISON = {"lag-poison-pill": "confirmed"}
IDLE = {"lag-idle-members": "confirmed"}
STORM = {"lag-rebalance-storm": "confirmed"}
PAUSED = {"lag-paused": "suspected"}
SAID_PAUSED = {"lag-paused": "confirmed"}
STUCK = {"lag-commit-stuck": "confirmed"}
LIMIT = {"lag-fetch-limit": "confirmed"}
BULK = {"lag-bulk-load": "confirmed"}
HANGING = {"lag-hanging-transaction": "confirmed"}
RISK = {"lag-retention-risk": "confirmed", "lag-no-members": "confirmed"}


def _several(scene: Scene, low: int = 3, high: int = 6) -> None:
    scene.partitions = scene.rng.randint(low, high)
    scene.open()


def _each(scene: Scene, per_second: float) -> dict[int, float]:
    return dict.fromkeys(range(scene.partitions), per_second)


@incident("lag-throughput-deficit", "lag", DEFICIT)
def throughput_deficit(scene: Scene) -> Truth:
    """More is sent than one member of the group can take."""
    _several(scene, 2, 4)
    rate = scene.rng.uniform(40, 60)
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 50)))
    begin(Member(scene.bootstrap, scene.group, scene.source, per_second=rate * scene.partitions * 0.4))
    joined(scene)
    time.sleep(15)
    late_on(scene, scene.partitions)
    return truth_now(scene, DEFICIT, {"lag-throughput-deficit": scene.partitions})


@incident("lag-burst", "lag", BURST)
def burst(scene: Scene) -> Truth:
    """Far more than usual came at once, and the group works it off at its own pace."""
    _several(scene, 2, 4)
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 5)))
    begin(Member(scene.bootstrap, scene.group, scene.source, per_second=60))
    joined(scene)
    time.sleep(2)
    for partition in range(scene.partitions):
        send(scene.bootstrap, scene.source, scene.writer.write(800), partition=partition)
    time.sleep(4)
    late_on(scene, scene.partitions)
    return truth_now(scene, BURST, {"lag-burst": scene.partitions})


@incident("lag-slow-processing", "lag", SLOW)
def slow_processing(scene: Scene) -> Truth:
    """Each record takes much longer than before; as many come as always, and the service's log says how long they take."""
    _several(scene, 2, 3)
    scene.folder.mkdir(parents=True, exist_ok=True)
    scene.options["service_log"] = str(scene.folder / "service.jsonl")
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 8)))
    begin(
        Member(scene.bootstrap, scene.group, scene.source, per_second=200, slow_after=5.0,
               slow_per_second=3 * scene.partitions, log=scene.options["service_log"])
    )  # fmt: skip
    joined(scene)
    time.sleep(8)
    late_on(scene, scene.partitions)
    return truth_now(scene, SLOW, {"lag-slow-processing": scene.partitions})


@incident("lag-hot-partition", "lag", HOT)
def hot_partition(scene: Scene) -> Truth:
    """Nearly all traffic has one key, and its partition's reader cannot keep up."""
    _several(scene, 4, 6)
    hot = scene.rng.randrange(scene.partitions)
    begin(Sender(scene.bootstrap, scene.source, {**_each(scene, 4), hot: 120}))
    for _ in range(scene.partitions):
        begin(Member(scene.bootstrap, scene.group, scene.source, per_second=40))
    joined(scene, members=scene.partitions)
    time.sleep(4)
    late_on(scene, 1)
    return truth_now(scene, HOT, {"lag-hot-partition": 1})


def _poison(scene: Scene, *, log: bool, broken: bool) -> Truth:
    _several(scene, 3, 5)
    send(scene.bootstrap, scene.source, scene.messages(100, 200))
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 10)))
    stuck = scene.rng.randrange(scene.partitions)
    at = topics.ends(scene.bootstrap, scene.source)[stuck] + 10
    if log:
        scene.folder.mkdir(parents=True, exist_ok=True)
        scene.options["service_log"] = str(scene.folder / "service.jsonl")
    if broken:
        at = _broken(scene, stuck)
    begin(
        Member(
            scene.bootstrap, scene.group, scene.source, stop_at={stuck: at}, log=scene.options.get("service_log", "")
        )
    )
    joined(scene)
    time.sleep(4)
    late_on(scene, 1)
    return truth_now(scene, POISON, {"lag-poison-pill": 1})


def _broken(scene: Scene, partition: int) -> int:
    """Sends a value that is no JSON; its offset."""
    told: list[int] = []
    client = producer(scene.bootstrap)
    client.produce(
        scene.source,
        b'{"messageId": "broken',
        b"k",
        partition=partition,
        on_delivery=lambda _, sent: told.append(int(sent.offset() or 0)),
    )
    client.flush(10)
    return told[0]


@incident("lag-poison-pill", "lag", POISON)
def poison_pill(scene: Scene) -> Truth:
    """One record cannot be processed, and is tried for ever; the service's log names it each time."""
    return _poison(scene, log=True, broken=False)


@incident("lag-poison-pill-undecoded", "lag", POISON)
def poison_pill_undecoded(scene: Scene) -> Truth:
    """One record is no JSON, and the service cannot get past it; there is no log."""
    return _poison(scene, log=False, broken=True)


@incident("lag-poison-pill-first", "lag", POISON)
def poison_pill_first(scene: Scene) -> Truth:
    """The first record of a partition is no JSON: the service never commits anything there."""
    _several(scene, 3, 5)
    stuck = scene.rng.randrange(scene.partitions)
    begin(Member(scene.bootstrap, scene.group, scene.source, stop_at={stuck: 0}))
    topics.wait_until(lambda: bool(topics.members(scene.bootstrap, scene.group)), "the reader joins")
    _broken(scene, stuck)
    send(scene.bootstrap, scene.source, scene.messages(100, 200))
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 10)))
    time.sleep(9)
    return truth_now(scene, POISON, {"lag-poison-pill": 1})


@incident("lag-idle-members", "lag", IDLE)
def idle_members(scene: Scene) -> Truth:
    """One member has nearly all partitions and cannot keep up, while another has next to nothing to do."""
    _several(scene, 5, 7)
    other = f"{scene.source}.aside"
    topics.create(scene.bootstrap, other, 1)
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 30)))
    begin(Sender(scene.bootstrap, other, {0: 5}))
    topics.commit(scene.bootstrap, scene.group, scene.source, dict.fromkeys(range(scene.partitions), 0))
    # In small bites: who takes all of a partition at once is up to date there, and late on the others.
    bites = {"max.partition.fetch.bytes": 2_000, "queued.min.messages": 1}
    begin(Member(scene.bootstrap, scene.group, scene.source, per_second=15 * scene.partitions, settings=bites))
    begin(Member(scene.bootstrap, scene.group, other))
    joined(scene, members=2)
    time.sleep(4)
    late_on(scene, scene.partitions)
    return truth_now(scene, IDLE, {"lag-idle-members": scene.partitions})


@incident("lag-rebalance-storm", "lag", STORM)
def rebalance_storm(scene: Scene) -> Truth:
    """A member leaves and comes back every second or two, and all others stop each time."""
    _several(scene, 2, 3)
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 80)))
    topics.commit(scene.bootstrap, scene.group, scene.source, dict.fromkeys(range(scene.partitions), 0))
    begin(Member(scene.bootstrap, scene.group, scene.source, per_second=30))
    begin(Member(scene.bootstrap, scene.group, scene.source, per_second=30, rejoin_seconds=1.5))
    joined(scene)
    time.sleep(7)
    late_on(scene, scene.partitions)
    return truth_now(scene, STORM, {"lag-rebalance-storm": scene.partitions})


def _paused(scene: Scene, *, log: bool) -> Truth:
    _several(scene, 3, 5)
    send(scene.bootstrap, scene.source, scene.messages(100, 200))
    stuck = scene.rng.randrange(scene.partitions)
    start = dict(topics.ends(scene.bootstrap, scene.source))
    topics.commit(scene.bootstrap, scene.group, scene.source, start)
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 10)))
    if log:
        scene.folder.mkdir(parents=True, exist_ok=True)
        scene.options["service_log"] = str(scene.folder / "service.jsonl")
    begin(Member(scene.bootstrap, scene.group, scene.source, pause=(stuck,), log=scene.options.get("service_log", "")))
    joined(scene)
    time.sleep(4)
    late_on(scene, 1)
    expects = SAID_PAUSED if log else PAUSED
    return truth_now(scene, expects, {"lag-paused": 1})


@incident("lag-paused", "lag", PAUSED)
def paused(scene: Scene) -> Truth:
    """A partition was paused and is not resumed; nothing but its standing tells."""
    return _paused(scene, log=False)


@incident("lag-paused-said", "lag", SAID_PAUSED)
def paused_said(scene: Scene) -> Truth:
    """A partition was paused and is not resumed, and the service's log says so."""
    return _paused(scene, log=True)


@incident("lag-commit-stuck", "lag", STUCK)
def commit_stuck(scene: Scene) -> Truth:
    """The service goes on to write its results, but commits nothing any more."""
    _several(scene, 2, 4)
    scene.options["sink"] = [scene.sink]
    scene.options["id_from"] = "json:$.messageId"
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 10)))
    begin(Member(scene.bootstrap, scene.group, scene.source, sink=scene.sink, commit_until=3.0))
    joined(scene)
    time.sleep(5)
    late_on(scene, scene.partitions)
    return truth_now(scene, STUCK, {"lag-commit-stuck": scene.partitions})


@incident("lag-fetch-limit", "lag", LIMIT)
def fetch_limit(scene: Scene) -> Truth:
    """A record is larger than the most that the consumer takes in one answer."""
    _several(scene, 2, 3)
    stuck, limit = scene.rng.randrange(scene.partitions), 60_000
    first = scene.writer.write(20)
    for partition in range(scene.partitions):
        send(scene.bootstrap, scene.source, first, partition=partition)
    settings = {"fetch.max.bytes": 50_000, "max.partition.fetch.bytes": 50_000, "receive.message.max.bytes": limit,
                "message.max.bytes": 50_000}  # fmt: skip
    begin(Member(scene.bootstrap, scene.group, scene.source, settings=settings))
    joined(scene)
    read_up_to(scene)
    large = scene.writer.write(1, padding=200_000)
    send(scene.bootstrap, scene.source, large, partition=stuck)
    send(scene.bootstrap, scene.source, scene.writer.write(10), partition=stuck)
    scene.options["consumer_config"] = [f"receive.message.max.bytes={limit}"]
    late_on(scene, 1)
    return truth_now(scene, LIMIT, {"lag-fetch-limit": 1})


@incident("lag-bulk-load", "lag", BULK)
def bulk_load(scene: Scene) -> Truth:
    """Records of last month are loaded in bulk, and the group takes its time with them."""
    _several(scene, 1, 3)
    send(scene.bootstrap, scene.source, scene.messages(60, 90))
    begin(Member(scene.bootstrap, scene.group, scene.source, per_second=25))
    joined(scene)
    read_up_to(scene)
    old_ms = round(time.time() * 1000) - 30 * 86_400_000
    for partition in range(scene.partitions):
        send(scene.bootstrap, scene.source, scene.writer.write(5), partition=partition)
        load = [_old(message, old_ms + at) for at, message in enumerate(scene.writer.write(600))]
        send(scene.bootstrap, scene.source, load, partition=partition)
    time.sleep(4)
    return truth_now(scene, BULK, {"lag-bulk-load": len(behind(scene))})


def _old(message: Message, at_ms: int) -> Message:
    return replace(message, timestamp_ms=at_ms)


@incident("lag-hanging-transaction", "lag", HANGING)
def hanging_transaction(scene: Scene) -> Truth:
    """A delayed write came after its transaction had ended: it is open for ever, and committed readers stand before it."""
    _several(scene, 1, 3)
    name = f"{scene.group}-tx"
    client = producer(scene.bootstrap, transactional_id=name)
    client.init_transactions(30)
    client.begin_transaction()
    for message in scene.writer.write(10):
        client.produce(scene.source, message.body(), message.id.encode(), partition=0)
    client.commit_transaction(30)
    topics.wait_until(lambda: _ended(scene), "markers are written")
    begin(Member(scene.bootstrap, scene.group, scene.source, settings={"isolation.level": "read_committed"}))
    joined(scene)
    topics.wait_until(lambda: topics.commits(scene.bootstrap, scene.group).get(0, 0) >= 10, "the group has read it")
    with topics.with_setting(scene.bootstrap, "transaction.partition.verification.enable", "false"):
        write_late(scene.bootstrap, scene.source, name)
    send(scene.bootstrap, scene.source, scene.writer.write(20), partition=0)
    time.sleep(SETTLE_SECONDS)
    return truth_now(scene, HANGING, {"lag-hanging-transaction": 1})


def _ended(scene: Scene) -> bool:
    return topics.ends(scene.bootstrap, scene.source, committed=True) == topics.ends(scene.bootstrap, scene.source)


@incident("lag-retention-risk", "lag", RISK)
def retention_risk(scene: Scene) -> Truth:
    """Nobody reads any more, and the topic keeps its records for half an hour only."""
    scene.partitions = scene.rng.randint(1, 3)
    topics.create(scene.bootstrap, scene.source, scene.partitions, {"retention.ms": "1800000"})
    topics.create(scene.bootstrap, scene.sink, 1)
    for partition in range(scene.partitions):
        send(scene.bootstrap, scene.source, scene.writer.write(30), partition=partition)
    work(scene, processor(scene, {}))
    for partition in range(scene.partitions):
        send(scene.bootstrap, scene.source, scene.writer.write(100), partition=partition)
    return lag_truth(scene, RISK, {"lag-no-members": scene.partitions}, offsets_behind=100 * scene.partitions)
