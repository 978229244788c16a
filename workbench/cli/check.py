"""``workbench check``: collect and diagnose one problem."""

from __future__ import annotations

import sys
import tempfile
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.options import target
from workbench.errors import UsageError

if TYPE_CHECKING:
    from workbench.config import Integration, Profile
    from workbench.evidence import Evidence
    from workbench.problems.examination import Examination


class Format(StrEnum):
    """How the report is printed."""

    table = "table"
    markdown = "markdown"
    json = "json"


Texts = list[str] | None


def check(
    problem: Annotated[str, typer.Argument(help="loss or duplicates.")],
    integration: Annotated[str | None, typer.Argument(help="An integration of workbench.toml.")] = None,
    profile: Annotated[str | None, typer.Option(help="A profile of workbench.toml.")] = None,
    bootstrap: Annotated[str | None, typer.Option(help="HOST:PORT of a broker, instead of a profile.")] = None,
    setting: Annotated[Texts, typer.Option("-X", help="With --bootstrap: librdkafka KEY=VALUE.")] = None,
    source: Annotated[str | None, typer.Option(help="The topic whose messages are due.")] = None,
    sink: Annotated[Texts, typer.Option(help="A topic where they are due; repeatable.")] = None,
    any_sink: Annotated[bool, typer.Option("--any-sink", help="One of the sinks is enough.")] = False,
    retry_topic: Annotated[Texts, typer.Option(help="Where messages wait for another try; repeatable.")] = None,
    dead_letters: Annotated[Texts, typer.Option(help="A dead-letter topic; repeatable.")] = None,
    group: Annotated[str | None, typer.Option(help="The consumer group between source and sink.")] = None,
    id_from: Annotated[
        str | None, typer.Option(help="auto, header:NAME, json:$.path, key or coordinates [default: auto].")
    ] = None,
    sink_id_from: Annotated[str | None, typer.Option(help="The same for sinks and dead letters.")] = None,
    since: Annotated[str | None, typer.Option(help="ISO time, or 15m, 2h, 3d ago.")] = None,
    until: Annotated[str | None, typer.Option(help="ISO time, or 15m, 2h, 3d ago.")] = None,
    expected_latency: Annotated[str | None, typer.Option(help="How long a message may take [default: 5m].")] = None,
    horizon: Annotated[str | None, typer.Option(help="How late a copy may come [default: 24h].")] = None,
    isolation: Annotated[str | None, typer.Option(help="Of the sink's readers [default: read_committed].")] = None,
    where: Annotated[
        str | None, typer.Option(help="DuckDB predicate; source records that fail it are not due.")
    ] = None,
    business_key: Annotated[str | None, typer.Option(help="Expression that is equal for one business event.")] = None,
    compare: Annotated[str | None, typer.Option(help="Expression that must agree between source and sink.")] = None,
    sent_log: Annotated[Path | None, typer.Option(help="What the producer believes it sent (JSON Lines).")] = None,
    service_log: Annotated[Path | None, typer.Option(help="The service's own log (JSON Lines).")] = None,
    producer_config: Annotated[Texts, typer.Option(help="KEY=VALUE the producer ran with; repeatable.")] = None,
    consumer_config: Annotated[Texts, typer.Option(help="KEY=VALUE the consumer ran with; repeatable.")] = None,
    limit: Annotated[int | None, typer.Option(help="Read at most so many records.")] = None,
    max_bytes_per_second: Annotated[int | None, typer.Option(help="Read at most so many bytes a second.")] = None,
    processes: Annotated[int | None, typer.Option(help="Reader processes [default: by the machine].")] = None,
    include_values: Annotated[bool, typer.Option("--include-values", help="Keep values in the evidence.")] = False,
    show_ids: Annotated[bool, typer.Option("--show-ids", help="Do not hash ids that look personal.")] = False,
    evidence: Annotated[Path | None, typer.Option(help="Judge saved evidence; no cluster.")] = None,
    save: Annotated[Path | None, typer.Option(help="Folder for evidence, report.json, ledger.parquet.")] = None,
    confirm_above: Annotated[str, typer.Option(help="Ask before scans above this size.")] = "5GB",
    yes: Annotated[bool, typer.Option("--yes", help="Scan without asking.")] = False,
    format: Annotated[Format, typer.Option(help="How the report is printed.")] = Format.table,  # noqa: A002 - the option's name
) -> None:
    """Check an integration: workbench check loss --bootstrap HOST:PORT --source A --sink B --group G.

    Exit code: 0 ok or info, 3 undecided, 12 warning, 13 critical; 1 and 2 are errors.
    """
    options: dict[str, Any] = {
        "source": source, "sink": sink, "any_sink": any_sink, "retry_topic": retry_topic, "dead_letters": dead_letters,
        "group": group, "id_from": id_from, "sink_id_from": sink_id_from, "since": since, "until": until,
        "expected_latency": expected_latency, "horizon": horizon, "isolation": isolation, "where": where,
        "business_key": business_key, "compare": compare, "sent_log": sent_log, "service_log": service_log,
        "producer_config": producer_config, "consumer_config": consumer_config, "limit": limit,
        "max_bytes_per_second": max_bytes_per_second, "processes": processes, "include_values": include_values,
        "show_ids": show_ids,
    }  # fmt: skip
    from workbench.problems import checking
    from workbench.tables import keep_pandas_out

    keep_pandas_out()
    checking.problem(problem)  # an unknown one is refused before anything is read
    if evidence:
        _refuse_live(profile, bootstrap, integration)
        loaded = checking.rejudged(checking.evidence_in(evidence), options)
        _finish(checking.examine(problem, loaded), save, format, "evidence")
    named, client = target(integration, profile, bootstrap, setting)
    work_dir = Path(tempfile.mkdtemp(prefix="workbench-check-"))
    try:
        found = _collect(problem, client, named, options, work_dir, _bytes(confirm_above), yes=yes)
        _finish(checking.examine(problem, found), save, format, client.name)
    finally:
        checking.remove(work_dir)


