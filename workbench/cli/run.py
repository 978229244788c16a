"""``workbench run``: a notebook headless, through papermill."""

from __future__ import annotations

import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from workbench.errors import UsageError


def run(
    notebook: Annotated[
        str, typer.Argument(help="A name from notebooks/ (loss, duplicates, lag, dlq, message, health), or a path.")
    ],
    *,
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE; repeat a name to give a list.")
    ] = None,
    settings: Annotated[
        list[str] | None,
        typer.Option(
            "-X", "--client-setting", help="librdkafka KEY=VALUE for -p bootstrap; stays out of the notebook."
        ),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Folder for the results [out/NOTEBOOK-TIME].")] = None,
    yes: Annotated[bool, typer.Option("--yes", help="Scan topics of any size without asking.")] = False,
    timeout: Annotated[int, typer.Option("--timeout", help="Seconds that one cell may take.", min=1)] = 4 * 3600,
) -> None:
    """Run a notebook headless: executed .ipynb, offline .html, report.json, junit.xml, metrics.prom, ledger.parquet, evidence/.

    The exit code is the report's: 0 ok or info, 3 undecided, 12 warning, 13 critical; 1 and 2 are errors.
    """
    from workbench.cli.options import client_settings
    from workbench.services.runs import Limits, run_notebook

    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    folder = out or Path("out") / f"{Path(notebook).stem}-{stamp}"
    quiet = not sys.stderr.isatty()
    result = run_notebook(
        notebook,
        grouped(parameters or []),
        folder,
        client_settings=client_settings(settings),
        without_asking=yes,
        limits=Limits(cell_seconds=timeout),
        on_line=(lambda _line: None) if quiet else (lambda line: print(line, file=sys.stderr)),
    )
    if result.report:
        print(f"{result.report['problem']}: {result.report['verdict']}")
    print(result.html)
    raise typer.Exit(result.exit_code)


def grouped(texts: list[str]) -> dict[str, str | list[str]]:
    """NAME=VALUE texts as a mapping; a name that is repeated becomes a list."""
    out: dict[str, str | list[str]] = {}
    for name, value in map(_pair, texts):
        before = out.get(name)
        if before is None:
            out[name] = value
        else:
            out[name] = [*(before if isinstance(before, list) else [before]), value]
    return out


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name.strip():
        raise UsageError(f"{text!r} is not NAME=VALUE.", hint="Write for example -p source=orders.")
    return name.strip(), value
