"""The numbers of ``check lag --all-groups`` are those of Kafka's own tool, wherever both define them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer

from workbench.config import profile_from_options
from workbench.problems import lag
from workbench.problems.scope import scope_from
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.messages import Message
from workbench.sandbox.incidents.sending import send
from workbench.sandbox.kafka import start
from workbench.sandbox.tools import described
from workbench.sources import connect

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    with start(nodes=1) as kafka:
        yield kafka.bootstrap


def fill(bootstrap: str, topic: str, partitions: int, count: int) -> None:
    topics.create(bootstrap, topic, partitions)
    for part in range(partitions):
        sent = [Message(id=f"{topic}{part}-{n}", key=None, value={"messageId": f"{n}"}) for n in range(count)]
        send(bootstrap, topic, sent, partition=part)


def test_all_groups_agree_with_kafka_s_own_tool(cluster: str) -> None:
    fill(cluster, "tools.a", 4, 20)
    fill(cluster, "tools.b", 2, 5)
    fill(cluster, "tools.gone", 1, 5)
    for group, made in {
        "even": dict.fromkeys(range(4), 20),
        "behind": {0: 0, 1: 3, 2: 19, 3: 20},
        "part": {1: 7},
    }.items():
        topics.commit(cluster, group, "tools.a", made)
    topics.commit(cluster, "behind", "tools.b", {0: 1})
    topics.commit(cluster, "deleted", "tools.gone", {0: 2})
    topics.delete(cluster, "tools.gone")
    member = Consumer({"bootstrap.servers": cluster, "group.id": "alive", "auto.offset.reset": "earliest",
                       "enable.auto.commit": False})  # fmt: skip
    member.subscribe(["tools.b"])
    read = [member.poll(20.0) for _ in range(3)]
    member.commit(asynchronous=False)
    told = described(cluster)
    with connect(profile_from_options(cluster, {})) as sources:
        reports = lag.diagnose_all(lag.collect_all(sources, scope_from(expected_latency="1h")))
    member.close()
    mine = {
        (report.facts["group"], part["topic"], part["partition"]): part
        for report in reports
        for part in report.facts["partitions"]
    }
    assert all(read)
    assert {key for key, one in told.items() if one.committed_offset is not None} == set(mine)
    for key, part in mine.items():
        one = told[key]
        assert (part["committed_offset"], part["log_end_offset"], part["lag"]) == (
            one.committed_offset, one.log_end_offset, one.lag,
        ), key  # fmt: skip
    assert len(mine) >= 10
