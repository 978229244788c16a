"""The plan of a redrive: coordinates of dead letters, not copies, in a file that cannot be changed unseen."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from workbench.errors import RedriveError

VERSION = 1
KIND = "workbench redrive plan"
PREFIX = "workbench-redrive-"
# What a row's flags mean: the payload is inside an envelope; headers of no known framework mark the dead letter;
# where the message is inside of the value was guessed.
UNWRAP, HOME_MADE, GUESSED = 1, 2, 4


class Row(NamedTuple):
    """One dead letter to send, in the order of sending.

    Attributes:
        topic, partition, offset: where the dead letter is.
        target, target_partition: where its copy goes.
        origin: ``topic/partition/offset`` where the message was first; null when nothing says so.
        replays: how often it was sent back before.
        group: fingerprint of its cause group.
        flags: ``UNWRAP``, ``HOME_MADE``, ``GUESSED``.
    """

    topic: str
    partition: int
    offset: int
    target: str
    target_partition: int
    origin: str | None
    replays: int
    group: str
    flags: int

    @property
    def letter(self) -> str:
        """The dead letter's coordinates as text."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True)
class Topic:
    """A topic as it was when the plan was made.

    Attributes:
        topic_id: another one now means that it was deleted and made again; null before Kafka 2.8.
        ends: partition -> offset up to which it was looked at; there is one for each partition.
    """

    topic_id: str | None
    ends: Mapping[int, int]


