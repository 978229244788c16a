"""How far a plan is: a record per transaction in a compacted topic, committed together with what it counts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import RedriveError, SourceError, SourceUnavailable
from workbench.redrive.plan import Plan
from workbench.redrive.reading import committed_batches, ranges_since
from workbench.redrive.targets import PROGRESS_TOPIC

if TYPE_CHECKING:
    from workbench.sources import Cluster

PATIENCE_SECONDS = 90.0  # longer than a transaction of another plan's run may last
CREATE_SECONDS = 20.0


@dataclass(frozen=True)
class Mark:
    """How far a plan is.

    Attributes:
        plan_hash: whose mark it is.
        done: rows that are sent: all before this one.
        total: rows of the plan.
        at: ISO time.
    """

    plan_hash: str
    done: int
    total: int
    at: str

    def to_json(self) -> bytes:
        """The record's value."""
        return json.dumps(asdict(self)).encode()


def require_topic(cluster: Cluster) -> None:
    """Makes the progress topic where there is none.

    Raises:
        RedriveError: it is not there and may not be made, or it is not compacted, so that progress could be lost.

    Reads: Metadata, DescribeConfigs. Writes: CreateTopics, where the topic is missing.
    """
    if PROGRESS_TOPIC not in cluster.admin.metadata().topics:
        _create(cluster)
    rows = cluster.topic_configs([PROGRESS_TOPIC], ("cleanup.policy",)).rows()
    policy = next((row["value"] for row in rows), None)
    if policy is not None and policy != "compact":
        raise RedriveError(
            f"Topic {PROGRESS_TOPIC} has cleanup.policy={policy}; progress could be lost. Nothing was sent.",
            hint="Set cleanup.policy=compact on it.",
        )


def _create(cluster: Cluster) -> None:
    from confluent_kafka import admin

    made: Any = admin
    topic = made.NewTopic(PROGRESS_TOPIC, 1, config={"cleanup.policy": "compact"})
    try:
        cluster.admin.one(
            cluster.admin.call("create_topics", [topic])[PROGRESS_TOPIC], "Create", f"topic {PROGRESS_TOPIC}"
        )
    except SourceError as error:
        if PROGRESS_TOPIC in cluster.admin.metadata().topics:
            return
        raise RedriveError(
            f"The progress topic {PROGRESS_TOPIC} cannot be made: {error} Nothing was sent.",
            hint=f"Have it made: kafka-topics --create --topic {PROGRESS_TOPIC} --partitions 1 --config cleanup.policy=compact",
        ) from None
    _wait(lambda: _stable(cluster) is not None, CREATE_SECONDS)


def read_mark(cluster: Cluster, plan: Plan) -> Mark | None:
    """The plan's newest committed mark; null where there is none.

    To be called when no transaction of the plan is open. Those of other plans' runs are waited for, since marks behind
    an open transaction cannot be read.

    Raises:
        SourceError: the topic cannot be read.
        RedriveError: a transaction stays open on it.

    Reads: Metadata, ListOffsets, Fetch.
    """
    if PROGRESS_TOPIC not in cluster.admin.metadata().topics:
        return None
    end = _end(cluster)
    if not _wait(lambda: (_stable(cluster) or 0) >= end, PATIENCE_SECONDS):
        raise RedriveError(f"A transaction stays open on {PROGRESS_TOPIC}.", hint="`workbench doctor` may tell whose.")
    found: Mark | None = None
    settings = cluster.client_settings()
    for batch in committed_batches(settings, ranges_since(cluster, [PROGRESS_TOPIC])[PROGRESS_TOPIC]):
        for key, value in zip(batch["key"].to_pylist(), batch["value"].to_pylist(), strict=True):
            if key == plan.id.encode():
                found = _mark(value, plan)
    return found


def _mark(value: bytes | None, plan: Plan) -> Mark:
    try:
        mark = Mark(**json.loads(value or b""))
        if mark.plan_hash == plan.hash and 0 <= mark.done <= mark.total == len(plan.rows):
            return mark
    except (ValueError, TypeError, RecursionError):
        pass
    raise RedriveError(f"The progress of plan {plan.id} in {PROGRESS_TOPIC} is damaged.", hint="Make a new plan.")


def _end(cluster: Cluster) -> int:
    rows = cluster.offsets([PROGRESS_TOPIC], sizes=False).rows()
    ends = [row["high_watermark"] for row in rows]
    if not ends or None in ends:
        raise SourceUnavailable(f"The end of {PROGRESS_TOPIC} is not known.", source="cluster", retriable=True)
    return int(max(ends))


def _stable(cluster: Cluster) -> int | None:
    rows = cluster.offsets([PROGRESS_TOPIC], sizes=False).rows()
    return next((row["last_stable_offset"] for row in rows), None)


def _wait(done: Callable[[], bool], seconds: float) -> bool:
    stop = time.monotonic() + seconds
    while not done():
        if time.monotonic() > stop:
            return False
        time.sleep(0.2)
    return True
