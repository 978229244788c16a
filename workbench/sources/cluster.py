"""The cluster as read-only tables: what it holds, how far it goes, who reads it."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import Any

from workbench.config import Profile, nearest
from workbench.errors import NotFound, SourceError
from workbench.sources import epochs, groups, times, topics, transactions
from workbench.sources.admin import Admin
from workbench.sources.answer import Answer, answer
from workbench.sources.described import describe_topics
from workbench.sources.mapping import as_source_error, reason
from workbench.sources.python_client import log_sizes, python_admin
from workbench.sources.topics import BROKER_CONFIGS, TOPIC_CONFIGS

_PATIENCE_SECONDS = 3.0  # with DescribeCluster, before the older request is tried


class Cluster:
    """A Kafka cluster, read only: no producer, no commit, no group join, no topic created by looking at it.

    Every table method answers what it could learn and keeps the reasons for the rest (``Answer.failures``); it raises
    ``SourceUnavailable`` or ``AccessDenied`` only when nothing could be learnt at all.
    """

    def __init__(self, profile: Profile, timeout_seconds: float = 15) -> None:
        self.profile = profile
        self.timeout_seconds = timeout_seconds
        # A second below, so that the whole call, with the client's own clean-up, ends in time.
        self._admin = Admin(profile.kafka, max(1.0, timeout_seconds - 1))

    def __repr__(self) -> str:
        return f"Cluster({self.bootstrap!r})"

    @property
    def bootstrap(self) -> str:
        """The brokers to begin with: host:port, comma-separated."""
        return self.profile.bootstrap

    @property
    def admin(self) -> Admin:
        """The admin client, for the other modules of this package."""
        return self._admin

    def client_settings(self) -> dict[str, Any]:
        """Fresh librdkafka settings for a consumer that only assigns: never commits, joins or creates.

        The group id is random: librdkafka wants one even for ``assign``, and nothing is ever stored under it.
        """
        return {**self._admin.reading_settings(), "group.id": f"workbench-{uuid.uuid4().hex}"}

    def info(self) -> dict[str, Any]:
        """``cluster_id``, ``controller_id`` (null when unknown) and ``brokers``: dicts of id, host, port, rack.

        Raises:
            SourceUnavailable, AccessDenied: the cluster could not be reached, or refused the login.

        Reads: DescribeCluster; Metadata where that stays unanswered.
        """
        asked = self._admin.call("describe_cluster")
        if not self._admin.has_controller or not self._admin.answers_within(asked, _PATIENCE_SECONDS):
            return self._info_from_metadata()
        found = self._admin.one(asked, "Describe", "the cluster")
        brokers = [{"id": node.id, "host": node.host, "port": node.port, "rack": node.rack} for node in found.nodes]
        return {
            "cluster_id": found.cluster_id,
            "controller_id": found.controller.id if found.controller else None,
            "brokers": sorted(brokers, key=lambda broker: broker["id"]),
        }

    def _info_from_metadata(self) -> dict[str, Any]:
        """Where no controller answers DescribeCluster, as in librdkafka's own mock."""
        found = self._admin.metadata(max(1.0, self._admin.timeout_seconds - _PATIENCE_SECONDS))
        brokers = [
            {"id": node.id, "host": node.host, "port": node.port, "rack": None} for node in found.brokers.values()
        ]
        self._admin.has_controller = found.controller_id in found.brokers
        return {
            "cluster_id": found.cluster_id,
            "controller_id": found.controller_id if self._admin.has_controller else None,
            "brokers": sorted(brokers, key=lambda broker: broker["id"]),
        }

    def topics(self, names: Sequence[str] | None = None, include_internal: bool = False) -> Answer:
        """One row a partition.

        Args:
            names: None is every topic this principal may describe.
            include_internal: with ``names=None``, the coordinators' own topics too.

        Returns:
            topic, topic_id (as Kafka's tools print it, null before 2.8), partition int32, leader int32 (null: none),
            leader_epoch int32 (null: unknown), replicas and isr list<int32>. Failures by topic.

        Reads: Metadata, ListOffsets (for the epoch).
        """
        return topics.partitions(self._admin, names, include_internal)

    def require_topics(self, names: Sequence[str]) -> None:
        """Checks that topics exist and may be described.

        Raises:
            NotFound: the hint names the nearest topics that exist.
            AccessDenied: Describe is denied on one.

        Reads: Metadata.
        """
        _, errors = describe_topics(self._admin, names)
        for name, error in errors.items():
            raised = as_source_error(error, "Describe", f"topic {name}", self.bootstrap)
            if isinstance(raised, NotFound):
                raised.hint = nearest(name, self._admin.metadata().topics) or "`workbench doctor` lists the topics."
            raise raised

    def topic_configs(self, names: Sequence[str], wanted: Sequence[str] = TOPIC_CONFIGS) -> Answer:
        """One row a topic and setting: topic, name, value (null: not told), is_default (the broker's built-in one).

        Reads: DescribeConfigs on each topic. Failures by topic.
        """
        return topics.topic_configs(self._admin, names, wanted)

    def broker_configs(self, names: Sequence[str] = BROKER_CONFIGS) -> Answer:
        """One row a broker and setting: broker int32, name, value (null: not told); secrets are left out.

        Reads: DescribeCluster, DescribeConfigs on each broker. Failures by broker id.
        """
        return topics.broker_configs(self._admin, [broker["id"] for broker in self.info()["brokers"]], names)

    def offsets(self, names: Sequence[str], sizes: bool = True) -> Answer:
        """One row a partition, all partitions in one request a leader and kind.

        Args:
            names: topics.
            sizes: also ask for the bytes on disk, through a second client (about 0.4 s once).

        Returns:
            topic, partition int32, log_start_offset, high_watermark, last_stable_offset int64 (null with ``error`` set:
            unknown), max_timestamp_ms int64 (null: empty or unknown), log_size_bytes int64 (the leader's; null: not
            told or not asked), error. Failures by topic, and ``log_size_bytes``.

        Reads: Metadata, ListOffsets (latest under both isolation levels, earliest, max timestamp), DescribeLogDirs.
        """
        return topics.offsets(self._admin, names, self._sizes if sizes else None)

    def offsets_at(self, names: Sequence[str], at_ms: int) -> Answer:
        """The first offset at or after a moment: topic, partition int32, offset int64 (null: no record is that young).

        Reads: Metadata, ListOffsets (for a timestamp). Failures by ``topic/partition``.
        """
        return times.offsets_at(self._admin, names, at_ms)

    def heads(self, starts: Iterable[tuple[str, int, int, int]], isolation: str, seconds: float = 20) -> Answer:
        """The first record at or after offsets, one for each: when the next record that a reader would get was written.

        Args:
            starts: topic, partition, the offset to look from, the offset to stop before.
            isolation: read_committed or read_uncommitted.
            seconds: the longest that is read; what was not reached has an ``error``.

        Returns:
            topic, partition int32, offset int64 (as asked), first_offset int64 (null: there is no record), timestamp_ms
            int64 (null: none), timestamp_type (CreateTime or LogAppendTime), error (null: none).

        Reads: Fetch by assignment.
        """
        from workbench.sources.heads import heads

        return heads(self.client_settings(), starts, isolation, seconds)

    def committed(self, group: str | Sequence[str], topics: Sequence[str] | None = None) -> Answer:
        """One row a partition with a commit; one without has no row. Read this before the log ends.

        Args:
            group: one or more groups; all those of one coordinator are asked for in one request.
            topics: None is all that the group committed and this principal may describe.

        Returns:
            group, topic, partition int32, committed_offset int64, leader_epoch int32 (null: the commit has none),
            metadata. Failures by group and by topic.

        Reads: FindCoordinator, OffsetFetch.
        """
        return groups.committed(self._admin, self._python, [group] if isinstance(group, str) else list(group), topics)

    def groups(self, names: Sequence[str] | None = None) -> Answer:
        """One row a group: group, state, type (classic, consumer, share, streams), protocol, coordinator, member_count.

        ``protocol``, ``coordinator`` and ``member_count`` (int32) are null for share and streams groups. A group that
        does not exist is a failure.

        Reads: ListGroups (twice with ``names=None``: librdkafka leaves share groups out), DescribeGroups.
        """
        listed, why = groups.names_and_types(self._admin)
        if names is None or any(listed.get(name, {"state": "Unknown"})["state"] == "Unknown" for name in names):
            others, why_others = self._other_groups()
            listed, why = {**listed, **others}, "; ".join(filter(None, (why, why_others)))
        return groups.groups(self._admin, names, listed, why)

    def members(self, names: Sequence[str]) -> Answer:
        """One row an assigned partition; a member without any has one row with topic and partition null.

        Returns:
            group, member_id, client_id, host, group_instance_id (null: dynamic member), topic, partition int32.

        Reads: DescribeGroups. Failures by group.
        """
        return groups.members(self._admin, names)

    def groups_reading(self, names: Sequence[str] | None) -> Answer:
        """Which groups have committed offsets on topics: group, topic, partitions (int32, how many have a commit).

        Reads: ListGroups, FindCoordinator, OffsetFetch.
        """
        listed, why = groups.names_and_types(self._admin)
        found = groups.reading(groups.committed(self._admin, self._python, sorted(listed), names))
        return Answer(found.table, {**found.failures, "groups": why}) if why else found

    def open_transactions(self, names: Sequence[str], times: int = 2) -> Answer:
        """One row an open transaction on a partition; none where nothing is open.

        Args:
            names: topics; only partitions whose last stable offset is below their end are asked further.
            times: how often the partitions are asked (the coordinators in between); with 1, ``hanging`` is never true.

        Returns:
            topic, partition int32, producer_id, start_offset, last_timestamp_ms (null: none) int64, coordinator_state,
            transactional_id, timeout_ms, started_ms (null: the coordinator does not know it, or may not be asked),
            hanging (null: cannot be told; ``reason`` says why), reason. Failures by topic.

        Reads: ListOffsets, DescribeProducers (Read on the topic), ListTransactions, DescribeTransactions, DescribeAcls.
        """
        seen = self.offsets(names, sizes=False)
        open_places = [
            (row["topic"], row["partition"])
            for row in seen.rows()
            if row["last_stable_offset"] is None or row["last_stable_offset"] < row["high_watermark"]
        ]
        if not open_places:
            return transactions.no_answer(seen.failures)
        try:
            with self._python() as admin:
                found = transactions.open_transactions(admin, open_places, self.principal, times)
        except SourceError as error:
            return transactions.no_answer({**seen.failures, **{place[0]: str(error) for place in open_places}})
        return Answer(found.table, {**seen.failures, **found.failures})

    def epochs(self, names: Sequence[str]) -> Answer:
        """Where the leaders of partitions began to write; none for partitions that have only had one.

        Returns:
            topic, partition, leader_epoch int32, end_offset int64 (offset after the epoch's last record), one row an epoch
            in which something was written, or that is the leader's present one. Failures by broker.

        Reads: Metadata, ListOffsets, OffsetForLeaderEpoch (Describe on the topic).
        """
        seen = self.topics(names)
        changed = [row for row in seen.rows() if row["leader_epoch"]]
        if not changed or not self._admin.has_controller:
            return answer(epochs.EPOCHS_SCHEMA, [], seen.failures)
        try:
            with self._python() as admin:
                return epochs.epochs(admin, changed)
        except SourceError as error:
            return answer(epochs.EPOCHS_SCHEMA, [], {**seen.failures, "epochs": str(error)})

    @property
    def principal(self) -> str:
        """``User:name`` as brokers see a SASL login by name; empty where only the broker knows it (TLS, tokens)."""
        name = self.profile.kafka.get("sasl.username", "")
        return f"User:{name}" if name else ""

    def close(self) -> None:
        """Nothing to hand back: librdkafka's client ends with its last reference."""

    def _python(self) -> AbstractContextManager[Any]:
        return python_admin(self.profile.kafka, self._admin.timeout_seconds)

    def _sizes(self, names: Iterable[str]) -> tuple[Mapping[tuple[int | None, str, int], int], Mapping[str, str]]:
        if not self._admin.has_controller:
            return {}, {"log_size_bytes": "no controller answers"}
        try:
            with self._python() as admin:
                sizes = log_sizes(admin, names)
        except SourceError as error:
            return {}, {"log_size_bytes": str(error)}
        except Exception as error:  # noqa: BLE001 - kafka-python raises many kinds; a missing size must not cost the offsets
            return {}, {"log_size_bytes": reason(error, "Describe", "the cluster")}
        return sizes, {} if sizes else {"log_size_bytes": "Describe denied on the cluster, or no data yet"}

    def _other_groups(self) -> tuple[dict[str, dict[str, str]], str]:
        """(share and streams groups with state and type, why they could not be listed)."""
        if not self._admin.has_controller:
            return {}, "share groups not listed: no controller answers"
        try:
            with self._python() as admin:
                listed = admin.list_groups()
        except SourceError as error:
            return {}, f"share groups not listed: {error}"
        except Exception as error:  # noqa: BLE001 - as above
            return {}, f"share groups not listed: {reason(error, 'Describe', 'the cluster')}"
        return {
            group["group_id"]: {
                "state": group.get("group_state", "Unknown"),
                "type": group.get("group_type", "classic"),
            }
            for group in listed
        }, ""
