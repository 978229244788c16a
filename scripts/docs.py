"""Writes the generated pages anew; with --check only says which are out of date.

docs/commands.md  the command line reference, from the Typer application itself
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COMMANDS = ROOT / "docs" / "commands.md"
NOTE = "<!-- Written by `make docs`; change the help texts in workbench/cli instead. -->\n\n"


def command_reference() -> str:
    """The page of all commands and options."""
    done = subprocess.run(
        [sys.executable, "-m", "typer", "workbench.cli", "utils", "docs", "--name", "workbench"],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return NOTE + done.stdout.strip() + "\n"


def pages() -> dict[Path, str]:
    """Generated page -> what it has to say now."""
    return {COMMANDS: command_reference()}


def stale(wanted: dict[Path, str]) -> list[Path]:
    """The pages that are missing or say something else."""
    return [path for path, text in wanted.items() if not path.is_file() or path.read_text() != text]


def main(arguments: list[str]) -> int:
    """Writes what is stale, or with --check names it; the exit code."""
    wanted = pages()
    old = stale(wanted)
    if "--check" in arguments:
        for path in old:
            print(f"docs: {path.relative_to(ROOT)} is out of date; run make docs")
        return 1 if old else 0
    for path in old:
        path.parent.mkdir(exist_ok=True)
        path.write_text(wanted[path])
        print(f"docs: wrote {path.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
