"""``workbench document``: the integration's own document, written and kept true."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from workbench.cli.options import target
from workbench.cli.text import plain
from workbench.errors import UsageError

if TYPE_CHECKING:
    from workbench.config import Integration, Profile

DRIFT = 12  # exit code: document and system disagree


def document(
    integration: Annotated[str, typer.Argument(help="An integration of workbench.toml.")],
    out: Annotated[Path, typer.Option(help="The Markdown file; its AsyncAPI document is written beside it.")],
    profile: Annotated[str | None, typer.Option(help="Another profile than the integration's.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; say where document and system disagree.")
    ] = False,
) -> None:
    """Write an integration's document from the running system, or check it: workbench document NAME --out NAME.md.

    What stands between <!-- keep: NAME --> and <!-- /keep --> is yours and stays. Exit code with --check: 0 nothing has
    changed, 12 something has.
    """
    from workbench.services.document import differences, facts_of, kept_blocks

    named, where = target(integration, profile, None, None)
    before = _read(out, needed=check)
    kept, written = kept_blocks(before), facts_of(before) if check else {}
    facts, bootstrap = _observed(where, named, integration)
    if not check:
        _write(out, facts, kept, bootstrap)
        return
    found = differences(written, facts)
    for sentence in found:
        print(plain(f"- {sentence}"))
    print(f"{out} and the system {'disagree: write it anew' if found else 'agree'}.")
    raise typer.Exit(DRIFT if found else 0)


def _read(out: Path, *, needed: bool) -> str:
    if out.is_dir() or out.suffix.lower() not in {".md", ".markdown"}:
        raise UsageError(f"--out {out} is no Markdown file.", hint="Name a file that ends in .md.")
    if not out.exists():
        if needed:
            raise UsageError(f"There is no {out} to check.", hint="Write it first, without --check.")
        return ""
    try:
        return out.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(f"{out} cannot be read: {error}.", hint="Nothing was written.") from None


def _observed(where: Profile, named: Integration | None, name: str) -> tuple[dict[str, Any], str]:
    from workbench.config import load_config
    from workbench.problems.scope import scope_from
    from workbench.services.document import observe
    from workbench.sources import connect

    scope = scope_from(named, **load_config().reading())
    with connect(where) as sources:
        return observe(sources, scope, name), where.bootstrap


def _write(out: Path, facts: dict[str, Any], kept: dict[str, str], bootstrap: str) -> None:
    from workbench.services.document import asyncapi, page

    spec = out.with_suffix(".asyncapi.json")
    out.parent.mkdir(parents=True, exist_ok=True)
    for path, text in (
        (spec, json.dumps(asyncapi(facts, bootstrap), indent=2) + "\n"),
        (out, page(facts, kept, spec=spec.name)),
    ):
        scratch = path.with_name(path.name + ".partial")
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    print(f"Wrote {out} and {spec.name}.")
