"""What reads a store may not be installed: a workbench that reads only topics does without it."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from workbench.errors import ConfigError
from workbench.stores import Store


def needed(module: str, store: Store) -> Any:
    """A library that a store needs.

    Raises:
        ConfigError: it is not installed.
    """
    try:
        return import_module(module)
    except ImportError:
        raise ConfigError(
            f"{store.name} needs the package {module.partition('.')[0].replace('_', '-')}, which is not installed.",
            hint="pip install 'kafka-integration-workbench[stores]'",
        ) from None
