"""A small sample of a topic: its newest records, read without touching anything."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from workbench.capture.reader import ClientReader, consumer_settings
from workbench.capture.schema import RAW
from workbench.capture.spec import PartitionRange
from workbench.sources.formats import Decoder

EVERYTHING = {"timestamp", "key", "value", "headers", "leader_epoch"}


def sample(
    client_settings: Mapping[str, Any],
    ranges: Sequence[PartitionRange],
    records: int = 200,
    timeout_seconds: float = 20.0,
) -> Any:
    """The newest records of a topic's partitions.

    Args:
        client_settings: librdkafka settings that reach the cluster.
        ranges: of one topic; the sample comes from their ends.
        records: about how many.
        timeout_seconds: returns what has come by then.

    Returns:
        pyarrow.Table of schema ``RAW``; empty where there are no records.

    Raises:
        SourceUnavailable: the client library gave up.

    Reads: Fetch.
    """
    filled = [part for part in ranges if part.offsets]
    if not filled:
        return RAW.empty_table()
    each = max(2, -(-records // len(filled)))
    tails = _tails(filled, each)
    found = _read(client_settings, tails, timeout_seconds)
    if found.num_rows == 0:
        # The tails hold only markers, or what compaction left of them: look further back.
        found = _read(client_settings, _tails(filled, each * 50), timeout_seconds)
    return found.slice(0, records)


def decoded_sample(batch: Any, formats: tuple[str, str], registry: Mapping[str, Any] | None) -> Any:
    """A sample with the values that are not JSON as JSON; those that cannot be decoded stay as they are.

    Args:
        batch: of ``sample``.
        formats: of values and of keys.
        registry: where the schemas are that records name.
    """
    decoder = Decoder(*formats, registry)
    try:
        texts = decoder.texts(batch["value"].combine_chunks())
    finally:
        decoder.close()
    if texts is None:
        return batch
    values = pc.coalesce(texts.cast(pa.binary()), batch["value"])
    return batch.set_column(batch.schema.get_field_index("value"), "value", values)


def _tails(ranges: Sequence[PartitionRange], offsets: int) -> list[PartitionRange]:
    return [
        PartitionRange(
            part.topic, part.partition, max(part.start_offset, part.end_offset - offsets), part.end_offset,
            part.last_stable_offset,
        )
        for part in ranges
    ]  # fmt: skip


def _read(client_settings: Mapping[str, Any], ranges: Sequence[PartitionRange], timeout_seconds: float) -> Any:
    give_up_at = time.monotonic() + timeout_seconds
    reader = ClientReader(consumer_settings(client_settings, "read_uncommitted", max_bytes_per_second=4 << 20))
    try:
        chunks = reader.read(ranges[0].topic, ranges, EVERYTHING, lambda: time.monotonic() > give_up_at)
        return pa.Table.from_batches([chunk.batch for chunk in chunks if chunk.batch is not None], schema=RAW)
    finally:
        reader.close()
