"""A scene: the fresh topics and the group that one incident is planted on, and what all planters draw alike."""

from __future__ import annotations

import random
import time
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.messages import Message, Writer
from workbench.sandbox.incidents.truth import Truth, by_disposition, loss_ledger

if TYPE_CHECKING:
    from workbench.sandbox.kafka import Kafka

_DOMAINS = (
    ("user.events", "user.notifications", "user-processor"),
    ("crm.user-events", "crm.welcome-mails", "mailer"),
    ("identity_events", "identity_search_index", "indexer"),
    ("prod.user.changes.v1", "prod.user.audit.v1", "audit-writer"),
)

# What is planted is seconds old: a message is missing after one.
EXPECTED_LATENCY = "1s"
_SETTLE_SECONDS = 1.2


@dataclass
class Scene:
    """Fresh names on a broker, and the dice.

    Attributes:
        bootstrap: the broker.
        incident: name of the incident.
        problem: the problem that it is about.
        seed: of ``rng``.
        folder: where sent logs and service logs are written.
        rng: every choice comes from it, but for the suffix of the names, so that a seed can be planted again.
        partitions: of the source.
        sink_partitions: of the sink.
        source, sink, retry, dead_letters, group: names.
        writer: makes the messages.
        options: options of ``workbench check``, without those that are only known in the end.
        cluster: the brokers as processes, for planters that stop and start some.
        database: address of a PostgreSQL for tables; None takes a file of SQLite.
    """

    bootstrap: str
    incident: str
    problem: str
    seed: int
    folder: Path
    rng: random.Random
    partitions: int
    sink_partitions: int
    source: str
    sink: str
    retry: str
    dead_letters: str
    group: str
    writer: Writer
    options: dict[str, Any] = field(default_factory=dict)
    cluster: Kafka | None = None
    database: str | None = None

    def open(self, config: Mapping[str, str] | None = None, sink_config: Mapping[str, str] | None = None) -> None:
        """Makes the source and the sink."""
        topics.create(self.bootstrap, self.source, self.partitions, config)
        topics.create(self.bootstrap, self.sink, self.sink_partitions, sink_config)

    def messages(self, low: int = 100, high: int = 400, **choices: int) -> list[Message]:
        """Fresh messages, in half of the scenes out of the order of their ids."""
        made = self.writer.write(self.rng.randint(low, high), **choices)
        return self.rng.sample(made, len(made)) if self.rng.random() < 0.5 else made

    def settle(self) -> None:
        """Waits until what was sent is older than the expected latency."""
        time.sleep(_SETTLE_SECONDS)

    def loss(
        self, fates: Mapping[str, str], *, expects: Mapping[str, str], cause: str | None = None, **more: Any
    ) -> Truth:
        """The truth of a loss incident.

        Args:
            fates: id -> disposition of every message that counts as sent.
            expects: code -> state.
            cause: the code that all lost messages are due to.
            **more: further fields of ``Truth``.
        """
        lost = sorted(i for i, fate in fates.items() if fate == "lost")
        fields: dict[str, Any] = {
            "ledger": loss_ledger(fates),
            "dispositions": by_disposition(fates),
            "causes": {cause: len(lost)} if cause and lost else {},
            "ids": {cause: lost} if cause and lost else {},
            **more,
        }
        return self.truth(expects=expects, **fields)

    def truth(self, *, expects: Mapping[str, str], **more: Any) -> Truth:
        """The truth, once everything planted is due."""
        self.settle()
        options = {
            "source": self.source,
            "sink": [self.sink],
            "group": self.group,
            "expected_latency": EXPECTED_LATENCY,
            **self.options,
        }
        return Truth(
            incident=self.incident,
            problem=self.problem,
            seed=self.seed,
            options={name: value for name, value in options.items() if value is not None},
            findings=dict(expects),
            clean=not expects,
            **more,
        )


def scene(bootstrap: str, incident: str, problem: str, seed: int, folder: Path) -> Scene:
    """Draws the parameters of a scene; nothing is made on the broker yet."""
    rng = random.Random(f"{incident}/{seed}")
    source, sink, group = rng.choice(_DOMAINS)
    suffix = uuid.uuid4().hex[:8]
    source, sink, group = f"{source}-{suffix}", f"{sink}-{suffix}", f"{group}-{suffix}"
    writer = Writer(
        rng,
        id_form=rng.choice(("uuid", "counter")),
        prefix=rng.choice(("evt", "U", "msg")),
        with_header=rng.random() < 0.3,
    )
    return Scene(
        bootstrap=bootstrap,
        incident=incident,
        problem=problem,
        seed=seed,
        folder=folder,
        rng=rng,
        partitions=rng.randint(1, 6),
        sink_partitions=rng.randint(1, 4),
        source=source,
        sink=sink,
        retry=f"{source}.retry",
        dead_letters=f"{source}{rng.choice(('.dlq', '-dlt'))}",
        group=group,
        writer=writer,
    )


def fates_of(messages: Iterable[Message], **hit: Sequence[Message] | set[str]) -> dict[str, str]:
    """Dispositions of messages: delivered, but for those that a keyword (a disposition) names."""
    fates = {message.id: "delivered" for message in messages}
    for fate, hits in hit.items():
        fates.update((h.id if isinstance(h, Message) else h, fate) for h in hits)
    return fates
