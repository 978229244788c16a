"""Trace stores: whatever they answer becomes one spans table, or one sentence."""

from __future__ import annotations

import base64
import json
from collections import Counter
from pathlib import Path
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from workbench.errors import AccessDenied, ConfigError, NotFound, SourceUnavailable, WorkbenchError
from workbench.sources.http import Endpoint
from workbench.sources.traces import SPANS, Found, SpanQuery, connect_traces
from workbench.sources.traces.jaeger import Jaeger, take_older
from workbench.sources.traces.otlp import id_text, rows_of
from workbench.sources.traces.otlp_file import OtlpFile
from workbench.sources.traces.spans import ATTRIBUTES, messaging
from workbench.sources.traces.tempo import Tempo

TRACE, OTHER, SPAN = "0af7651916cd43dd8448eb211c80319c", "1" * 32, "b7ad6b7169203331"
URL = {"url": "http://traces.example:1", "timeout_seconds": 5}


def otlp_span(trace_id: str = TRACE, span_id: str = SPAN, **fields: Any) -> dict[str, Any]:
    attributes = fields.pop("attributes", {})
    return {
        "traceId": trace_id, "spanId": span_id, "name": "process", "kind": 5,
        "startTimeUnixNano": "1700000000000000000", "endTimeUnixNano": "1700000000012000000",
        "attributes": [{"key": k, "value": {"intValue" if isinstance(v, int) else "stringValue": str(v)}}
                       for k, v in attributes.items()], **fields,
    }  # fmt: skip


def document(*spans: dict[str, Any], service: str = "mailer") -> dict[str, Any]:
    resource = {"attributes": [{"key": "service.name", "value": {"stringValue": service}}]}
    return {"resourceSpans": [{"resource": resource, "scopeSpans": [{"spans": list(spans)}]}]}


