"""Dead letters sent back on a real broker: what is sent, what is refused, and where it stops."""

from __future__ import annotations

import json
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, NewPartitions

from tests.kafka.capture_topics import create, produce
from tests.kafka.redriving import (
    POISON,
    Place,
    committed,
    copies,
    dead_letters,
    header,
    place,
    spring_headers,
    value_of,
)
from tests.kafka.secured import secured
from workbench.problems.partitioners import murmur2

pytestmark = pytest.mark.kafka
PARTITIONS = 3


@pytest.fixture
def here(kafka: str, unique: str, tmp_path: Path) -> Place:
    return place(kafka, unique, tmp_path)


def create_again(bootstrap: str, topic: str, partitions: int) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.delete_topics([topic])[topic].result(20)
    deadline = time.monotonic() + 30
    while topic in admin.list_topics(timeout=20).topics and time.monotonic() < deadline:
        time.sleep(0.1)
    create(bootstrap, topic, partitions)


def test_a_whole_redrive_sends_each_message_once_to_where_it_belongs(here: Place, kafka: str):
    dead_letters(here, range(40))
    dead_letters(here, range(3))  # the same messages given up once more: the newest stands for them
    dead_letters(here, [90], workbench_redrive_count=b"2", workbench_redrive_letter=b"x/0/0")
    create(kafka, here.source + ".done", 1)
    produce(kafka, here.source + ".done", [{"value": value_of(39)}])

    said = here.make_plan("--sink", here.source + ".done", "--isolation", "read_committed").stdout
    assert here.plan.excluded == {"superseded": 3, "already_recovered": 1, "quarantined": 1}
    assert f"39 to {here.source}" in said
    assert "m-7" not in here.plan_file.read_text()

    dry = here.run("run", "plan.json", "--profile", "it").stdout
    assert "nothing was sent" in dry
    assert "- header kafka_dlt-original-topic" in dry
    assert committed(kafka, here.source) == []

    here.send()
    sent = committed(kafka, here.source)
    assert copies(sent) == {f"m-{n}": 1 for n in range(39)}
    for message in sent:
        number = json.loads(message.value())["amount"]
        assert message.key() == f"k-{number}".encode()
        assert message.partition() == murmur2(message.key()) % PARTITIONS
        assert (header(message, "message-id"), header(message, "kafka_dlt-exception-fqcn")) == (
            f"m-{number}".encode(),
            None,
        )
        assert header(message, "workbench-redrive-plan") == here.plan.id.encode()
        assert header(message, "workbench-redrive-count") == (b"2" if number < 3 else b"1")
        origin = f"{here.source}/{message.partition()}/{number // PARTITIONS}"
        assert header(message, "workbench-redrive-origin") == origin.encode()
    assert [entry["event"] for entry in here.audit()][-1] == "finished"

    assert "39 of 39 sent" in here.send().stdout
    assert len(committed(kafka, here.source)) == 39
    again = here.make_plan("--sink", here.source + ".done", "--out", "again.json", expect=1).stderr
    assert "another redrive sent them back" in again
    verified(here, kafka)


def verified(here: Place, kafka: str) -> None:
    """Some messages come out at the sink, one is given up again, the rest is not seen yet."""
    produce(kafka, here.source + ".done", [{"value": value_of(number)} for number in range(20)])
    dead_letters(here, [30])
    done = here.run("verify", "plan.json", "--profile", "it", "--format", "json", "--save", "rows.jsonl", expect=12)
    found = json.loads(done.stdout)
    assert (found["records"], found["recovered"], found["back_in_dead_letters"], found["twice"]) == (39, 20, 1, 0)
    assert found["not_seen_yet"] + found["unverifiable"] + found["lost"] == 18
    assert found["lost"] == 0
    rows = [json.loads(line) for line in (here.folder / "rows.jsonl").read_text().splitlines()]
    assert sum(len(row["copies"]) for row in rows) == 39


