"""Many items at a time over asyncio, those of one key one after the other."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable
from types import TracebackType
from typing import Generic, Self, TypeVar

from workbench.errors import WorkbenchError

T = TypeVar("T")
R = TypeVar("R")


class AsyncProcessor(Generic[T, R]):
    """Processes items side by side, and keeps the order in each key; use it as ``async with``.

    Leaving the block waits for all that was taken. An item whose processing fails fails its own future; the others go on,
    also those of the same key: who must not go on after a failure dead-letters inside ``process``.

    Args:
        process: takes one item.
        key: of an item; None for one that has no order.
        concurrency: items in process at a time.
        capacity: items taken and not finished; ``submit`` waits for room. None means ten times ``concurrency``.
    """

    def __init__(
        self,
        process: Callable[[T], Awaitable[R]],
        *,
        key: Callable[[T], Hashable | None],
        concurrency: int = 16,
        capacity: int | None = None,
    ) -> None:
        self._process = process
        self._key = key
        self._running = asyncio.Semaphore(concurrency)
        self._room = asyncio.Semaphore(max(capacity or 10 * concurrency, concurrency))
        self._queues: dict[Hashable, deque[tuple[T, asyncio.Future[R]]]] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def waiting(self) -> int:
        """Items that were taken and are not finished."""
        return sum(len(queue) for queue in self._queues.values())

    async def submit(self, item: T) -> asyncio.Future[R]:
        """Takes an item, waiting while there is no room; the future has its result or its error.

        Cancelling the future does not take the item back.

        Raises:
            WorkbenchError: it is closed.
        """
        await self._room.acquire()
        if self._closed:
            self._room.release()
            raise WorkbenchError("The processor is closed.", hint="Submit items inside `async with`.")
        future: asyncio.Future[R] = asyncio.get_running_loop().create_future()
        own = self._key(item)
        key: Hashable = object() if own is None else (own,)
        if key in self._queues:
            self._queues[key].append((item, future))
        else:
            self._queues[key] = deque([(item, future)])
            task = asyncio.create_task(self._work(key))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return future

    async def close(self) -> None:
        """Takes nothing more, and waits for all that was taken."""
        self._closed = True
        while self._tasks:
            await asyncio.wait(set(self._tasks))

    async def _work(self, key: Hashable) -> None:
        """One key's items, in order; between two of them others get their turn."""
        queue = self._queues[key]
        while queue:
            item, future = queue[0]
            async with self._running:
                await self._one(item, future)
            queue.popleft()
            self._room.release()
        del self._queues[key]

    async def _one(self, item: T, future: asyncio.Future[R]) -> None:
        try:
            result = await self._process(item)
        except Exception as error:  # noqa: BLE001 - it belongs to who submitted the item
            if not future.cancelled():
                future.set_exception(error)
        else:
            if not future.cancelled():
                future.set_result(result)
