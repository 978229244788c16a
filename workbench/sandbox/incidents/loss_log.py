"""Loss in the log itself: retention, deletion and compaction take what the group has not read yet."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.disk import damage
from workbench.sandbox.incidents.messages import Message
from workbench.sandbox.incidents.registry import incident
from workbench.sandbox.incidents.scene import Scene
from workbench.sandbox.incidents.sending import Sent, send
from workbench.sandbox.incidents.service import processor, work
from workbench.sandbox.incidents.truth import Truth
from workbench.sandbox.incidents.userlogs import sent_line, write_sent_log

Offsets = Mapping[int, int]

RETENTION = {"loss-retention-overtook": "confirmed"}
BACKDATED = {"loss-timestamp-retention": "confirmed"}
DELETED = {"loss-records-deleted": "suspected"}
CORRUPT = {"loss-corrupt-record": "confirmed"}


@incident("retention-overtook", "loss", RETENTION)
def retention_overtook(scene: Scene) -> Truth:
    """A group stands still until the topic's retention time has removed what it had not read."""
    scene.open()
    sent = send(scene.bootstrap, scene.source, scene.messages())
    stop = stop_behind(scene, 0.2, 0.8)
    fates = process_some(scene, sent, stop)
    topics.configure(scene.bootstrap, scene.source, retention_ms="1500", segment_ms="1000")
    ends = topics.ends(scene.bootstrap, scene.source)
    topics.wait_until(lambda: topics.log_starts(scene.bootstrap, scene.source) == ends, "retention removes all records")
    _bring_sent_log(scene, sent)
    fates.update(dict.fromkeys(_between(sent, stop, ends), "lost"))
    return scene.loss(fates, expects=RETENTION, cause="loss-retention-overtook")


@incident("retention-overtook-resumed", "loss", RETENTION)
def retention_overtook_resumed(scene: Scene) -> Truth:
    """A group comes back after retention has removed what it had not read, and goes on with what is new."""
    scene.open()
    sent = send(scene.bootstrap, scene.source, scene.messages())
    stop = stop_behind(scene, 0.2, 0.8)
    fates = process_some(scene, sent, stop)
    topics.configure(scene.bootstrap, scene.source, retention_ms="5000", segment_ms="1000")
    ends = topics.ends(scene.bootstrap, scene.source)
    topics.wait_until(lambda: topics.log_starts(scene.bootstrap, scene.source) == ends, "retention removes all records")
    later = send(scene.bootstrap, scene.source, scene.messages())
    work(scene, processor(scene, {}), until=topics.ends(scene.bootstrap, scene.source))
    _bring_sent_log(scene, [*sent, *later])
    fates.update(dict.fromkeys(_between(sent, stop, ends), "lost"))
    fates.update({one.message.id: "delivered" for one in later})
    return scene.loss(fates, expects=RETENTION, cause="loss-retention-overtook")


@incident("retention-overtook-size", "loss", RETENTION)
def retention_overtook_size(scene: Scene) -> Truth:
    """A burst fills the topic beyond its retention size while the group stands still; the newest records wait."""
    sent, stop, starts = _overfill(scene)
    _bring_sent_log(scene, sent)
    fates = _fates(sent, stop, starts)
    return scene.loss(fates, expects=RETENTION, cause="loss-retention-overtook")


@incident("retention-overtook-blind", "loss", RETENTION)
def retention_overtook_blind(scene: Scene) -> Truth:
    """Retention by size overtakes the group, and no producer kept a log: only offsets say how much is gone."""
    sent, stop, starts = _overfill(scene)
    return _blind(scene, sent, stop, starts, RETENTION)


DAY_MS = 86_400_000


@incident("timestamp-retention", "loss", BACKDATED)
def timestamp_retention(scene: Scene) -> Truth:
    """An import writes records with their events' old times; retention removes them before the group has read them."""
    sent, fates = _import(scene)
    _bring_sent_log(scene, sent)
    return scene.loss(fates, expects=BACKDATED, cause="loss-timestamp-retention")


