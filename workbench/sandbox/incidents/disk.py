"""Damage on a broker's disk: bytes of a log segment are overwritten while the broker runs."""

from __future__ import annotations

from pathlib import Path

from workbench.errors import SandboxError
from workbench.sandbox.incidents.scene import Scene

# Of a batch: base offset (8 bytes), length of the rest (4); its records begin behind a head of 61 bytes.
_LENGTH_AT, _REST_AT, _RECORDS_AT = 8, 12, 61


def damage(scene: Scene, partition: int, offset: int) -> int:
    """Overwrites the records of the first batch of the source that begins at an offset or behind it.

    The broker sends its segments as they lie on the disk, so that readers see the damage at once.

    Returns:
        The batch's base offset.

    Raises:
        SandboxError: the broker's files are not at hand, or hold no such batch.
    """
    if scene.cluster is None:
        raise SandboxError(
            "Damage needs the broker's own files.", hint="Plant it on a sandbox that this program started."
        )
    for path in sorted(scene.cluster.data_dir.rglob(f"{scene.source}-{partition}/*.log")):
        found = _batch(path, offset)
        if found:
            base, at, size = found
            with path.open("r+b") as segment:
                segment.seek(at + _RECORDS_AT)
                segment.write(b"\xff" * min(40, size - _RECORDS_AT))
            return base
    raise SandboxError(f"No batch of {scene.source}-{partition} begins at offset {offset} or behind it.")


def _batch(path: Path, offset: int) -> tuple[int, int, int] | None:
    """(base offset, position, bytes) of the first batch from an offset on."""
    data, at = path.read_bytes(), 0
    while at + _REST_AT <= len(data):
        base = int.from_bytes(data[at : at + _LENGTH_AT], "big")
        size = _REST_AT + int.from_bytes(data[at + _LENGTH_AT : at + _REST_AT], "big")
        if size <= _REST_AT:  # the segment is longer than what was written to it
            return None
        if base >= offset:
            return base, at, size
        at += size
    return None
