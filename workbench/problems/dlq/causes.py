"""Why dead letters were given up: cause groups by a fingerprint, and what kind of failure each is.

Grouping version 2, the first that applies: the application's own code; exception class and the top frame of the
application; class and message template; frame; message template; stage. Messages are compared here and never kept.
"""

from __future__ import annotations

import hashlib
import itertools
import re
from collections.abc import Sequence
from typing import NamedTuple

from workbench.dialects import Cause as ExceptionCause
from workbench.dialects import DeadLetter
from workbench.problems.dlq import templates
from workbench.problems.dlq.frames import top_frame
from workbench.problems.dlq.kinds import kind_of

GROUPING = 2
# Distinct (class, message) pairs that are kept apart before templates are mined; beyond them the class alone counts.
MOST_MESSAGES = 100_000
# Names only: whatever else stands there may be content.
_NAME = re.compile(r"[A-Za-z_$][\w$.<>:\\`+-]{0,199}\Z")
_CODE = re.compile(r"[A-Za-z0-9][\w.:-]{0,63}\Z")
# Exceptions that anybody makes out of another one, "RuntimeException: java.net.ConnectException: refused".
_BARE = frozenset({"java.lang.RuntimeException", "java.lang.Exception", "java.lang.Error", "java.lang.Throwable",
                   "java.io.UncheckedIOException", "System.Exception", "Error", "Exception", "RuntimeError"})  # fmt: skip

REASONS = {
    "code": "the same error code of the application",
    "class+frame": "the same exception class at the same place of the application",
    "class+message": "the same exception class, with messages of the same form",
    "class": "the same exception class",
    "frame": "the same place of the application",
    "message": "messages of the same form, or of too many forms to tell apart",
    "stage": "they failed at the same stage",
    "nothing known": "nothing says why they failed",
}


class Cause(NamedTuple):
    """A dead letter's cause, in names only.

    Attributes:
        fingerprint: equal for dead letters of one cause group.
        reason: what makes them one, a key of ``REASONS``.
        exception_class: unwrapped; null where there is none, or it is no name.
        frame: top frame of the application, without line numbers; null where the stack shows none.
        stage: where it failed, in the dialect's word.
        kind: transient, payload, validation, code or unknown.
        code: the application's own word for it.
        template: what the messages have in common, without values; null where that is nothing.
    """

    fingerprint: str
    reason: str
    exception_class: str | None
    frame: str | None
    stage: str | None
    kind: str
    code: str | None = None
    template: str | None = None


class _Draft(NamedTuple):
    """What is known before templates are mined; the message is masked."""

    exception_class: str | None
    frame: str | None
    stage: str | None
    kind: str
    code: str | None
    message: str | None


class Grouper:
    """Numbers the causes of dead letters as they come; ``causes`` says in the end what each number is."""

    def __init__(self) -> None:
        self._numbers: dict[_Draft, int] = {}

    def number(self, letter: DeadLetter | None) -> int:
        """The number of a dead letter's cause; None stands for one that nothing is known of."""
        draft = _draft(letter or DeadLetter(dialect=""))
        if draft not in self._numbers and len(self._numbers) >= MOST_MESSAGES:
            draft = draft._replace(message=None)
        return self._numbers.setdefault(draft, len(self._numbers))

    def causes(self) -> list[Cause]:
        """The cause of each number."""
        by_class: dict[str | None, set[str]] = {}
        for draft in self._numbers:
            if draft.message:
                by_class.setdefault(draft.exception_class, set()).add(draft.message)
        mined = templates.mined_apart(by_class) if by_class else {}
        return [_cause(draft, mined.get((draft.exception_class, draft.message or ""))) for draft in self._numbers]


def cause_of(letter: DeadLetter | None) -> Cause:
    """The cause of one dead letter by itself."""
    grouper = Grouper()
    grouper.number(letter)
    return grouper.causes()[0]


def _draft(letter: DeadLetter) -> _Draft:
    chain = letter.causes
    name, message = _meant(letter.exception_class, letter.message, chain)
    stage, frame = _name(letter.stage), top_frame(letter.stack)
    code = letter.code if letter.code and _CODE.match(letter.code) else None
    inner = [cause.exception_class for cause in chain]
    kind = kind_of(name, stage, message, chain=inner, code=code)
    return _Draft(name, frame, stage, kind, code, templates.masked(message) if message else None)


def _meant(
    exception_class: str | None, message: str | None, chain: Sequence[ExceptionCause]
) -> tuple[str | None, str | None]:
    """Class and message of the exception that tells something: not of one that only repeats its cause."""
    name = _name(exception_class)
    for outer, inner in itertools.pairwise(chain):
        if (
            outer.exception_class != name
            or name not in _BARE
            or not (outer.message or "").startswith(inner.exception_class)
        ):
            break
        name, message = _name(inner.exception_class), inner.message
    return name, message


def _cause(draft: _Draft, template: str | None) -> Cause:
    name, frame = draft.exception_class, draft.frame
    ways = (
        ("code", f"{name or ''}|{draft.code}" if draft.code else None),
        ("class+frame", f"{name}|{frame}" if name and frame else None),
        ("class+message", f"{name}|{template}" if name and template not in (None, templates.MANY) else None),
        ("class", name),
        ("frame", frame),
        ("message", template),
        ("stage", draft.stage),
        ("nothing known", "-"),
    )
    reason, what = next((reason, what) for reason, what in ways if what)
    digest = hashlib.sha256(f"{GROUPING}|{reason}|{what}".encode(errors="replace")).hexdigest()[:12]
    shown = templates.shown(template)
    return Cause(f"v{GROUPING}:{digest}", reason, name, frame, draft.stage, draft.kind, draft.code, shown)


def _name(text: str | None) -> str | None:
    return text if text and _NAME.match(text) else None
