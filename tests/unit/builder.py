"""Builds evidence by hand: the records, offsets and commits of a small integration, as a capture would hold them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from workbench.capture.schema import BATCHES
from workbench.capture.stores import REMOVED
from workbench.evidence import Evidence
from workbench.sources.commits.records import Commit, Event, Generation, Member
from workbench.sources.commits.tables import Rows, rows_of
from workbench.sources.epochs import EPOCHS_SCHEMA
from workbench.sources.topics import BROKER_CONFIGS_SCHEMA, PARTITIONS_SCHEMA

NOW_MS = 1_700_000_000_000
NOW = datetime.fromtimestamp(NOW_MS / 1000, UTC)

RECORDS = pa.schema(
    [
        ("role", pa.string()), ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()),
        ("timestamp_ms", pa.int64()), ("timestamp_type", pa.string()), ("leader_epoch", pa.int32()),
        ("key", pa.binary()), ("key_size", pa.int32()), ("value_size", pa.int32()), ("value_hash", pa.uint64()),
        ("header_names", pa.list_(pa.string())), ("message_id", pa.string()), ("event_type", pa.string()),
        ("event_version", pa.string()), ("due", pa.bool_()), ("decoded", pa.bool_()), ("is_aborted", pa.bool_()),
        ("business_key_hash", pa.uint64()), ("compare_hash", pa.uint64()), ("origin_topic", pa.string()),
        ("origin_partition", pa.int32()), ("origin_offset", pa.int64()), ("dialect", pa.string()),
        ("replay_count", pa.int32()),
    ]
)  # fmt: skip
OFFSETS = pa.schema(
    [
        ("topic", pa.string()), ("partition", pa.int32()), ("log_start_offset", pa.int64()),
        ("high_watermark", pa.int64()), ("last_stable_offset", pa.int64()), ("max_timestamp_ms", pa.int64()),
        ("log_size_bytes", pa.int64()), ("error", pa.string()),
    ]
)  # fmt: skip
SCAN = pa.schema(
    [
        ("topic", pa.string()), ("partition", pa.int32()), ("start_offset", pa.int64()), ("end_offset", pa.int64()),
        ("next_offset", pa.int64()), ("records", pa.int64()), ("bytes", pa.int64()), ("error", pa.string()),
        ("truncated", pa.bool_()),
    ]
)  # fmt: skip
COMMITTED = pa.schema(
    [
        ("group", pa.string()), ("topic", pa.string()), ("partition", pa.int32()), ("committed_offset", pa.int64()),
        ("leader_epoch", pa.int32()), ("metadata", pa.string()),
    ]
)  # fmt: skip
SENT = pa.schema(
    [
        ("message_id", pa.string()), ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()),
        ("size_bytes", pa.int64()), ("at_ms", pa.int64()), ("timestamp_ms", pa.int64()), ("acked", pa.bool_()),
        ("committed", pa.bool_()), ("error", pa.string()), ("line", pa.int64()),
    ]
)  # fmt: skip
SERVICE = pa.schema(
    [
        ("at_ms", pa.int64()), ("level", pa.string()), ("event", pa.string()), ("error", pa.string()),
        ("message_id", pa.string()), ("topic", pa.string()), ("partition", pa.int32()), ("offset", pa.int64()),
        ("line", pa.int64()),
    ]
)  # fmt: skip
CONFIGS = pa.schema([("topic", pa.string()), ("name", pa.string()), ("value", pa.string()), ("is_default", pa.bool_())])
OPEN = pa.schema(
    [
        ("topic", pa.string()), ("partition", pa.int32()), ("producer_id", pa.int64()), ("start_offset", pa.int64()),
        ("last_timestamp_ms", pa.int64()), ("coordinator_state", pa.string()), ("transactional_id", pa.string()),
        ("timeout_ms", pa.int64()), ("started_ms", pa.int64()), ("hanging", pa.bool_()), ("reason", pa.string()),
    ]
)  # fmt: skip


class World:
    """A small integration: ``put`` appends records, ``evidence`` is what a check would have collected of it."""

    def __init__(self, source: str = "in", sinks: Iterable[str] = ("out",), **facts: Any) -> None:
        self.records: list[dict[str, Any]] = []
        self.offsets: dict[tuple[str, int], dict[str, Any]] = {}
        self.committed: dict[int, int] | None = None
        self.sent: list[dict[str, Any]] | None = None
        self.service: list[dict[str, Any]] | None = None
        self.configs: list[dict[str, Any]] = []
        self.open: list[dict[str, Any]] | None = None
        self.scan: dict[tuple[str, int], dict[str, Any]] = {}
        self.missing: dict[str, str] = {}
        self.batches: list[dict[str, Any]] | None = None
        self.history: Rows | None = None
        self.topic_ids: dict[str, str] = {}
        self.brokers: list[dict[str, Any]] = []
        self.epochs: list[dict[str, Any]] = []
        self.replicas: list[dict[str, Any]] = []
        self.removed: list[dict[str, Any]] | None = None
        self.other_commits: Rows | None = None
        self.facts: dict[str, Any] = {
            "source": source, "sinks": list(sinks), "any_sink": False, "retry_topics": [], "dead_letters": [],
            "group": None, "since": None, "until": None, "expected_latency_seconds": 300.0,
            "horizon_seconds": 86_400.0, "isolation": "read_committed", "where": None, "business_key": None,
            "compare": None, "sent_log": None, "service_log": None, "producer_config": {}, "consumer_config": {},
            "include_values": False, "show_ids": False, "collected_at": NOW.isoformat(), "truncated": False,
            "reader": "client", "group_exists": None, **facts,
        }  # fmt: skip

    def put(
        self, topic: str, message_id: str | None, partition: int = 0, offset: int | None = None, **fields: Any
    ) -> dict[str, Any]:
        """Appends one record, an hour old unless ``timestamp_ms`` says otherwise."""
        log = self.offsets.setdefault((topic, partition), self._log(topic, partition))
        at = log["high_watermark"] if offset is None else offset
        roles = {self.facts["source"]: "source"} | dict.fromkeys(self.facts["retry_topics"], "retry")
        roles |= dict.fromkeys(self.facts["sinks"], "sink") | dict.fromkeys(self.facts["dead_letters"], "dead_letters")
        record = {
            "role": roles[topic], "topic": topic, "partition": partition, "offset": at,
            "timestamp_ms": NOW_MS - 3_600_000 + at, "timestamp_type": "create", "message_id": message_id,
            "key": None, "due": True, "decoded": True, "is_aborted": False, "header_names": [], "value_size": 100,
            **fields,
        }  # fmt: skip
        self.records.append(record)
        log["high_watermark"] = log["last_stable_offset"] = at + 1
        return record

    def store(self, name: str, **said: Any) -> None:
        """Says that a source or sink is a table, and what was read of it."""
        known = {
            "kind": "sqlite", "rows": 1, "removed_rows": 0, "knows_removed": False, "id": "id", "id_type": "text", "time": "at",
            "ordered": False, "unreadable_times": 0, "skipped": {}, "keeps_seconds": None, "published_up_to": None,
            "unpublished_before": 0, **said,
        }  # fmt: skip
        self.facts["stores"] = {**self.facts.get("stores", {}), name: known}

    def flow(self, ids: Iterable[str], lost: Iterable[str] = (), **fields: Any) -> None:
        """Puts each id into the source and, unless lost, into every sink."""
        gone = set(lost)
        for message_id in ids:
            self.put(self.facts["source"], message_id, **fields)
            for sink in self.facts["sinks"]:
                if message_id not in gone:
                    self.put(sink, message_id, **fields)

    def batch(self, *records: Mapping[str, Any], producer_id: int | None = None, crc: int = 0, **fields: Any) -> None:
        """The batch that some neighbouring records of a partition came in."""
        first, last = records[0], records[-1]
        head = {
            "topic": first["topic"], "partition": first["partition"], "base_offset": first["offset"],
            "last_offset": last["offset"], "records": len(records), "producer_id": producer_id, "crc": crc,
            "is_transactional": False, "is_control": False, "is_aborted": False,
            "first_timestamp_ms": first["timestamp_ms"], "max_timestamp_ms": last["timestamp_ms"], **fields,
        }  # fmt: skip
        self.batches = [*(self.batches or []), head]

    def commit(self, offset: int | None = None, partition: int = 0, group: str = "g") -> None:
        """Commits the group's position; the partition's end by default."""
        self.facts |= {"group": group, "group_exists": True}
        end = self.offsets[(self.facts["source"], partition)]["high_watermark"]
        self.committed = {**(self.committed or {}), partition: end if offset is None else offset}

    def group_event(self, at_ms: int, event: Event) -> None:
        """The next record of the group in the coordinator's log, which is then known from its beginning."""
        if self.history is None:
            self.history = rows_of("g", [], whole=True)
            self.facts |= {"history_since": None}
        count = len(self.history.commits) + len(self.history.generations)
        self.history.add(count, at_ms, event)

    def generation(self, at_ms: int, *members: str, partitions: tuple[int, ...] = (0,)) -> None:
        """A completed generation; each member is given all of the partitions."""
        assigned = ((str(self.facts["source"]), partitions),)
        made = tuple(Member(name, name, "/host", assignment=assigned) for name in members)
        number = len(self.history.generations) if self.history else 0
        self.group_event(at_ms, Generation("g", number, "range", at_ms, made))

    def committed_at(self, at_ms: int, offset: int | None, partition: int = 0, epoch: int = -1) -> None:
        """A commit of the group on the source; None: the offset was removed."""
        self.group_event(at_ms, Commit("g", str(self.facts["source"]), partition, offset, epoch, "", at_ms))

    def epoch_ends(self, *ends: int, partition: int = 0) -> None:
        """The leaders of a partition of the source: epoch 0 ended at the first offset, and so on."""
        self.epochs += [
            {"topic": self.facts["source"], "partition": partition, "leader_epoch": epoch, "end_offset": end}
            for epoch, end in enumerate(ends)
        ]

    def in_sync(self, *isr: int, replicas: tuple[int, ...] = (1, 2, 3), partition: int = 0) -> None:
        """The brokers that hold a partition of the source, and those of them that are in sync; the first of these leads."""
        place = {"topic": self.facts["source"], "partition": partition, "leader": isr[0], "leader_epoch": 0}
        self.replicas.append({**place, "replicas": list(replicas), "isr": list(isr)})

    def config(self, topic: str, **values: str) -> None:
        """Sets topic settings; names with underscores for dots."""
        self.configs += [
            {"topic": topic, "name": name.replace("_", "."), "value": value, "is_default": False}
            for name, value in values.items()
        ]

    def broker(self, **values: str) -> None:
        """Sets broker settings; names with underscores for dots."""
        self.brokers += [
            {"broker": 1, "name": name.replace("_", "."), "value": value} for name, value in values.items()
        ]

    def evidence(self) -> Evidence:
        """The evidence of this world."""
        stores = self.facts.get("stores", {})
        for topic in (
            self.facts["source"],
            *self.facts["sinks"],
            *self.facts["retry_topics"],
            *self.facts["dead_letters"],
        ):
            self.offsets.setdefault((topic, 0), self._log(topic, 0))
        logs = list(self.offsets.values())
        offsets = [log for log in logs if log["topic"] not in stores]
        tables: dict[str, pa.Table] = {
            "records": pa.Table.from_pylist(self.records, RECORDS),
            "offsets": pa.Table.from_pylist(offsets, OFFSETS),
            "scan": pa.Table.from_pylist([self._scan(log) for log in logs], SCAN),
            "configs": pa.Table.from_pylist(self.configs, CONFIGS),
        }
        if self.committed is not None:
            rows = [
                {"group": self.facts["group"], "topic": self.facts["source"], "partition": p, "committed_offset": at}
                for p, at in self.committed.items()
            ]
            tables["committed"] = pa.Table.from_pylist(rows, COMMITTED)
        optional: Mapping[str, tuple[Any, pa.Schema]] = {
            "sent_log": (self.sent, SENT), "service_log": (self.service, SERVICE), "open_transactions": (self.open, OPEN),
        }  # fmt: skip
        for name, (rows, schema) in optional.items():
            if rows is not None:
                numbered = [{"line": n, **row} if "line" in schema.names else row for n, row in enumerate(rows, 1)]
                tables[name] = pa.Table.from_pylist(numbered, schema)
        if self.history is not None:
            tables |= self.history.tables()
            topics = [
                {"topic": topic, "topic_id": self.topic_ids.get(topic), "partition": part}
                for topic, part in self.offsets
            ]
            tables["topics"] = pa.Table.from_pylist(topics, PARTITIONS_SCHEMA)
        tables["epochs"] = pa.Table.from_pylist(self.epochs, EPOCHS_SCHEMA)
        if self.replicas:
            tables["topics"] = pa.Table.from_pylist(self.replicas, PARTITIONS_SCHEMA)
        if self.brokers:
            tables["broker_configs"] = pa.Table.from_pylist(self.brokers, BROKER_CONFIGS_SCHEMA)
        if self.removed is not None:
            tables["removed_rows"] = pa.Table.from_pylist(self.removed, REMOVED)
        if self.batches is not None:
            tables["batches"] = pa.Table.from_pylist(self.batches, BATCHES)
        return Evidence({**tables, **self._others()}, self.facts, self.missing)

    def _others(self) -> dict[str, pa.Table]:
        return {} if self.other_commits is None else {"other_commits": self.other_commits.tables()["commit_history"]}

    def _scan(self, log: Mapping[str, Any]) -> dict[str, Any]:
        key = (log["topic"], log["partition"])
        end = log["high_watermark"]
        return {
            "topic": key[0], "partition": key[1], "start_offset": log["log_start_offset"], "end_offset": end,
            "next_offset": end, "records": 0, "bytes": 0, "error": None, "truncated": False, **self.scan.get(key, {}),
        }  # fmt: skip

    @staticmethod
    def _log(topic: str, partition: int) -> dict[str, Any]:
        return {
            "topic": topic, "partition": partition, "log_start_offset": 0, "high_watermark": 0, "last_stable_offset": 0,
            "max_timestamp_ms": None, "log_size_bytes": None, "error": None,
        }  # fmt: skip
