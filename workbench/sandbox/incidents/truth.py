"""What a planter knows because it did it: the options to check with, and what a right report says."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

# The dispositions of the loss ledger, in the order of the report.
DISPOSITIONS = (
    "delivered",
    "dead_lettered",
    "retrying",
    "waiting",
    "in_flight",
    "filtered",
    "hidden",
    "unverifiable",
    "lost",
)


@dataclass(frozen=True, kw_only=True)
class Truth:
    """The truth of one planted incident, by construction.

    Attributes:
        incident: its name.
        problem: ``loss`` or ``duplicates``.
        seed: what its parameters were drawn from.
        options: options of ``workbench check`` with underscores, ready for ``scope_from``.
        ledger: entries that the report must have; entries that are not named here are not part of the claim.
        causes: code -> entries that the report attributes to it; codes not named have 0.
        findings: code -> ``confirmed`` or ``suspected``; there must be no others.
        clean: no finding at all; only notes are allowed.
        ids: code of what was really done -> ids it hit. Where Kafka cannot tell causes apart, ``causes`` says
            ``undetermined`` and this still says which one it was.
        dispositions: disposition -> ids, for all messages that were not simply delivered (loss only).
        notes: codes of notes that the report must have.
        facts: facts that the report must have.
    """

    incident: str
    problem: str
    seed: int
    options: Mapping[str, Any]
    ledger: Mapping[str, int]
    causes: Mapping[str, int] = field(default_factory=dict)
    findings: Mapping[str, str] = field(default_factory=dict)
    clean: bool = False
    ids: Mapping[str, list[str]] = field(default_factory=dict)
    dispositions: Mapping[str, list[str]] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """The truth as JSON types."""
        return asdict(self)

    def to_json(self, indent: int | None = 2) -> str:
        """The truth as JSON text."""
        return json.dumps(self.to_dict(), indent=indent, allow_nan=False)


def loss_ledger(fates: Mapping[str, str]) -> dict[str, int]:
    """The whole loss ledger of messages whose dispositions are known.

    Args:
        fates: id -> disposition, for every message that was sent.
    """
    counts = Counter(fates.values())
    return {"sent": len(fates), **{name: counts[name] for name in DISPOSITIONS}}


def by_disposition(fates: Mapping[str, str]) -> dict[str, list[str]]:
    """Disposition -> sorted ids, without those that were simply delivered."""
    found = {name: sorted(i for i, fate in fates.items() if fate == name) for name in DISPOSITIONS[1:]}
    return {name: ids for name, ids in found.items() if ids}


def copies_ledger(*places: Iterable[str]) -> dict[str, int]:
    """The duplicates ledger of places whose records are known.

    Args:
        places: for the source and each sink, the id of every visible record.
    """
    counts = [Counter(place) for place in places]
    records, messages = sum(sum(c.values()) for c in counts), sum(len(c) for c in counts)
    return {"records": records, "messages": messages, "extra_copies": records - messages}
