"""Readers yield raw Arrow batches of one topic; what becomes of them is none of their business.

``ClientReader`` reads through librdkafka. It stops exactly at the end offsets that it was given and never waits for a
record that cannot come: a partition ends at a record at or past its end, at the broker's "end of partition", or when
the partition stays silent and the broker says why.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, cast

from workbench.capture.parts import NO_ANSWER
from workbench.capture.records import raw_batch
from workbench.capture.spec import PartitionRange
from workbench.errors import SourceUnavailable

LARGEST_BATCH = 2_000  # messages; larger ones cost more than they save
BATCH_BYTES = 8 << 20
POLL_SECONDS = 0.2
SILENCE_SECONDS = 8.0  # without any record or event before the broker is asked how far a partition reaches
GIVE_UP_SECONDS = 60.0  # without any progress

# librdkafka's own words never reach the user's terminal.
_LOG = logging.getLogger("workbench.librdkafka")
_LOG.addHandler(logging.NullHandler())
_LOG.propagate = False


@dataclass(frozen=True)
class Chunk:
    """What a reader yields.

    Attributes:
        batch: records of schema ``RAW``, or None when only positions moved.
        positions: partition -> next offset: everything before it has been yielded by now, or is not in the log.
        errors: partition -> why it ended early, or what is missing from it.
        heads: record batches (schema ``BATCHES``) that the batch was read from and those that hold no record of it; None
            where the reader does not see them, or none is new.
        reader: who read it.
    """

    batch: Any | None
    positions: Mapping[int, int]
    errors: Mapping[int, str] = field(default_factory=dict)
    heads: Any | None = None
    reader: Literal["wire", "client"] = "client"


class Reader(Protocol):
    """Reads offset ranges of one topic at a time."""

    name: str

    def read(
        self, topic: str, ranges: Sequence[PartitionRange], want: set[str], stopped: Callable[[], bool]
    ) -> Iterator[Chunk]:
        """Yields chunks until every range is read, has failed, or ``stopped`` says so.

        Args:
            topic: the topic.
            ranges: at most one a partition.
            want: optional raw columns to fill.
            stopped: asked between batches.
        """
        ...

    def close(self) -> None:
        """Frees connections."""
        ...


def consumer_settings(
    client_settings: Mapping[str, Any], isolation: str, max_bytes_per_second: int | None = None
) -> dict[str, Any]:
    """Settings of librdkafka for reading: assign only, checked, and tuned for long scans.

    Args:
        client_settings: how to reach the cluster.
        isolation: ``read_uncommitted`` or ``read_committed``; librdkafka's own default is the latter, Java's the former.
        max_bytes_per_second: keeps what is fetched ahead in proportion.
    """
    queue_kbytes = 65_536 if max_bytes_per_second is None else max(1_024, min(65_536, max_bytes_per_second >> 9))
    return {
        "group.id": "workbench-capture",
        **client_settings,
        "isolation.level": isolation,
        "enable.auto.commit": "false",
        "enable.auto.offset.store": "false",
        "allow.auto.create.topics": "false",
        "auto.offset.reset": "error",
        "enable.partition.eof": "true",
        "check.crcs": "true",
        "topic.metadata.propagation.max.ms": "3000",
        "queued.max.messages.kbytes": str(queue_kbytes),
        "queued.min.messages": "100000",
        # The default (1 s) leaves the reader waiting whenever its queue was full once.
        "fetch.queue.backoff.ms": "20",
        "fetch.wait.max.ms": "100",
        "fetch.message.max.bytes": str(min(queue_kbytes << 8, 2 << 20)),
        "log_level": "0",
        "logger": _LOG,
        "error_cb": _ignore,
    }


def _reason(error: Any, operation: str, resource: str) -> str:
    # Loaded when there is an error: it brings the whole room of sources with it.
    from workbench.sources.mapping import reason

    return reason(error, operation, resource)


def _ignore(_error: Any) -> None:
    """Errors that matter arrive as events of a partition, or as silence that is looked into."""


class ClientReader:
    """Reads with confluent-kafka.

    Reads: Fetch, ListOffsets (only for partitions that stay silent).
    """

    name = "client"

    def __init__(self, settings: Mapping[str, Any]) -> None:
        from confluent_kafka import Consumer

        self._consumer = Consumer(dict(settings))
        self._endpoint = str(settings.get("bootstrap.servers", ""))

    def close(self) -> None:
        """Frees connections and threads."""
        self._consumer.close()

    def read(
        self, topic: str, ranges: Sequence[PartitionRange], want: set[str], stopped: Callable[[], bool]
    ) -> Iterator[Chunk]:
        """Yields chunks until every range is read, has failed, or ``stopped`` says so."""
        from confluent_kafka import KafkaException

        scan = _Scan(self._consumer, topic, ranges, want)
        try:
            scan.assign()
            while scan.active and not stopped():
                yield from scan.step()
        except KafkaException as error:
            raise SourceUnavailable(
                _reason(error, "Read", f"topic {topic}"), source="cluster", endpoint=self._endpoint, retriable=True
            ) from error
        finally:
            self._consumer.unassign()


class _Scan:
    """One topic's ranges while they are read."""

    def __init__(self, consumer: Any, topic: str, ranges: Sequence[PartitionRange], want: set[str]) -> None:
        self.topic = topic
        self.want = want
        self.positions = {part.partition: part.start_offset for part in ranges}
        self.ends = {part.partition: part.end_offset for part in ranges}
        self.active = {part.partition for part in ranges if part.offsets}
        self.errors: dict[int, str] = {}
        self._consumer = consumer
        self._batch_size = 16  # until the size of a record is known
        self._last_progress = self._last_probe = time.monotonic()
        self._complaint = ""

    def assign(self) -> None:
        self._consumer.assign([self._at(partition, self.positions[partition]) for partition in sorted(self.active)])

    def step(self) -> Iterator[Chunk]:
        """One poll: at most one chunk."""
        polled = self._consumer.consume(self._batch_size, POLL_SECONDS)
        messages = [message for message in polled if message.error() is None]
        before, errors_before = dict(self.positions), len(self.errors)
        batch = self._take(messages) if messages else None
        if len(messages) < len(polled):
            for message in polled:
                if message.error() is not None:
                    self._event(message)
        moved = {partition: at for partition, at in self.positions.items() if at != before[partition]}
        now = time.monotonic()
        if moved:
            self._last_progress = now
        elif now - max(self._last_progress, self._last_probe) > SILENCE_SECONDS:
            self._look_into_silence()
            moved = {partition: at for partition, at in self.positions.items() if at != before[partition]}
        if batch is not None or moved or len(self.errors) != errors_before:
            yield Chunk(batch, moved, dict(self.errors))

    def _take(self, messages: list[Any]) -> Any | None:
        """The batch of messages inside their ranges; ranges that end with it are finished."""
        from confluent_kafka import Message

        partitions: list[int] = [*map(cast("Any", Message.partition), messages)]
        offsets: list[int] = [*map(cast("Any", Message.offset), messages)]
        last = dict(zip(partitions, offsets, strict=True))
        if any(offset >= self.ends.get(partition, -1) for partition, offset in last.items()):
            kept = [i for i, p in enumerate(partitions) if offsets[i] < self.ends.get(p, -1) and p in self.active]
            messages = [messages[i] for i in kept]
            partitions, offsets = [partitions[i] for i in kept], [offsets[i] for i in kept]
        for partition, offset in last.items():
            if partition in self.active:
                self._move(partition, offset + 1)
        if not messages:
            return None
        batch = raw_batch(messages, self.topic, partitions, offsets, self.want)
        self._batch_size = max(1, min(LARGEST_BATCH, BATCH_BYTES * len(messages) // max(1, batch.nbytes)))
        return batch

    def _move(self, partition: int, position: int) -> None:
        self.positions[partition] = min(position, self.ends[partition])
        if position >= self.ends[partition]:
            self._finish(partition)

    def _finish(self, partition: int, error: str | None = None) -> None:
        if partition not in self.active:
            return
        self.active.discard(partition)
        if error:
            self.errors[partition] = "; ".join(filter(None, (self.errors.get(partition), error)))
        self._consumer.incremental_unassign([self._at(partition)])

    def _event(self, message: Any) -> None:
        from confluent_kafka import KafkaError

        from workbench.sources.mapping import fault_of

        error, partition = message.error(), message.partition()
        code = error.code()
        if code == KafkaError._PARTITION_EOF:  # noqa: SLF001 - librdkafka's public name of a local event
            if partition in self.active and message.offset() >= self.ends[partition]:
                self._move(partition, self.ends[partition])
        elif code == KafkaError._BAD_MSG:  # noqa: SLF001
            # Behind damaged bytes the client library loses its way; nothing that comes after them is trusted.
            self._finish(
                partition, f"unreadable from offset {self.positions.get(partition)} on: {fault_of(error).text}"
            )
        elif code in (KafkaError._AUTO_OFFSET_RESET, KafkaError.OFFSET_OUT_OF_RANGE):  # noqa: SLF001
            self._out_of_range(partition)
        elif fault_of(error).kind in ("missing", "denied", "login"):
            for one in [partition] if partition in self.active else list(self.active):
                self._finish(one, _reason(error, "Read", f"topic {self.topic}"))
        elif partition in self.active:
            self._complaint = fault_of(error).text

    def _out_of_range(self, partition: int) -> None:
        """Retention or a deletion overtook the reader: it goes on where the log now begins."""
        if partition not in self.active:
            return
        bounds = self._bounds(partition)
        if isinstance(bounds, str):
            self._finish(partition, bounds)
            return
        low, high = bounds
        at = self.positions[partition]
        if low > at:
            self._note(partition, f"offsets {at} to {low - 1} were deleted before they could be read")
            self._move(partition, low)
            self._restart(partition)
        elif high < self.ends[partition]:
            self._finish(partition, f"the log now ends at {high}: offsets from there on are gone")
        else:
            self._restart(partition)

    def _restart(self, partition: int) -> None:
        """Fetches anew from where the partition is; after "out of range" nothing else makes the client go on."""
        if partition in self.active:
            self._consumer.incremental_unassign([self._at(partition)])
            self._consumer.incremental_assign([self._at(partition, self.positions[partition])])

    def _note(self, partition: int, text: str) -> None:
        self.errors[partition] = "; ".join(filter(None, (self.errors.get(partition), text)))

    def _look_into_silence(self) -> None:
        """Asks how far each silent partition reaches; gives up when nothing moved for long."""
        for partition in sorted(self.active):
            bounds = self._bounds(partition)
            if isinstance(bounds, tuple) and bounds[0] > self.positions[partition]:
                self._out_of_range(partition)
            elif isinstance(bounds, tuple) and bounds[1] < self.ends[partition]:
                self._finish(partition, f"the log now ends at {bounds[1]}: offsets from there on are gone")
            elif isinstance(bounds, str) and "not exist" in bounds:
                self._finish(partition, bounds)
        self._last_probe = time.monotonic()
        if self._last_probe - self._last_progress > GIVE_UP_SECONDS:
            why = f" ({self._complaint})" if self._complaint else ""
            for partition in list(self.active):
                self._finish(partition, f"{NO_ANSWER} for {GIVE_UP_SECONDS:.0f} s{why}")

    def _bounds(self, partition: int) -> tuple[int, int] | str:
        from confluent_kafka import KafkaException

        try:
            low, high = self._consumer.get_watermark_offsets(self._at(partition), timeout=5, cached=False)
        except KafkaException as error:
            return _reason(error, "Describe", f"topic {self.topic}")
        return low, high

    def _at(self, partition: int, offset: int | None = None) -> Any:
        from confluent_kafka import TopicPartition

        return (
            TopicPartition(self.topic, partition) if offset is None else TopicPartition(self.topic, partition, offset)
        )
