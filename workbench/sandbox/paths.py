"""Where the sandbox keeps what is not part of the repository."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

APPLICATION = "kafka-integration-workbench"


def cache_dir() -> Path:
    """Folder of the fetched jars, shared by all sandboxes of this user; ``WORKBENCH_CACHE`` overrides it."""
    chosen = os.environ.get("WORKBENCH_CACHE")
    return Path(chosen).absolute() if chosen else Path(platformdirs.user_cache_dir(APPLICATION))


def sandbox_dir() -> Path:
    """Folder of the sandbox that ``up`` starts (state, data, logs); ``WORKBENCH_SANDBOX_DIR`` overrides it."""
    chosen = os.environ.get("WORKBENCH_SANDBOX_DIR")
    return Path(chosen).absolute() if chosen else Path(platformdirs.user_state_dir(APPLICATION)) / "sandbox"
