"""``workbench integration run``: the reference integration as a process."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from workbench.errors import WorkbenchError


def run(
    config: Annotated[Path, typer.Option("--config", help="An integration.yml.", show_default=False)],
    exactly_once: Annotated[
        bool, typer.Option("--exactly-once", help="Write notifications and offsets in transactions.")
    ] = False,
    instance: Annotated[
        int, typer.Option("--instance", help="Number of this process among those that run side by side.", min=0)
    ] = 0,
    deliver: Annotated[
        bool, typer.Option("--deliver", help="Also post each notification to protocol.endpoint, through the breaker.")
    ] = False,
    host: Annotated[str, typer.Option("--host", help="Address of /metrics and /health.")] = "127.0.0.1",
    port: Annotated[int, typer.Option("--port", help="Their port; 0 takes a free one.", min=0, max=65535)] = 0,
    otlp_endpoint: Annotated[
        str | None, typer.Option("--otlp-endpoint", help="Send spans there over OTLP/HTTP: http://HOST:4318/v1/traces")
    ] = None,
    otlp_file: Annotated[
        Path | None, typer.Option("--otlp-file", help="Append spans to this file as OTLP JSON lines.")
    ] = None,
    log: Annotated[
        Path | None, typer.Option("--log", help="Append the service log to this file as JSON lines.")
    ] = None,
) -> None:
    """Run the notification service until it is told to stop (Ctrl-C, SIGTERM)."""
    try:
        from workbench.integration.config import load_integration
        from workbench.integration.service import ServiceOptions, run_service
    except ModuleNotFoundError as error:
        hint = "pip install 'kafka-integration-workbench[integration]'"
        raise WorkbenchError(f"The integration needs the package {error.name}.", hint=hint) from error
    options = ServiceOptions(
        exactly_once=exactly_once,
        instance=instance,
        deliver=deliver,
        host=host,
        port=port,
        otlp_endpoint=otlp_endpoint,
        otlp_file=otlp_file,
        log=log,
    )
    run_service(load_integration(config), options, say=lambda sentence: print(sentence, file=sys.stderr, flush=True))