def _refuse_live(*given: str | None) -> None:
    if any(given):
        raise UsageError("--evidence needs no cluster.", hint="Leave out --profile, --bootstrap and the integration.")


def _collect(
    problem: str,
    profile: Profile,
    integration: Integration | None,
    options: dict[str, Any],
    work_dir: Path,
    confirm_above: int,
    *,
    yes: bool,
) -> Evidence:
    from workbench.cli.progress import TerminalProgress
    from workbench.problems import checking
    from workbench.problems.scope import scope_from
    from workbench.sources import connect

    scope = scope_from(integration, **options)
    with connect(profile) as sources, TerminalProgress(confirm_above, yes=yes) as progress:
        found: Evidence = checking.problem(problem).collect(sources, scope, work_dir=work_dir, progress=progress)
    return found


def _finish(examination: Examination, folder: Path | None, form: Format, profile: str) -> None:
    from workbench.problems import checking
    from workbench.sealing import Seal

    if folder:
        checking.save(examination, folder, Seal.of_store(profile))
    report = examination.report
    if form is Format.json:
        print(report.to_json())
    else:
        from workbench.cli import rendering

        rendering.show(report, markdown=form is Format.markdown)
        if folder:
            print(f"Saved to {folder}", file=sys.stderr)
    raise typer.Exit(report.exit_code)


_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _bytes(text: str) -> int:
    number = text.strip().upper().removesuffix("B")
    unit = number[-1:] if number[-1:].isalpha() else ""
    try:
        return round(float(number.removesuffix(unit)) * _UNITS[unit])
    except (ValueError, KeyError):
        raise UsageError(f"--confirm-above is {text!r}.", hint="Write for example 500MB or 5GB.") from None
