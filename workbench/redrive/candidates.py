"""Which dead letters are to be sent, and why the others are left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.config import nearest
from workbench.errors import UsageError

if TYPE_CHECKING:
    import duckdb

Place = tuple[str, int, int]  # topic, partition, offset

# Why dead letters are left out, in this order; each is counted once.
REASONS = {
    "not_chosen": "not of the chosen cause groups, or --where is not true for them",
    "not_committed": "written by a transaction that is still open",
    "superseded": "a later dead letter of the same message stands for them",
    "already_recovered": "the message is in the sink",
    "quarantined": "sent back --max-replays times already, and dead again: sending once more does not help",
    "unreadable": "no longer in the dead-letter topic",
    "no_payload": "nothing to send: they hold neither key nor value, or an envelope without the message",
    "no_target": "their origin is not known, or is no topic that may be written to (--target names one)",
    "already_sent": "another redrive sent them back, and they have not come again",
    "stale": "a newer record of the same key was processed (--exclude-stale)",
    "transform_dropped": "the transformation leaves them out",
    "transform_failed": "the transformation fails for them",
    "schema_failed": "they do not fit the schema",
    "too_large": "larger than the target takes",
}


@dataclass(slots=True)
class Candidate:
    """A dead letter on its way into a plan, or out of it.

    Attributes:
        topic, partition, offset: where it is.
        message_id: null where it has none.
        fingerprint: of its cause group.
        disposition: what triage says of it.
        origin: where the message was first, partition and offset -1 where only the topic is known; null where nothing is.
        consumer: the group that gave it up; null where nothing says so.
        at_ms: time of the dead letter.
        replays: how often it was sent back.
        key: of the dead letter, which frameworks keep.
        flags: of the plan's row.
        target, target_partition: where its copy goes.
        left_out: one of ``REASONS``; null while it is in.
    """

    topic: str
    partition: int
    offset: int
    message_id: str | None
    fingerprint: str
    disposition: str
    origin: Place | None
    consumer: str | None
    at_ms: int | None
    replays: int
    key: bytes | None = None
    flags: int = 0
    target: str | None = None
    target_partition: int = -1
    left_out: str | None = None

    @property
    def place(self) -> Place:
        """Its coordinates."""
        return self.topic, self.partition, self.offset

    @property
    def home(self) -> Place | None:
        """Where the message was first; null also where only the topic is known."""
        return self.origin if self.origin and self.origin[1] >= 0 else None

    @property
    def who(self) -> Any:
        """Equal for dead letters of one message: by id, else by origin."""
        return self.message_id or self.home or self.place


_ROWS = """
SELECT topic, partition, "offset", message_id, fingerprint, disposition, origin_topic, origin_partition, origin_offset,
       "group", at_ms, replay_count
FROM dead ORDER BY at_ms, topic, partition, "offset"
"""


def candidates(con: duckdb.DuckDBPyConnection) -> list[Candidate]:
    """All dead letters of a diagnosis, oldest first; those that a later one stands for are left out already.

    A dead letter counts as sent back as often as its headers say, and at least as often as the same message was given up
    before: a service that drops the headers hides a loop no more.
    """
    found = [_candidate(row) for row in con.execute(_ROWS).fetchall()]
    before: Counter[Any] = Counter()
    newest: dict[Any, Candidate] = {}
    for one in found:
        one.replays = max(one.replays, before[one.who])
        before[one.who] += 1
        if older := newest.get(one.who):
            older.left_out = "superseded"
        newest[one.who] = one
    return found


def _candidate(row: Sequence[Any]) -> Candidate:
    topic, partition, offset, message_id, fingerprint, disposition, *rest = row
    origin_topic, origin_partition, origin_offset, consumer, at_ms, replays = rest
    known = None not in (origin_topic, origin_partition, origin_offset)
    origin = (origin_topic, origin_partition, origin_offset) if known else None
    if origin is None and origin_topic is not None:
        origin = (origin_topic, -1, -1)
    return Candidate(
        topic, partition, offset, message_id, fingerprint, disposition, origin, consumer, at_ms, replays or 0
    )


def leave_out(
    found: Iterable[Candidate], groups: Sequence[str], stable: Mapping[tuple[str, int], int], max_replays: int
) -> None:
    """Marks what is not chosen, not committed, recovered, or in a loop."""
    wanted = set(groups)
    for one in found:
        if wanted and one.fingerprint not in wanted:
            one.left_out = "not_chosen"
        elif one.offset >= stable.get((one.topic, one.partition), 0):
            one.left_out = "not_committed"
        elif one.left_out is None and one.disposition == "already_recovered":
            one.left_out = "already_recovered"
        elif one.left_out is None and one.replays >= max_replays:
            one.left_out = "quarantined"


def chosen_groups(asked: Sequence[str], found: Iterable[Candidate]) -> list[str]:
    """The fingerprints that users named, whole or by their beginning, with or without their version.

    Raises:
        UsageError: one fits no cause group, or several.
    """
    known = Counter(one.fingerprint for one in found)
    out = []
    for text in asked:
        fits = [
            name for name in known if name == text or name.partition(":")[2].startswith(text.partition(":")[2] or text)
        ]
        if len(fits) != 1:
            what = "several cause groups" if fits else "no cause group"
            shown = ", ".join(f"{name} ({count:,})" for name, count in known.most_common(8)) or "none"
            hint = nearest(text, known) or f"There are: {shown}."
            raise UsageError(f"--cause-group {text!r} fits {what}.", hint=hint)
        out += fits
    return out


def counted(found: Iterable[Candidate]) -> dict[str, int]:
    """Reason -> how many were left out for it, in the order of ``REASONS``."""
    counts = Counter(one.left_out for one in found)
    return {reason: counts[reason] for reason in REASONS if counts[reason]}
