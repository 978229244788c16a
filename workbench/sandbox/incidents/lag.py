"""Lag: groups without members, and groups that only look as if they were behind."""

from __future__ import annotations

import time

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.living import LIFE_SECONDS, Member, Sender, begin, end
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import in_transaction, send, transactional
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.standing import joined, lag_truth, read_up_to, truth_now
from workbench.sandbox.incidents.traffic import flow
from workbench.sandbox.incidents.truth import Truth

NO_MEMBERS = {"lag-no-members": "confirmed"}


@incident("lag-no-members", "lag", NO_MEMBERS)
def no_members(scene: Scene) -> Truth:
    """The service is stopped and nobody starts it again, while messages go on to come."""
    flow(scene, 50, 200)
    work(scene, processor(scene, {}))
    before = topics.ends(scene.bootstrap, scene.source)
    send(scene.bootstrap, scene.source, scene.messages(100, 300))
    ends = topics.ends(scene.bootstrap, scene.source)
    # A partition that never had a record has no commit of the group's, and no lag that anyone could tell.
    behind = {part: end_ - before[part] for part, end_ in ends.items() if before[part]}
    lagging = sum(1 for count in behind.values() if count)
    return lag_truth(scene, NO_MEMBERS, {"lag-no-members": lagging}, offsets_behind=sum(behind.values()))


@incident("clean-lag-idle-topic", "lag")
def idle_topic(scene: Scene) -> Truth:
    """The service has read everything and was stopped; nothing new comes."""
    flow(scene, 50, 200)
    work(scene, processor(scene, {}))
    return lag_truth(scene, {}, {}, offsets_behind=0)


@incident("clean-lag-markers-only", "lag")
def markers_only(scene: Scene) -> Truth:
    """All that lies behind the commits is a transaction marker, which no reader ever gets."""
    scene.open()
    client = transactional(scene.bootstrap)
    in_transaction(client, scene.source, scene.messages(50, 200), commit=True)
    # The end of a transaction is answered before its markers are in the log; the last stable offset moves with them.
    topics.wait_until(lambda: _ended(scene), "markers are written")
    read = {part: end_ - 1 for part, end_ in topics.ends(scene.bootstrap, scene.source).items() if end_}
    topics.commit(scene.bootstrap, scene.group, scene.source, read)
    return lag_truth(scene, {}, {}, offsets_behind=len(read), control=len(read), readable=0)


def _ended(scene: Scene) -> bool:
    return topics.ends(scene.bootstrap, scene.source, committed=True) == topics.ends(scene.bootstrap, scene.source)


@incident("clean-lag-nightly-job", "lag")
def nightly_job(scene: Scene) -> Truth:
    """A job runs now and then, and reads all there is; it is between two runs."""
    scene.open()
    pause = scene.rng.uniform(2.5, 3.5)
    for _ in range(3):
        send(scene.bootstrap, scene.source, scene.messages(30, 80))
        time.sleep(pause)
        work(scene, processor(scene, {}))
    send(scene.bootstrap, scene.source, scene.messages(30, 80))
    return lag_truth(scene, {}, {})


@incident("clean-lag-slow-commits", "lag")
def slow_commits(scene: Scene) -> Truth:
    """The service keeps up, and commits every few seconds."""
    scene.open()
    every = scene.rng.uniform(2.5, 4.0)
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 10)))
    begin(Member(scene.bootstrap, scene.group, scene.source, commit_seconds=every))
    joined(scene)
    time.sleep(4.2 * every)
    return truth_now(scene, {}, {})


@incident("clean-lag-bursts", "lag")
def bursts(scene: Scene) -> Truth:
    """Messages come in bursts, and the service is through each of them in a moment."""
    flow(scene, 50, 100)
    begin(Member(scene.bootstrap, scene.group, scene.source))
    joined(scene)
    for _ in range(3):
        send(scene.bootstrap, scene.source, scene.messages(200, 400))
        time.sleep(1.5)
    read_up_to(scene)
    return truth_now(scene, {}, {}, offsets_behind=0)


@incident("clean-lag-deleted-group", "lag")
def deleted_group(scene: Scene) -> Truth:
    """The group was deleted, and messages still come."""
    flow(scene, 50, 200)
    work(scene, processor(scene, {}))
    topics.delete_group(scene.bootstrap, scene.group)
    send(scene.bootstrap, scene.source, scene.messages(50, 100))
    return lag_truth(scene, {}, {}, notes=("deleted-group",))


@incident("clean-lag-standby-members", "lag")
def standby_members(scene: Scene) -> Truth:
    """There are more members than partitions; those that have some keep up."""
    scene.partitions = scene.rng.randint(1, 2)
    scene.open()
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 20)))
    for _ in range(scene.partitions + 1):
        begin(Member(scene.bootstrap, scene.group, scene.source))
    joined(scene, members=scene.partitions + 1)
    time.sleep(3)
    return truth_now(scene, {}, {}, notes=("standby-members",))


@incident("clean-lag-uneven-by-one", "lag")
def uneven_by_one(scene: Scene) -> Truth:
    """Twelve partitions over five members: some have three, some two, and all keep up."""
    scene.partitions = 12
    scene.open()
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 4)))
    for _ in range(5):
        begin(Member(scene.bootstrap, scene.group, scene.source))
    joined(scene, members=5)
    time.sleep(3)
    return truth_now(scene, {}, {})


@incident("clean-lag-long-transaction", "lag")
def long_transaction(scene: Scene) -> Truth:
    """A transaction is open for longer than a message may take, and its sender lives and knows it."""
    flow(scene, 50, 100)
    work(scene, processor(scene, {}))
    program = _open_transaction(scene)
    send(scene.bootstrap, scene.source, scene.messages(30, 60), partition=0)
    begin(Member(scene.bootstrap, scene.group, scene.source, settings={"isolation.level": "read_committed"}))
    joined(scene)
    time.sleep(1.5)
    _KEPT.append(program)
    return truth_now(scene, {}, {}, notes=("open-transaction",))


_KEPT: list[object] = []  # clients that live on: closed, they would end their transactions


def _open_transaction(scene: Scene) -> object:
    from workbench.sandbox.incidents.sending import Sender as Sending

    client = transactional(scene.bootstrap)
    client.begin_transaction()
    sending = Sending(client, scene.source)
    for message in scene.writer.write(5):
        sending.send(message, 0)
    sending.flush()
    return client


def _each(scene: Scene, per_second: float) -> dict[int, float]:
    return dict.fromkeys(range(scene.partitions), per_second)


@incident("clean-lag-starting", "lag")
def starting(scene: Scene) -> Truth:
    """A new group has just begun with a topic full of old messages."""
    flow(scene, 3_000, 4_000)
    time.sleep(3)
    begin(Member(scene.bootstrap, scene.group, scene.source, per_second=300))
    joined(scene)
    return truth_now(scene, {}, {})


@incident("clean-lag-ended-members", "lag")
def restarted(scene: Scene) -> Truth:
    """The service was deployed anew a moment ago, and works off what came in between."""
    flow(scene, 50, 100)
    first = begin(Member(scene.bootstrap, scene.group, scene.source))
    joined(scene)
    end(first)
    begin(Sender(scene.bootstrap, scene.source, _each(scene, 20), life_seconds=LIFE_SECONDS))
    time.sleep(4)
    begin(Member(scene.bootstrap, scene.group, scene.source, per_second=400))
    joined(scene)
    return truth_now(scene, {}, {})