def serve(here: Place, poisoned: set[int], stop: threading.Event) -> None:
    """A service: reads the source, gives up what is poisoned again, as Spring does, and commits."""
    consumer = Consumer(
        {"bootstrap.servers": here.bootstrap, "group.id": here.source + "-service", "auto.offset.reset": "earliest",
         "isolation.level": "read_committed", "enable.auto.commit": False}
    )  # fmt: skip
    consumer.subscribe([here.source])
    producer = Producer({"bootstrap.servers": here.bootstrap})
    while not stop.is_set():
        message = consumer.poll(0.2)
        if message is None or message.error():
            continue
        number = json.loads(message.value())["amount"]
        if number in poisoned:
            headers = [*(message.headers() or ()), *spring_headers(here, number, message.partition(), POISON)[1:]]
            producer.produce(here.letters, message.value(), message.key(), headers=headers)
            producer.flush(20)
        consumer.commit(message, asynchronous=False)
    consumer.close()


@pytest.fixture
def service(here: Place) -> Any:
    stop, poisoned = threading.Event(), set[int]()
    thread = threading.Thread(target=serve, args=(here, poisoned, stop))
    thread.start()
    yield poisoned
    stop.set()
    thread.join(30)


def test_a_poisoned_group_stops_at_its_canary_and_a_loop_stops_at_max_replays(
    here: Place, kafka: str, service: set[int]
):
    service.update(range(100, 130))
    dead_letters(here, range(20))
    dead_letters(here, range(100, 130), POISON)
    here.make_plan()
    stopped = here.send("--settle-seconds", "1", expect=1)
    assert "came back to a dead-letter topic" in stopped.stderr
    sent = copies(committed(kafka, here.source))
    assert sum(count for name, count in sent.items() if int(name[2:]) >= 100) <= 3
    assert here.send("--settle-seconds", "1", expect=1).stderr.count("Stopped") == 1  # going on stops before it sends
    assert copies(committed(kafka, here.source)) == sent

    counts = []
    group = max(here.plan.groups, key=here.plan.groups.__getitem__)
    only = ("--dead-letters", here.letters, "--cause-group", group, "--where", "value->>'$.amount' = '100'")
    for number in range(3):
        file = f"loop-{number}.json"
        planned = here.run("plan", "--profile", "it", *only, "--out", file, expect=None)
        counts.append(planned.returncode)
        if planned.returncode == 0:
            here.run("run", file, "--profile", "it", "--execute", "--settle-seconds", "1", expect=1)
    assert counts[-1] == 1
    assert "sent back --max-replays times already" in planned.stderr
    assert copies(committed(kafka, here.source))["m-100"] <= 2


def test_what_was_recovered_is_verified_by_what_the_group_read(here: Place, service: set[int]):
    dead_letters(here, range(10))
    here.make_plan()
    here.send("--settle-seconds", "0.5")
    found = json.loads(here.run("verify", "plan.json", "--profile", "it", "--format", "json").stdout)
    assert found["recovered"] == 10


def test_a_plan_is_refused_before_anything_is_sent_when_it_does_not_fit(here: Place, kafka: str):
    dead_letters(here, range(5))
    here.make_plan()
    config = here.folder / "workbench.toml"
    allowed = config.read_text()
    config.write_text(allowed.replace("redrive = true", "redrive = false"))
    assert "redrive = true" in here.send(expect=1).stderr
    config.write_text(allowed.replace("redrive = true", "redrive = true\nproduction = true"))
    assert "--yes" in here.send(expect=1).stderr
    config.write_text(allowed)

    whole = here.plan_file.read_text()
    here.plan_file.write_text(whole.replace('"headers": "strip"', '"headers": "keep"'))
    assert "changed after it was made" in here.send(expect=1).stderr
    here.plan_file.write_text(whole)

    elsewhere = replace(here.plan, cluster_id="another")
    here.plan_file.unlink()
    elsewhere.save(here.plan_file)
    assert "The plan is for cluster another" in here.send(expect=1).stderr
    here.plan_file.write_text(whole)

    admin = AdminClient({"bootstrap.servers": kafka})
    admin.create_partitions([NewPartitions(here.source, 4)])[here.source].result(20)
    time.sleep(0.5)
    assert "4 partitions, the plan was made for 3" in here.send(expect=1).stderr
    create_again(kafka, here.source, 3)
    assert "deleted and made again" in here.send(expect=1).stderr
    admin.delete_topics([here.source])[here.source].result(20)
    time.sleep(0.5)
    assert "does not exist any more" in here.send(expect=1).stderr
    assert here.source not in admin.list_topics(timeout=20).topics


