"""Keeping what a notebook found, and opening what was kept."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from workbench.notebook.display import emit
from workbench.notebook.escaping import markdown_text
from workbench.notebook.headless import RUN_FOLDER
from workbench.problems import checking
from workbench.problems.examination import Examination
from workbench.sealing import Seal

if TYPE_CHECKING:
    from workbench.evidence import Evidence
    from workbench.sources import Sources


def save(case: Examination, sources: Sources | None = None, folder: str = "") -> Path:
    """Writes evidence, report and ledger, so that a runbook or a colleague can go on from there.

    Args:
        case: what ``examine`` returned.
        sources: what it was collected from; ids and keys are hashed with its profile's key, so that evidence of one
            profile can be compared. Without it with a key that nobody keeps.
        folder: by default the headless run's folder, else ``out/PROBLEM-TIME`` here.

    Returns:
        The folder: ``evidence/`` (for ``workbench check --evidence`` and the runbooks), ``report.json``,
        ``ledger.parquet`` (a row for each message that was not simply delivered once).
    """
    chosen = Path(folder or os.environ.get(RUN_FOLDER) or _fresh(case.report.problem))
    checking.save(case, chosen, Seal.of_store(sources.cluster.profile.name) if sources else Seal.fresh())
    _say(chosen)
    return chosen


def open_evidence(folder: str) -> Evidence:
    """The evidence in a folder that ``save`` or ``workbench check --save`` wrote; the folder above it will do too.

    Raises:
        EvidenceError: it is no evidence folder, or damaged.
    """
    return checking.evidence_in(Path(folder).expanduser())


def _fresh(problem: str) -> str:
    return f"out/{problem}-{datetime.now(UTC).strftime('%Y%m%d-%H%M%S')}"


def _say(folder: Path) -> None:
    # A headless run tells its caller where the folder is; its own page must not name this machine's paths.
    if not os.environ.get(RUN_FOLDER):
        said = f"Kept in {folder}: evidence/, report.json, ledger.parquet."
        emit({"text/markdown": markdown_text(said), "text/plain": said})
