"""Plants each incident once a session: planting takes seconds, and several tests look at the same topics."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cache
from pathlib import Path

from workbench.sandbox.incidents import Truth, plant

# Planting is mostly waiting: for the broker's own checks, and for messages to become due.
_PLANTERS = ThreadPoolExecutor(4)
_FOLDER = tempfile.TemporaryDirectory(prefix="workbench-planted-")


def begin(names: Iterable[str], bootstrap: str) -> None:
    """Starts to plant several incidents beside each other; ``planted`` waits for each."""
    for name in sorted(names):
        _planting(name, bootstrap, 0)


def planted(name: str, bootstrap: str, seed: int = 0) -> Truth:
    """The truth of an incident that is planted once on this broker."""
    return _planting(name, bootstrap, seed).result()


@cache
def _planting(name: str, bootstrap: str, seed: int) -> Future[Truth]:
    return _PLANTERS.submit(plant, name, bootstrap, seed, Path(_FOLDER.name) / f"{name}-{seed}")