@dataclass(frozen=True)
class Plan:
    """What will be sent where, and what was known when that was decided.

    Attributes:
        cluster_id: of the cluster that it is for; null where the cluster has none.
        made_at: ISO time, UTC.
        dead_letters, targets: topic -> as it was.
        sinks: where recovered messages are seen.
        ids: topic -> how message ids are found there.
        dialects: the user's own, as in ``[dialects.NAME]``.
        readers: consumer groups that read the targets, as rows of group and topic.
        selection: what was asked for.
        headers: ``strip`` or ``keep``: what becomes of the headers that the dead-lettering added.
        transform, schema: what changes the records and what they are checked against; null for nothing.
        excluded: reason -> how many dead letters were left out for it.
        groups: fingerprint of a cause group -> how many of its records are sent.
        expected_duplicates: reason -> messages that some reader will see a second time.
        warnings: sentences.
        order: in which order records are sent, as a sentence.
        canaries: how many of the first rows stand each for a cause group, sent and looked at before the rest.
        rows: the records, in that order.
    """

    cluster_id: str | None
    made_at: str
    dead_letters: Mapping[str, Topic]
    targets: Mapping[str, Topic]
    rows: tuple[Row, ...]
    sinks: tuple[str, ...] = ()
    ids: Mapping[str, str] = field(default_factory=dict)
    dialects: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    readers: tuple[Mapping[str, str], ...] = ()
    selection: Mapping[str, Any] = field(default_factory=dict)
    headers: str = "strip"
    transform: Mapping[str, str] | None = None
    schema: Mapping[str, str] | None = None
    excluded: Mapping[str, int] = field(default_factory=dict)
    groups: Mapping[str, int] = field(default_factory=dict)
    expected_duplicates: Mapping[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    order: str = ""
    canaries: int = 0

    @cached_property
    def hash(self) -> str:
        """SHA-256 over all of the plan's content, in hex."""
        return _hash(self._document())

    @property
    def id(self) -> str:
        """What the headers of sent records and the audit call it."""
        return self.hash[:16]

    @property
    def transactional_id(self) -> str:
        """The transactional id and the group of every run of this plan: a second run fences the first."""
        return PREFIX + self.id

    def save(self, path: Path) -> Path:
        """Writes the plan, whole or not at all, for this user alone; one row a line.

        Raises:
            RedriveError: the file exists: a plan that was begun is needed to go on.
        """
        if path.exists():
            raise RedriveError(f"{path} exists.", hint="Name another file with --out, or remove it.")
        document = self._document()
        rows = ",\n".join(json.dumps(row) for row in document.pop("rows"))
        head = json.dumps({**document, "hash": self.hash}, indent=1, allow_nan=False)[:-2]
        path.parent.mkdir(parents=True, exist_ok=True)
        partial = path.with_name(path.name + ".partial")
        with os.fdopen(os.open(partial, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600), "w") as file:
            file.write(f'{head},\n "rows": [\n{rows}\n]}}\n')
        partial.replace(path)
        return path

    def _document(self) -> dict[str, Any]:
        """The plan as JSON types, names in the rows as numbers of lists."""
        names = sorted({row.topic for row in self.rows} | {row.target for row in self.rows})
        groups = sorted(self.groups)
        name_at = {name: number for number, name in enumerate(names)}
        group_at = {name: number for number, name in enumerate(groups)}
        rows = [
            [name_at[r.topic], r.partition, r.offset, name_at[r.target], r.target_partition, r.origin, r.replays,
             group_at[r.group], r.flags]
            for r in self.rows
        ]  # fmt: skip
        skipped = ("rows", "dead_letters", "targets", "groups")
        plain = {key: value for key, value in self.__dict__.items() if key not in skipped and key != "hash"}
        topics = {kind: {name: asdict(one) for name, one in getattr(self, kind).items()} for kind in skipped[1:3]}
        parts = {**plain, **topics, "groups": [[name, self.groups[name]] for name in groups], "names": names}
        document: dict[str, Any] = json.loads(json.dumps({"kind": KIND, "version": VERSION, **parts}, allow_nan=False))
        return {**document, "columns": list(Row._fields), "rows": rows}


def load_plan(path: Path) -> Plan:
    """The plan of a file.

    Raises:
        RedriveError: it cannot be read, is no plan, or was changed after it was made.
    """
    try:
        document = json.loads(path.read_bytes())
    except OSError as error:
        raise RedriveError(f"{path} cannot be read: {error.strerror}.", hint="Check the path.") from None
    except (ValueError, RecursionError):
        raise RedriveError(f"{path} is no plan: it is not JSON.", hint=_AGAIN) from None
    if not isinstance(document, dict) or document.get("kind") != KIND:
        raise RedriveError(f"{path} is no redrive plan.", hint=_AGAIN)
    if document.get("version") != VERSION:
        raise RedriveError(f"{path} is of version {document.get('version')}, not {VERSION}.", hint=_AGAIN)
    if document.pop("hash", None) != _hash(document):
        raise RedriveError(f"{path} was changed after it was made: its hash does not fit.", hint=_AGAIN)
    try:
        return _plan(document)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        raise RedriveError(f"{path} is damaged: {error}.", hint=_AGAIN) from None


_AGAIN = "Make a plan with `workbench redrive plan`; change the options, not the file."


def _hash(document: Mapping[str, Any]) -> str:
    text = json.dumps(document, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()


def _plan(document: dict[str, Any]) -> Plan:
    names, groups = document.pop("names"), dict(document.pop("groups"))
    listed = sorted(groups)
    if document.pop("columns") != list(Row._fields):
        raise ValueError("its rows have other columns")
    rows = tuple(
        Row(names[r[0]], r[1], r[2], names[r[3]], r[4], r[5], r[6], listed[r[7]], r[8]) for r in document.pop("rows")
    )
    letters, targets = _topics(document.pop("dead_letters")), _topics(document.pop("targets"))
    for name in ("sinks", "readers", "warnings"):
        document[name] = tuple(document[name])
    rest = {key: value for key, value in document.items() if key not in ("kind", "version")}
    return Plan(rows=rows, groups=groups, dead_letters=letters, targets=targets, **rest)


def _topics(found: Mapping[str, Any]) -> dict[str, Topic]:
    return {
        name: Topic(one["topic_id"], {int(part): int(end) for part, end in one["ends"].items()})
        for name, one in found.items()
    }
