"""An outbox: a table whose rows a relay publishes to a topic, and what such relays do wrong."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.messages import Message, sample
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene, fates_of
from workbench.sandbox.incidents.sending import send
from workbench.sandbox.incidents.tables import Database, as_store, database, insert
from workbench.sandbox.incidents.truth import Truth, copies_ledger

_TABLE = """
CREATE TABLE {name} (
    seq INTEGER PRIMARY KEY, event_id VARCHAR(64) NOT NULL, aggregate_id VARCHAR(40), payload TEXT,
    created_at TIMESTAMP NOT NULL, published_at TIMESTAMP)
"""


class Relay:
    """Reads rows in their order, sends them, and marks them as published."""

    def __init__(self, scene: Scene, base: Database, table: str, messages: Sequence[Message]) -> None:
        self.scene, self.base, self.table = scene, base, table
        self.by_id = {message.id: message for message in messages}

    def publish(self, ids: Sequence[str], *, mark: bool = True) -> None:
        """Sends rows, in this order, and marks them."""
        chosen = [self.by_id[one] for one in ids]
        send(self.scene.bootstrap, self.scene.sink, chosen)
        if mark:
            self.mark(ids)

    def mark(self, ids: Sequence[str]) -> None:
        """Marks rows as published, sent or not."""
        for one in ids:
            self.base.run(f"UPDATE {self.table} SET published_at = ? WHERE event_id = ?", [self.base.now(), one])


def _outbox(scene: Scene, base: Database, messages: Sequence[Message], *, marks: bool = True) -> Relay:
    """The filled table, the topic, and a relay that has not begun."""
    table = base.name("outbox")
    base.run(_TABLE.format(name=table))
    rows = [
        {"seq": number, "event_id": message.id, "aggregate_id": message.key, "payload": message.body().decode(),
         "created_at": base.now()} for number, message in enumerate(messages, 1)
    ]  # fmt: skip
    insert(base, table, rows)
    entry = {"url": base.url, "table": table, "id": "event_id", "time": "created_at", "order": "seq"}
    as_store(scene, "source", "outbox", entry | ({"published": "published_at"} if marks else {}))
    scene.options |= {"sink": [scene.sink], "group": ""}
    topics.create(scene.bootstrap, scene.sink, scene.sink_partitions)
    return Relay(scene, base, table, messages)


@incident("outbox-skipped", "loss", {"outbox-unpublished": "confirmed"}, tables=True)
def skipped(scene: Scene) -> Truth:
    """A relay went past rows that became visible late, or marked rows as published and crashed before it sent them."""
    messages = scene.messages(60, 200)
    marks, marked_first = scene.rng.random() < 0.7, scene.rng.random() < 0.5
    lost = {message.id for message in sample(scene.rng, messages[:-1], 3, 10)}
    with closing(database(scene)) as base:
        relay = _outbox(scene, base, messages, marks=marks)
        relay.publish([message.id for message in messages if message.id not in lost])
        if marks and marked_first:
            relay.mark(sorted(lost))
    expects, code = {"outbox-unpublished": "confirmed"}, "outbox-unpublished"
    ledger = {"sent": len(messages), "delivered": len(messages) - len(lost), "lost": len(lost)}
    return scene.truth(
        expects=expects,
        ledger=ledger,
        causes={code: len(lost)},
        ids={code: sorted(lost)},
        dispositions={"lost": sorted(lost)},
    )


@incident("outbox-republished", "duplicates", {"outbox-published-twice": "confirmed"}, tables=True)
def republished(scene: Scene) -> Truth:
    """A relay crashed after it had sent rows and before it had marked them; the next one sent them again."""
    messages = scene.messages(60, 200)
    ids = [message.id for message in messages]
    low = scene.rng.randint(5, len(ids) // 2)
    high = low + scene.rng.randint(3, 20)
    with closing(database(scene)) as base:
        relay = _outbox(scene, base, messages)
        relay.publish(ids[:low])
        relay.publish(ids[low:high], mark=False)
        relay.publish(ids[low:])
    again, code = ids[low:high], "outbox-published-twice"
    return scene.truth(
        expects={code: "confirmed"},
        ledger=copies_ledger(ids, [*ids, *again]),
        causes={code: len(again)},
        ids={code: sorted(again)},
    )


@incident("outbox-overtaken", "duplicates", {"outbox-out-of-order": "confirmed"}, tables=True)
def overtaken(scene: Scene) -> Truth:
    """Two workers of a relay sent the rows of some keys in another order than the table has."""
    messages = [message.with_key(f"user-{n % 7}") for n, message in enumerate(scene.writer.write(70))]
    ids = [message.id for message in messages]
    late = scene.rng.randint(7, 40)
    with closing(database(scene)) as base:
        relay = _outbox(scene, base, messages)
        relay.publish([*ids[:late], *ids[late + 7 : late + 14], *ids[late : late + 7], *ids[late + 14 :]])
    return scene.truth(expects={"outbox-out-of-order": "confirmed"}, ledger=copies_ledger(ids, ids))


@incident("clean-outbox", "loss", tables=True)
def clean(scene: Scene) -> Truth:
    """A healthy relay that has not come to the newest rows yet, whose sequence has gaps, and whose keys go to partitions."""
    messages = scene.messages(60, 200)
    waiting = {message.id for message in messages[-scene.rng.randint(1, 5) :]}
    with closing(database(scene)) as base:
        relay = _outbox(scene, base, messages)
        relay.publish([message.id for message in messages if message.id not in waiting])
    return scene.loss(fates_of(messages, waiting=waiting), expects={})
