"""Where the usual partitioners put a key, so that a change of partitioner or partition count can be proven."""

from __future__ import annotations

import zlib
from collections.abc import Callable


def murmur2(key: bytes) -> int:
    """Kafka's murmur2, the hash of the Java client's default partitioner, as a non-negative number."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    size = len(key)
    h = (0x9747B28C ^ size) & mask
    for at in range(0, size - size % 4, 4):
        k = int.from_bytes(key[at : at + 4], "little") * m & mask
        h = (h * m & mask) ^ ((k ^ k >> 24) * m & mask)
    tail = key[size - size % 4 :]
    if tail:
        h = (h ^ int.from_bytes(tail, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return (h ^ h >> 15) & 0x7FFFFFFF


def crc32(key: bytes) -> int:
    """Librdkafka's default (``consistent_random``)."""
    return zlib.crc32(key)


def fnv1a(key: bytes) -> int:
    """32-bit FNV-1a as Sarama and librdkafka's ``fnv1a`` use it: the absolute value of the signed hash."""
    h = 0x811C9DC5
    for byte in key:
        h = (h ^ byte) * 0x01000193 & 0xFFFFFFFF
    return 0x100000000 - h if h & 0x80000000 else h


PARTITIONERS: dict[str, Callable[[bytes], int]] = {"murmur2": murmur2, "crc32": crc32, "fnv1a": fnv1a}


def fits(key: bytes, partition: int, partition_count: int) -> list[str]:
    """The (partitioner, partition count) pairs that put ``key`` into ``partition``, as ``murmur2/6``.

    Counts from 2 to the topic's present one are tried, since topics only grow; the present count comes first.
    """
    hashes = {name: function(key) for name, function in PARTITIONERS.items()}
    counts = range(partition_count, max(partition + 1, 2) - 1, -1)
    return [f"{name}/{count}" for count in counts for name, h in hashes.items() if h % count == partition]
