"""Damage on a broker's disk: bytes of a log segment are overwritten while the broker runs."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import SandboxError
from workbench.sandbox.incidents.scene import Scene

# Of a batch: base offset (8 bytes), length of the rest (4), the last record's distance from the base (4, at 23); its records
# begin behind a head of 61 bytes.
_LENGTH_AT, _REST_AT, _LAST_AT, _RECORDS_AT = 8, 12, 23, 61


def damage(scene: Scene, partition: int, offset: int) -> tuple[int, int]:
    """Overwrites the records of the first batch of the source that begins at an offset or behind it.

    Returns:
        The batch's base offset, and the offset behind its last record.

    Raises:
        SandboxError: the broker's files are not at hand, or hold no such batch.
    """
    if scene.cluster is None:
        raise SandboxError(
            "Damage needs the broker's own files.", hint="Plant it on a sandbox that this program started."
        )
    return overwrite(scene.cluster.data_dir, scene.source, partition, offset)


def overwrite(data_dir: Path, topic: str, partition: int, offset: int) -> tuple[int, int]:
    """The same below a folder of brokers' data, on every replica.

    The broker sends its segments as they lie on the disk, so that readers see the damage at once.
    """
    found = [
        (path, one) for path in sorted(data_dir.rglob(f"{topic}-{partition}/*.log")) if (one := _batch(path, offset))
    ]
    if not found:
        raise SandboxError(f"No batch of {topic}-{partition} begins at offset {offset} or behind it.")
    first = min(base for _, (base, *_) in found)
    for path, (base, _, at, size) in found:
        if base == first:
            with path.open("r+b") as segment:
                segment.seek(at + _RECORDS_AT)
                segment.write(b"\xff" * min(40, size - _RECORDS_AT))
    return next((base, behind) for _, (base, behind, _, _) in found if base == first)


def _batch(path: Path, offset: int) -> tuple[int, int, int, int] | None:
    """(base offset, that of the next, position, bytes) of the first batch from an offset on."""
    data, at = path.read_bytes(), 0
    while at + _REST_AT <= len(data):
        base = int.from_bytes(data[at : at + _LENGTH_AT], "big")
        size = _REST_AT + int.from_bytes(data[at + _LENGTH_AT : at + _REST_AT], "big")
        if size <= _REST_AT:  # the segment is longer than what was written to it
            return None
        if base >= offset:
            behind = base + int.from_bytes(data[at + _LAST_AT : at + _LAST_AT + 4], "big") + 1
            return base, behind, at, size
        at += size
    return None
