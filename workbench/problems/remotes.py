"""Sinks on other clusters, in the evidence: their records stand among the others, under ``profile:NAME/topic``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from workbench.capture.parts import write_parquet
from workbench.errors import NotFound, SourceError, UsageError
from workbench.evidence import Parquet
from workbench.problems.draft import Draft, Progress
from workbench.remotes import topic_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from workbench.config import Profile
    from workbench.problems.scope import Scope

_TABLES = ("offsets", "topics", "configs", "scan")


def read_remotes(scope: Scope, draft: Draft, work_dir: Path, progress: Progress, collect: Callable[..., Draft]) -> None:
    """Adds the records and offsets of the scope's sinks on other clusters; the fact ``clusters`` says which these are.

    They are read after the source, so that nothing counts as missing there that was on its way. A cluster that does not
    answer leaves its sinks unread.

    Args:
        scope: the whole scope.
        draft: with what was read of the scope's own cluster.
        work_dir: private.
        progress: told what is done.
        collect: reads sinks of one cluster into a draft of their own: (profile, scope of them alone, folder, progress).

    Raises:
        UsageError: a profile is the scope's own cluster.
        NotFound: a topic does not exist there.
    """
    names: dict[str, list[str]] = {}
    for name, profile in scope.remotes.items():
        names.setdefault(profile.bootstrap, []).append(name)
    for number, mine in enumerate(names.values()):
        profile = scope.remotes[mine[0]]
        progress(f"asking the cluster of {mine[0]}")
        try:
            found = collect(profile, _only(scope, mine), work_dir / f"remote-{number}", progress)
        except NotFound:  # the user's mistake, not the cluster's state
            raise
        except SourceError as error:
            draft.missing |= dict.fromkeys(mine, str(error).rstrip("."))
            continue
        if found.facts["cluster_id"] == draft.facts["cluster_id"]:
            raise UsageError(
                f"{mine[0]} is on the cluster of the source itself.", hint=f"Name the topic alone: {topic_of(mine[0])}."
            )
        _add(draft, found, {topic_of(name): name for name in mine}, profile)


def _only(scope: Scope, names: Sequence[str]) -> Scope:
    """The scope of one other cluster: its sinks, under their own names."""
    by_topic = {topic_of(name): name for name in names}
    formats = {topic: scope.formats_of(name) for topic, name in by_topic.items()}
    return replace(
        scope,
        source="",
        sinks=tuple(by_topic),
        retry_topics=(),
        dead_letters=(),
        group=None,
        id_from=scope.sink_id_from or scope.id_from,
        where=None,
        stores={},
        remotes={},
        formats={topic: value for topic, (value, _) in formats.items()}
        | {f"{topic}:key": key for topic, (_, key) in formats.items()},
    )


def _add(draft: Draft, found: Draft, names: Mapping[str, str], profile: Profile) -> None:
    for table in _TABLES:
        there, here = found.tables.get(table), draft.tables.get(table)
        if isinstance(there, pa.Table):
            mine = _renamed(there, names)
            draft.tables[table] = pa.concat_tables([here, mine]) if isinstance(here, pa.Table) else mine
    for table in ("records", "batches"):
        there, here = found.tables.get(table), draft.tables.get(table)
        if isinstance(there, Parquet):
            _rewrite(there.files, names)
            draft.tables[table] = Parquet(
                (*(here.files if isinstance(here, Parquet) else ()), *there.files), there.schema
            )
    draft.missing |= {names.get(name, name): why for name, why in found.missing.items() if name in names}
    ids: Mapping[str, Any] = found.facts.get("id_from_by_topic", {})
    draft.facts["id_from_by_topic"] = {
        **draft.facts.get("id_from_by_topic", {}), **{names[topic]: how for topic, how in ids.items()},
    }  # fmt: skip
    draft.facts["truncated"] = bool(draft.facts.get("truncated")) or bool(found.facts.get("truncated"))
    if found.facts.get("undecoded"):
        draft.facts["undecoded"] = [*draft.facts.get("undecoded", []), *found.facts["undecoded"]]
    draft.facts["clusters"] = {
        **draft.facts.get("clusters", {}),
        **{name: {"cluster_id": found.facts["cluster_id"], "profile": profile.name} for name in names.values()},
    }


def _renamed(table: pa.Table, names: Mapping[str, str]) -> pa.Table:
    """The table with its topics under the names that the scope calls them by."""
    at = table.schema.get_field_index("topic")
    topics = pa.array([names.get(topic, topic) for topic in table["topic"].to_pylist()], table.schema.field(at).type)
    return table.set_column(at, table.schema.field(at), topics)


def _rewrite(files: Sequence[Path], names: Mapping[str, str]) -> None:
    """The same in the files of a capture, which are ours alone; each holds one topic, or few."""
    import pyarrow.parquet as pq

    for path in files:
        write_parquet(_renamed(pq.read_table(path), names), path)
