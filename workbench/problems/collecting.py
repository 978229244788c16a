"""Collecting: from a scope and live sources to evidence, the same way for loss and duplicates."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Sequence
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.capture import (
    BATCHES,
    CaptureSpec,
    IdFrom,
    Limits,
    PartitionRange,
    TopicSpec,
    capture,
    check_expression,
    check_predicate,
    decoded_sample,
    estimate,
    load_ahead,
    resolve_id_from,
    sample,
)
from workbench.capture.identity import ALTERNATIVES
from workbench.capture.spec import Role
from workbench.capture.undecoded import undecoded
from workbench.errors import AccessDenied, SourceError, UsageError
from workbench.evidence import Evidence, Parquet
from workbench.problems.draft import OWN_GROUPS, Draft, Progress, silent
from workbench.problems.remotes import read_remotes
from workbench.problems.stores import read_stores
from workbench.sources import connect
from workbench.sources.commits import commit_history
from workbench.sources.logs import read_sent_log, read_service_log

if TYPE_CHECKING:
    from workbench.config import Profile
    from workbench.problems.scope import Scope
    from workbench.sources import Sources


def collect_evidence(
    sources: Sources,
    scope: Scope,
    *,
    topics: Sequence[str],
    want: Iterable[str],
    work_dir: Path,
    progress: Progress | None = None,
    read: Callable[..., None] | None = None,
) -> Evidence:
    """Reads offsets, configs, commits, records and the users' logs of a scope.

    Commits are read before log ends, so that nothing counts as committed past that was not there. Log ends are taken
    once; the scan stops exactly there.

    Raises:
        UsageError: an expression or id path does not fit, or the scan is refused.
        NotFound: a topic does not exist.
        SourceError: the cluster cannot be reached.
    """
    progress = progress or silent
    for name in ("where", "business_key", "compare"):
        if expression := getattr(scope, name):
            (check_predicate if name == "where" else check_expression)(expression, f"--{name.replace('_', '-')}")
    draft = Draft(facts={**scope.facts(), "truncated": False})
    _read_logs(scope, draft, progress)
    progress("asking the cluster")
    load_ahead(scope.reader)
    readable = _readable(sources, topics, draft)
    _read_group(sources, scope, draft)
    draft.facts["collected_at"] = datetime.now(UTC).isoformat(timespec="milliseconds")
    _read_cluster(sources, scope, readable, draft)
    anchor = scope.source or topics[0]
    if anchor in readable or anchor in scope.stores:
        reading = read or _read_records
        reading(sources, scope, readable, draft, want=frozenset(want), work_dir=work_dir, progress=progress)
    else:
        draft.missing["records"] = draft.missing.get(anchor, f"topic {anchor} cannot be read")
    if read is None and "records" in draft.tables:
        read_stores(scope, draft, work_dir, progress)
        read_remotes(scope, draft, work_dir, progress, partial(_sinks_elsewhere, want=frozenset(want)))
    return Evidence(draft.tables, draft.facts, draft.missing)


def _sinks_elsewhere(profile: Profile, scope: Scope, work_dir: Path, progress: Progress, want: frozenset[str]) -> Draft:
    """What another cluster has of a scope that names its sinks alone.

    Raises:
        SourceError: it cannot be reached.
        NotFound: a topic does not exist there.
    """
    draft = Draft(facts={**scope.facts(), "truncated": False})
    with connect(profile) as sources:
        readable = _readable(sources, scope.sinks, draft)
        _read_cluster(sources, scope, readable, draft)
        if readable:
            _read_records(sources, scope, readable, draft, want=want, work_dir=work_dir, progress=progress)
    return draft


def _read_logs(scope: Scope, draft: Draft, progress: Progress) -> None:
    skipped: dict[str, dict[str, int]] = {}
    for name, path, read in (
        ("sent_log", scope.sent_log, read_sent_log),
        ("service_log", scope.service_log, read_service_log),
    ):
        if path:
            progress(f"reading {path.name}")
            found = read(path)
            draft.tables[name] = found.table
            skipped[name.replace("_", " ")] = dict(found.skipped)
    draft.facts["log_lines_skipped"] = {name: reasons for name, reasons in skipped.items() if reasons}


def _readable(sources: Sources, topics: Sequence[str], draft: Draft) -> list[str]:
    """The topics that exist and may be described; one that does not exist is the user's mistake, one denied is not."""
    out = []
    for topic in topics:
        try:
            sources.cluster.require_topics([topic])
        except AccessDenied as error:
            draft.missing[topic] = str(error)
        else:
            out.append(topic)
    return out