def served(answers: dict[str, Any], asked: list[httpx2.URL] | None = None) -> httpx2.MockTransport:
    """A service that answers paths: a document, a status, or a text."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if asked is not None:
            asked.append(request.url)
        found = answers.get(request.url.path, 404)
        if isinstance(found, int):
            return httpx2.Response(found)
        return httpx2.Response(200, text=found) if isinstance(found, str) else httpx2.Response(200, json=found)

    return httpx2.MockTransport(answer)


def jaeger(answers: dict[str, Any], asked: list[httpx2.URL] | None = None) -> Jaeger:
    return Jaeger(Endpoint("Jaeger", URL, transport=served(answers, asked)))


def tempo(answers: dict[str, Any], asked: list[httpx2.URL] | None = None) -> Tempo:
    return Tempo(Endpoint("Tempo", URL, transport=served(answers, asked)))


OLD = {"messaging.destination": "in", "messaging.kafka.partition": 3, "messaging.kafka.message.offset": 41,
       "messaging.message_id": "in.3.41", "messaging.kafka.consumer.group": "g"}  # fmt: skip
NEW = {"messaging.destination.name": "in", "messaging.destination.partition.id": "3", "messaging.kafka.offset": 41,
       "messaging.message.id": "in.3.41", "messaging.consumer.group.name": "g"}  # fmt: skip


@pytest.mark.parametrize("attributes", [OLD, NEW, OLD | NEW], ids=["old", "new", "both"])
def test_old_and_new_names_say_the_same(attributes: dict[str, Any]):
    spans, _ = rows_of(document(otlp_span(attributes=attributes)), Counter())
    row = spans[0]
    assert (row.destination, row.partition, row.offset, row.message_id, row.group) == ("in", 3, 41, "in.3.41", "g")
    assert (row.service, row.kind, row.started_us, row.duration_us) == (
        "mailer",
        "consumer",
        1_700_000_000_000_000,
        12_000,
    )


def test_each_column_has_its_names_and_no_name_is_in_two():
    names = [name for several in ATTRIBUTES.values() for name in several]
    assert len(names) == len(set(names))
    assert set(ATTRIBUTES) <= set(SPANS.names)


def test_ids_are_hex_whether_they_come_as_hex_or_base64():
    packed = base64.b64encode(bytes.fromhex(TRACE)).decode()
    assert id_text(TRACE.upper(), 16) == id_text(packed, 16) == TRACE
    assert id_text("0" * 32, 16) is id_text("", 16) is id_text("nope!", 16) is id_text(7, 16) is None
    assert id_text("af7651916cd43dd8448eb211c80319c", 16) == TRACE  # Jaeger leaves leading zeros out


def test_an_error_is_told_by_its_type_and_never_by_its_text():
    noted = {"name": "exception", "timeUnixNano": "1700000000001000000", "attributes": [
        {"key": "exception.type", "value": {"stringValue": "TimeoutError"}},
        {"key": "exception.message", "value": {"stringValue": "user bob@example.org"}}]}  # fmt: skip
    failed = otlp_span(status={"code": 2, "message": "user bob@example.org"}, events=[noted])
    spans, events = rows_of(document(failed), Counter())
    assert (spans[0].status, spans[0].error) == ("error", "TimeoutError")
    assert [(event.name, event.error) for event in events] == [("exception", "TimeoutError")]
    assert "bob" not in repr((spans, events))


JSON_NAMES = [
    "resourceSpans", "scopeSpans", "spans", "traceId", "spanId", "attributes", "key", "value", "links", "events", "status",
    "data", "tags", "processes", "logs",
]  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text() | st.floats(),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
                        st.sampled_from(JSON_NAMES), inner),
                    max_leaves=20))  # fmt: skip
def test_no_document_is_fatal(found: Any):
    rows_of(found, Counter())
    messaging({"messaging.kafka.offset": found, "messaging.destination": found})
    for answer in ({"data": found}, {"data": [{"spans": found, "processes": found}]}):
        take_older(answer, Found())


JAEGER_OLD = {"data": [{"processes": {"p1": {"serviceName": "mailer"}}, "spans": [
    {"traceID": TRACE, "spanID": SPAN, "operationName": "process", "processID": "p1", "startTime": 1_700_000_000_000_000,
     "duration": 12_000, "references": [{"refType": "FOLLOWS_FROM", "traceID": OTHER, "spanID": "2" * 16}],
     "tags": [{"key": "span.kind", "value": "consumer"}, {"key": "error", "value": True},
              *({"key": k, "value": v} for k, v in NEW.items())],
     "logs": [{"timestamp": 1_700_000_000_001_000, "fields": [
         {"key": "event", "value": "exception"}, {"key": "exception.type", "value": "TimeoutError"}]}]}]}]}  # fmt: skip


def test_jaeger_v3_and_the_older_api_give_the_same_rows():
    failed = otlp_span(attributes=NEW, status={"code": "STATUS_CODE_ERROR"}, kind="SPAN_KIND_CONSUMER",
                       links=[{"traceId": OTHER, "spanId": "2" * 16}],
                       events=[{"name": "exception", "timeUnixNano": "1700000000001000000", "attributes": [
                           {"key": "exception.type", "value": {"stringValue": "TimeoutError"}}]}])  # fmt: skip
    by_v3 = jaeger({f"/api/v3/traces/{TRACE}": {"result": document(failed)}}).find(SpanQuery(trace_ids=(TRACE,)))
    off = {f"/api/v3/traces/{TRACE}": "<!doctype html>", f"/api/traces/{TRACE}": JAEGER_OLD}
    by_old = jaeger(off).find(SpanQuery(trace_ids=(TRACE,)))
    assert by_v3.tables()[0].to_pylist() == by_old.tables()[0].to_pylist()
    assert by_v3.tables()[1].to_pylist() == by_old.tables()[1].to_pylist()
    assert by_old.spans[0].error == "TimeoutError"


def test_jaeger_is_searched_by_ids_and_coordinates_and_only_what_matches_is_taken():
    asked: list[httpx2.URL] = []
    answers = {"/api/v3/services": {"services": ["mailer"]}, "/api/traces": JAEGER_OLD}
    found = jaeger(answers, asked).find(SpanQuery(message_ids=("a\"'; DROP",), places=(("in", 3, 41),)))
    assert [span.trace_id for span in found.spans] == [TRACE]
    tags = [json.loads(url.params["tags"]) for url in asked if "tags" in url.params]
    assert {"messaging.message.id": "a\"'; DROP"} in tags
    assert {"messaging.destination.name": "in", "messaging.kafka.offset": "41"} in tags
    assert jaeger(answers).find(SpanQuery(places=(("in", 4, 41),))).spans == []


def test_a_search_over_many_services_and_places_is_bounded_and_says_so():
    asked: list[httpx2.URL] = []
    answers = {"/api/v3/services": {"services": [f"s{n}" for n in range(30)]}, "/api/traces": {"data": []}}
    found = jaeger(answers, asked).find(SpanQuery(places=tuple(("in", 0, n) for n in range(20))))
    assert len(asked) == 201
    assert "200 of" in found.failures["searches"]


def test_tempo_is_asked_for_traces_searches_and_links():
    asked: list[httpx2.URL] = []
    packed = otlp_span(base64.b64encode(bytes.fromhex(OTHER)).decode(), base64.b64encode(bytes.fromhex(SPAN)).decode())
    answers = {f"/api/v2/traces/{TRACE}": {"trace": document(otlp_span())}, "/api/search": {"traces": [{"traceID": OTHER}]},
               f"/api/traces/{OTHER}": {"batches": document(packed)["resourceSpans"]}}  # fmt: skip
    found = tempo(answers, asked).find(SpanQuery(trace_ids=(TRACE,), message_ids=('x"y\\',), places=(("in", 3, 41),)))
    assert {span.trace_id for span in found.spans} == {TRACE, OTHER}
    queries = [url.params["q"] for url in asked if url.path == "/api/search"]
    assert 'span.messaging.message.id = "x\\"y\\\\"' in queries[0]
    assert "span.messaging.kafka.message.offset = 41" in queries[0]
    assert any(f'link:traceID = "{TRACE}"' in query for query in queries)


def test_a_part_of_a_trace_is_said_to_be_one():
    answers = {f"/api/v2/traces/{TRACE}": {"trace": document(otlp_span()), "status": "PARTIAL"}}
    found = tempo(answers).find(SpanQuery(trace_ids=(TRACE,)))
    assert (len(found.spans), found.truncated) == (1, True)


def test_what_was_had_before_a_store_fails_is_kept():
    answers = {f"/api/v3/traces/{TRACE}": {"result": document(otlp_span())}, f"/api/v3/traces/{OTHER}": 400}
    found = jaeger(answers).find(SpanQuery(trace_ids=(TRACE, OTHER)))
    assert len(found.spans) == 1
    assert "HTTP status 400" in found.failures[OTHER]
    assert "no such trace" in jaeger({}).find(SpanQuery(trace_ids=(TRACE,))).failures[TRACE]


@pytest.mark.parametrize(
    ("status", "kind", "words"),
    [
        (401, AccessDenied, "refuses"), (403, AccessDenied, "refuses"), (404, NotFound, "does not know"),
        (302, SourceUnavailable, "redirects"), (500, SourceUnavailable, "HTTP status 500"),
    ],
)  # fmt: skip
def test_each_failure_is_one_sentence_without_secrets(status: int, kind: type[WorkbenchError], words: str):
    settings = {**URL, "username": "reader", "password": "s3cret"}
    with pytest.raises(kind) as told:
        Endpoint("Jaeger", settings, transport=served({"/x": status})).get("/x")
    assert words in str(told.value)
    assert "\n" not in str(told.value)
    assert "s3cret" not in str(told.value)


def test_what_may_pass_is_tried_again_and_what_will_not_is_not():
    for status, tries in ((503, 3), (400, 1)):
        asked: list[httpx2.URL] = []
        with pytest.raises(SourceUnavailable):
            Endpoint("Jaeger", URL, transport=served({"/x": status}, asked)).get("/x")
        assert len(asked) == tries


@pytest.mark.parametrize(
    ("settings", "header", "value"),
    [
        ({"bearer_token": "t"}, "authorization", "Bearer t"),
        ({"api_key": "k"}, "x-api-key", "k"),
        ({"api_key": "k", "api_key_header": "X-Scope"}, "x-scope", "k"),
        ({"username": "u", "password": "p"}, "authorization", "Basic dTpw"),
        ({"token_url": "http://traces.example:1/token", "client_id": "c", "client_secret": "s"}, "authorization", "Bearer fresh"),
    ],
)  # fmt: skip
def test_requests_carry_the_credentials_of_the_profile(settings: dict[str, str], header: str, value: str):
    seen: list[httpx2.Request] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        seen.append(request)
        granted = {"access_token": "fresh", "token_type": "Bearer", "expires_in": 300}
        return httpx2.Response(200, json=granted if request.url.path == "/token" else {})

    Endpoint("Jaeger", {**URL, **settings}, transport=httpx2.MockTransport(answer)).get("/x")
    assert seen[-1].headers[header] == value


def test_a_profile_chooses_its_store_and_a_wrong_one_is_refused():
    assert connect_traces(None) is None
    assert isinstance(connect_traces({"kind": "otlp-file", "path": "spans.jsonl"}), OtlpFile)
    assert isinstance(connect_traces({"kind": "tempo", **URL}), Tempo)
    for wrong in ({"kind": "jeager"}, {"url": "http://x"}, {"kind": "jaeger"}, {"kind": "otlp-file"}):
        with pytest.raises(ConfigError):
            connect_traces(wrong)


def test_a_file_gives_the_traces_of_a_message_and_counts_what_is_damaged(tmp_path: Path):
    path = tmp_path / "spans.jsonl"
    linking = otlp_span("2" * 32, "3" * 16, links=[{"traceId": TRACE, "spanId": SPAN}])
    damaged = ["{", "\x00\xff", "[]", '{"a": 1}', "", "[" * 100_000, '{"resourceSpans": [{"scopeSpans": 7}]}']
    lines = [
        json.dumps(document(otlp_span(attributes=NEW))),
        *damaged,
        json.dumps(document(linking)),
        json.dumps(document(otlp_span(OTHER))),
    ]
    path.write_text("\n".join(lines))
    found = OtlpFile({"path": path}).find(SpanQuery(places=(("in", 3, 41),)))
    assert {span.trace_id for span in found.spans} == {TRACE, "2" * 32}
    assert found.skipped == {"line that is not JSON": 3, "line without spans": 2}
    assert found.failures == {}


def test_a_file_that_is_not_there_is_one_sentence(tmp_path: Path):
    found = OtlpFile({"path": tmp_path / "none.jsonl"}).find(SpanQuery(trace_ids=(TRACE,)))
    assert "cannot be read" in found.failures["file"]


def test_a_trace_of_ten_thousand_spans_is_one_table():
    spans = [otlp_span(span_id=f"{n:016x}", attributes=NEW) for n in range(1, 10_001)]
    found = jaeger({f"/api/v3/traces/{TRACE}": {"result": document(*spans)}}).find(SpanQuery(trace_ids=(TRACE,)))
    assert found.tables()[0].num_rows == 10_000
    assert not found.truncated