@incident("timestamp-retention-resumed", "loss", BACKDATED)
def timestamp_retention_resumed(scene: Scene) -> Truth:
    """Retention removes an import for its old times; the group goes on with what is written after that."""
    sent, fates = _import(scene)
    later = send(scene.bootstrap, scene.source, scene.messages())
    work(scene, processor(scene, {}), until=topics.ends(scene.bootstrap, scene.source))
    _bring_sent_log(scene, [*sent, *later])
    fates.update({one.message.id: "delivered" for one in later})
    return scene.loss(fates, expects=BACKDATED, cause="loss-timestamp-retention")


def _import(scene: Scene) -> tuple[list[Sent], dict[str, str]]:
    scene.open({"retention.ms": "-1"})
    now_ms = round(time.time() * 1000)
    old = [replace(one, timestamp_ms=now_ms - scene.rng.randint(3 * DAY_MS, 90 * DAY_MS)) for one in scene.messages()]
    sent = send(scene.bootstrap, scene.source, old)
    stop = stop_behind(scene, 0.2, 0.8)
    fates = process_some(scene, sent, stop)
    topics.configure(scene.bootstrap, scene.source, retention_ms=str(2 * DAY_MS))
    ends = topics.ends(scene.bootstrap, scene.source)
    topics.wait_until(lambda: topics.log_starts(scene.bootstrap, scene.source) == ends, "retention removes all records")
    fates.update(dict.fromkeys(_between(sent, stop, ends), "lost"))
    return sent, fates


@incident("corrupt-record", "loss", CORRUPT, files=True)
def corrupt_record(scene: Scene) -> Truth:
    """A few bytes of the broker's log are overwritten on its disk, behind what the group has read."""
    scene.open()
    sent: list[Sent] = []
    for _ in range(6):  # batches of their own
        sent += send(scene.bootstrap, scene.source, scene.messages(20, 60))
    stop = stop_behind(scene, 0.3, 0.5)
    fates = process_some(scene, sent, stop)
    ends = topics.ends(scene.bootstrap, scene.source)
    partition = max(ends, key=lambda part: ends[part] - stop[part])
    low, high = damage(scene, partition, stop[partition])
    _bring_sent_log(scene, sent)
    fates.update(dict.fromkeys(_between(sent, stop, ends), "waiting"))
    fates.update(dict.fromkeys(_between(sent, {**ends, partition: low}, {**ends, partition: high}), "unverifiable"))
    return scene.loss(fates, expects=CORRUPT)


@incident("records-deleted", "loss", DELETED)
def records_deleted(scene: Scene) -> Truth:
    """Somebody deletes records ahead of the group on a topic that keeps its records for days."""
    sent, stop, starts = _delete_ahead(scene)
    _bring_sent_log(scene, sent)
    return scene.loss(_fates(sent, stop, starts), expects=DELETED, cause="loss-records-deleted")


@incident("records-deleted-blind", "loss", DELETED)
def records_deleted_blind(scene: Scene) -> Truth:
    """Records ahead of the group are deleted, and no producer kept a log: only offsets say how much is gone."""
    sent, stop, starts = _delete_ahead(scene)
    return _blind(scene, sent, stop, starts, DELETED)


@incident("records-deleted-unlogged", "loss", DELETED)
def records_deleted_unlogged(scene: Scene) -> Truth:
    """Records ahead of the group are deleted, it goes on behind them, and no producer kept a log."""
    scene.partitions = scene.rng.randint(1, 2)
    scene.open()
    sent = send(scene.bootstrap, scene.source, scene.messages(300, 500))
    ends = topics.ends(scene.bootstrap, scene.source)
    for share in (0.05, 0.1, 0.15, 0.2):  # its steps, as a group has that lives
        stop = {part: int(end * share) for part, end in ends.items()}
        work(scene, processor(scene, {}), until=stop)
    starts = {part: int(end * 0.8) for part, end in ends.items()}
    topics.delete_records(scene.bootstrap, scene.source, starts)
    work(scene, processor(scene, {}))
    kept = [one for one in sent if _offset(one) >= starts[one.partition or 0]]
    gone = _between(sent, stop, starts)
    return scene.loss(
        {one.message.id: "delivered" for one in kept},
        expects=DELETED,
        ids={"loss-records-deleted": sorted(gone)},
        facts={"lost_offsets_upper_bound": len(gone), "unmatched_at_sink": len(sent) - len(kept) - len(gone)},
    )


