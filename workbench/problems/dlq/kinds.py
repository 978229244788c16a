"""What kind of failure an exception means: passing, in the payload, in the rules of the business, or in the code."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

# Words in the simple names of exception classes (lower case), first match wins.
_WORDS = {
    "transient": "timeout timedout connectexception connection unavailable throttl ratelimit toomanyrequests deadlock"
    " optimisticlock lockwait unknownhost notavailable retriable retryable temporar brokenpipe circuit callnotpermitted"
    " socketexception nohttpresponse resourceaccess httpservererror leadernotavailable notleader disconnect econnrefused"
    " econnreset etimedout enotfound overload toobusy",
    "payload": "deserializ serializ parse json schema avro protobuf convert dataexception malformed numberformat decode unicode"
    " mapping unmarshal syntax recordtoolarge corrupt",
    "validation": "validat constraint illegalargument valueerror invalid business domain notfound forbidden unauthor rejected"
    " conflict precondition duplicatekey integrity argumentexception badrequest",
    "code": "nullpointer nullreference classcast outofbounds keyerror typeerror attributeerror illegalstate nosuchelement"
    " assert unsupported referenceerror nameerror indexerror zerodivision arithmetic nosuchmethod noclassdef invalidcast"
    " notimplemented stackoverflow concurrentmodification undefinedmethod nomethoderror invalidoperation",
}
_WEAK = {"ioexception": "transient", "oserror": "transient", "sqlexception": "transient"}
# Phrases of messages where no class tells.
_PHRASES = {
    "transient": "timed out|timeout|connection refused|connection reset|no route to host|unavailable|too many requests"
    "|temporarily|deadline exceeded|broken pipe|rate limit|i/o timeout|no such host|econnrefused|circuit breaker",
    "payload": "deserializ|serializ|unmarshal|parse|invalid json|malformed|unexpected token|unexpected end|schema|decod",
    "validation": "validation|invalid|not found|missing|required|must be|must not|not allowed|forbidden|rejected|already exists",
    "code": "null pointer|nil pointer|undefined|out of range|not implemented",
}
_STAGES = {
    "VALUE_CONVERTER": "payload",
    "KEY_CONVERTER": "payload",
    "HEADER_CONVERTER": "payload",
    "deserialization": "payload",
}
KINDS = (*_WORDS, "unknown")


@lru_cache(maxsize=4096)
def kind_of_class(name: str) -> str | None:
    """What a class means by its simple name; null where that says nothing."""
    simple = name.replace("::", ".").replace("\\", ".").rpartition(".")[2].lower().replace("_", "")
    return next((kind for kind, words in _WORDS.items() if any(word in simple for word in words.split())), None)


def kind_of(
    name: str | None,
    stage: str | None,
    message: str | None = None,
    *,
    chain: Iterable[str] = (),
    code: str | None = None,
) -> str:
    """What kind of failure a dead letter tells of.

    Args:
        name: class of the exception, unwrapped.
        stage: where it failed, in the dialect's word.
        message: its message, asked only where nothing else tells.
        chain: classes of its causes, outermost first: the innermost one that says something counts.
        code: the application's own word; HTTP's statuses are known.
    """
    found = [kind for one in (name, *chain) if one and (kind := kind_of_class(one))]
    # A payload that fails to convert deep down often shows as an input error; what fails above a lost connection is passing.
    if found:
        return found[-1] if found[-1] in ("transient", "payload") else found[0]
    if kind := _by_code(code):
        return kind
    weak = (name or "").rpartition(".")[2].lower()
    return _STAGES.get(stage or "") or _WEAK.get(weak) or _phrase(message or "") or "unknown"


def _by_code(code: str | None) -> str | None:
    if code is None or len(code) != 3 or not code.isdigit():
        return kind_of_class(code) if code else None
    if code in ("408", "425", "429") or code.startswith("5"):
        return "transient"
    return "validation" if code.startswith("4") else None


def _phrase(message: str) -> str | None:
    lowered = message[:1_000].lower()
    return next((kind for kind, said in _PHRASES.items() if any(one in lowered for one in said.split("|"))), None)
