"""Values with schemas of a real registry, written by Confluent's own serializers: ids found, and counted where they are not."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient, topic_subject_name_strategy
from confluent_kafka.schema_registry.avro import AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from tests.unit.test_formats import avro as encoded
from tests.unit.test_formats import framed, proto
from workbench.config import profile_from_options
from workbench.problems import checking
from workbench.problems.scope import scope_from
from workbench.report import Report
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.sending import producer
from workbench.sandbox.stack.running import start_stack
from workbench.sources import connect
from workbench.sources.discover import discover
from workbench.sources.doctor import diagnose_access

pytestmark = pytest.mark.kafka

EVENT = {
    "type": "record", "name": "Event", "fields": [
        {"name": "messageId", "type": "string"}, {"name": "eventType", "type": "string"}, {"name": "amount", "type": "double"},
    ],
}  # fmt: skip
JSON_EVENT = {"title": "Event", "type": "object", "properties": {"messageId": {"type": "string"}}}
PROTO_EVENT = 'syntax = "proto3"; message User { string message_id = 1; int64 count = 2; message Inner { string message_id = 1; } }'
# By default the client first asks for associations, which Apicurio does not know, and tries again for seconds.
NAMED_BY_TOPIC = {"subject.name.strategy": topic_subject_name_strategy}
COUNT, LOST = 60, {"m7", "m21", "m40"}
Serialize = Callable[[str, str], bytes]  # topic, message id -> a value


@pytest.fixture(scope="module")
def registry() -> Iterator[str]:
    """The address of a real schema registry."""
    with start_stack(("registry",)) as stack:
        yield stack.addresses["registry"]


def avro(client: SchemaRegistryClient, schema: dict[str, Any] = EVENT) -> Serialize:
    serializer = AvroSerializer(client, json.dumps(schema), conf=NAMED_BY_TOPIC)

    def serialize(topic: str, message_id: str) -> bytes:
        value = {"messageId": message_id, "eventType": "order", "amount": 1.5}
        return bytes(serializer(value, SerializationContext(topic, MessageField.VALUE)))

    return serialize


def json_schema(client: SchemaRegistryClient) -> Serialize:
    serializer = JSONSerializer(json.dumps(JSON_EVENT), client, conf=NAMED_BY_TOPIC)
    return lambda topic, one: bytes(serializer({"messageId": one}, SerializationContext(topic, MessageField.VALUE)))


def protobuf(client: SchemaRegistryClient) -> Serialize:
    def serialize(topic: str, message_id: str) -> bytes:
        schema_id = client.register_schema(f"{topic}-value", Schema(PROTO_EVENT, "PROTOBUF"))
        return framed(proto(message_id), schema_id)

    return serialize


def sent(kafka: str, topic: str, serialize: Serialize, ids: list[str]) -> None:
    client = producer(kafka)
    for one in ids:
        client.produce(topic, serialize(topic, one), one.encode())
    client.flush(30)


def flow(kafka: str, unique: str, serialize: Serialize) -> dict[str, Any]:
    """Sixty messages, of which three are not in the sink; the options to check them with."""
    ids = [f"m{number}" for number in range(COUNT)]
    source, sink = f"in-{unique}", f"out-{unique}"
    for topic in (source, sink):
        topics.create(kafka, topic, 2)
    sent(kafka, source, serialize, ids)
    sent(kafka, sink, serialize, [one for one in ids if one not in LOST])
    return {"source": source, "sink": [sink], "expected_latency": "1ms"}


def checked(kafka: str, registry: str | None, options: dict[str, Any], work_dir: Path, problem: str = "loss") -> Report:
    profile = replace(profile_from_options(kafka, {}), registry={"url": registry} if registry else None)
    with connect(profile) as sources:
        evidence = checking.problem(problem).collect(sources, scope_from(**options), work_dir=work_dir)
    return checking.examine(problem, evidence).report


@pytest.mark.parametrize("form", [avro, json_schema, protobuf])
def test_ids_are_found_whatever_the_values_are_written_with(
    kafka: str, registry: str, unique: str, tmp_path: Path, form: Callable[[SchemaRegistryClient], Serialize]
) -> None:
    options = flow(kafka, unique, form(SchemaRegistryClient({"url": registry})))
    report = checked(kafka, registry, options, tmp_path)
    assert (report.ledger["sent"], report.ledger["delivered"], report.ledger["lost"]) == (COUNT, COUNT - 3, 3)
    assert report.facts["unidentified"] == 0


def test_predicates_and_several_processes_read_decoded_values(
    kafka: str, registry: str, unique: str, tmp_path: Path
) -> None:
    options = flow(kafka, unique, avro(SchemaRegistryClient({"url": registry})))
    given = {**options, "where": "CAST(value->>'$.amount' AS DOUBLE) > 1", "processes": 2}
    assert checked(kafka, registry, given, tmp_path / "all").ledger["lost"] == 3
    none = {**options, "where": "value->>'$.eventType' <> 'order'"}
    assert checked(kafka, registry, none, tmp_path / "none").ledger["filtered"] == COUNT


def test_two_hundred_versions_of_a_schema(kafka: str, registry: str, unique: str, tmp_path: Path) -> None:
    client = SchemaRegistryClient({"url": registry})
    versions = []
    for number in range(200):
        schema = {
            **EVENT,
            "fields": [*EVENT["fields"], {"name": f"f{number}", "type": ["null", "string"], "default": None}],
        }
        versions.append((schema, client.register_schema(f"{unique}-value", Schema(json.dumps(schema)))))
    written = count()

    def serialize(_topic: str, message_id: str) -> bytes:
        schema, schema_id = versions[next(written) * 7 % 200]
        return encoded(
            schema,
            {"messageId": message_id, "eventType": "order", "amount": 1.0, schema["fields"][-1]["name"]: "x"},
            schema_id,
        )

    options = flow(kafka, unique, serialize)
    assert checked(kafka, registry, options, tmp_path).ledger["lost"] == 3


def test_what_cannot_be_decoded_is_counted_and_nothing_is_called_lost_for_it(
    kafka: str, registry: str, unique: str, tmp_path: Path
) -> None:
    options = flow(kafka, unique, avro(SchemaRegistryClient({"url": registry})))
    sent(kafka, options["source"], lambda _topic, _one: framed(b"\x02x", 987_654), ["a", "b"])
    report = checked(kafka, registry, options, tmp_path / "some")
    assert (report.ledger["lost"], report.facts["unidentified"]) == (3, 2)
    (note,) = [note for note in report.notes if note.code == "undecoded"]
    assert "2 records" in note.summary
    assert "schema 987654 is not in the registry" in note.summary
    assert any("carry no id" in item.reason for item in report.undecided)
    gone = checked(kafka, "http://127.0.0.1:1", {**options, "id_from": "json:$.messageId"}, tmp_path / "gone")
    assert (gone.verdict, gone.ledger["sent"], gone.ledger["lost"]) == ("undecided", 0, 0)
    assert any("cannot be reached" in note.summary for note in gone.notes)


def test_values_that_do_not_fit_a_schema_file_are_counted(kafka: str, unique: str, tmp_path: Path) -> None:
    (tmp_path / "event.avsc").write_text(json.dumps(EVENT))

    def serialize(_topic: str, message_id: str) -> bytes:
        return encoded(EVENT, {"messageId": message_id, "eventType": "order", "amount": 1.5})[5:]

    options = flow(kafka, unique, serialize) | {"value_format": f"avro:{tmp_path}/event.avsc"}
    sent(kafka, options["source"], lambda _topic, _one: b"\x02", ["a", "b"])
    report = checked(kafka, None, options, tmp_path / "work")
    assert (report.ledger["lost"], report.facts["unidentified"], report.verdict) == (3, 2, "undecided")
    (note,) = [note for note in report.notes if note.code == "undecoded"]
    assert note.summary == (
        f"2 records of {options['source']} cannot be decoded as avro:event.avsc: they do not fit its schema."
    )


def test_the_command_line_takes_the_registry_of_a_profile(
    kafka: str, registry: str, unique: str, tmp_path: Path
) -> None:
    options = flow(kafka, unique, avro(SchemaRegistryClient({"url": registry})))
    config = tmp_path / "workbench.toml"
    config.write_text(
        f'[profiles.p]\nkafka = {{ "bootstrap.servers" = "{kafka}" }}\nregistry = {{ url = "{registry}" }}\n'
    )
    command = [sys.executable, "-m", "workbench", "check", "loss", "--source", options["source"], "--sink", options["sink"][0],
               "--expected-latency", "1s", "--format", "json"]  # fmt: skip
    environment = {"WORKBENCH_CONFIG": str(config), "PATH": "/usr/bin:/bin", "HOME": str(tmp_path)}
    done = subprocess.run(
        [*command, "--profile", "p"], capture_output=True, text=True, timeout=120, check=False, env=environment
    )
    assert json.loads(done.stdout)["ledger"]["sent"] == COUNT, done.stderr
    without = [*command, "--bootstrap", kafka]
    refused = subprocess.run(without, capture_output=True, text=True, timeout=120, check=False, env=environment)
    assert refused.returncode == 2
    assert "values name a schema" in refused.stderr.replace("\n", " ")


def test_one_message_is_found_by_its_id(kafka: str, registry: str, unique: str, tmp_path: Path) -> None:
    options = flow(kafka, unique, avro(SchemaRegistryClient({"url": registry})))
    report = checked(kafka, registry, {**options, "message_id": "m5"}, tmp_path, "message")
    assert report.facts["outcome"] == "delivered"


def test_doctor_reaches_the_registry_and_discover_reads_through_it(kafka: str, registry: str, unique: str) -> None:
    options = flow(kafka, unique, avro(SchemaRegistryClient({"url": registry})))
    profile = replace(profile_from_options(kafka, {}), registry={"url": registry})
    (check,) = [one for one in diagnose_access(profile) if "registry" in one.name]
    assert (check.state, "subjects" in check.detail) == ("ok", True)
    with connect(profile) as sources:
        proposal = discover(sources.cluster, options["source"])
    assert proposal.ids[0].id_from == "json:$.messageId"
