"""Open transactions: what the partitions hold open, joined with what the transaction coordinators know.

A transaction hangs when a partition holds it open and its coordinator has forgotten or finished it: it never ends by
itself, and read_committed readers stand in front of it. One look cannot tell it from a transaction that ends between
two questions, so the partitions are asked again after the coordinators.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from workbench.sources.access import sees_all_transactions
from workbench.sources.answer import Answer, answer
from workbench.sources.mapping import fault_of, reason

OPEN_TRANSACTIONS_SCHEMA = pa.schema(
    [("topic", pa.string()), ("partition", pa.int32()), ("producer_id", pa.int64()), ("start_offset", pa.int64()),
     ("last_timestamp_ms", pa.int64()), ("coordinator_state", pa.string()), ("transactional_id", pa.string()),
     ("timeout_ms", pa.int64()), ("started_ms", pa.int64()), ("hanging", pa.bool_()), ("reason", pa.string())]
)  # fmt: skip

# Coordinators look for timed-out transactions every 10 s by default, then have markers to write; clocks differ, too.
_GRACE_MS = 60_000
_PAUSE_SECONDS = 0.2

Place = tuple[str, int]  # topic, partition
Held = tuple[str, int, int, int]  # topic, partition, producer id, first offset


@dataclass
class _Coordinators:
    """What the coordinators said: owner by producer id, description or refusal by transactional id."""

    owner: dict[int, str] = field(default_factory=dict)
    known: dict[str, Any] = field(default_factory=dict)
    denied: dict[str, str] = field(default_factory=dict)
    all_visible: bool = False
    why: str = ""


def open_transactions(admin: Any, places: Iterable[Place], principal: str, times: int) -> Answer:
    """The table of ``Cluster.open_transactions``.

    Args:
        admin: a ``kafka.KafkaAdminClient``.
        places: partitions whose last stable offset is below their end.
        principal: ``User:name``, to find its ACLs; may be empty.
        times: how often the partitions are asked; between two of them the coordinators are.
    """
    failures: dict[str, str] = {}
    held = _held(admin, list(places), failures)
    said = _ask_coordinators(admin, held, principal) if held else _Coordinators()
    for _ in range(max(0, times - 1) if held else 0):
        time.sleep(_PAUSE_SECONDS)
        still = _held(admin, sorted({key[:2] for key in held}), failures)
        held = {key: still[key] for key in held if key in still}
    now_ms = int(time.time() * 1000)
    rows = [_row(key, last, said, times >= 2, now_ms) for key, last in sorted(held.items())]
    return answer(OPEN_TRANSACTIONS_SCHEMA, rows, failures)


def _held(admin: Any, places: Sequence[Place], failures: dict[str, str]) -> dict[Held, int]:
    """(topic, partition, producer id, first offset) -> time of its last record, for what partitions hold open."""
    found: dict[Held, int] = {}
    for place, state in _producers(admin, places, failures).items():
        for producer in state.active_producers:
            if producer.current_transaction_start_offset >= 0:
                key = (place.topic, place.partition, producer.producer_id, producer.current_transaction_start_offset)
                found[key] = producer.last_timestamp
    return found


def _producers(admin: Any, places: Sequence[Place], failures: dict[str, str]) -> dict[Any, Any]:
    """Asked at once; where one partition fails, the library drops the whole answer, so then topic by topic."""
    from kafka import TopicPartition

    wanted = [TopicPartition(*place) for place in places]
    try:
        return dict(admin.describe_producers(wanted))
    except Exception as error:  # noqa: BLE001 - kafka-python raises many kinds; each ends as a reason
        topics = sorted({place.topic for place in wanted})
        if len(topics) == 1:
            failures[topics[0]] = reason(error, "Read", f"topic {topics[0]}")
            return {}
    found: dict[Any, Any] = {}
    for topic in topics:
        found |= _producers(admin, [place for place in places if place[0] == topic], failures)
    return found


def _ask_coordinators(admin: Any, held: Mapping[Held, int], principal: str) -> _Coordinators:
    wanted = {key[2] for key in held}
    said = _Coordinators()
    try:
        listed = [item for items in admin.list_transactions().values() for item in items]
    except Exception as error:  # noqa: BLE001 - as above
        said.why = reason(error, "ListTransactions")
        return said
    said.owner = {item.producer_id: item.transactional_id for item in listed if item.producer_id in wanted}
    for name in sorted(set(said.owner.values())):
        try:
            said.known |= admin.describe_transactions([name])
        except Exception as error:  # noqa: BLE001 - as above
            fault = fault_of(error)
            if fault.kind != "missing":
                said.denied[name] = reason(error, "Describe", f"transactional id {name}")
    if wanted - said.owner.keys():
        said.all_visible, said.why = sees_all_transactions(admin, principal)
    return said


def _row(key: Held, last_ms: int, said: _Coordinators, twice: bool, now_ms: int) -> tuple[Any, ...]:
    topic, partition, producer_id, start_offset = key
    name = said.owner.get(producer_id)
    known = said.known.get(name) if name else None
    hanging, why = _judge((topic, partition), name, known, said, now_ms)
    if hanging and not twice:
        hanging, why = None, f"asked once only; {why}"
    told = (
        (known.state.value, name, known.transaction_timeout_ms, _time(known.transaction_start_time_ms))
        if known
        else (None, name, None, None)
    )
    return topic, partition, producer_id, start_offset, _time(last_ms), *told, hanging, why


def _judge(place: Place, name: str | None, known: Any, said: _Coordinators, now_ms: int) -> tuple[bool | None, str]:
    """(whether it hangs, null when that cannot be told; the reason), for one that was open before and after."""
    if name in said.denied:
        return None, said.denied[name]
    if name is None:
        if said.all_visible:
            return True, "no coordinator knows its producer id"
        return None, said.why or "its producer id is in no listing"
    if known is None:
        return True, f"the coordinator does not know {name} any more"
    if place not in {(item.topic, item.partition) for item in known.topic_partitions}:
        return True, f"the coordinator has {name} in state {known.state.value}, without this partition"
    age_ms = now_ms - known.transaction_start_time_ms
    if age_ms > known.transaction_timeout_ms + _GRACE_MS:
        late_s = (age_ms - known.transaction_timeout_ms) / 1000
        return True, f"the coordinator lists it as {known.state.value}, {late_s:.0f} s past its timeout"
    return (
        False,
        f"open for {max(0, age_ms) / 1000:.1f} s of the {known.transaction_timeout_ms / 1000:.0f} s it may take",
    )


def _time(milliseconds: int) -> int | None:
    return milliseconds if milliseconds >= 0 else None


def no_answer(failures: Mapping[str, str]) -> Answer:
    """No open transaction, or none that could be asked for: then ``failures`` says why."""
    return answer(OPEN_TRANSACTIONS_SCHEMA, [], failures)
