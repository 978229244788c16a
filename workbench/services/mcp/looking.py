"""What an agent may look at: checks of named integrations, saved evidence below one folder, runbooks. Nothing that writes.

Options that would show content (include_values, show_ids) or open files of this machine are not offered.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.capture import Estimate, ScanProgress
from workbench.config import Integration, Profile, load_config, nearest
from workbench.errors import EvidenceError, NotFound, UsageError
from workbench.problems import checking
from workbench.problems.health.scopes import scopes_from
from workbench.problems.scope import scope_from
from workbench.shelves import home
from workbench.sources import connect


@dataclass(frozen=True)
class Desk:
    """What one server gives access to.

    Attributes:
        profile: the cluster that is asked; None takes each integration's own.
        evidence: the folder below which saved evidence may be read; None for none.
        most_bytes: a scan that would read more is refused.
    """

    profile: Profile | None = None
    evidence: Path | None = None
    most_bytes: int = 5_000_000_000

    def integrations(self) -> list[dict[str, Any]]:
        """Name, source, sinks, dead letters and group of each integration of workbench.toml."""
        config = load_config()
        found = [config.integration(name) for name in sorted(config.integrations)]
        return [
            {"name": one.name, "source": one.source, "sinks": list(one.sinks), "dead_letters": list(one.dead_letters),
             "group": one.group}
            for one in found
        ]  # fmt: skip

    def check(self, problem: str, integration: str | None, options: Mapping[str, Any]) -> dict[str, Any]:
        """The report of a check on the live cluster, as ``--format json`` prints it.

        Raises:
            WorkbenchError: an option does not fit, or the cluster cannot be read.

        Reads: as ``workbench check``.
        """
        config = load_config()
        named = config.integration(integration) if integration else None
        profile = self._profile(named)
        _refuse_files(options)
        chosen: Any
        if problem == "health":
            chosen = scopes_from(config, profile.name, named, **options)
        else:
            chosen = scope_from(named, **config.reading(), **options)
        work_dir = Path(tempfile.mkdtemp(prefix="workbench-mcp-"))
        try:
            with connect(profile) as sources:
                found = checking.problem(problem).collect(sources, chosen, work_dir=work_dir, progress=self._bounded)
            return checking.examine(problem, found).report.to_dict()
        finally:
            checking.remove(work_dir)

    def saved(self) -> list[str]:
        """Names of the saved evidence, for ``judge``."""
        return sorted(self._folders())

    def _folders(self) -> dict[str, Path]:
        top = self.evidence
        if top is None or not top.is_dir():
            return {}
        folders = {path.name: path for path in (top, *top.iterdir()) if path.is_dir() and not path.is_symlink()}
        return {name: path for name, path in folders.items() if (path / "evidence" / "evidence.json").is_file()}

    def judge(self, problem: str, name: str) -> dict[str, Any]:
        """The report that saved evidence comes to; no cluster is asked.

        Raises:
            EvidenceError: there is none of this name, or it is damaged.
        """
        known = self._folders()
        if name not in known:
            hint = f"Known: {', '.join(sorted(known))}." if known else "Start the server with --evidence FOLDER."
            raise EvidenceError(f"There is no saved evidence {name!r}.", hint=nearest(name, known) or hint)
        return checking.examine(problem, checking.evidence_in(known[name])).report.to_dict()

    def _profile(self, named: Integration | None) -> Profile:
        return self.profile or load_config().profile(named.profile if named else "")

    def _bounded(self, progress: str | Estimate | ScanProgress) -> None:
        if isinstance(progress, Estimate) and progress.bytes is not None and progress.bytes > self.most_bytes:
            raise UsageError(
                f"The scan would read {progress.bytes:,} bytes, above the server's limit of {self.most_bytes:,}.",
                hint="Give since or limit, or start the server with a larger --confirm-above.",
            )


def runbooks() -> list[str]:
    """The codes that have a runbook."""
    return sorted(path.stem for path in (home() / "runbooks").glob("*.ipynb"))


def runbook(code: str) -> str:
    """The text of a runbook as Markdown, without its recorded outputs.

    Raises:
        NotFound: there is none for the code.
    """
    known = runbooks()
    if code not in known:
        raise NotFound(f"There is no runbook {code!r}.", source="runbooks", hint=nearest(code, known))
    cells = json.loads((home() / "runbooks" / f"{code}.ipynb").read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "markdown")


def _refuse_files(options: Mapping[str, Any]) -> None:
    """A format may name a schema file; agents do not open files of this machine."""
    for name in ("value_format", "key_format"):
        if str(options.get(name) or "").startswith("avro:"):
            raise UsageError(f"{name} may not name a file here.", hint="Put it into formats of the integration.")
