"""The options of ``workbench check``, by what they are about; a field's name is the option's with underscores."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

Texts = list[str] | None


class Format(StrEnum):
    """How the report is printed."""

    table = "table"
    markdown = "markdown"
    json = "json"


@dataclass(frozen=True)
class TargetOptions:
    """Which cluster."""

    profile: Annotated[str | None, typer.Option(help="A profile of workbench.toml.")] = None
    bootstrap: Annotated[str | None, typer.Option(help="HOST:PORT of a broker, instead of a profile.")] = None
    setting: Annotated[Texts, typer.Option("-X", help="With --bootstrap: librdkafka KEY=VALUE.")] = None


@dataclass(frozen=True)
class ScopeOptions:
    """What is due where, how it is recognised, and how it is read: the fields of ``problems.scope.Scope``."""

    source: Annotated[str | None, typer.Option(help="The topic whose messages are due.")] = None
    sink: Annotated[Texts, typer.Option(help="A topic where they are due; repeatable.")] = None
    any_sink: Annotated[bool, typer.Option("--any-sink", help="One of the sinks is enough.")] = False
    retry_topic: Annotated[Texts, typer.Option(help="Where messages wait for another try; repeatable.")] = None
    dead_letters: Annotated[Texts, typer.Option(help="A dead-letter topic; repeatable.")] = None
    group: Annotated[str | None, typer.Option(help="The consumer group between source and sink.")] = None
    through: Annotated[
        Texts, typer.Option(help="TOPIC:GROUP on the way to the sinks, read by that group; repeatable, in order.")
    ] = None
    id_from: Annotated[
        str | None, typer.Option(help="auto, header:NAME, json:$.path, key or coordinates [default: auto].")
    ] = None
    sink_id_from: Annotated[str | None, typer.Option(help="The same for sinks and dead letters.")] = None
    value_format: Annotated[
        str | None, typer.Option(help="auto, json, avro, avro:FILE, protobuf, json-schema, text, integer, raw [auto].")
    ] = None
    key_format: Annotated[str | None, typer.Option(help="The same for keys [auto].")] = None
    since: Annotated[str | None, typer.Option(help="ISO time, or 15m, 2h, 3d ago.")] = None
    until: Annotated[str | None, typer.Option(help="ISO time, or 15m, 2h, 3d ago.")] = None
    expected_latency: Annotated[str | None, typer.Option(help="How long a message may take [default: 5m].")] = None
    horizon: Annotated[str | None, typer.Option(help="How late a copy may come [default: 24h].")] = None
    isolation: Annotated[str | None, typer.Option(help="Of the sink's readers [default: read_committed].")] = None
    where: Annotated[str | None, typer.Option(help="DuckDB predicate; source records that fail it are not due.")] = None
    business_key: Annotated[str | None, typer.Option(help="Expression that is equal for one business event.")] = None
    compare: Annotated[str | None, typer.Option(help="Expression that must agree between source and sink.")] = None
    sent_log: Annotated[Path | None, typer.Option(help="What the producer believes it sent (JSON Lines).")] = None
    service_log: Annotated[Path | None, typer.Option(help="The service's own log (JSON Lines).")] = None
    producer_config: Annotated[Texts, typer.Option(help="KEY=VALUE the producer ran with; repeatable.")] = None
    consumer_config: Annotated[Texts, typer.Option(help="KEY=VALUE the consumer ran with; repeatable.")] = None
    limit: Annotated[int | None, typer.Option(help="Read at most so many records.")] = None
    max_bytes_per_second: Annotated[int | None, typer.Option(help="Read at most so many bytes a second.")] = None
    processes: Annotated[int | None, typer.Option(help="Reader processes [default: by the machine].")] = None
    reader: Annotated[str | None, typer.Option(help="auto, wire or client [default: auto].")] = None
    include_values: Annotated[bool, typer.Option("--include-values", help="Keep values in the evidence.")] = False
    show_ids: Annotated[bool, typer.Option("--show-ids", help="Do not hash ids that look personal.")] = False

    def given(self) -> dict[str, Any]:
        """The options by name, as ``scope_from`` takes them."""
        return asdict(self)


@dataclass(frozen=True)
class SubjectOptions:
    """Which message: one way to name it, and where to look."""

    key: Annotated[str | None, typer.Option(help="message: its record key, instead of an id.")] = None
    trace: Annotated[str | None, typer.Option(help="message: its trace id, 32 hex digits.")] = None
    at: Annotated[str | None, typer.Option(help="message: TOPIC:PARTITION:OFFSET of one of its records.")] = None
    around: Annotated[str | None, typer.Option(help="message: about when; ISO time, or 15m, 2h ago.")] = None
    topic: Annotated[Texts, typer.Option(help="message: a topic to search, without a role; repeatable.")] = None

    def given(self) -> dict[str, Any]:
        """The options by name, as ``scope_from`` takes them."""
        return asdict(self)


@dataclass(frozen=True)
class RunOptions:
    """How the check is run, and where its report goes."""

    all_groups: Annotated[bool, typer.Option("--all-groups", help="lag: every group, worst first.")] = False
    history: Annotated[Path | None, typer.Option(help="lag: what workbench watch kept [the profile's].")] = None
    evidence: Annotated[Path | None, typer.Option(help="Judge saved evidence; no cluster.")] = None
    save: Annotated[Path | None, typer.Option(help="Folder for evidence, report.json, ledger.parquet.")] = None
    confirm_above: Annotated[str, typer.Option(help="Ask before scans above this size.")] = "5GB"
    yes: Annotated[bool, typer.Option("--yes", help="Scan without asking.")] = False
    format: Annotated[Format, typer.Option(help="How the report is printed.")] = Format.table