def _read_group(sources: Sources, scope: Scope, draft: Draft) -> None:
    if not scope.group:
        draft.facts["group_exists"] = None
        if scope.source not in scope.stores:  # a table is read by no group
            draft.missing["committed"] = "no group was given (--group)"
        return
    committed = sources.cluster.committed(scope.group, [scope.source] if scope.source else None)
    draft.take("committed", committed)
    groups = sources.cluster.groups([scope.group])
    draft.take("groups", groups)
    alive = [row for row in groups.rows() if row["state"] not in (None, "DEAD", "Dead", "UNKNOWN", "Unknown")]
    exists = bool(alive or committed.table.num_rows)
    denied = any("denied" in why.lower() for why in (*groups.failures.values(), *committed.failures.values()))
    draft.facts["group_exists"] = exists or (None if denied else False)
    if not exists and not denied:
        known = _group_names(sources)
        draft.facts["groups_near"] = difflib.get_close_matches(scope.group, known, 3)
        # Nothing committed by nobody is no commit at all: what waits is then unknown, not everything.
        del draft.tables["committed"]
        draft.missing["committed"] = f"group {scope.group} does not exist"
    if alive:
        draft.take("members", sources.cluster.members([scope.group]))
    if exists:
        _read_history(sources, scope, scope.group, draft)


def _read_history(sources: Sources, scope: Scope, group: str, draft: Draft) -> None:
    """What the group committed when, and who was in it; without the right to read it the rules make do with less."""
    try:
        found = commit_history(sources.cluster.client_settings(), group, names=_topic_names(sources, scope))
    except SourceError as error:
        draft.missing["commit_history"] = str(error).rstrip(".")
        return
    draft.tables |= found.tables
    since = None if found.since_ms is None else datetime.fromtimestamp(found.since_ms / 1000, UTC)
    draft.facts["history_since"] = None if since is None else since.isoformat(timespec="milliseconds")
    if found.unknown:
        draft.facts["history_unknown"] = dict(found.unknown)


def _topic_names(sources: Sources, scope: Scope) -> dict[str, str]:
    if not scope.source:
        return {}
    rows = sources.cluster.topics([scope.source]).rows()
    return {row["topic_id"]: row["topic"] for row in rows if row["topic_id"]}


def _group_names(sources: Sources) -> list[str]:
    try:
        return [row["group"] for row in sources.cluster.groups(None).rows() if not row["group"].startswith(OWN_GROUPS)]
    except SourceError:
        return []


def _read_cluster(sources: Sources, scope: Scope, readable: list[str], draft: Draft) -> None:
    cluster = sources.cluster
    draft.take("offsets", cluster.offsets(readable, sizes=bool(scope.group)))
    draft.take("topics", cluster.topics(readable))
    draft.take("configs", cluster.topic_configs(readable))
    if scope.group:
        draft.take("broker_configs", cluster.broker_configs())
    info = cluster.info()
    draft.facts |= {"cluster_id": info["cluster_id"], "brokers": len(info["brokers"])}
    if not scope.group:
        source = [scope.source] if scope.source and scope.source not in scope.stores else readable
        reading = cluster.groups_reading(source)
        names = {row["group"] for row in reading.rows()}
        draft.facts["groups_seen"] = sorted(name for name in names if not name.startswith(OWN_GROUPS))
    if any(_holds_back(row) for row in _rows(draft, "offsets")):
        draft.take("open_transactions", cluster.open_transactions(readable))


def _holds_back(row: dict[str, Any]) -> bool:
    stable, end = row["last_stable_offset"], row["high_watermark"]
    return stable is not None and end is not None and stable < end


def _read_records(
    sources: Sources,
    scope: Scope,
    readable: list[str],
    draft: Draft,
    *,
    want: frozenset[str],
    work_dir: Path,
    progress: Progress,
) -> None:
    spec = capture_plan(sources, scope, readable, draft, want=want, progress=progress)
    progress(estimate(spec, draft.tables["offsets"]))
    progress("scanning " + ", ".join(readable))
    captured = capture(sources.cluster.client_settings(), spec, work_dir / "records", progress, sources.registry)
    draft.tables["records"] = Parquet(captured.files, captured.schema)
    draft.tables["scan"] = captured.outcome
    if captured.reader != "client":
        draft.tables["batches"] = Parquet(captured.batches, BATCHES)
    if "client" in captured.reader:
        draft.missing["batches"] = f"the client library read, which does not show them: {captured.why_client}"
    not_decoded = undecoded(captured.files, sources.registry, {topic: scope.formats_of(topic)[0] for topic in readable})
    draft.facts |= {"undecoded": not_decoded} if not_decoded else {}
    draft.facts |= {
        "reader": captured.reader,
        "truncated": captured.truncated,
        "scan_seconds": round(captured.seconds, 3),
    }


