"""A look into the chosen dead letters: their key, what an envelope holds, earlier redrives, and the predicate."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.capture import CaptureSpec, IdFrom, TopicSpec
from workbench.dialects import DeadLetter, redrive_of
from workbench.redrive.candidates import Candidate, Place
from workbench.redrive.dead_letters import Dialects
from workbench.redrive.plan import GUESSED, HOME_MADE, UNWRAP
from workbench.redrive.reading import Raw, records_of

if TYPE_CHECKING:
    from workbench.redrive.spool import Spool


def inspect(spool: Spool, found: Sequence[Candidate], where: str | None, dialects: Dialects) -> None:
    """Completes the candidates from the records themselves, and leaves out what cannot be sent or is not asked for.

    Args:
        spool: the records.
        found: candidates; those that are left out already are not looked at.
        where: predicate over the message inside a dead letter; a message that it cannot be computed for is not chosen.
        dialects: how dead letters are read.
    """
    staying: dict[Place, Candidate] = {one.place: one for one in found if one.left_out is None}
    for one in staying.values():
        if one.place not in spool:
            one.left_out = "unreadable"
    for _, topic, batch in spool.batches():
        payloads = []
        for raw in records_of(batch):
            letter = dialects.decode(raw, topic)
            wrapped = dialects.wraps(letter)
            payloads.append(letter.payload if letter and wrapped else raw.value)
            one = staying[topic, raw.partition, raw.offset]
            one.flags = _flags(letter, wrapped=wrapped)
            _complete(one, raw, payloads[-1])
        if where:
            _choose(staying, topic, batch, payloads, where)


def _flags(letter: DeadLetter | None, *, wrapped: bool) -> int:
    if letter is None:
        return 0
    guessed = GUESSED if wrapped and "payload" in letter.guessed else 0
    return (UNWRAP if wrapped else 0) | (HOME_MADE if letter.dialect == "headers" else 0) | guessed


def _complete(one: Candidate, raw: Raw, value: bytes | None) -> None:
    one.key = raw.key
    redrive = redrive_of(raw.headers)
    if redrive and redrive.letter and redrive.origin_topic is not None:
        # Sent back before: our own header has the true origin, the dead letter names the copy.
        one.origin = (redrive.origin_topic, redrive.origin_partition or 0, redrive.origin_offset or 0)
    if value is None and (raw.key is None or one.flags & UNWRAP):
        one.left_out = "no_payload"


def _choose(
    staying: dict[Place, Candidate], topic: str, batch: Any, payloads: Sequence[bytes | None], where: str
) -> None:
    from workbench.capture.derive import Deriver

    spec = CaptureSpec(topics=(), where=where, want=frozenset())
    deriver = Deriver(spec, TopicSpec(topic, "source", IdFrom("coordinates"), ()))
    at = batch.schema.get_field_index("value")
    rows = deriver([batch.set_column(at, batch.schema.field("value"), pa.array(payloads, pa.binary()))])
    deriver.close()
    columns = (rows[name].to_pylist() for name in ("partition", "offset", "due", "decoded"))
    for partition, offset, due, decoded in zip(*columns, strict=True):
        one = staying[topic, partition, offset]
        if not (due and decoded) and one.left_out is None:
            one.left_out = "not_chosen"
