"""Envelopes with a form of their own that services write: AWS Lambda's failure destinations, ksqlDB's processing log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from workbench.dialects import documents, fields
from workbench.dialects.documents import members, number
from workbench.dialects.model import DeadLetter, Hop, Record, from_hops

_LAMBDA = b'"KafkaBatchInfo"'
_KSQL = (b'"deserializationError"', b'"recordProcessingError"', b'"productionError"')


def aws_lambda(record: Record) -> DeadLetter | None:
    """AWS Lambda with a Kafka topic as failure destination: one record in base64, why it was given up, how often tried."""
    if record.value is None or _LAMBDA not in record.value:
        return None
    found = {name: content for name, (content, _) in members(record.value).items()}
    asked, answered = (_object(found.get(name)) for name in ("requestContext", "responseContext"))
    if not isinstance(found.get("KafkaBatchInfo"), dict) or not asked:
        return None
    original = _first_record(found.get("payload"))
    at = documents.moment(found.get("timestamp"))
    function = documents.text(asked.get("functionArn"))
    hop = Hop(
        topic=documents.read("topic", original.get("topic")),
        partition=number(original.get("partition"), fields.INT32_MAX),
        offset=number(original.get("offset")),
        timestamp_ms=documents.moment(original.get("timestamp")),
        timestamp_type={"CREATE_TIME": "create", "LOG_APPEND_TIME": "append"}.get(str(original.get("timestampType"))),
        executing_class=function,
        stage="handler",
        exception_class=documents.text(answered.get("functionError")),
        message=documents.text(asked.get("condition")),
        at_ms=at,
    )
    value = original.get("value")
    letter = from_hops("aws_lambda", [hop], payload=documents.unpacked(value) if isinstance(value, str) else None)
    return replace(
        letter, attempts=number(asked.get("approximateInvokeCount"), fields.INT32_MAX), first_failure_ms=None
    )


def _first_record(payload: Any) -> dict[str, Any]:
    """The failed record: the payload is an object, or its JSON as text."""
    if isinstance(payload, str):
        payload = {name: content for name, (content, _) in members(payload.encode("utf-8", "replace")).items()}
    batches = _object(_object(payload).get("records")).values()
    return next((_object(one) for batch in batches if isinstance(batch, list) for one in batch), {})


def ksqldb(record: Record) -> DeadLetter | None:
    """KsqlDB's processing log: the kind of error, its causes, and the record in base64 where it is included."""
    if record.value is None or not any(mark in record.value for mark in _KSQL):
        return None
    found = {name: content for name, (content, _) in members(record.value).items()}
    said = found.get("message")
    kinds = _object(said) if said is not None else found
    for kind, stage in (
        ("deserializationError", "deserialization"),
        ("recordProcessingError", "processing"),
        ("productionError", "production"),
    ):
        error = kinds.get(kind)
        if isinstance(error, dict):
            return _ksql_letter(error, stage, found)
    return None


def _ksql_letter(error: Mapping[str, Any], stage: str, found: Mapping[str, Any]) -> DeadLetter:
    causes = [text for one in _list(error.get("cause")) if (text := documents.text(one))]
    raw = error.get("recordB64", error.get("record"))
    packed = documents.unpacked(raw) if isinstance(raw, str) else None
    hop = Hop(
        topic=documents.read("topic", error.get("topic")),
        stage=stage,
        executing_class=documents.text(found.get("logger")),
        message=": ".join([*filter(None, [documents.text(error.get("errorMessage"))]), *causes]) or None,
        at_ms=documents.moment(found.get("time")),
    )
    return from_hops(
        "ksqldb", [hop], payload=packed if packed is not None or not isinstance(raw, str) else documents.raw_text(raw)
    )


def _object(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
