"""Batches over asyncio: by size or by age, with back-pressure, and no item lost on an error or at the end."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from itertools import islice
from types import TracebackType
from typing import Generic, Self, TypeVar

from workbench.errors import WorkbenchError

T = TypeVar("T")


class BatchFailed(WorkbenchError):
    """A batch could not be processed, and the processor stopped.

    Attributes:
        items: all that were not processed, in the order they came: the failed batch, and what waited behind it.
    """

    def __init__(self, items: Sequence[object], error: BaseException) -> None:
        sentence = f"A batch could not be processed ({type(error).__name__}); {len(items)} item(s) are left."
        super().__init__(sentence, hint="They are in `items`: process them again, or dead-letter them.")
        self.items = tuple(items)


class BatchProcessor(Generic[T]):
    """Hands items on in batches, one batch at a time and in order; use it as ``async with``.

    An item stays here until its batch was processed. When a batch fails the processor stops: what comes next raises
    ``BatchFailed``, which holds every item that was not processed. Leaving the block processes what still waits.

    Args:
        process: takes a batch; it returns when the batch is safe.
        size: items of a full batch.
        seconds: a batch that is not full is handed on when its oldest item is this old.
        capacity: items that may wait; ``add`` waits for room. None means ten batches.
    """

    def __init__(
        self,
        process: Callable[[list[T]], Awaitable[object]],
        *,
        size: int = 100,
        seconds: float = 5.0,
        capacity: int | None = None,
    ) -> None:
        self._process = process
        self._size = size
        self._seconds = seconds
        self._capacity = max(capacity or 10 * size, size)
        self._waiting: deque[tuple[T, float]] = deque()
        self._changed = asyncio.Condition()
        self._added = self._done = self._flushed = 0
        self._closing = False
        self._error: BaseException | None = None
        self._worker: asyncio.Task[None] | None = None

    @property
    def unprocessed(self) -> list[T]:
        """What was added and is not known to be processed, in order."""
        return [item for item, _ in self._waiting]

    async def __aenter__(self) -> Self:
        self._worker = asyncio.create_task(self._work())
        return self

    async def __aexit__(
        self, _kind: type[BaseException] | None, error: BaseException | None, _trace: TracebackType | None
    ) -> None:
        await self.close()

    async def add(self, item: T) -> None:
        """Takes an item; waits while ``capacity`` items wait.

        Raises:
            BatchFailed: a batch failed before; this item is not among its items, for it was not taken.
            WorkbenchError: it is closed.
        """
        async with self._changed:
            await self._changed.wait_for(lambda: len(self._waiting) < self._capacity or self._has_ended)
            self._raise_failure()
            if self._has_ended:
                raise WorkbenchError("The batch processor is closed.", hint="Add items inside `async with`.")
            self._waiting.append((item, asyncio.get_running_loop().time()))
            self._added += 1
            self._changed.notify_all()

    async def flush(self) -> None:
        """Returns when all that was added before is processed.

        Raises:
            BatchFailed: a batch failed.
        """
        async with self._changed:
            target = self._flushed = self._added
            self._changed.notify_all()
            await self._changed.wait_for(lambda: self._done >= target or self._has_ended)
            self._raise_failure()

    async def close(self) -> None:
        """Processes what waits, and ends.

        Raises:
            BatchFailed: a batch failed.
        """
        async with self._changed:
            self._closing = True
            self._changed.notify_all()
        if self._worker is not None:
            await self._worker
        self._raise_failure()

    @property
    def _has_ended(self) -> bool:
        return self._closing or self._error is not None or self._worker is None or self._worker.done()

    def _raise_failure(self) -> None:
        if self._error is not None:
            raise BatchFailed(self.unprocessed, self._error) from self._error

    async def _work(self) -> None:
        try:
            while batch := await self._next():
                await self._process(batch)
                await self._processed(len(batch))
        except asyncio.CancelledError as error:
            self._error = error
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is raised to whoever adds, flushes or closes
            self._error = error
        finally:
            async with self._changed:
                self._changed.notify_all()

    async def _next(self) -> list[T]:
        """The next batch when it is due; it stays in the queue. Empty when there is nothing left to do."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting or self._closing)
            if self._waiting:
                await self._until_due(self._waiting[0][1] + self._seconds)
            return [item for item, _ in islice(self._waiting, self._size)]

    async def _until_due(self, deadline: float) -> None:
        try:
            async with asyncio.timeout_at(deadline):
                await self._changed.wait_for(
                    lambda: len(self._waiting) >= self._size or self._closing or self._done < self._flushed
                )
        except TimeoutError:
            return

    async def _processed(self, count: int) -> None:
        async with self._changed:
            for _ in range(count):
                self._waiting.popleft()
            self._done += count
            self._changed.notify_all()
