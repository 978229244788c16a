"""One thread uses the client: what the worker needs of it, it has done by the thread that polls.

Calls of a worker beside a poll can wait for ever inside the client library, and a call that waits in the poll's thread
is served its callbacks in order.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from queue import Empty, SimpleQueue
from typing import Any, TypeVar

T = TypeVar("T")


class Errands:
    """Calls on their way from the worker to the thread that polls.

    Attributes:
        client: the consumer; used by the thread that made this object.
    """

    def __init__(self, client: Any) -> None:
        self.client = client
        self._owner = threading.get_ident()
        self._queue: SimpleQueue[tuple[Callable[[], Any], Future[Any]] | None] = SimpleQueue()

    def run(self, call: Callable[[], T]) -> T:
        """The result of a call that the owner makes; called by the owner itself, it is made at once."""
        if threading.get_ident() == self._owner:
            return call()
        answer: Future[T] = Future()
        self._queue.put((call, answer))
        return answer.result()

    def serve(self, busy: Future[Any], seconds: float | None) -> bool:
        """Makes calls until the worker is done, or the time is over (None: for as long as it takes).

        Returns:
            Whether the worker is done.
        """
        busy.add_done_callback(lambda _: self._queue.put(None))  # ends the wait below
        deadline = None if seconds is None else time.monotonic() + seconds
        while not busy.done():
            left = None if deadline is None else deadline - time.monotonic()
            if left is not None and left <= 0:
                return False
            try:
                errand = self._queue.get(timeout=left)
            except Empty:
                return busy.done()
            if errand is not None:
                _make(*errand)
        return True

    # ---- what the worker needs ----

    def commit(self, offsets: list[Any]) -> list[Any]:
        """Commits synchronously; each offset with its own error."""
        return list(self.run(lambda: self.client.commit(offsets=offsets, asynchronous=False)))

    def committed(self, partitions: list[Any], seconds: float) -> list[Any]:
        """Committed offsets with their metadata."""
        return list(self.run(lambda: self.client.committed(partitions, seconds)))

    def member(self) -> Any:
        """The group's metadata as this member has it, for transactions."""
        return self.run(self.client.consumer_group_metadata)


def _make(call: Callable[[], Any], answer: Future[Any]) -> None:
    try:
        answer.set_result(call())
    except BaseException as error:  # noqa: BLE001 - raised where the call came from
        answer.set_exception(error)
