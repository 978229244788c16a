"""``workbench sandbox``: a real local Kafka in the background, to try things on."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.errors import SandboxError, UsageError

if TYPE_CHECKING:
    from workbench.sandbox.state import Sandbox

app = typer.Typer(
    no_args_is_help=True,
    help="A real local Kafka in the background: start it, end it, plant faults in it.",
)

Json = Annotated[bool, typer.Option("--json", help="Print one JSON document.")]


@app.command()
def up(
    nodes: Annotated[int | None, typer.Option("--nodes", help="Brokers [1, or as many as run].", min=1, max=9)] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--setting", help="A line of server.properties: NAME=VALUE; repeatable.")
    ] = None,
    mock: Annotated[
        bool, typer.Option("--mock", help="librdkafka's mock broker, where Kafka cannot be had; it has no admin plane.")
    ] = False,
    parts: Annotated[
        str,
        typer.Option(
            "--with", help="What runs beside Kafka: prometheus, traces, postgres, registry; joined by commas."
        ),
    ] = "",
    as_json: Json = False,
) -> None:
    """Start Kafka in the background, or say where the one that runs is."""
    pairs = dict(_pair(text) for text in settings or [])
    wanted = [part.strip() for part in parts.split(",") if part.strip()]
    sandbox = _state().up(nodes, settings=pairs, use_mock=mock, parts=wanted, say=_say)
    if sandbox.already_running and not as_json:
        print("The sandbox is running already.")
    _show(sandbox, as_json=as_json)


@app.command()
def down(as_json: Json = False) -> None:
    """End the sandbox's own processes and remove its data."""
    ended = _state().down()
    if as_json:
        print(json.dumps({"pids": ended.pids, "spared": ended.spared}))
        return
    print(f"Ended {len(ended.pids)} process(es)." if ended.pids else "No sandbox was running.")
    for pid in ended.spared:
        print(f"Process {pid} is not the sandbox's any more; it was left alone.", file=sys.stderr)


@app.command()
def status(
    as_json: Json = False,
    env: Annotated[
        bool, typer.Option("--env", help="Print export lines for a shell: the profile sandbox reads these variables.")
    ] = False,
) -> None:
    """Say whether the sandbox runs and where; exit code 1 when it does not."""
    sandbox = _state().status()
    if sandbox is None:
        print(json.dumps(None) if as_json else "No sandbox is running.")
        raise typer.Exit(1)
    if env:
        print("\n".join(f"export {name}={shlex.quote(value)}" for name, value in sandbox.to_environment().items()))
        return
    _show(sandbox, as_json=as_json)


@app.command()
def incident(
    name: Annotated[str | None, typer.Argument(help="Which one; --list shows them.", show_default=False)] = None,
    list_all: Annotated[bool, typer.Option("--list", help="List the incidents and what a right report finds.")] = False,
    seed: Annotated[int, typer.Option("--seed", help="Of all that is drawn: counts, ids, partitions.")] = 0,
    folder: Annotated[
        Path | None, typer.Option("--folder", help="For the sent log and the service log [a new one in the temporary].")
    ] = None,
    bootstrap: Annotated[
        str | None, typer.Option("--bootstrap", help="A broker on this machine to plant in [the running sandbox].")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="With --list: print JSON. The truth always is.")] = False,
) -> None:
    """Plant a real fault on fresh topics, and print the truth as JSON."""
    from workbench.sandbox import incidents

    if list_all:
        _list_incidents(as_json=as_json)
        return
    if not name:
        raise UsageError("No incident was named.", hint="`workbench sandbox incident --list` shows them.")
    incidents.require(name)
    chosen = _broker_to_plant_in(bootstrap)
    cluster = None if bootstrap else _state().attach()
    running = None if bootstrap else _state().status()
    database = running.addresses.get("postgres") if running else None
    truth = incidents.plant(name, chosen, seed, folder, cluster, database=database)
    print(truth.to_json())
    if "stores" in truth.options:
        _say(f"Its tables: export WORKBENCH_CONFIG={truth.options['stores']['file']}")


def _list_incidents(*, as_json: bool) -> None:
    from workbench.sandbox.incidents import INCIDENTS

    items = sorted(INCIDENTS.values(), key=lambda item: (item.problem != "loss", item.clean, item.name))
    if as_json:
        print(json.dumps([item.to_dict() for item in items]))
        return
    for item in items:
        found = ", ".join(f"{code} {state}" for code, state in item.expects.items()) or "no finding"
        print(f"{item.name:<30}  check {item.problem}: {found}\n{'':<32}{item.summary}")


def _broker_to_plant_in(bootstrap: str | None) -> str:
    """The broker named, when it is on this machine: planting writes, and must never reach a cluster that matters."""
    if bootstrap is None:
        return _running_sandbox()
    hosts = {server.strip().rpartition(":")[0].strip("[]") for server in bootstrap.split(",")}
    if not hosts <= {"127.0.0.1", "localhost", "::1"}:
        raise UsageError(
            f"Incidents are not planted in {bootstrap}: it is not on this machine.",
            hint="Plant in the sandbox: `workbench sandbox up`.",
        )
    return bootstrap


def _running_sandbox() -> str:
    running = _state().status()
    if running is None:
        raise SandboxError("No sandbox is running.", hint="Start one: `workbench sandbox up`.")
    if running.kind != "kafka":
        raise SandboxError(
            "The mock broker cannot hold planted faults.",
            hint="Start a real Kafka: `workbench sandbox down`, then `up`.",
        )
    return str(running.bootstrap)


# ---- what the commands share ----


def _state() -> ModuleType:
    try:
        from workbench.sandbox import state
    except ModuleNotFoundError as error:
        hint = "pip install 'kafka-integration-workbench[sandbox]'"
        raise SandboxError(f"The sandbox needs the package {error.name}.", hint=hint) from error
    return state


def _pair(text: str) -> tuple[str, str]:
    name, found, value = text.partition("=")
    if not found or not name:
        raise UsageError(f"--setting {text}: not NAME=VALUE.")
    return name, value


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr)


def _show(sandbox: Sandbox, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(sandbox.to_json()))
        return
    print(f"bootstrap  {sandbox.bootstrap}")
    print(f"version    {sandbox.version}")
    print(f"data       {sandbox.data}")
    for node in sandbox.nodes:
        process = node.process()
        state = f"pid {process.pid}" if process else "down"
        print(f"node {node.plan.node_id:<4}  {node.plan.roles}, {state}, log {node.plan.log_file}")
    for service in sandbox.services:
        process = service.process()
        state = f"pid {process.pid}" if process else "down"
        print(f"{service.plan.name}  {state}, log {service.plan.log_file}")
    for name, address in sandbox.addresses.items():
        print(f"{name:<13}  {address}")
