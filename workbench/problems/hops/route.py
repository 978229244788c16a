"""A route as hops: what ``--through TOPIC:GROUP`` says."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from workbench.errors import UsageError

if TYPE_CHECKING:
    from workbench.problems.scope import Scope


@dataclass(frozen=True)
class Hop:
    """One step of a route.

    Attributes:
        topic: where it begins.
        group: who reads that; None where nobody was named.
        into: the topics, or other sinks, that it writes to.
    """

    topic: str
    group: str | None
    into: tuple[str, ...]

    @property
    def label(self) -> str:
        """For people."""
        return f"{self.topic} -> {', '.join(self.into)}"


def is_route(facts: Mapping[str, Any]) -> bool:
    """Whether evidence is that of a route."""
    return bool(facts.get("through"))


def places_of(through: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """Topic and group of each ``TOPIC:GROUP``.

    Raises:
        UsageError: one of them is none.
    """
    out = []
    for text in through:
        topic, _, group = text.partition(":")
        if not topic or not group:
            raise UsageError(f"--through is {text!r}.", hint="Write TOPIC:GROUP, the group that reads that topic.")
        out.append((topic, group))
    return tuple(out)


def hops_of(source: str, group: str | None, through: Iterable[str], sinks: Iterable[str]) -> tuple[Hop, ...]:
    """The hops of a route, in their order."""
    stops = [(source, group), *places_of(through)]
    after = [*((topic,) for topic, _ in stops[1:]), tuple(sinks)]
    return tuple(Hop(topic, reader, into) for (topic, reader), into in zip(stops, after, strict=True))


def scopes_of(scope: Scope) -> list[tuple[Hop, Scope]]:
    """A scope for each hop: what only the first producer or the last sink has stays with it."""
    hops = hops_of(scope.source, scope.group, scope.through, scope.sinks)
    out = []
    for number, hop in enumerate(hops):
        mine = replace(scope, source=hop.topic, sinks=hop.into, group=hop.group, through=())
        if number:
            ids = scope.sink_id_from or scope.id_from
            mine = replace(
                mine, id_from=ids, where=None, sent_log=None, producer_config={}, business_key=None, compare=None
            )
        if number < len(hops) - 1:
            mine = replace(mine, stores={}, remotes={}, any_sink=False, compare=None)
        out.append((hop, mine))
    return out
