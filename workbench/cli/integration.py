"""``workbench integration``: what the reference integration promises to others, and where it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli.integration_run import run
from workbench.errors import WorkbenchError

if TYPE_CHECKING:
    from workbench.integration.config import IntegrationConfig

app = typer.Typer(no_args_is_help=True, help="The reference integration: its formats, and its HTTP side.")
app.command("run")(run)

Config = Annotated[
    Path | None, typer.Option("--config", help="An integration.yml; topics, group and brokers are taken from it.")
]


@app.command()
def asyncapi(config: Config = None) -> None:
    """Print the AsyncAPI 3 document of the integration as JSON."""
    from workbench.integration.asyncapi import document

    if config is None:
        found = document()
    else:
        flow = _load(config)
        brokers = ",".join(flow.integration.consumer.brokers)
        found = document(
            events=flow.source,
            notifications=flow.sink,
            dead_letters=flow.dead_letters,
            group=flow.group,
            brokers=brokers,
        )
    print(json.dumps(found, indent=2))


@app.command()
def settings(
    config: Annotated[Path, typer.Option("--config", help="An integration.yml.", show_default=False)],
) -> None:
    """Check an integration.yml and print the librdkafka settings it stands for, secrets hidden."""
    from workbench.config import hide_secrets
    from workbench.integration.librdkafka import consumer_settings, producer_settings

    flow = _load(config)
    found = {
        "producer": producer_settings(flow, ask_for_token=False),
        "consumer": consumer_settings(flow, ask_for_token=False),
    }
    print(json.dumps(hide_secrets(found), indent=2))


def _load(path: Path) -> IntegrationConfig:
    try:
        from workbench.integration.config import load_integration
    except ModuleNotFoundError as error:
        hint = "pip install 'kafka-integration-workbench[integration]'"
        raise WorkbenchError(f"The integration needs the package {error.name}.", hint=hint) from error
    return load_integration(path)