def capture_plan(
    sources: Sources, scope: Scope, readable: list[str], draft: Draft, *, want: frozenset[str], progress: Progress
) -> CaptureSpec:
    """What a scope's records are read as: every topic with its role, its ids and the offsets of the window."""
    ranges = _ranges(sources, scope, readable, draft)
    ids = _identities(sources, scope, ranges, draft, progress)
    specs = tuple(
        TopicSpec(
            topic,
            _role(scope, topic),
            ids[topic],
            tuple(ranges[topic]),
            _others(scope, topic, ids[topic]),
            *scope.formats_of(topic),
        )
        for topic in readable
    )
    return CaptureSpec(
        topics=specs,
        where=scope.where,
        business_key=scope.business_key,
        compare=scope.compare,
        include_values=scope.include_values,
        want=want,
        limits=Limits(max_records=scope.limit, max_bytes_per_second=scope.max_bytes_per_second),
        processes=scope.processes,
        reader=scope.reader,
        dialects=scope.dialects,
    )


def _role(scope: Scope, topic: str) -> Role:
    if topic == scope.source:
        return "source"
    if topic in scope.sinks:
        return "sink"
    return "retry" if topic in scope.retry_topics else "dead_letters"


def _ranges(sources: Sources, scope: Scope, topics: list[str], draft: Draft) -> dict[str, list[PartitionRange]]:
    """The offsets to read: sinks from a latency before the window to a horizon after it, since copies come late."""
    early = _bounds(sources, scope, topics, scope.since, before=scope.expected_latency_seconds)
    late = _bounds(sources, scope, topics, scope.until, after=scope.horizon_seconds)
    out: dict[str, list[PartitionRange]] = {topic: [] for topic in topics}
    for row in _rows(draft, "offsets"):
        key = (row["topic"], row["partition"])
        low, high = row["log_start_offset"], row["high_watermark"]
        if low is None or high is None:
            draft.missing[row["topic"]] = f"partition {row['partition']}: {row['error'] or 'offsets unknown'}"
            continue
        start = max(low, early[key] if early.get(key) is not None else (high if key in early else low))
        end = min(high, late[key] if late.get(key) is not None else high)
        stable = row["last_stable_offset"]
        out[row["topic"]].append(PartitionRange(*key, min(start, end), end, high if stable is None else stable))
    return out


def _bounds(
    sources: Sources, scope: Scope, topics: list[str], at: datetime | None, *, before: float = 0, after: float = 0
) -> dict[tuple[str, int], int | None]:
    """(topic, partition) -> offset at a time, for sinks some seconds earlier or later; empty for an open window.

    The end is taken later for the source too: records need not stand in the order of their times.
    """
    if at is None:
        return {}
    shift_ms = round((after - before) * 1000)
    out: dict[tuple[str, int], int | None] = {}
    for name in topics:
        exact = name == scope.source and before > 0
        found = sources.cluster.offsets_at([name], max(0, _ms(at) + (0 if exact else shift_ms)))
        out |= {(row["topic"], row["partition"]): row["offset"] for row in found.rows()}
    return out


def _rows(draft: Draft, table: str) -> list[dict[str, Any]]:
    found = draft.tables.get(table)
    return found.to_pylist() if isinstance(found, pa.Table) else []


def _others(scope: Scope, topic: str, chosen: IdFrom) -> tuple[IdFrom, ...]:
    """Under ``auto`` senders may differ: a record without an id in the chosen place is looked at in the others."""
    asked = scope.id_from if topic == scope.source else scope.sink_id_from or scope.id_from
    return tuple(one for one in ALTERNATIVES if one != chosen) if asked == "auto" else ()


def _identities(
    sources: Sources, scope: Scope, ranges: dict[str, list[PartitionRange]], draft: Draft, progress: Progress
) -> dict[str, IdFrom]:
    """How each topic's ids are found; ``auto`` looks at a sample, and a topic without records follows the source."""
    progress("looking at a sample")
    out: dict[str, IdFrom] = {}
    fallback: IdFrom | None = None
    for topic, parts in ranges.items():
        asked = scope.id_from if topic == scope.source else scope.sink_id_from or scope.id_from
        if asked != "auto":
            out[topic] = IdFrom.parse(asked)
        else:
            by_other = bool(scope.key or scope.trace or scope.at)  # what is looked for needs no id
            batch = sample(sources.cluster.client_settings(), parts)
            batch = decoded_sample(batch, scope.formats_of(topic), sources.registry)
            out[topic] = _found(batch, topic, fallback, lenient=by_other or topic != scope.source)
        fallback = fallback or out[topic]
    first = scope.source if scope.source in out else next(iter(out))
    draft.facts["id_from"] = str(out[first])
    draft.facts["id_from_by_topic"] = {topic: str(found) for topic, found in out.items()}
    return out


def _found(batch: Any, topic: str, fallback: IdFrom | None, *, lenient: bool) -> IdFrom:
    if batch.num_rows == 0:
        return fallback or IdFrom.parse("json:$.messageId")
    try:
        return resolve_id_from(batch, topic)
    except UsageError:
        if lenient:  # dead letters and odd sinks: joined by coordinates, and counted as unidentified
            return fallback or IdFrom.parse("json:$.messageId")
        raise


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1000)
