"""What home-made names mean, whether of headers or of members of a JSON envelope: told by their words."""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

from workbench.dialects import fields

# Words that say whose name it is, not what it holds. Those of the second set also mark a dead letter.
_NOISE = frozenset(
    {
        "x",
        "kafka",
        "msg",
        "message",
        "record",
        "header",
        "event",
        "letter",
        "queue",
        "lettered",
        "metadata",
        "meta",
        "last",
        "messaging",
    }
)
_OWNER = frozenset({"dlq", "dlt", "dlx", "dead", "deadletter"})
_FIRST = frozenset({"original", "origin", "orig", "source", "src", "originating", "input"})
# Before a place these say where the record was that failed; consumers write them on healthy records, too.
_PLACED = frozenset({"failed", "consumed", "received", "real", "initial", "from"})

_SPELLINGS = {
    "group": "group|group id|group name|consumer group|consumer group id|consumer group name|consumer",
    "stage": "stage|processing stage|failed stage|failure stage|step|phase",
    "message": "error|error text|error reason|failure reason|failed reason|reason|exception|cause|error cause|failure cause|"
    "root cause|error description|error detail|error details|failure|failure description|rejection reason|throwable|"
    "exception value|error value|exception text|exc text|"
    "fail reason|failed because|fault|last error|rejection text|error msg|err|err msg|description",
    "exception_class": "error class|error type|error name|exception class|exception class name|exception type|exception name|"
    "exception fqcn|exc type|throwable class|throwable class name|error class name|failure class|failure type|cause class|"
    "cause class name|exception cause fqcn|err type|fault type",
    "code": "error code|exception code|failure code|reason code|err code|fault code|error id code|rejection code",
    "stack": "stack|stacktrace|stack trace|error stack|error stacktrace|error stack trace|exception stacktrace|exception stack|"
    "exception stack trace|traceback|exception traceback|error traceback|failure stacktrace|throwable stacktrace|trace back|"
    "backtrace|error backtrace|stack trace string|callstack",
    "attempts": "attempts|attempt|attempt count|attempt number|delivery attempts|delivery attempt|retries|retry|retry count|"
    "retry attempts|retry attempt|retry number|failed attempts|failure count|failed count|number of retries|num retries|"
    "delivery count|retry times|retried|tries|processing attempts",
    "at_ms": "failed at|failure timestamp|failure time|failure at|failed timestamp|failed time|failed on|error timestamp|"
    "error time|error at|errored at|failure|rejected at|rejection timestamp|sent to at|lettered at|time of failure|"
    "dead lettered at|exception timestamp|exception time|lettered on|lettered time",
    "first_failure_ms": "first failure|first failed at|first failure at|first failure timestamp|first attempt at|first error at|"
    "first seen at|first attempt",
    "topic": "topic|topic name",
    "partition": "partition|partition id",
    "offset": "offset",
    "timestamp_ms": "timestamp|timestamp ms|ts",
}
_FIELDS: dict[str, str] = {}
for _attribute, _names in _SPELLINGS.items():
    for _name in _names.split("|"):
        _FIELDS.setdefault(_name, _attribute)
# "last failure" and "first failure" name moments; without "last" the word is a reason.
_MOMENTS = {"last failure": "at_ms", "last failure at": "at_ms", "last failed at": "at_ms", "last attempt at": "at_ms"}
_PLACES = frozenset({"topic", "partition", "offset"})
_ORIGIN = frozenset({"topic", "partition", "offset", "timestamp_ms"})
# These alone do not say "dead letter": services put them on healthy records too.
_WEAK = frozenset({"attempts", "group", "stage", "code"})
_TEXTS = frozenset({"error message", "exception message", "failure message", "throwable message", "exc message", "err message",
                    "reason message", "fault message", "rejection message", "cause message", "failed message reason"})  # fmt: skip


class Meaning(NamedTuple):
    """What a name says.

    Attributes:
        attribute: of the normal form, as in ``named.READERS``.
        marks: whether it says "dead letter" all by itself.
        first: whether it says that it is of the original record.
    """

    attribute: str
    marks: bool
    first: bool


@lru_cache(maxsize=4096)
def meaning(name: str) -> Meaning | None:
    """What a name says; None where it says nothing of a dead letter."""
    if len(name) > 80:
        return None
    words = fields.words(name)
    owned = any(word in _OWNER for word in words)
    said = [word for word in words if word not in _OWNER and word != "x"]
    if (text := " ".join(word for word in said if word not in ("kafka", "header"))) in _TEXTS:
        return Meaning("message", marks=True, first=False)
    if text in _MOMENTS:
        return Meaning(_MOMENTS[text], marks=True, first=False)
    kept = [word for word in said if word not in _NOISE]
    placed = bool(kept) and kept[0] in _PLACED and _FIELDS.get(" ".join(kept[1:])) in _PLACES
    first = placed or (bool(kept) and kept[0] in _FIRST)
    bare = " ".join(kept[1:] if first else kept)
    attribute = _FIELDS.get(bare)
    if attribute in _ORIGIN:
        return _of_origin(attribute, owned=owned, first=first, placed=placed)
    if attribute is None:
        return None
    return Meaning(
        attribute, marks=owned or (attribute not in _WEAK and bare not in ("description", "consumer")), first=first
    )


def _of_origin(attribute: str, *, owned: bool, first: bool, placed: bool) -> Meaning | None:
    """The topic "original-topic" marks.

    "received-topic" does not, nor does a lone offset or timestamp: consumers, connectors and bridges copy those.
    """
    if attribute == "timestamp_ms" and owned and not first:
        return Meaning("at_ms", marks=True, first=False)
    return (
        Meaning(attribute, marks=owned or (attribute == "topic" and not placed), first=True) if owned or first else None
    )
