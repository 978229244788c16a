"""Compare decoded dead letters with what their planters wrote down: every field that headers can tell."""

from __future__ import annotations

import base64
import json
from pathlib import Path

from workbench.dialects import DeadLetter, decode, original_headers

TIMESTAMP_TYPES = {"CreateTime": "create", "LogAppendTime": "append"}


def unpacked(encoded):
    return None if encoded is None else base64.b64decode(encoded)


def headers_of(record):
    return [(name, unpacked(encoded)) for name, encoded in record["headers"]]


def load(folder: Path, framework: str):
    """Yield (record, truth) of a recorded topic."""
    truths = json.loads((folder / f"{framework}.truth.json").read_text())["records"]
    by_place = {(truth["topic"], truth["partition"], truth["offset"]): truth for truth in truths}
    for line in (folder / f"{framework}.jsonl").read_text().splitlines():
        record = json.loads(line)
        yield record, by_place[record["topic"], record["partition"], record["offset"]]


def decoded(record) -> DeadLetter | None:
    return decode(
        headers_of(record), unpacked(record["value_b64"]), record["topic"], timestamp_ms=record["timestamp_ms"]
    )


def differences(framework: str, record, truth) -> list[str]:
    """What came out other than the truth, as readable lines; empty when all fields are right."""
    letter = decoded(record)
    if letter is None:
        marked = any(name.startswith(("__", "kafka_", "retry_")) for name, _ in record["headers"])
        return ["marked but not decoded"] if marked else []
    pairs = [("dialect", letter.dialect, framework), *_origin(framework, letter, truth)]
    pairs += _newest(framework, letter, truth["failures"][-1])
    pairs += _hops(framework, letter, truth)
    pairs += [("original headers", _comparable(original_headers(headers_of(record))), _origin_headers(truth))]
    return [f"{name}: {got!r} is not {want!r}" for name, got, want in pairs if got != want]


def _comparable(headers):
    # Spring's JSON serialiser adds its type header like any producer would: not a dead-letter mark.
    return [pair for pair in headers if pair[0] != "__TypeId__"]


def _origin_headers(truth):
    return [(name, unpacked(encoded)) for name, encoded in truth["origin_headers"] or []]


def _origin(framework, letter, truth):
    origin = truth["origin"] or {}
    hidden = "processor_saw" in truth["failures"][0]  # behind a repartition nothing says what was sent
    for name in ("topic", "partition", "offset"):
        yield f"origin_{name}", getattr(letter, f"origin_{name}"), None if hidden else origin.get(name)
    yield "origin_timestamp_ms", letter.origin_timestamp_ms, origin.get("timestamp_ms")
    if framework.startswith("spring"):
        yield "timestamp_type", letter.origin_timestamp_type, TIMESTAMP_TYPES[origin["timestamp_type"]]


def _newest(framework, letter, failure):
    yield "exception_class", letter.exception_class, failure["exception"]
    yield "message", letter.message, failure["message"]
    yield "stage", letter.stage, _stage(failure["stage"])
    yield "group", letter.group, failure.get("consumer_group") or failure.get("group")
    yield "connector", letter.connector, failure.get("connector")
    yield "task", letter.task, failure.get("task")
    yield "executing_class", letter.executing_class, failure.get("executing_class")
    if "chain" in failure:
        chain = [{"class": cause.exception_class, "message": cause.message} for cause in letter.causes]
        yield "causes", chain, failure["chain"]
    elif framework == "streams":
        yield "cause", letter.causes[1].exception_class if letter.causes[1:] else None, failure["cause"]


def _stage(planted):
    """Streams' planter names two stages by what it did there; for the framework both are processing."""
    return {"processing-after-repartition": "processing", "redrive": "processing"}.get(planted, planted)


def _hops(framework, letter, truth):
    retried = "retry_publications" in truth
    yield "number of hops", len(letter.hops), truth["hops"]
    yield "is_retry", letter.is_retry, framework == "spring_kafka_retry"
    if retried:
        # One failure more than publications to retry topics, unless it still waits in one.
        yield "attempts", letter.attempts, truth["retry_publications"] + (not letter.is_retry)
        return
    for position, (hop, failure) in enumerate(zip(letter.hops, truth["failures"], strict=True)):
        at = failure.get("processor_saw", failure["consumed"])
        yield f"hop {position}", (hop.topic, hop.partition, hop.offset), (at["topic"], at["partition"], at["offset"])
        if framework.startswith("spring"):
            yield f"hop {position} group", hop.group, failure["group"]
        else:
            yield f"hop {position} exception", hop.exception_class, failure["exception"]
            yield f"hop {position} message", hop.message, failure["message"]
            yield f"hop {position} stage", hop.stage, _stage(failure["stage"])
            yield f"hop {position} task", (hop.connector, hop.task), (failure.get("connector"), failure.get("task"))
