"""Keeps two runs of one plan on this machine apart; runs elsewhere are fenced by the transactional id."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workbench.errors import RedriveError
from workbench.redrive.plan import Plan


@contextmanager
def locked(plan: Plan) -> Iterator[None]:
    """Holds the plan's lock, whatever the plan's file is called; the lock goes with the process, however it ends.

    Raises:
        RedriveError: another run of this plan holds it.
    """
    import platformdirs

    folder = Path(platformdirs.user_state_dir("workbench")) / "redrive"
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    handle = os.open(folder / f"{plan.id}.lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise RedriveError(
                f"Another run of plan {plan.id} is going on here.", hint="Wait for its end, or end it with Ctrl-C."
            ) from None
        yield
    finally:
        os.close(handle)