@incident("compacted", "loss", {"loss-compacted": "confirmed"})
def compacted(scene: Scene) -> Truth:
    """Compaction removes events that a later one of the same key superseded, before the group has read them."""
    scene.open(COMPACTED)
    sent = send(scene.bootstrap, scene.source, scene.messages(users=scene.rng.randint(20, 40)))
    stop = stop_behind(scene, 0.1, 0.5)
    process_some(scene, sent, stop)
    later = compact(scene, scene.source, sent)
    gone = superseded(sent)
    _bring_sent_log(scene, [*sent, *later])
    fates = {one.message.id: _fate(one, stop) for one in (*sent, *later)}
    fates.update({i: "lost" for i in gone if fates[i] == "waiting"})
    return scene.loss(fates, expects={"loss-compacted": "confirmed"}, cause="loss-compacted")


# Nothing is compacted before ``compact`` says so: the active segment never is, and by default it lasts for days.
COMPACTED = {"cleanup.policy": "compact"}
# Segments end after 0.8 s, and the cleaner takes any dirty one.
AT_ONCE = {
    "segment_ms": "800",
    "min_cleanable_dirty_ratio": "0.01",
    "max_compaction_lag_ms": "1000",
    "delete_retention_ms": "1000",
}


def compact(scene: Scene, topic: str, sent: Sequence[Sent]) -> list[Sent]:
    """Closes a topic's segments by further records of fresh keys, and waits until the cleaner has done its work.

    Returns:
        The further records, one a partition.
    """
    topics.configure(scene.bootstrap, topic, **AT_ONCE)
    time.sleep(1.0)  # records that come 0.8 s later start a new segment, and only older ones are compacted
    later = []
    for partition in range(max(one.partition or 0 for one in sent) + 1):
        message = scene.writer.write(1)[0].with_key(f"closing-{partition}")
        later += send(scene.bootstrap, topic, [message], partition=partition)
    gone = superseded(sent)
    topics.wait_until(lambda: not gone & ids_in(scene, topic), f"compaction of {topic}")
    return later


def superseded(sent: Sequence[Sent]) -> set[str]:
    """Ids of the records that have a later one of their key in their partition."""
    return replaced([(one.message.id, one.message.key, one.partition or 0, _offset(one)) for one in sent])


def replaced(rows: Iterable[tuple[str, str | None, int, int]]) -> set[str]:
    """Ids of (id, key, partition, offset) that have a later row of their key in their partition."""
    ordered = sorted(rows, key=lambda row: row[3])
    newest = {(partition, key): message_id for message_id, key, partition, _ in ordered}
    return {message_id for message_id, key, partition, _ in ordered if newest[partition, key] != message_id}


def ids_in(scene: Scene, topic: str) -> set[str]:
    """Ids that can be read from a topic now."""
    from workbench.sandbox.incidents.reading import read

    return {record.id for record in read(scene.bootstrap, topic)}


def stop_behind(scene: Scene, low: float, high: float) -> dict[int, int]:
    """Where the group will stand: a part of each partition, at least one record before its end."""
    share = scene.rng.uniform(low, high)
    return {p: int(end * share) for p, end in topics.ends(scene.bootstrap, scene.source).items()}


def process_some(scene: Scene, sent: Sequence[Sent], stop: Offsets) -> dict[str, str]:
    """Lets the service run until ``stop``; returns the fates of what was sent, the rest waiting."""
    work(scene, processor(scene, {}), until=stop)
    return {one.message.id: _fate(one, stop) for one in sent}


