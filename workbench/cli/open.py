"""``workbench open``: JupyterLab on the notebooks."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer


def open_lab(
    notebook: Annotated[
        str | None, typer.Argument(help="What to open first: a name from notebooks/ or runbooks/ [the start page].")
    ] = None,
    *,
    parameters: Annotated[
        list[str] | None,
        typer.Option(
            "--parameter", "-p", help="NAME=VALUE, filled into a copy of the notebook; repeat a name to give a list."
        ),
    ] = None,
    profile: Annotated[str | None, typer.Option("--profile", help="Profile that the notebook asks.")] = None,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--folder", help="Folder to work in [the clone, else workbench-notebooks, with copies of all notebooks]."
        ),
    ] = None,
    port: Annotated[
        int | None, typer.Option("--port", help="Port of JupyterLab [its own choice].", min=1, max=65535)
    ] = None,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open a browser.")] = True,
) -> None:
    """Open JupyterLab on the notebooks, with a page to start from: questions, integrations, last reports, runbooks.

    For example: workbench open; workbench open loss -p integration=demo; workbench open --no-browser --port 8899
    """
    from workbench.cli.run import grouped
    from workbench.config import load_config
    from workbench.errors import UsageError
    from workbench.services import lab

    given = grouped(parameters or [])
    if profile:
        given["profile"] = profile
    if given and not notebook:
        raise UsageError(
            "Parameters need a notebook to fill in.", hint="For example: workbench open loss -p integration=demo."
        )
    config = load_config()
    if profile:
        config.profile(profile)
    where = lab.place(folder)
    if where.copied or where.kept:
        print(f"{where.folder}: {where.copied} files copied, {where.kept} of your own kept.", file=sys.stderr)
    start = lab.write_start_page(where.folder, config)
    first = lab.prefilled(where, notebook, given) if notebook else start
    print(f"JupyterLab begins at {first.relative_to(where.folder)}; Ctrl-C ends it.", file=sys.stderr)
    raise typer.Exit(lab.serve(where.folder, first, port=port, browser=browser))
