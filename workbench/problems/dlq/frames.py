"""The frame of a stack trace that is the application's own, without what changes from build to build.

Java and its neighbours, .NET, JavaScript, Python, Go, PHP and Ruby. Names only: files keep no folder, lines no number.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache

LONGEST = 200_000  # characters of a stack that are looked at
_INNER = re.compile(r"\n(?=Caused by: |  \[cause\]: )")
_CALL = re.compile(r"^\s+at (?:[\w.@-]+/+)?([\w$.`<>+\[\]]+)\.([\w$<>|`]+)(?:\[[^\]\n]*\])?\(", re.MULTILINE)
_SCRIPT = re.compile(
    r"^\s+at (?:async )?(?:([\w$.<> \[\]]{1,100}) \()?((?:file://|/|[A-Za-z]:\\|\w)[^()\n]{0,500}?):\d+:\d+\)?",
    re.MULTILINE,
)
_PYTHON = re.compile(r'^\s+File "([^"\n]{1,500})", line \d+, in (\S{1,100})', re.MULTILINE)
_GO = re.compile(r"^([\w./*()\[\]-]{1,300}?)(?:\([^\n]*\))?\n\t(\S{1,400}\.go):\d+", re.MULTILINE)
_PHP = re.compile(r"^#\d+ ([^\n(]{1,400})\(\d+\): ([\w\\]+(?:->|::)?\w*)\(", re.MULTILINE)
_RUBY = re.compile(r"^\s*(?:from )?(\S{1,400}\.rb):\d+:in [`']([^'\n]{1,100})'", re.MULTILINE)

_FRAMEWORKS = (
    "java.", "javax.", "jdk.", "sun.", "com.sun.", "kotlin.", "kotlinx.", "scala.", "reactor.", "io.netty.", "io.smallrye.",
    "io.vertx.", "io.quarkus.", "org.apache.", "org.springframework.", "org.aspectj.", "com.fasterxml.", "tools.jackson.",
    "org.hibernate.", "io.confluent.", "jakarta.", "org.jboss.", "io.micronaut.", "akka.", "com.google.", "io.grpc.",
    "io.opentelemetry.", "org.junit.", "feign.", "okhttp3.", "retrofit2.", "com.zaxxer.", "org.postgresql.", "com.mysql.",
    "oracle.", "io.debezium.", "io.github.resilience4j.", "org.eclipse.", "net.bytebuddy.", "com.mongodb.", "redis.clients.",
    "System.", "Microsoft.", "MassTransit.", "NServiceBus.", "Rebus.", "Confluent.Kafka.", "Silverback.", "Newtonsoft.",
    "Npgsql.", "Polly.", "KafkaFlow.", "Grpc.",
)  # fmt: skip
_GENERATED = re.compile(r"\$\$(?:Lambda|EnhancerBy|SpringCGLIB|FastClassBy)[\w$]*.*|\$\d+\Z|_ClientProxy\Z|_Subclass\Z")
_LAMBDA = re.compile(r"lambda\$(\w+)\$\d+")
_STATE = re.compile(r"\.?<(\w+)>[\w|]*")  # .NET's state machines: Shop.Orders.<Handle>d__3.MoveNext
_THEIRS = (
    "node_modules", "site-packages", "/lib/python", "/go/pkg/mod/", "/usr/local/go/", "/vendor/", "/gems/", "/lib/ruby/", "<frozen",
)  # fmt: skip


def top_frame(stack: str | None) -> str | None:
    """The frame nearest to the failure that is the application's own; null where the stack shows none."""
    if not stack:
        return None
    parts = _INNER.split(stack[:LONGEST])
    for part in (parts[-1], *parts[:-1]):
        # The head has the message, which differs; the frames below it are nearly always the same ones.
        start = part.find("\n")
        if start >= 0 and (frame := _in_block(part[start:])):
            return frame
    return None


@lru_cache(maxsize=4096)
def _in_block(block: str) -> str | None:
    if "\n#0 " in block or ".go:" in block or ".rb:" in block:
        return next(_elsewhere(block), None)
    if ' File "' in block:
        own = [frame for path, name in _PYTHON.findall(block) if (frame := _file_frame(path, name))]
        return own[-1] if own else None
    found = next((frame for owner, method in _CALL.findall(block) if (frame := _call_frame(owner, method))), None)
    return found or next((frame for name, path in _SCRIPT.findall(block) if (frame := _file_frame(path, name))), None)


def _elsewhere(block: str) -> Iterator[str]:
    named = [(path, name) for name, path in _GO.findall(block)]
    for path, name in (*named, *_PHP.findall(block), *_RUBY.findall(block)):
        if frame := _file_frame(path, name.rsplit("/", 1)[-1]):
            yield frame


def _call_frame(owner: str, method: str) -> str | None:
    if owner.startswith(_FRAMEWORKS):
        return None
    state = _STATE.search(owner)
    if state and method == "MoveNext":
        owner, method = owner[: state.start()], state[1]
    plain = _LAMBDA.sub(r"lambda$\1", method)
    return f"{_GENERATED.sub('', owner)}.{plain}"[:200]


def _file_frame(path: str, name: str) -> str | None:
    if any(mark in path for mark in _THEIRS) or path.startswith(("node:", "internal/")):
        return None
    file = re.split(r"[/\\]", path)[-1]
    return f"{file}:{name.strip()}"[:200] if name.strip() else file[:200]
