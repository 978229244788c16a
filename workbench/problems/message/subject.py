"""What is looked for: one message by its id, its key, its trace or the coordinates of one of its records."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from workbench.errors import UsageError
from workbench.sealing import PERSONAL

if TYPE_CHECKING:
    from workbench.problems.scope import Scope

HIDDEN = "(hidden: it looks like personal data; --show-ids shows it)"
_PLACE = re.compile(r"(?P<topic>[A-Za-z0-9._-]{1,249})[:/](?P<partition>\d{1,9})[:/](?P<offset>\d{1,18})")
_TRACE = re.compile(r"[0-9a-f]{16}|[0-9a-f]{32}", re.IGNORECASE)

Place = tuple[str, int, int]  # topic, partition, offset


@dataclass(frozen=True)
class Subject:
    """Exactly one of the four is given.

    Attributes:
        message_id: as the records carry it.
        key: of its records, as text.
        trace_id: 32 lower-case hex digits.
        place: topic, partition, offset of one of its records.
    """

    message_id: str | None = None
    key: str | None = None
    trace_id: str | None = None
    place: Place | None = None

    def facts(self, *, show_ids: bool) -> dict[str, Any]:
        """The subject as facts of the evidence; what may be content stays out."""
        if self.message_id is not None:
            return {"by": "id", "id": shown(self.message_id, show_ids=show_ids)}
        if self.key is not None:
            return {"by": "key"}
        if self.trace_id is not None:
            return {"by": "trace", "trace_id": self.trace_id}
        return {"by": "place", "place": "/".join(map(str, self.place or ()))}


def shown(text: str, *, show_ids: bool) -> str:
    """A text as it may leave memory."""
    return text if show_ids or not re.search(PERSONAL, text) else HIDDEN


def subject_of(scope: Scope) -> Subject:
    """The subject that a scope names.

    Raises:
        UsageError: none or several are named, or one does not fit.
    """
    given = {name: getattr(scope, name) for name in ("message_id", "key", "trace", "at") if getattr(scope, name)}
    if len(given) != 1:
        raise UsageError(
            "Name one message: its ID, or one of --key, --trace, --at." if not given else
            f"{' and '.join(given)} were given: name the message in one way.",
            hint="For example: workbench message evt-123, or --at TOPIC:PARTITION:OFFSET.",
        )  # fmt: skip
    ((name, text),) = given.items()
    if name == "message_id":
        return Subject(message_id=_id(text))
    if name == "key":
        return Subject(key=text)
    return Subject(trace_id=_trace(text)) if name == "trace" else Subject(place=_place(text))


def _id(text: str) -> str:
    if text.startswith("hmac:"):
        raise UsageError(
            "An id that begins with hmac: is a keyed hash out of a report.",
            hint="Search by coordinates: --at TOPIC:PARTITION:OFFSET, as the ledger names them.",
        )
    return text


def _trace(text: str) -> str:
    if not _TRACE.fullmatch(text) or not text.strip("0"):
        raise UsageError(f"--trace takes 32 hex digits, not {text[:60]!r}.", hint="As in a traceparent header.")
    return text.lower().zfill(32)


def _place(text: str) -> Place:
    found = _PLACE.fullmatch(text)
    if not found:
        raise UsageError(
            f"--at takes TOPIC:PARTITION:OFFSET, not {text[:300]!r}.", hint="For example user.events:3:41."
        )
    return found["topic"], int(found["partition"]), int(found["offset"])
