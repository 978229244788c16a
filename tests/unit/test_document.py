"""The integration's document: what is shown of values, what people wrote stays, and drift is named."""

from __future__ import annotations

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from tests.unit.test_integration_asyncapi import DOCUMENT
from workbench.errors import UsageError
from workbench.services.document import asyncapi, differences, facts_of, kept_blocks, page
from workbench.services.document.shapes import paths, shape_of

TODAY = datetime(2026, 1, 31, tzinfo=UTC)


def facts(**topic: Any) -> dict[str, Any]:
    schema = shape_of([b'{"messageId": "a", "data": {"n": 1}}', b'{"messageId": "b", "data": {"n": 2}, "note": "x"}'])[
        0
    ]
    found = {
        "role": "source", "partitions": 3, "replication": 1, "settings": {"retention.ms": "1000"}, "changed": [],
        "sampled": 200, "not_json": 0, "schema": schema.to_schema(), "headers": {"message-id": "always"}, **topic,
    }  # fmt: skip
    return {
        "integration": {
            "name": "demo", "source": "in", "group": "g", "through": ["mid:h"], "sinks": ["out"], "retry_topics": [],
            "dead_letters": ["in.dlq"], "id_from": "auto", "expected_latency_seconds": 60.0,
        },
        "cluster": {"cluster_id": "c", "brokers": 1},
        "topics": {"in": found, "out": {**found, "role": "sink"}},
        "readers": {"in": ["g"]},
        "security": {"protocol": "PLAINTEXT", "mechanism": None, "encrypted_values": False},
        "signals": {"prometheus": False, "traces": False, "registry": False},
        "missing": {"settings of in": "DescribeConfigs denied"},
    }  # fmt: skip


def test_shapes_say_paths_and_types_and_no_value() -> None:
    shape, others = shape_of([b'{"id": "secret-1", "n": 1, "list": [{"x": true}]}', b'{"id": null}', b"no json"])
    assert paths(shape.to_schema()) == {
        "$": "object", "$.id": "null or string", "$.list": "array?", "$.list[]": "object", "$.list[].x": "boolean",
        "$.n": "integer?",
    }  # fmt: skip
    assert others == 1
    assert "secret" not in json.dumps(shape.to_schema())


def test_names_that_look_like_data_are_not_shown() -> None:
    shape, _ = shape_of([b'{"by": {"anna@example.org": 1, "4711471147": 2, "<script>": 3}}'])
    assert paths(shape.to_schema()) == {"$": "object", "$.by": "object", "$.by.*": "integer"}


def test_what_people_wrote_stays() -> None:
    first = page(facts(), {}, today=TODAY)
    edited = first.replace("*Who owns it, and whom to call.*", "Call the platform team.\n\n- day: 1\n- night: 2")
    again = page(facts(partitions=6), kept_blocks(edited), today=TODAY)
    assert "Call the platform team.\n\n- day: 1\n- night: 2" in again
    assert kept_blocks(again) == kept_blocks(edited)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("<!-- keep: overview -->\nmine", "not closed"),
        ("<!-- keep: overview --><!-- keep: notes --><!-- /keep -->", "not closed before"),
        ("<!-- keep: mine --><!-- /keep -->", "has no place"),
        ("<!-- keep: notes -->a<!-- /keep --><!-- keep: notes -->b<!-- /keep -->", "is there twice"),
        ("text <!-- /keep -->", "did not begin"),
    ],
)
def test_broken_blocks_are_refused_rather_than_lost(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why):
        kept_blocks(text)


def test_a_document_that_agrees_has_no_differences() -> None:
    text = page(facts(), {}, today=TODAY)
    assert differences(facts_of(text), facts(sampled=10, not_json=3)) == []


def test_each_difference_is_named() -> None:
    now = facts(partitions=6, settings={"retention.ms": "2000"})
    now["readers"] = {"in": ["g", "new"]}
    del now["topics"]["out"]
    properties = deepcopy(now["topics"]["in"]["schema"])
    properties["properties"]["messageId"] = {"type": "integer"}
    properties["properties"]["added"] = {"type": "string"}
    del properties["properties"]["data"]
    now["topics"]["in"]["schema"] = properties
    said = "\n".join(differences(facts(), now))
    for words in ("partitions is 6", "retention.ms is 2000", "group new reads it now", "topic out is gone", "$.added is new",
                  "$.messageId is integer now", "$.data is gone"):  # fmt: skip
        assert words in said
    assert "$.note" not in said  # it was not always there


def test_a_field_that_few_records_lack_is_not_gone() -> None:
    now = facts(sampled=5)
    del now["topics"]["in"]["schema"]["properties"]["data"]
    assert differences(facts(), now) == []


def test_a_file_that_is_no_such_document_is_refused() -> None:
    with pytest.raises(UsageError, match="does not say what it was written from"):
        facts_of("# A page\n")


@given(st.text(max_size=60), st.text(min_size=1, max_size=60))
def test_hostile_names_stay_text(header: str, topic: str) -> None:
    found = facts(headers={header: "always"})
    found["topics"][topic] = found["topics"].pop("in")
    text = page(found, {}, today=TODAY)
    assert facts_of(text) == json.loads(json.dumps(found))
    assert set(kept_blocks(text)) == set(kept_blocks(page(facts(), {}, today=TODAY)))
    assert "<script" not in text


def test_the_asyncapi_document_is_one() -> None:
    Draft202012Validator(DOCUMENT).validate(asyncapi(facts(), "kafka.example:9092,other:9092"))
