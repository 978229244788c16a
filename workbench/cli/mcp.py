"""``workbench mcp``: the checks for agents, over stdio."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from workbench.cli import options
from workbench.cli.check import size_in_bytes
from workbench.cli.check_options import TargetOptions
from workbench.cli.flattened import flattened
from workbench.errors import WorkbenchError


@flattened
def serve_mcp(
    target: TargetOptions,
    evidence: Annotated[Path | None, typer.Option(help="Folder of saved evidence that may be read.")] = None,
    confirm_above: Annotated[str, typer.Option(help="Refuse scans above this size.")] = "5GB",
) -> None:
    """Serve checks, message search, evidence and runbooks to an agent: the Model Context Protocol over stdio.

    Read-only: values are never shown, ids that look personal are hashed, and nothing is sent back.
    """
    try:
        from workbench.services.mcp import Desk, server
    except ModuleNotFoundError as error:
        hint = "pip install 'kafka-integration-workbench[mcp]'"
        raise WorkbenchError(f"The server needs the package {error.name}.", hint=hint) from error
    chosen = None
    if target.profile or target.bootstrap or target.setting:
        _, chosen = options.target(None, target.profile, target.bootstrap, target.setting)
    if evidence is not None and not evidence.is_dir():
        raise typer.BadParameter(f"{evidence} is not a folder.")
    desk = Desk(chosen, evidence.resolve() if evidence else None, size_in_bytes(confirm_above))
    server(desk).run("stdio")
