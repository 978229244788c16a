"""``workbench schedule``: a notebook headless, again and again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.errors import ConfigError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from workbench.config import Config

KINDS = ("slack", "alertmanager")


def schedule(
    notebook: Annotated[str, typer.Argument(help="As of workbench run; health for all checks.")] = "health",
    *,
    cron: Annotated[str, typer.Option(help="Minute hour day month weekday, in UTC; '0 * * * *' is hourly.")],
    profile: Annotated[str | None, typer.Option(help="A profile of workbench.toml.")] = None,
    integration: Annotated[str | None, typer.Option(help="An integration of workbench.toml.")] = None,
    parameters: Annotated[
        list[str] | None, typer.Option("--parameter", "-p", help="NAME=VALUE, as of workbench run.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for the index and all runs.")] = Path("reports"),
    timeout: Annotated[str, typer.Option(help="How long one run may take, for example 30m.")] = "30m",
    keep: Annotated[int, typer.Option(help="How many runs are kept.", min=1)] = 168,
    metrics_port: Annotated[int, typer.Option(help="Serve /metrics on this port; 0: nowhere.", min=0, max=65535)] = 0,
    metrics_host: Annotated[str, typer.Option(help="Address to serve it on.")] = "127.0.0.1",
    once: Annotated[bool, typer.Option("--once", help="Run once, now, and end with its exit code.")] = False,
) -> None:
    """Run a notebook on a schedule: workbench schedule health --cron "0 * * * *" --profile P --out reports.

    One run at a time; what was missed is caught up once; a run that fails or takes too long is kept and told like any other.
    [webhooks.NAME] of workbench.toml (url, kind = "slack" or "alertmanager") is told of each change of verdict. Ctrl-C or
    SIGTERM ends it.
    """
    from workbench.config import load_config, parse_duration
    from workbench.services.runs import find_notebook
    from workbench.services.schedule import Plan, serve

    config = load_config()
    find_notebook(notebook)
    if profile:
        config.profile(profile)
    if integration:
        config.integration(integration)
    named = {"profile": profile, "integration": integration}
    given = [f"{name}={value}" for name, value in named.items() if value]
    plan = Plan(
        notebook,
        (*given, *(parameters or ())),
        cron,
        out,
        parse_duration(timeout),
        keep,
        metrics_host,
        metrics_port,
        webhooks_of(config),
    )
    raise typer.Exit(serve(plan, lambda line: print(line, file=sys.stderr, flush=True), once=once))


def webhooks_of(config: Config) -> dict[str, Mapping[str, Any]]:
    """The webhooks of workbench.toml, with their variables looked up; those without an address are left out.

    Raises:
        ConfigError: a key is unknown or missing, or a variable is not set.
    """
    from workbench.config import expanded, nearest

    out: dict[str, Mapping[str, Any]] = {}
    for name, raw in config.sections.get("webhooks", {}).items():
        where = f"[webhooks.{name}]"
        for key in raw:
            if key not in ("url", "kind"):
                raise ConfigError(
                    f"{where} has no key {key!r}.", hint=nearest(key, ("url", "kind")) or "It takes url and kind."
                )
        if raw.get("kind", "slack") not in KINDS:
            raise ConfigError(f"{where} kind is {raw['kind']!r}.", hint=f"One of {', '.join(KINDS)}.")
        url = str(expanded(raw.get("url", ""), f"webhooks.{name}.url"))
        if url and not url.startswith(("http://", "https://")):
            raise UsageError(f"{where} url is no http address.", hint="Write https://...")
        if url:
            out[name] = {"url": url, "kind": raw.get("kind", "slack")}
    return out