def test_a_plan_whose_progress_is_gone_is_refused_and_so_is_one_that_another_plan_overtook(here: Place, kafka: str):
    dead_letters(here, range(10))
    here.make_plan()
    here.run("plan", "--profile", "it", "--dead-letters", here.letters, "--out", "twin.json")
    here.send()
    twin = here.run("run", "twin.json", "--profile", "it", "--execute", "--settle-seconds", "0", expect=1)
    assert "were sent back by another plan" in twin.stderr
    # A tombstone takes the mark away, as a lost progress topic would.
    produce(kafka, "workbench-redrive-progress", [{"key": here.plan.id, "value": b"{}"}])
    assert "is damaged" in here.send(expect=1).stderr
    assert copies(committed(kafka, here.source)) == {f"m-{n}": 1 for n in range(10)}


def test_messages_are_mended_and_checked_before_the_first_is_sent(here: Place, kafka: str):
    dead_letters(here, range(6))
    (here.folder / "mend.py").write_text(
        "import json\n"
        "def mend(record):\n"
        "    value = json.loads(record.value)\n"
        "    if value['amount'] == 5: raise ValueError\n"
        "    return {**value, 'currency': 'EUR' if value['amount'] else 1}\n"
    )
    (here.folder / "order.json").write_text(
        '{"properties": {"currency": {"type": "string"}}, "required": ["currency"]}'
    )
    code = ("--transform", "mend.py:mend", "--schema", "order.json")
    here.make_plan(*code, "--where", "value->>'$.amount' <> '1'")
    assert here.plan.excluded == {"not_chosen": 1, "transform_failed": 1, "schema_failed": 1}
    assert "a plan alone may not" in here.send(expect=1).stderr
    here.send(*code)
    values = [json.loads(message.value()) for message in committed(kafka, here.source)]
    assert sorted(value["amount"] for value in values) == [2, 3, 4]
    assert {value["currency"] for value in values} == {"EUR"}


def test_hostile_dead_letters_are_counted_not_sent(here: Place, kafka: str):
    def marked(**given: bytes) -> list[tuple[str, bytes]]:
        return [(f"kafka_dlt-original-{name}", value) for name, value in given.items()]

    produce(kafka, here.letters, [
        {"value": b"no headers at all"},
        {"value": b"x", "headers": marked(topic=b"__consumer_offsets", partition=b"0", offset=b"0")},
        {"value": b"x", "headers": marked(topic=b"gone", partition=b"\xff\xff\xff\xff", offset=b"1")},
        {"value": b"x", "headers": marked(topic=here.letters.encode(), partition=b"0", offset=b"1")},
        {"value": None, "headers": marked(topic=here.source.encode())},
        {"value": b"<b>\x1b[31m", "headers": [*marked(topic=here.source.encode(), partition=b"-9", offset=b"123456789"),
                                             ("kafka_dlt-exception-message", b"\x1b]0;owned\x07<script>")]},
        {"value": b"y" * 900_000, "headers": marked(topic=here.source.encode(), partition=b"1", offset=b"7")},
    ])  # fmt: skip
    said = here.make_plan().stdout
    assert here.plan.excluded == {"no_payload": 1, "no_target": 4}
    assert "\x1b" not in said
    assert "\x1b" not in here.run("run", "plan.json", "--profile", "it", "--include-values").stdout
    here.send()
    assert sorted(len(message.value()) for message in committed(kafka, here.source)) == [8, 900_000]


def test_a_denied_write_is_said_before_anything_is_sent(unique: str, tmp_path: Path):
    with secured() as broker:
        here = place(broker.plain, unique, tmp_path)
        dead_letters(here, range(3))
        for topic in (here.source, here.letters):
            broker.grant(
                f"kafka-acls --allow-principal User:reader --operation Read --operation DescribeConfigs --topic {topic}"
            )
        here.environment()
        login = "\n".join(
            f'"{key}" = "{value}"' for key, value in broker.profile("reader").kafka.items() if "pass" not in key
        )
        (here.folder / "workbench.toml").write_text(
            f'[profiles.it]\nredrive = true\n[profiles.it.kafka]\n{login}\n"sasl.password" = "${{REDRIVE_TEST}}"\n'
        )
        here.secrets["REDRIVE_TEST"] = "reader-password"
        here.make_plan()
        refused = here.send(expect=1).stderr
        assert f"denies Write on topic {here.source}" in refused
        assert "reader-password" not in refused
        assert committed(broker.plain, here.source) == []
