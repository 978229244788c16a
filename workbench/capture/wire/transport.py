"""Fetch, Metadata and ListOffsets through kafka-python: the only place that touches its private parts.

``KafkaAdminClient._manager`` sends any request to any broker, on a thread of its own; there is no public way to do so.
The version is pinned, and any other is refused.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, NamedTuple

from workbench.capture.wire.errors import NotForWire
from workbench.capture.wire.receiving import use_larger_reads
from workbench.errors import SourceUnavailable

TESTED = "3.0.12"
CONNECT_SECONDS = 6.0  # the cluster has just answered the other client; this one is given up early
FETCH_SECONDS = 30.0
LARGEST_RESPONSE = 96 << 20  # the library refuses 100 MB and more
WAIT_MS = 100
UNKNOWN_TOPIC_OR_PARTITION = 3
EARLIEST, LATEST = -2, -1


class Ask(NamedTuple):
    """One partition of a fetch: from which offset, of which leader epoch, how many bytes at most."""

    partition: int
    offset: int
    epoch: int
    max_bytes: int


class Part(NamedTuple):
    """One partition of an answer.

    Attributes:
        partition: which.
        error_code: Kafka's; 0 is none.
        high_watermark: end of what is replicated.
        records: bytes of batches; empty when there are none.
        aborted: (first offset, producer id) of the aborted transactions that overlap them; None when not asked for.
    """

    partition: int
    error_code: int
    high_watermark: int
    records: bytes
    aborted: Sequence[tuple[int, int]] | None = None


@dataclass(frozen=True)
class Answer:
    """What a leader answered.

    Attributes:
        node: the leader.
        parts: partitions; none when it throttles.
        seconds: that it took.
        failure: why there is no answer.
    """

    node: int
    parts: Sequence[Part]
    seconds: float
    failure: Exception | None = None


class Leader(NamedTuple):
    """Who leads a partition; ``node`` is -1 for nobody."""

    node: int
    epoch: int


def installed() -> str:
    """The version of kafka-python; empty when there is none."""
    try:
        return version("kafka-python")
    except ModuleNotFoundError:
        return ""


class Transport:
    """Connections to the brokers of one cluster.

    Reads: Metadata, Fetch, ListOffsets.
    """

    def __init__(self, settings: Mapping[str, str]) -> None:
        """Connects.

        Raises:
            NotForWire: not this version of kafka-python, or it cannot connect with these settings.
        """
        from workbench.sources.python_client import python_admin

        self.endpoint = str(settings.get("bootstrap.servers", ""))
        if installed() != TESTED:
            raise NotForWire(f"it needs kafka-python {TESTED}, not {installed() or 'none'}", self.endpoint)
        use_larger_reads()
        self._open = ExitStack()
        try:
            admin = self._open.enter_context(python_admin(settings, CONNECT_SECONDS))
        except SourceUnavailable as error:
            raise NotForWire(str(error).rstrip("."), self.endpoint) from error
        self._manager = admin._manager  # noqa: SLF001 - see above

    def close(self) -> None:
        """Ends connections and their thread."""
        self._open.close()

    def leaders(self, topic: str) -> dict[int, Leader]:
        """Partition -> its leader, as some broker knows it now.

        Raises:
            Exception: kafka-python's, when the topic is not there, denied, or no broker answers.
        """
        from kafka.errors import for_code
        from kafka.protocol.metadata import MetadataRequest

        wanted = MetadataRequest.MetadataRequestTopic(name=topic)
        request = MetadataRequest(
            topics=[wanted],
            allow_auto_topic_creation=False,
            include_cluster_authorized_operations=False,
            include_topic_authorized_operations=False,
            min_version=4,
            max_version=9,
        )
        (found,) = self._ask(request).topics
        if found.error_code:
            raise for_code(found.error_code)
        leaders = {
            part.partition_index: Leader(part.leader_id, -1 if part.leader_epoch is None else part.leader_epoch)
            for part in found.partitions
        }
        if any(one.node >= 0 and self._manager.cluster.broker_metadata(one.node) is None for one in leaders.values()):
            self._manager.run(self._manager.cluster.refresh_metadata)
        return leaders

    def bounds(self, topic: str, partition: int, leader: Leader) -> tuple[int, int]:
        """(log start offset, high watermark).

        Raises:
            Exception: kafka-python's.
        """
        return self._offset(topic, partition, leader, EARLIEST), self._offset(topic, partition, leader, LATEST)

    def _offset(self, topic: str, partition: int, leader: Leader, which: int) -> int:
        from kafka.errors import for_code
        from kafka.protocol.consumer import ListOffsetsRequest

        place = ListOffsetsRequest.ListOffsetsTopic
        part = place.ListOffsetsPartition(partition_index=partition, current_leader_epoch=-1, timestamp=which)
        request = ListOffsetsRequest(
            replica_id=-1,
            isolation_level=0,
            topics=[place(name=topic, partitions=[part])],
            min_version=1,
            max_version=6,
        )
        (found,) = self._ask(request, leader.node).topics[0].partitions
        if found.error_code:
            raise for_code(found.error_code)
        return int(found.offset)

    def fetch(
        self,
        node: int,
        topic: str,
        asks: Sequence[Ask],
        max_bytes: int,
        done: Callable[[Answer], None],
        *,
        stable: bool,
    ) -> None:
        """Sends a fetch and returns; ``done`` is called on another thread, once, whatever happens.

        Args:
            node: the leader to ask.
            topic: theirs.
            asks: partitions.
            max_bytes: of the whole answer, about.
            done: takes the answer.
            stable: read_committed: only below the last stable offset, with the list of what was aborted.
        """
        request = _fetch_request(topic, asks, max_bytes, stable=stable)
        try:
            self._manager.call_soon(self._fetch, node, request, done)
        except Exception as error:  # noqa: BLE001 - a closed loop raises what ended it
            done(Answer(node, (), 0.0, error))

    async def _fetch(self, node: int, request: Any, done: Callable[[Answer], None]) -> None:
        began = time.monotonic()
        try:
            response = await self._manager.send(request, node_id=node, request_timeout_ms=int(FETCH_SECONDS * 1000))
            answer = Answer(node, _parts(response), time.monotonic() - began)
        except Exception as error:  # noqa: BLE001 - the library raises its own and OSError; all mean "no answer"
            answer = Answer(node, (), time.monotonic() - began, error)
        done(answer)

    def _ask(self, request: Any, node: int | None = None) -> Any:
        return self._manager.run(self._sent, request, node)

    async def _sent(self, request: Any, node: int | None) -> Any:
        # The timer bounds the connecting too.
        sent = self._manager.send(request, node_id=node)
        return await self._manager.wait_for(sent, CONNECT_SECONDS * 1000)


def _fetch_request(topic: str, asks: Sequence[Ask], max_bytes: int, *, stable: bool) -> Any:
    from kafka.protocol.consumer import FetchRequest

    place = FetchRequest.FetchTopic
    parts = [
        place.FetchPartition(
            partition=ask.partition,
            current_leader_epoch=ask.epoch,
            fetch_offset=ask.offset,
            last_fetched_epoch=-1,
            log_start_offset=-1,
            partition_max_bytes=ask.max_bytes,
        )
        for ask in asks
    ]
    return FetchRequest(
        replica_id=-1,
        max_wait_ms=WAIT_MS,
        min_bytes=1,
        max_bytes=max_bytes,
        isolation_level=int(stable),
        session_id=0,
        session_epoch=-1,
        topics=[place(topic=topic, partitions=parts)],
        forgotten_topics_data=[],
        rack_id="",
        min_version=4,
        max_version=12,  # later ones name topics by id
    )


def _parts(response: Any) -> list[Part]:
    from kafka.errors import NoError, for_code

    if getattr(response, "error_code", 0):
        raise for_code(response.error_code) if for_code(response.error_code) is not NoError else RuntimeError
    return [
        Part(one.partition_index, one.error_code, one.high_watermark, bytes(one.records or b""), _aborted(one))
        for topic in response.responses
        for one in topic.partitions
    ]


def _aborted(part: Any) -> list[tuple[int, int]] | None:
    listed = part.aborted_transactions
    return None if listed is None else [(one.first_offset, one.producer_id) for one in listed]
