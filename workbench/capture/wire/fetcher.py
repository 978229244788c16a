"""Which partitions to fetch next, from whom, and how much: one request a leader, always one under way."""

from __future__ import annotations

import queue
import time
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from workbench.capture.wire.transport import LARGEST_RESPONSE, Answer, Ask, Leader, Part, Transport

FETCH_BYTES = 16 << 20
SMALLEST_FETCH = 64 << 10
RETRY_SECONDS = 0.2
EMPTY_OFTEN = 3
# A topic that was there a moment ago may be missing from what one broker knows.
MISSING_SECONDS = 3.0


@dataclass
class _Partition:
    at: int
    end: int
    stable: int  # below it read_committed is asked for, which tells what was aborted
    size: int = 0  # a batch that needs more bytes than its share
    empty: int = 0  # answers in a row without records


class Fetcher:
    """Keeps one fetch under way with each leader; what comes back is taken with ``take``."""

    def __init__(
        self, transport: Transport, topic: str, ranges: Sequence[tuple[int, int, int, int]], size: int
    ) -> None:
        """Starts without sending anything.

        Args:
            transport: connections.
            topic: what to read.
            ranges: (partition, start, end, last stable offset), none of them empty.
            size: bytes of a response, about.
        """
        self.complaint = ""
        self.leaders: dict[int, Leader] = {}
        self._transport, self._topic, self._bytes = transport, topic, size
        self._todo = {one: _Partition(start, end, min(stable, end)) for one, start, end, stable in ranges}
        self._asked: dict[int, Sequence[Ask]] = {}
        self._asked_last: Sequence[Ask] = ()
        self._answers: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._stale = True
        self._not_before = 0.0
        self._missing_since: float | None = None

    def ask(self) -> dict[int, Exception]:
        """Sends what can be sent now; partition -> why it cannot be read at all."""
        if time.monotonic() < self._not_before:
            return {}
        failed = self._refresh() if self._stale else {}
        by_node: dict[int, list[int]] = defaultdict(list)
        for partition in self._todo:
            by_node[self.leaders.get(partition, Leader(-1, -1)).node].append(partition)
        if by_node.pop(-1, None):
            self.retry()
        for node, partitions in by_node.items():
            if node not in self._asked:
                self._send(node, partitions)
        return failed

    def _refresh(self) -> dict[int, Exception]:
        from kafka.errors import UnknownTopicOrPartitionError

        from workbench.sources.mapping import fault_of

        try:
            self.leaders = self._transport.leaders(self._topic)
        except Exception as error:  # noqa: BLE001 - the library's own; what they mean is judged by code
            fault = fault_of(error)
            self.complaint = fault.text
            if fault.kind in {"denied", "login"} or (fault.kind == "missing" and self._missing_for_long()):
                return dict.fromkeys(self._todo, error)
            self.retry()
            return {}
        self._stale, self._missing_since = False, None
        return {one: UnknownTopicOrPartitionError() for one in self._todo if one not in self.leaders}

    def _missing_for_long(self) -> bool:
        now = time.monotonic()
        self._missing_since = self._missing_since or now
        return now - self._missing_since > MISSING_SECONDS

    def _send(self, node: int, partitions: list[int]) -> None:
        # The first partition of a request always gets a batch: those that went without come first.
        partitions = sorted(partitions, key=lambda one: -self._todo[one].empty)
        if self._todo[partitions[0]].empty >= EMPTY_OFTEN:
            partitions = partitions[:1]
        # The isolation level is one for the whole request.
        stable = self._is_stable(partitions[0])
        partitions = [one for one in partitions if self._is_stable(one) == stable]
        share = max(SMALLEST_FETCH, self._bytes // len(partitions))
        asks = [
            Ask(one, self._todo[one].at, self.leaders[one].epoch, max(share, self._todo[one].size))
            for one in partitions
        ]
        self._asked[node] = asks
        most = max(self._bytes, *(ask.max_bytes for ask in asks))
        self._transport.fetch(node, self._topic, asks, most, self._answers.put, stable=stable)

    def _is_stable(self, partition: int) -> bool:
        return self._todo[partition].at < self._todo[partition].stable

    def take(self, seconds: float) -> Answer | None:
        """The next answer; None when there is none in time."""
        try:
            answer = self._answers.get(timeout=seconds)
        except queue.Empty:
            return None
        self._asked_last = self._asked.pop(answer.node, ())
        if answer.failure is not None:
            self._failed(answer.failure)
        return answer

    def _failed(self, error: Any) -> None:
        from workbench.sources.mapping import fault_of

        self.complaint = fault_of(error).text
        if type(error).__name__ == "RequestTimedOutError":
            self._bytes = max(SMALLEST_FETCH, self._bytes // 4)
        self._stale = True
        self.retry()

    def retry(self, complaint: str = "") -> None:
        """Asks who leads again, a little later."""
        self.complaint = complaint or self.complaint
        self._stale = True
        self._not_before = time.monotonic() + RETRY_SECONDS

    def reached(self, partition: int, offset: int) -> None:
        """Everything before an offset has come; the partition is done at its end."""
        todo = self._todo.get(partition)
        if todo is None:
            return
        todo.at, todo.empty, todo.size = offset, 0, 0
        if offset >= todo.end:
            self.drop(partition)

    def position(self, partition: int) -> int | None:
        """The offset that is asked for next; None when nothing is."""
        todo = self._todo.get(partition)
        return None if todo is None else todo.at

    def nothing(self, part: Part) -> bool:
        """Counts an answer without records; True when there is nothing up to the partition's end."""
        todo = self._todo.get(part.partition)
        if todo is None:
            return False
        todo.empty += 1
        alone = len(self._asked_last) == 1
        if not alone or todo.empty < EMPTY_OFTEN:
            return False
        if todo.at < todo.stable:
            todo.stable = todo.at  # the last stable offset fell back: what is above it is read without judging it
            return False
        return part.high_watermark >= todo.end

    def grow(self, partition: int, size: int) -> bool:
        """Asks for more bytes of a partition; False when so many cannot be had."""
        todo = self._todo.get(partition)
        if todo is None:
            return True
        todo.size = max(size, 2 * todo.size, SMALLEST_FETCH)
        todo.empty += 1
        return size <= LARGEST_RESPONSE

    def drop(self, partition: int) -> None:
        """Asks no more for a partition."""
        self._todo.pop(partition, None)
