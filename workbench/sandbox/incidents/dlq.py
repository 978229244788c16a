"""Dead-letter queues in trouble, and healthy ones."""

from __future__ import annotations

import struct
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.deadletters import Headers, Output, Record, id_header, spring
from workbench.sandbox.incidents.messages import Message, sample
from workbench.sandbox.incidents.reading import read
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import FLUSH_SECONDS, producer, send
from workbench.sandbox.incidents.service import Plain, processor, work
from workbench.sandbox.incidents.sharing import give_up_in_share_group
from workbench.sandbox.incidents.traffic import flow
from workbench.sandbox.incidents.truth import Truth

ERROR = "Profile of the user is missing"
TIMEOUT = "java.net.SocketTimeoutException"
UNREADABLE = "org.springframework.kafka.support.serializer.DeserializationException"
REFUSED = "javax.validation.ConstraintViolationException"
DAY_MS = 86_400_000
CONNECT = "__connect.errors."


@incident("dlq-context-missing", "dlq", {"dlq-context-missing": "confirmed"})
def context_missing(scene: Scene) -> Truth:
    """A script of the team's own copies some dead letters into the queue without a word of where they come from."""
    failing, rest = _failing(scene)
    copied = rest[: scene.rng.randint(5, 30)]
    _put(scene, [spring(one, scene.dead_letters, ERROR) for one in failing])
    _put(scene, [Output(scene.dead_letters, one.id, one.key, one.value, id_header(one)) for one in copied])
    return _truth(scene, {"dlq-context-missing": "confirmed"}, fix_first=len(failing), unknown=len(copied))


@incident("dlq-redrive-loop", "dlq", {"dlq-redrive-loop": "confirmed"})
def redrive_loop(scene: Scene) -> Truth:
    """Dead letters are sent back as they are, fail in the same way, and come again."""
    failing, _ = _failing(scene)
    rounds = scene.rng.randint(2, 4)
    for count in range(rounds):
        marks: Headers = (("replay_count", str(count).encode()),) if count else ()
        _put(scene, [_with(spring(one, scene.dead_letters, ERROR), marks) for one in failing])
    lettered = len(failing) * rounds
    return _truth(scene, {"dlq-redrive-loop": "confirmed"}, fix_first=len(failing), discard=lettered - len(failing))


@incident("dlq-poison-payload", "dlq", {"dlq-poison-payload": "confirmed"})
def poison_payload(scene: Scene) -> Truth:
    """A producer cuts its messages off, and the service gives up what it cannot read."""
    _queue(scene)
    flow(scene)
    work(scene, processor(scene, {}))
    whole = scene.writer.write(scene.rng.randint(8, 20))
    broken = _sent_broken(scene, whole)
    _put(scene, [_failed(one, scene.dead_letters, UNREADABLE, "failed to deserialize") for one in broken])
    return _truth(scene, {"dlq-poison-payload": "confirmed"}, fix_first=len(broken))


