"""Batches and concurrency: every item comes out once, in its order, or is handed back."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import WorkbenchError
from workbench.integration.batching import BatchFailed, BatchProcessor
from workbench.integration.concurrency import AsyncProcessor

NEVER = 3600.0  # seconds until a batch is due by its age


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - the sink has no event for what a test waits for
        await asyncio.sleep(0.001)


class Sink:
    """Takes batches; fails at the one that it is told to, and can be held back."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.batches: list[list[int]] = []
        self.fail_at = fail_at
        self.gate = asyncio.Event()
        self.gate.set()

    async def __call__(self, batch: list[int]) -> None:
        await self.gate.wait()
        if len(self.batches) == self.fail_at:
            raise OSError("hush")
        self.batches.append(batch)

    @property
    def items(self) -> list[int]:
        return [item for batch in self.batches for item in batch]


@settings(max_examples=50, deadline=None)
@given(count=st.integers(0, 60), size=st.integers(1, 9), fail_at=st.none() | st.integers(0, 9))
def test_each_item_is_processed_in_order_or_handed_back(count, size, fail_at):
    async def run() -> tuple[list[int], list[int]]:
        sink = Sink(fail_at)
        added: list[int] = []
        try:
            async with BatchProcessor(sink, size=size, seconds=NEVER, capacity=size) as batches:
                for item in range(count):
                    await batches.add(item)
                    added.append(item)
        except BatchFailed as failed:
            return added, [*sink.items, *failed.items]
        return added, sink.items

    added, accounted = asyncio.run(run())
    assert accounted == added
    if fail_at is None or fail_at * size >= count:
        assert len(added) == count


def test_a_batch_is_handed_on_when_it_is_full_or_old():
    async def run() -> list[list[int]]:
        sink = Sink()
        async with BatchProcessor(sink, size=3, seconds=NEVER) as batches:
            for item in range(3):
                await batches.add(item)
            await until(lambda: len(sink.batches) == 1)
        async with BatchProcessor(sink, size=100, seconds=0.01) as batches:
            await batches.add(3)
            await until(lambda: len(sink.batches) == 2)
        return sink.batches

    assert asyncio.run(run()) == [[0, 1, 2], [3]]


def test_flush_waits_for_what_was_added_before_it():
    async def run() -> list[list[int]]:
        sink = Sink()
        async with BatchProcessor(sink, size=2, seconds=NEVER) as batches:
            for item in range(5):
                await batches.add(item)
            await batches.flush()
            assert batches.unprocessed == []
            await batches.flush()
            return list(sink.batches)

    assert asyncio.run(run()) == [[0, 1], [2, 3], [4]]


def test_who_adds_is_held_back_while_it_is_full_and_goes_on_after():
    async def run() -> None:
        sink = Sink()
        sink.gate.clear()
        async with BatchProcessor(sink, size=2, seconds=NEVER, capacity=2) as batches:
            await batches.add(0)
            await batches.add(1)
            third = asyncio.create_task(batches.add(2))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not third.done()
            sink.gate.set()
            await third
        assert sink.items == [0, 1, 2]

    asyncio.run(run())


def test_after_a_failure_it_takes_nothing_more_and_says_what_is_left():
    async def run() -> BatchFailed:
        batches = BatchProcessor(Sink(fail_at=0), size=1, seconds=NEVER)
        async with batches:
            await batches.add(7)
            with pytest.raises(BatchFailed):
                await batches.flush()
            with pytest.raises(BatchFailed) as caught:
                await batches.add(8)
            assert batches.unprocessed == [7]
            with pytest.raises(BatchFailed):
                await batches.close()
            batches._error = None  # so that leaving the block, which says it once more, does not end the test
        return caught.value

    failed = asyncio.run(run())
    assert failed.items == (7,)
    assert isinstance(failed.__cause__, OSError)
    assert "hush" not in str(failed)


def test_a_closed_processor_takes_nothing():
    async def run() -> None:
        async with BatchProcessor(Sink(), size=1) as batches:
            pass
        with pytest.raises(WorkbenchError, match="closed"):
            await batches.add(1)
        async with AsyncProcessor(asyncio.sleep, key=lambda _: None) as many:
            pass
        with pytest.raises(WorkbenchError, match="closed"):
            await many.submit(1)

    asyncio.run(run())


@settings(max_examples=30, deadline=None)
@given(keys=st.lists(st.sampled_from(["a", "b", "c", None]), max_size=60), concurrency=st.integers(1, 5))
def test_keys_keep_their_order_and_never_overlap(keys, concurrency):
    seen: dict[str | None, list[int]] = defaultdict(list)
    now: dict[str | None, int] = defaultdict(int)
    most = 0

    async def process(item: tuple[str | None, int]) -> int:
        nonlocal most
        key, number = item
        now[key] += 1
        most = max(most, sum(now.values()))
        assert key is None or now[key] == 1
        for _ in range(number % 3):
            await asyncio.sleep(0)
        seen[key].append(number)
        now[key] -= 1
        return number

    async def run() -> list[int]:
        async with AsyncProcessor(process, key=lambda item: item[0], concurrency=concurrency) as many:
            return [
                await future
                for future in [await many.submit(pair) for pair in zip(keys, range(len(keys)), strict=True)]
            ]

    assert asyncio.run(run()) == list(range(len(keys)))
    assert most <= concurrency
    for key, numbers in seen.items():
        assert sorted(numbers) == (numbers if key else sorted(numbers))
    assert sorted(number for numbers in seen.values() for number in numbers) == list(range(len(keys)))


def test_an_error_is_its_items_alone_and_nothing_is_left_behind():
    async def process(item: int) -> int:
        await asyncio.sleep(0)
        if item == 1:
            raise OSError("down")
        return item

    async def run() -> list[object]:
        async with AsyncProcessor(process, key=lambda _: "same", concurrency=2, capacity=2) as many:
            futures = [await many.submit(item) for item in range(5)]
            futures[3].cancel()
            await many.close()
            assert many.waiting == 0
            return await asyncio.gather(*futures, return_exceptions=True)

    results = asyncio.run(run())
    assert (results[0], results[2], results[4]) == (0, 2, 4)
    assert isinstance(results[1], OSError)


def test_who_submits_is_held_back_while_there_is_no_room():
    async def run() -> None:
        gate = asyncio.Event()
        async with AsyncProcessor(lambda _: gate.wait(), key=lambda item: item, concurrency=1, capacity=2) as many:
            await many.submit(0)
            await many.submit(1)
            third = asyncio.create_task(many.submit(2))
            for _ in range(20):
                await asyncio.sleep(0)
            assert not third.done()
            gate.set()
            await (await third)

    asyncio.run(run())