def _fates(sent: Sequence[Sent], stop: Offsets, starts: Offsets) -> dict[str, str]:
    fates = {one.message.id: _fate(one, stop) for one in sent}
    fates.update(dict.fromkeys(_between(sent, stop, starts), "lost"))
    return fates


def _fate(one: Sent, stop: Offsets) -> str:
    return "delivered" if _offset(one) < stop.get(one.partition or 0, 0) else "waiting"


def _between(sent: Sequence[Sent], low: Offsets, high: Offsets) -> list[str]:
    return [s.message.id for s in sent if low[s.partition or 0] <= _offset(s) < high[s.partition or 0]]


def _offset(one: Sent) -> int:
    return -1 if one.offset is None else one.offset


def _bring_sent_log(scene: Scene, sent: Sequence[Sent]) -> None:
    lines = [sent_line(one) for one in sent]
    scene.options["sent_log"] = write_sent_log(scene.folder, lines, scene.rng)


def _blind(scene: Scene, sent: Sequence[Sent], stop: Offsets, starts: Offsets, expects: Mapping[str, str]) -> Truth:
    # Without a sent log a message counts as sent only while its record can be read.
    kept = [one for one in sent if _offset(one) >= starts[one.partition or 0]]
    delivered = [one for one in sent if _fate(one, stop) == "delivered"]
    gone = _between(sent, stop, starts)
    (code,) = expects
    kept_ids = {one.message.id for one in kept}
    return scene.loss(
        {one.message.id: _fate(one, stop) for one in kept},
        expects=expects,
        ids={code: sorted(gone)},
        facts={
            "lost_offsets_upper_bound": len(gone),
            "unmatched_at_sink": sum(one.message.id not in kept_ids for one in delivered),
        },
    )


def _overfill(scene: Scene) -> tuple[list[Sent], dict[int, int], dict[int, int]]:
    # One MiB is the smallest segment that a broker allows; whole segments go.
    scene.partitions = scene.rng.randint(1, 2)
    scene.open({"segment.bytes": str(1 << 20), "retention.bytes": str(1 << 20)})
    topics.configure(scene.bootstrap, scene.source, retention_bytes="-1")
    messages = scene.messages(300, 400, padding=16_000)
    sent = send(scene.bootstrap, scene.source, messages, batch_size=200_000)
    stop = stop_behind(scene, 0.02, 0.1)
    work(scene, processor(scene, {}), until=stop, fetch_message_max_bytes=200_000)
    topics.configure(scene.bootstrap, scene.source, retention_bytes=str(1 << 20))
    topics.wait_until(lambda: _is_ahead(scene, stop), "retention removes segments")
    return sent, stop, _settled_starts(scene)


def _delete_ahead(scene: Scene) -> tuple[list[Sent], dict[int, int], dict[int, int]]:
    scene.open()
    messages: list[Message] = scene.messages()
    sent = send(scene.bootstrap, scene.source, messages)
    stop = stop_behind(scene, 0.2, 0.5)
    work(scene, processor(scene, {}), until=stop)
    ends = topics.ends(scene.bootstrap, scene.source)
    hit = scene.rng.sample(sorted(ends), scene.rng.randint(1, len(ends)))
    share = scene.rng.uniform(0.6, 0.9)
    topics.delete_records(scene.bootstrap, scene.source, {p: max(int(ends[p] * share), stop[p] + 1) for p in hit})
    return sent, stop, topics.log_starts(scene.bootstrap, scene.source)


def _is_ahead(scene: Scene, stop: Offsets) -> bool:
    starts = topics.log_starts(scene.bootstrap, scene.source)
    return all(starts[partition] > stop[partition] for partition in stop)


def _settled_starts(scene: Scene) -> dict[int, int]:
    """Log starts that two of the broker's checks, one a second, have left alone."""
    before: dict[int, int] = {}
    while before != (now := topics.log_starts(scene.bootstrap, scene.source)):
        before = now
        time.sleep(2.5)
    return before
