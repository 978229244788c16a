"""Loss in the service: it reads an event, commits past it, and never writes the notification."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

from workbench.sandbox.incidents.deadletters import Output, Record
from workbench.sandbox.incidents.messages import EVENT_TYPES, VERSIONS, Message, sample
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import send
from workbench.sandbox.incidents.service import Processor, work
from workbench.sandbox.incidents.traffic import service
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.incidents.userlogs import log_line, write_service_log

CODE = "loss-consumer-dropped"


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
