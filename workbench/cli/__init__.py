"""The command line: thin over the library (parse, one library call, print)."""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

from workbench._version import __version__
from workbench.cli import integration, redrive, sandbox
from workbench.cli.check import check
from workbench.cli.doctor import discover, doctor
from workbench.cli.document import document
from workbench.cli.mcp import serve_mcp
from workbench.cli.message import message
from workbench.cli.open import open_lab
from workbench.cli.run import run
from workbench.cli.schedule import schedule
from workbench.cli.watch import watch
from workbench.errors import WorkbenchError

app = typer.Typer(
    name="workbench",
    help="Accounts for every message of an Apache Kafka integration.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
)
app.command("check")(check)
app.command("message")(message)
app.command("run")(run)
app.command("open")(open_lab)
app.command("schedule")(schedule)
app.command("watch")(watch)
app.command("mcp")(serve_mcp)
app.command("doctor")(doctor)
app.command("discover")(discover)
app.command("document")(document)
app.add_typer(integration.app, name="integration")
app.add_typer(redrive.app, name="redrive")
app.add_typer(sandbox.app, name="sandbox")


def _version(wanted: bool) -> None:
    if wanted:
        print(f"workbench {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Accounts for every message of an Apache Kafka integration."""


def main() -> None:
    """Runs the command line; users see one sentence and the next step, never a traceback."""
    try:
        app()
    except WorkbenchError as error:
        _explain(error)
        sys.exit(error.exit_code)
    except KeyboardInterrupt:
        print("Interrupted.", file=sys.stderr)
        sys.exit(130)
    except BrokenPipeError:
        # The reader of our output went away; Python would complain again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(141)
    except OSError as error:
        print(f"Error: {error.strerror or error}: {error.filename or ''}".rstrip(": "), file=sys.stderr)
        sys.exit(1)


def _explain(error: WorkbenchError) -> None:
    from workbench.cli.text import plain

    print(f"Error: {plain(str(error))}", file=sys.stderr)
    if error.hint:
        print(f"  {plain(error.hint)}", file=sys.stderr)
