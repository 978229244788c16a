"""A broker that is gone: partitions without a leader, on a cluster of their own."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.sandbox import kafka
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.scene import scene
from workbench.sandbox.incidents.sending import send
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.standing import lag_truth
from workbench.sandbox.incidents.truth import Truth

CODE = "lag-broker"
EXPECTS = {CODE: "confirmed"}
PARTITIONS = 4


@contextmanager
def dark_broker(seed: int) -> Iterator[tuple[Truth, str]]:
    """Starts two brokers, and kills the one that alone holds some partitions of a topic.

    Yields:
        The truth, and where the brokers answer.
    """
    with tempfile.TemporaryDirectory(prefix="workbench-dark-") as folder, kafka.start(nodes=2) as cluster:
        stage = scene(cluster.bootstrap, CODE, "lag", seed, Path(folder))
        stage.partitions = PARTITIONS
        topics.create(stage.bootstrap, stage.source, PARTITIONS, replicas=1)
        topics.create(stage.bootstrap, stage.sink, 1)
        for partition in range(PARTITIONS):
            send(stage.bootstrap, stage.source, stage.writer.write(20), partition=partition)
        work(stage, processor(stage, {}))
        held = topics.leaders(stage.bootstrap, stage.source)
        # The group's coordinator must live on: the broker that does not hold its commits goes.
        gone = next(node for node in (1, 2) if node != topics.coordinator(stage.bootstrap, stage.group))
        cluster.kill(gone)
        topics.wait_until(lambda: _is_dark(stage.bootstrap, stage.source), "partitions are without a leader")
        dark = sum(1 for leader in held.values() if leader == gone)
        yield lag_truth(stage, EXPECTS, {CODE: dark}), cluster.bootstrap


def _is_dark(bootstrap: str, topic: str) -> bool:
    return any(leader < 0 for leader in topics.leaders(bootstrap, topic).values())
