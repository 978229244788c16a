"""A few records of many topics, read by assignment within bounds; nothing is committed, joined or created."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Self

from confluent_kafka import TIMESTAMP_NOT_AVAILABLE, Consumer, KafkaException, TopicPartition

from workbench.sources.admin import silent_logger
from workbench.sources.headers import headers_of
from workbench.sources.mapping import as_source_error

Place = tuple[str, int]  # topic, partition
Ranges = Mapping[Place, tuple[int, int]]  # first offset, and the one behind the last


@dataclass(frozen=True)
class Sampled:
    """A record as it came.

    Attributes:
        topic: where it lies.
        timestamp_ms: null when the record has none.
        headers: in their order; names may come twice, values be null.
    """

    topic: str
    timestamp_ms: int | None
    value: bytes | None
    headers: tuple[tuple[str, bytes | None], ...]


class Sampler:
    """One consumer for all samples of a discovery; a context manager."""

    def __init__(self, settings: Mapping[str, Any], timeout_seconds: float) -> None:
        wanted = {
            **settings,
            "auto.offset.reset": "earliest",
            "isolation.level": "read_uncommitted",
            "enable.partition.eof": "false",
            # Samples are small: a full queue of prefetched records would be read for nothing.
            "queued.max.messages.kbytes": "4096",
            "fetch.wait.max.ms": "100",
            "error_cb": lambda _: None,  # what matters comes back as a missing answer
        }
        self._endpoint = str(settings.get("bootstrap.servers", ""))
        self._timeout_seconds = timeout_seconds
        self._consumer = Consumer(wanted, logger=silent_logger())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    def offsets_at(self, moments: Mapping[Place, int]) -> dict[Place, int]:
        """The first offset at or after a time (epoch ms) in each place; places without one are left out."""
        asked = [TopicPartition(*place, at_ms) for place, at_ms in moments.items()]
        if not asked:
            return {}
        try:
            found = self._consumer.offsets_for_times(asked, timeout=self._timeout_seconds)
        except KafkaException as error:
            raise as_source_error(error, "Describe", "the topics", self._endpoint) from None
        return {(item.topic, item.partition): item.offset for item in found if item.error is None and item.offset >= 0}

    def read(self, ranges: Ranges, most: int, seconds: float) -> list[Sampled]:
        """At most so many records, for at most so long; ends when every range is passed.

        Reads: Fetch.
        """
        ahead = {place: end for place, (first, end) in ranges.items() if first < end}
        if not ahead:
            return []
        self._consumer.assign([TopicPartition(*place, ranges[place][0]) for place in ahead])
        out: list[Sampled] = []
        stop = time.monotonic() + seconds
        while ahead and len(out) < most and time.monotonic() < stop:
            messages = self._consumer.consume(min(500, most - len(out)), timeout=0.2)
            out.extend(self._kept(messages, ranges))
            passed = {(item.topic, item.partition): item.offset for item in self._positions(ahead)}
            # The position also passes markers and holes, at which no record comes.
            ahead = {place: end for place, end in ahead.items() if passed.get(place, -1) < end}
        self._consumer.unassign()
        return out

    def _positions(self, places: Iterable[Place]) -> list[Any]:
        return list(self._consumer.position([TopicPartition(*place) for place in places]))

    def _kept(self, messages: Iterable[Any], ranges: Ranges) -> Iterable[Sampled]:
        sound = [message for message in messages if message.error() is None]
        for message, headers in zip(sound, headers_of(sound), strict=True):
            if message.offset() < ranges[message.topic(), message.partition()][1]:
                kind, at_ms = message.timestamp()
                known = at_ms if kind != TIMESTAMP_NOT_AVAILABLE else None
                yield Sampled(message.topic(), known, message.value(), tuple(headers or ()))
