"""A service whose notifications go into a table: rows that are refused, deleted, or written twice."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Sequence
from contextlib import closing
from typing import Any

from workbench.errors import SandboxError
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.deadletters import Output
from workbench.sandbox.incidents.messages import Message, sample
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene, fates_of
from workbench.sandbox.incidents.sending import send
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.tables import Database, as_store, database, insert, refused
from workbench.sandbox.incidents.truth import Truth, copies_ledger
from workbench.sandbox.incidents.userlogs import log_line, write_service_log

_TABLE = """
CREATE TABLE {name} (
    message_id VARCHAR(64) {unique}, user_id VARCHAR(40) NOT NULL, channel VARCHAR(20) CHECK (channel IN ('mail', 'sms')),
    body TEXT, sent_at TIMESTAMP NOT NULL, deleted_at TIMESTAMP)
"""


class TableOutlet:
    """Writes each notification as a row; what the table refuses is written down, and the service goes on.

    Attributes:
        refused: ids that the table refused.
        lines: what the service wrote of it.
    """

    def __init__(self, base: Database, table: str, *, twice: frozenset[str] = frozenset()) -> None:
        self.base, self.table = base, table
        self.refused: list[str] = []
        self.lines: list[dict[str, Any]] = []
        self._twice = twice

    def write(self, outputs: Iterable[Output]) -> None:
        """Writes and commits row by row."""
        for output in outputs:
            for _ in range(2 if output.id in self._twice else 1):
                self._row(output)

    def _row(self, output: Output) -> None:
        data = json.loads(output.value)["data"]
        row = {
            "message_id": output.id,
            "user_id": data.get("userId"),
            "channel": data["channel"],
            "body": output.value.decode(),
            "sent_at": self.base.now(),
        }
        try:
            insert(self.base, self.table, [row])
        except Exception as error:
            if not refused(error):
                raise
            self.refused.append(output.id)
            name = f"{type(error).__name__}: {str(error).splitlines()[0][:200]}"
            self.lines.append(log_line("error", "notification not stored", error=name, id=output.id))


def _flow(scene: Scene, messages: Sequence[Message]) -> None:
    topics.create(scene.bootstrap, scene.source, scene.partitions)
    send(scene.bootstrap, scene.source, messages)


def _table(scene: Scene, base: Database, *, unique: bool, **entry: Any) -> str:
    table = base.name("notifications")
    base.run(_TABLE.format(name=table, unique="PRIMARY KEY" if unique else ""))
    known = {"url": base.url, "table": table, "time": "sent_at", **entry}
    as_store(scene, "sink", "notifications", known | ({"id": "message_id"} if scene.rng.random() < 0.5 else {}))
    return table


@incident("target-rejected", "loss", {"loss-target-rejected": "confirmed"}, tables=True)
def rejected(scene: Scene) -> Truth:
    """The table refuses some rows by a constraint; the service logs it and commits past them."""
    messages = scene.messages()
    broken = {message.id for message in sample(scene.rng, messages, 4, 20)}
    with closing(database(scene)) as base:
        table = _table(scene, base, unique=True)
        outlet = TableOutlet(base, table)
        wrong: dict[str, Any] = scene.rng.choice(({"channel": "pigeon"}, {"userId": None}))
        _flow(scene, messages)

        def broken_here(value: dict[str, Any]) -> dict[str, Any]:
            return {**value, "data": value["data"] | (wrong if value["messageId"] in broken else {})}

        work(scene, processor(scene, {}, change=broken_here), outlet)
    if set(outlet.refused) != broken:
        raise SandboxError("The table took rows that it should have refused.")
    scene.options["service_log"] = write_service_log(scene.folder, outlet.lines)
    return scene.loss(
        fates_of(messages, lost=broken), expects={"loss-target-rejected": "confirmed"}, cause="loss-target-rejected"
    )


@incident("target-deleted", "loss", {"loss-target-deleted": "confirmed"}, tables=True)
def deleted(scene: Scene) -> Truth:
    """All notifications were stored; a clean-up deleted some of the rows afterwards, by mark or for good."""
    messages = scene.messages()
    gone = {message.id for message in sample(scene.rng, messages, 4, 20)}
    marked = scene.rng.random() < 0.5
    with closing(database(scene)) as base:
        audit = base.name("audit")
        base.run(f"CREATE TABLE {audit} (action VARCHAR(20), row_id VARCHAR(64), happened_at TIMESTAMP)")
        query = f"SELECT row_id, happened_at FROM {audit} WHERE action = 'delete'"
        table = _table(scene, base, unique=True, **({"deleted": "deleted_at"} if marked else {"deleted_query": query}))
        _flow(scene, messages)
        work(scene, processor(scene, {}), TableOutlet(base, table))
        for one in sorted(gone):
            _delete(base, table, audit, one, marked=marked)
    return scene.loss(
        fates_of(messages, lost=gone), expects={"loss-target-deleted": "confirmed"}, cause="loss-target-deleted"
    )


def _delete(base: Database, table: str, audit: str, message_id: str, *, marked: bool) -> None:
    at = base.now()
    if marked:
        base.run(f"UPDATE {table} SET deleted_at = ? WHERE message_id = ?", [at, message_id])
        return
    base.run(f"DELETE FROM {table} WHERE message_id = ?", [message_id])
    insert(base, audit, [{"action": "delete", "row_id": message_id, "happened_at": at}])


@incident("target-written-twice", "duplicates", {"duplicates-target-not-idempotent": "confirmed"}, tables=True)
def twice(scene: Scene) -> Truth:
    """The service inserts some notifications twice within one reading, and the table has no unique key."""
    messages = scene.messages()
    again = sorted(message.id for message in sample(scene.rng, messages, 4, 20))
    with closing(database(scene)) as base:
        table = _table(scene, base, unique=False)
        _flow(scene, messages)
        work(scene, processor(scene, {}), TableOutlet(base, table, twice=frozenset(again)))
    source = [message.id for message in messages]
    code = "duplicates-target-not-idempotent"
    return scene.truth(
        expects={code: "confirmed"},
        ledger=copies_ledger(source, [*source, *again]),
        causes={code: len(again)},
        ids={code: again},
    )


@incident("clean-target-table", "loss", tables=True)
def clean(scene: Scene) -> Truth:
    """A healthy service that writes into a table with a key, beside rows of other origin and rows without a time zone."""
    messages = scene.messages()
    with closing(database(scene)) as base:
        table = _table(scene, base, unique=True, deleted="deleted_at")
        stamp = base.now()
        others = [
            {"message_id": f"campaign-{n}", "user_id": "batch", "channel": "sms", "sent_at": stamp} for n in range(5)
        ]
        insert(base, table, others)
        _flow(scene, messages)
        handler = processor(scene, {})
        work(scene, handler, TableOutlet(base, table))
        # Another member reads the last part again, and the key refuses what is there already.
        time.sleep(0.1)
    return scene.loss(fates_of(messages), expects={}, facts={"unmatched_at_sink": 5})
