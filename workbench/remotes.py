"""Sinks on another cluster: ``profile:NAME/topic``, or ``profile:HOST:PORT/topic`` where it needs no login."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from workbench.errors import UsageError

if TYPE_CHECKING:
    from workbench.config import Profile

PREFIX = "profile:"


def is_remote(name: str) -> bool:
    """Whether a sink is a topic of another cluster; no topic's name holds a colon."""
    return name.startswith(PREFIX)


def topic_of(name: str) -> str:
    """The topic of ``profile:NAME/topic``, as its own cluster calls it."""
    return name.rpartition("/")[2]


def profile_of(name: str, profiles: Callable[[str], Profile] | None) -> Profile:
    """The cluster of ``profile:NAME/topic``.

    Args:
        name: as the option calls it.
        profiles: looks a profile of workbench.toml up; None where there are none.

    Raises:
        UsageError: it names no cluster, or no topic.
        ConfigError: there is no such profile, or a variable that it needs is not set.
    """
    from workbench.config import profile_from_options

    where, _, topic = name.removeprefix(PREFIX).rpartition("/")
    if not where or not topic:
        raise UsageError(f"{name} names no topic of another cluster.", hint="Write profile:NAME/topic.")
    if ":" in where:
        return profile_from_options(where, {})
    if profiles is None:
        raise UsageError(f"There are no profiles to look {where} up in.", hint="Write profile:HOST:PORT/topic.")
    return profiles(where)
