"""Why a dead letter was given up: its cause group, and what kind of failure that is.

Grouping version 1: exception class and the top frame of the application; else the class, the frame, the message without its
variable parts, or the stage alone. Messages are compared here and never kept.
"""

from __future__ import annotations

import hashlib
import re
from typing import NamedTuple

from workbench.dialects import DeadLetter

GROUPING = 1
# Names only: whatever else stands there may be content.
_NAME = re.compile(r"[A-Za-z_$][\w$.<>:-]{0,199}\Z")
_JAVA = re.compile(r"^\s+at (?:[\w.@-]+/+)?([\w$.]+)\.([\w$<>]+)\(")
_PYTHON = re.compile(r'^\s+File "([^"\n]{1,500})", line \d+, in (\S{1,100})')
_SCRIPT = re.compile(r"^\s+at (?:async )?([\w$.<> ]{1,100}) \(([^()\n]{1,500}?):\d+:\d+\)")
_FRAMEWORKS = (
    "java.", "javax.", "jdk.", "sun.", "com.sun.", "kotlin.", "scala.", "reactor.", "io.netty.", "io.smallrye.", "io.vertx.",
    "io.quarkus.", "org.apache.kafka.", "org.apache.camel.", "org.springframework.", "org.aspectj.", "com.fasterxml.",
    "tools.jackson.",
    "org.hibernate.", "io.confluent.", "jakarta.", "org.jboss.", "io.micronaut.", "akka.", "org.apache.avro.",
)  # fmt: skip
_GENERATED = re.compile(r"\$\$(?:Lambda|EnhancerBy|SpringCGLIB|FastClassBy)[\w$]*.*|\$\d+\Z")
_LAMBDA = re.compile(r"lambda\$(\w+)\$\d+")

# Words in the simple names of exception classes, first match wins.
_WORDS = {
    "transient": "timeout timedout connectexception connection unavailable throttl ratelimit toomanyrequests deadlock"
    " optimisticlock lockwait unknownhost"
    " notavailable retriable retryable temporar brokenpipe circuit callnotpermitted ioexception socketexception",
    "payload": "deserializ serializ parse json schema avro protobuf convert dataexception malformed numberformat decode unicode"
    " mapping unmarshal syntax",
    "validation": "validat constraint illegalargument valueerror invalid business domain notfound forbidden unauthor",
    "code": "nullpointer classcast outofbounds keyerror typeerror attributeerror illegalstate nosuchelement assert unsupported"
    " referenceerror nameerror indexerror zerodivision arithmetic",
}
_STAGES = {
    "VALUE_CONVERTER": "payload",
    "KEY_CONVERTER": "payload",
    "HEADER_CONVERTER": "payload",
    "deserialization": "payload",
}


class Cause(NamedTuple):
    """A dead letter's cause, in names only.

    Attributes:
        fingerprint: equal for dead letters of one cause group.
        reason: what makes them one: ``class+frame``, ``class``, ``frame``, ``message``, ``stage`` or ``nothing known``.
        exception_class: null where there is none, or it is no name.
        frame: top frame of the application, without line numbers; null where the stack shows none.
        stage: where it failed, in the dialect's word.
        kind: transient, payload, validation, code or unknown.
    """

    fingerprint: str
    reason: str
    exception_class: str | None
    frame: str | None
    stage: str | None
    kind: str


def cause_of(letter: DeadLetter | None) -> Cause:
    """The cause of a dead letter; None for one that nothing is known of."""
    letter = letter or DeadLetter(dialect="")
    name, stage, frame = _name(letter.exception_class), _name(letter.stage), top_frame(letter.stack)
    message = _template(letter.message)
    ways = (
        ("class+frame", f"{name}|{frame}" if name and frame else ""), ("class", name), ("frame", frame),
        ("message", message), ("stage", stage), ("nothing known", "-"),
    )  # fmt: skip
    reason, what = next((reason, what) for reason, what in ways if what)
    digest = hashlib.sha256(f"{GROUPING}|{reason}|{what}".encode(errors="replace")).hexdigest()[:12]
    return Cause(f"v{GROUPING}:{digest}", reason, name, frame, stage, kind_of(name, stage, message))


_VARIABLE = re.compile(r"\"[^\"]*\"|'[^']*'|\S*\d\S*|\S+@\S+")


def _template(message: str | None) -> str | None:
    """A message without what differs from record to record."""
    return _VARIABLE.sub("*", message[:2_000]).strip()[:300] or None if message else None


def kind_of(name: str | None, stage: str | None, message: str | None = None) -> str:
    """What kind of failure a class, a stage or, where neither tells, a message means."""
    simple = (name or "").rpartition(".")[2].lower().replace("_", "")
    if kind := _kind(simple):
        return kind
    return _STAGES.get(stage or "") or _kind((message or "").lower().replace(" ", "")) or "unknown"


def _kind(text: str) -> str | None:
    found = (kind for kind, words in _WORDS.items() if any(word in text for word in words.split()))
    return next(found, None)


def _name(text: str | None) -> str | None:
    return text if text and _NAME.match(text) else None


def top_frame(stack: str | None) -> str | None:
    """The frame nearest to the failure that is the application's own, without what changes from build to build."""
    if not stack:
        return None
    lines = stack[:200_000].splitlines()
    innermost = max((number for number, line in enumerate(lines) if line.startswith("Caused by: ")), default=0)
    for part in (lines[innermost:], lines[:innermost]):
        for line in part:
            found = _JAVA.match(line) or _SCRIPT.match(line)
            frame = _frame(found) if found else None
            if frame:
                return frame
    python = [f"{path.rpartition('/')[2]}:{name}" for path, name in _python_frames(lines)]
    return python[-1] if python else None


def _frame(found: re.Match[str]) -> str | None:
    if found.re is _SCRIPT:
        path = found.group(2)
        own = "node_modules" not in path and not path.startswith("node:")
        return f"{path.rpartition('/')[2]}:{found.group(1).strip()}"[:200] if own else None
    owner = _GENERATED.sub("", found.group(1))
    if owner.startswith(_FRAMEWORKS):
        return None
    method = _LAMBDA.sub(r"lambda$\1", found.group(2))
    return f"{owner}.{method}"[:200]


def _python_frames(lines: list[str]) -> list[tuple[str, str]]:
    frames = [found.groups() for line in lines if (found := _PYTHON.match(line))]
    return [(path, name) for path, name in frames if "site-packages" not in path and "/lib/python" not in path]