@incident("dlq-dependency-outage", "dlq", {"dlq-dependency-outage": "confirmed"})
def dependency_outage(scene: Scene) -> Truth:
    """A service that is needed does not answer for a while; what comes in the meantime is given up, then all goes on."""
    _queue(scene)
    first = [one.message for one in flow(scene, 60, 150)]
    work(scene, processor(scene, {}))
    lost = _sent(scene, scene.rng.randint(15, 40))
    for part in _parts(_records(scene, lost), 4):
        _put(scene, [_failed(one, scene.dead_letters, TIMEOUT, "Read timed out") for one in part])
        time.sleep(0.1)
    _sent(scene, len(first) // 2)
    work(scene, processor(scene, dict.fromkeys((one.id for one in lost), "lost")))
    return _truth(scene, {"dlq-dependency-outage": "confirmed"}, replay=len(lost))


@incident("dlq-retry-budget", "dlq", {"dlq-retry-budget": "confirmed"})
def retry_budget(scene: Scene) -> Truth:
    """Now and then a call times out; the service gives a message up at its first try, while the others pass."""
    _queue(scene)
    chosen: list[str] = []
    tried = (("retry_topic-attempts", struct.pack(">i", 2)),)
    for _ in range(3):
        sent = _sent(scene, scene.rng.randint(60, 100)) if chosen else [one.message for one in flow(scene, 60, 100)]
        failing = sample(scene.rng, sent, 4, 8)
        letters = [
            _with(_failed(one, scene.dead_letters, TIMEOUT, "Read timed out"), tried)
            for one in _records(scene, failing)
        ]
        chosen += [one.id for one in failing]
        _put(scene, letters[: len(letters) // 2])
        time.sleep(0.05)
        work(scene, processor(scene, dict.fromkeys(chosen, "lost")))
        time.sleep(0.05)
        _put(scene, letters[len(letters) // 2 :])
    return _truth(scene, {"dlq-retry-budget": "confirmed"}, replay=len(chosen))


@incident("dlq-code-regression", "dlq", {"dlq-code-regression": "confirmed"})
def code_regression(scene: Scene) -> Truth:
    """A new version of the service fails on messages that the old version could process."""
    _queue(scene)
    before = [one.message for one in flow(scene, 60, 150)]
    refused = sample(scene.rng, before, 1, 3)
    fates = dict.fromkeys((one.id for one in refused), "lost")
    old, new = (("app-version", b"1.4.0"),), (("app-version", b"1.5.0"),)
    _put(
        scene,
        [_with(_failed(one, scene.dead_letters, REFUSED, "Invalid email"), old) for one in _records(scene, refused)],
    )
    work(scene, processor(scene, fates))
    time.sleep(0.1)
    failing = _sent(scene, scene.rng.randint(10, 30))
    broken = _records(scene, failing)
    _put(
        scene,
        [
            _with(_failed(one, scene.dead_letters, "java.lang.NullPointerException", "profile is null"), new)
            for one in broken
        ],
    )
    return _truth(scene, {"dlq-code-regression": "confirmed"}, fix_first=len(refused) + len(failing))


@incident("dlq-validation-rejects", "dlq", {"dlq-validation-rejects": "confirmed"})
def validation_rejects(scene: Scene) -> Truth:
    """A part of the messages breaks a rule of the business, now as before."""
    failing, _ = _failing(scene)
    _put(scene, [_failed(one, scene.dead_letters, REFUSED, f"email of {one.id} is invalid") for one in failing])
    return _truth(scene, {"dlq-validation-rejects": "confirmed"}, fix_first=len(failing))


@incident("dlq-single-key", "dlq", {"dlq-single-key": "confirmed"})
def single_key(scene: Scene) -> Truth:
    """Nearly all that is given up belongs to one user."""
    failing, rest = _failing(scene)
    user = failing[0].key
    one_user = [replace(one, key=user) for one in failing]
    _put(scene, [spring(one, scene.dead_letters, ERROR) for one in one_user])
    _put(scene, [spring(one, scene.dead_letters, ERROR) for one in [r for r in rest if r.key != user][:1]])
    return _truth(scene, {"dlq-single-key": "confirmed"}, fix_first=len(failing) + 1)


@incident("dlq-delivery-count", "dlq", {"dlq-delivery-count": "confirmed"})
def delivery_count(scene: Scene) -> Truth:
    """The consumers of a share group release some records again and again, until the broker gives them up."""
    scene.dead_letters = f"dlq.{scene.source}"
    topics.create(scene.bootstrap, scene.dead_letters, 1, {"errors.deadletterqueue.group.enable": "true"})
    sent = [one.message for one in flow(scene, 20, 40)]
    given_up = sample(scene.rng, sent, 3, 6)
    fates = dict.fromkeys((one.id for one in given_up), "lost")
    work(scene, processor(scene, fates))
    give_up_in_share_group(scene, set(fates))
    return _truth(scene, {"dlq-delivery-count": "confirmed"}, unknown=len(given_up))


@incident("dlq-not-drained", "dlq", {"dlq-not-drained": "confirmed"})
def not_drained(scene: Scene) -> Truth:
    """Dead letters lie there for days, and nobody reads them."""
    failing, _ = _failing(scene)
    at_ms = round(time.time() * 1000) - scene.rng.randint(2, 5) * DAY_MS
    _put(scene, [spring(one, scene.dead_letters, ERROR) for one in failing], at_ms=at_ms)
    return _truth(scene, {"dlq-not-drained": "confirmed"}, fix_first=len(failing))


@incident("dlq-short-retention", "dlq", {"dlq-short-retention": "confirmed"})
def short_retention(scene: Scene) -> Truth:
    """The dead-letter topic keeps its records for hours, the topic they come from for days."""
    failing, _ = _failing(scene, retention_ms=str(scene.rng.randint(1, 12) * 3_600_000))
    _put(scene, [spring(one, scene.dead_letters, ERROR) for one in failing])
    return _truth(scene, {"dlq-short-retention": "confirmed"}, fix_first=len(failing))


@incident("dlq-under-provisioned", "dlq", {"dlq-under-provisioned": "confirmed"})
def under_provisioned(scene: Scene) -> Truth:
    """The service keeps the partition of what it gives up, but the dead-letter topic has fewer partitions."""
    scene.partitions = max(scene.partitions, 4)
    failing, rest = _failing(scene, partitions=2)
    kept = [one for one in (*failing, *rest) if one.partition < 2][:20]
    _put(scene, [spring(one, scene.dead_letters, ERROR) for one in kept], partition=_origin_partition)
    return _truth(scene, {"dlq-under-provisioned": "confirmed"}, fix_first=len(kept))


@incident("dlq-oversize-headers", "dlq", {"dlq-oversize-headers": "confirmed"})
def oversize_headers(scene: Scene) -> Truth:
    """Each failure adds its stack trace to the headers, which come near the largest record that the topic takes."""
    failing, _ = _failing(scene, max_message_bytes="16000")
    # The limit is one of batches: each goes alone.
    Plain(scene.bootstrap, batch_num_messages=1).write(_connect(one, scene, hops=3) for one in failing)
    return _truth(scene, {"dlq-oversize-headers": "confirmed"}, unknown=len(failing))


@incident("clean-dlq-empty", "dlq")
def empty(scene: Scene) -> Truth:
    """The service gave nothing up."""
    topics.create(scene.bootstrap, scene.dead_letters, 1)
    flow(scene)
    work(scene, processor(scene, {}))
    return _truth(scene, {})


@incident("clean-dlq-drained", "dlq")
def drained(scene: Scene) -> Truth:
    """A connector gave up some messages days ago; the team has looked at all of them since."""
    failing, _ = _failing(scene, partitions=1)
    at_ms = round(time.time() * 1000) - 3 * DAY_MS
    _put(scene, [_connect(one, scene, hops=1) for one in failing], at_ms=at_ms)
    topics.commit(
        scene.bootstrap, f"{scene.group}-triage", scene.dead_letters, topics.ends(scene.bootstrap, scene.dead_letters)
    )
    return _truth(scene, {}, unknown=len(failing))


def _queue(scene: Scene, partitions: int | None = None, **config: str) -> None:
    given = {name.replace("_", "."): value for name, value in config.items()}
    topics.create(scene.bootstrap, scene.dead_letters, partitions or scene.rng.randint(1, 3), given)


def _failing(scene: Scene, partitions: int | None = None, **config: str) -> tuple[list[Record], list[Record]]:
    """Records of the source that cannot be processed, and others that were never tried; the service did all the rest."""
    _queue(scene, partitions, **config)
    sent = flow(scene)
    chosen = sample(scene.rng, [one.message for one in sent], 40, 60)
    work(scene, processor(scene, dict.fromkeys((message.id for message in chosen), "lost")))
    found = _records(scene, chosen)
    scene.rng.shuffle(found)
    cut = len(found) // 3
    return found[:cut], found[cut:]


def _records(scene: Scene, messages: Iterable[Message]) -> list[Record]:
    """Where messages lie in the source."""
    wanted = {message.id for message in messages}
    return [one for one in read(scene.bootstrap, scene.source) if one.id in wanted]


def _sent(scene: Scene, count: int) -> list[Message]:
    return [one.message for one in send(scene.bootstrap, scene.source, scene.writer.write(count))]


def _sent_broken(scene: Scene, messages: Sequence[Message]) -> list[Record]:
    """Sends messages that end too early; what the broker stored."""
    found: list[Record] = []
    client = producer(scene.bootstrap)
    for message in messages:
        value, key = message.body()[: scene.rng.randint(10, 40)], None if message.key is None else message.key.encode()

        def told(_error: Any, done: Any, value: bytes = value, key: bytes | None = key, name: str = message.id) -> None:
            found.append(
                Record(done.topic(), done.partition(), done.offset(), done.timestamp()[1], key, value, (), name)
            )

        client.produce(scene.source, value, key, on_delivery=told)
    client.flush(FLUSH_SECONDS)
    return found


def _parts(records: Sequence[Record], count: int) -> list[Sequence[Record]]:
    return [records[number::count] for number in range(count)]


def _put(
    scene: Scene,
    outputs: Sequence[Output],
    *,
    at_ms: int | None = None,
    partition: Callable[[Output], int] | None = None,
) -> None:
    if at_ms is None and partition is None:
        Plain(scene.bootstrap).write(outputs)
        return
    client = producer(scene.bootstrap)
    for one in outputs:
        more: dict[str, Any] = {} if at_ms is None else {"timestamp": at_ms}
        more |= {} if partition is None else {"partition": partition(one)}
        client.produce(one.topic, one.value, one.key, headers=list(one.headers), **more)
    client.flush(FLUSH_SECONDS)


def _origin_partition(output: Output) -> int:
    raw = dict(output.headers)["kafka_dlt-original-partition"] or b""
    return int.from_bytes(raw, "big")


def _with(output: Output, marks: Headers) -> Output:
    return replace(output, headers=(*output.headers, *marks))


def _failed(record: Record, topic: str, name: str, message: str) -> Output:
    """As Spring Kafka gives up, with another exception."""
    said = dict(spring(record, topic, message).headers) | {
        "kafka_dlt-exception-cause-fqcn": name.encode(),
        "kafka_dlt-exception-stacktrace": _stack(name, message).encode(),
    }
    return Output(topic, record.id, record.key, record.value, tuple(said.items()))


def _stack(name: str, message: str, lines: int = 3) -> str:
    frames = [f"\tat com.shop.users.Handler.step{number}(Handler.java:{number + 10})" for number in range(lines)]
    return "\n".join([f"{name}: {message}", "\tat java.base/java.net.Socket.connect(Socket.java:1)", *frames])


def _connect(record: Record, scene: Scene, hops: int) -> Output:
    """As Kafka Connect gives up in a task, and again for each further hop."""
    said = {
        "topic": record.topic, "partition": str(record.partition), "offset": str(record.offset), "connector.name": "users",
        "task.id": "0", "stage": "TASK_PUT", "class.name": "org.apache.kafka.connect.sink.SinkTask",
        "exception.class.name": "com.shop.users.Unfit", "exception.message": "row is unfit",
        "exception.stacktrace": _stack("com.shop.users.Unfit", "row is unfit", 48),
    }  # fmt: skip
    headers = tuple((CONNECT + name, text.encode()) for name, text in said.items()) * hops
    return Output(scene.dead_letters, record.id, record.key, record.value, (*record.headers, *headers))


def _truth(scene: Scene, expects: dict[str, str], **dispositions: Any) -> Truth:
    scene.options |= {"dead_letters": [scene.dead_letters]}
    names = ("replay", "fix_first", "discard", "already_recovered", "unknown")
    ledger = {name: dispositions.get(name, 0) for name in names}
    return scene.truth(expects=expects, ledger={"dead_letters": sum(ledger.values()), **ledger})
