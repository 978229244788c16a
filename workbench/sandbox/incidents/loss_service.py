"""Loss in the service: it reads an event, commits past it, and never writes the notification."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

from workbench.errors import SandboxError
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.deadletters import Output, Record
from workbench.sandbox.incidents.messages import EVENT_TYPES, VERSIONS, Message, sample
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import FLUSH_SECONDS, producer, send
from workbench.sandbox.incidents.service import Processor, processor, work
from workbench.sandbox.incidents.traffic import service
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.incidents.userlogs import log_line, write_service_log

if TYPE_CHECKING:
    from confluent_kafka import KafkaError

CODE = "loss-consumer-dropped"
UNWRITTEN = {"loss-dead-letter-write-failed": "confirmed"}


@incident("consumer-dropped", "loss", {CODE: "confirmed"})
def consumer_dropped(scene: Scene) -> Truth:
    """The handler has no case for one event type, and drops it without a word."""
    kind = scene.rng.choice(EVENT_TYPES)
    return _drop(scene, lambda messages: [m for m in messages if m.event_type == kind], "confirmed")


@incident("consumer-dropped-version", "loss", {CODE: "confirmed"})
def consumer_dropped_version(scene: Scene) -> Truth:
    """The handler does not know one schema version yet, and drops it without a word."""
    version = scene.rng.choice(VERSIONS)
    return _drop(scene, lambda messages: [m for m in messages if m.version == version], "confirmed")


@incident("consumer-dropped-scattered", "loss", {CODE: "suspected"})
def consumer_dropped_scattered(scene: Scene) -> Truth:
    """The handler swallows an exception now and then: no pattern, and no log."""
    return _drop(scene, lambda messages: _scattered(scene, messages), "suspected")


@incident("consumer-dropped-logged", "loss", {CODE: "confirmed"})
def consumer_dropped_logged(scene: Scene) -> Truth:
    """The handler swallows an exception now and then, but writes it to the service's log."""
    scene.open()
    messages = scene.messages()
    send(scene.bootstrap, scene.source, messages)
    lost = {message.id for message in _scattered(scene, messages)}
    handler, fates = service(scene, messages, lost)
    logging = Logging(handler, lost)
    work(scene, logging)
    scene.options["service_log"] = write_service_log(scene.folder, logging.lines)
    return scene.loss(fates, expects={CODE: "confirmed"}, cause=CODE)


@incident("dead-letter-write-failed", "loss", UNWRITTEN)
def dead_letter_write_failed(scene: Scene) -> Truth:
    """Dead letters of large messages do not fit into their topic; the service writes that down and goes on."""
    return _refuse_dead_letters(scene, _dead_letter_line)


@incident("dead-letter-write-failed-unseen", "loss", UNWRITTEN)
def dead_letter_write_failed_unseen(scene: Scene) -> Truth:
    """Dead letters of large messages do not fit into their topic; the log only says that the messages failed."""
    return _refuse_dead_letters(scene, lambda _output, _error: None)


def _refuse_dead_letters(scene: Scene, line: Callable[[Output, str], dict[str, Any] | None]) -> Truth:
    """Some messages fail; of those, the dead letters of the large ones are refused by the broker."""
    scene.open()
    limit = scene.rng.choice((2_500, 5_000))
    topics.create(scene.bootstrap, scene.dead_letters, scene.rng.randint(1, 2), {"max.message.bytes": str(limit)})
    scene.options["dead_letters"] = [scene.dead_letters]
    messages = scene.messages()
    failing = sample(scene.rng, messages, 3, 8)
    large = scene.writer.write(scene.rng.randint(4, 15), padding=limit + scene.rng.randint(1, limit))
    every = scene.rng.sample([*messages, *large], len(messages) + len(large))
    send(scene.bootstrap, scene.source, every)
    fates = dict.fromkeys((message.id for message in (*failing, *large)), "dead_lettered")
    logging = Logging(processor(scene, fates), set(fates))
    outlet = CarelessOutlet(scene, line)
    work(scene, logging, outlet)
    scene.options["service_log"] = write_service_log(scene.folder, [*logging.lines, *outlet.lines])
    fates = {**dict.fromkeys((message.id for message in every), "delivered"), **fates}
    fates |= dict.fromkeys((message.id for message in large), "lost")
    if {output.id for output in outlet.refused} != {message.id for message in large}:
        raise SandboxError("The broker took dead letters that are too large.", hint="Read the broker's log.")
    return scene.loss(fates, expects=UNWRITTEN, cause="loss-dead-letter-write-failed")


def _dead_letter_line(output: Output, error: str) -> dict[str, Any]:
    return log_line("error", "dead letter not written", error=error, id=output.id, topic=output.topic)


class CarelessOutlet:
    """Writes one record a request, so that each is refused by itself; what is refused is at most written down."""

    def __init__(self, scene: Scene, line: Callable[[Output, str], dict[str, Any] | None]) -> None:
        self.client = producer(scene.bootstrap, batch_num_messages=1)
        self.line = line
        self.refused: list[Output] = []
        self.lines: list[dict[str, Any]] = []

    def write(self, outputs: Iterable[Output]) -> None:
        """Writes and flushes."""
        for output in outputs:
            told = partial(self._told, output)
            headers: list[Any] = list(output.headers)
            self.client.produce(output.topic, output.value, output.key, headers=headers, on_delivery=told)
            self.client.poll(0)
        self.client.flush(FLUSH_SECONDS)

    def _told(self, output: Output, error: KafkaError | None, _delivery: Any) -> None:
        if error:
            self.refused.append(output)
            line = self.line(output, error.str())
            self.lines += [line] if line else []


class Logging:
    """A handler that writes a line for each record it fails on, with its id or its coordinates."""

    def __init__(self, handler: Processor, failing: set[str]) -> None:
        self.handler = replace(handler)
        self.failing = failing
        self.by_id = handler.scene.rng.random() < 0.5
        self.lines = [log_line("info", "service started", group=handler.scene.group)]

    def __call__(self, record: Record) -> list[Output]:
        """Outputs for one record."""
        if record.id in self.failing:
            where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            found = {"id": record.id} if self.by_id else where
            self.lines.append(log_line("error", "handler failed", error="KeyError: 'profile'", **found))
        return self.handler(record)


def _drop(scene: Scene, choose: Callable[[Sequence[Message]], list[Message]], state: str) -> Truth:
    scene.open()
    messages = scene.messages()
    send(scene.bootstrap, scene.source, messages)
    handler, fates = service(scene, messages, [message.id for message in choose(messages)])
    work(scene, handler)
    return scene.loss(fates, expects={CODE: state}, cause=CODE)


def _scattered(scene: Scene, messages: Sequence[Message]) -> list[Message]:
    """A few messages of at least two types and versions, so that no pattern explains them."""
    return _mixed(sample(scene.rng, messages, 6, 20), messages)


def _mixed(chosen: list[Message], messages: Sequence[Message]) -> list[Message]:
    for name in ("event_type", "version"):
        if len({getattr(message, name) for message in chosen}) == 1:
            other = next(m for m in messages if getattr(m, name) != getattr(chosen[0], name))
            chosen.append(other)
    return chosen
