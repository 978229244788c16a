"""One path for every face: collect, examine, save. The command line and the notebooks cannot disagree."""

from __future__ import annotations

import difflib
import shutil
from collections.abc import Mapping
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

from workbench.errors import EvidenceError, UsageError
from workbench.evidence import Evidence
from workbench.problems.examination import Examination
from workbench.problems.rules import Rule
from workbench.problems.scope import Scope, scope_from
from workbench.sealing import Seal

PROBLEMS = ("loss", "duplicates", "lag", "dlq", "message", "health")

# Options that change how evidence is judged, not what had to be collected for it.
REJUDGED = ("expected_latency", "isolation", "any_sink", "producer_config", "consumer_config", "show_ids")


def problem(name: str) -> ModuleType:
    """The module of a problem.

    Raises:
        UsageError: there is none of this name.
    """
    if name not in PROBLEMS:
        near = difflib.get_close_matches(name, PROBLEMS, 1)
        hint = f"Did you mean {near[0]!r}?" if near else f"Known: {', '.join(PROBLEMS)}."
        raise UsageError(f"There is no problem {name!r}.", hint=hint)
    return import_module(f"workbench.problems.{name}")


def rules() -> dict[Rule, str]:
    """All rules of all problems, each with the name of its problem."""
    return {item: name for name in PROBLEMS for item in problem(name).RULES}


def examine(name: str, evidence: Evidence) -> Examination:
    """The examination of evidence."""
    found: Examination = problem(name).examine(evidence)
    return found


def rejudged(evidence: Evidence, options: Mapping[str, Any]) -> Evidence:
    """Saved evidence under other options.

    Raises:
        UsageError: an option needs what was not captured.
    """
    given = {key: value for key, value in options.items() if value not in ("", 0, [], (), {}, None, False)}
    refused = sorted(set(given) - set(REJUDGED))
    if refused:
        names = ", ".join("--" + key.replace("_", "-") for key in refused)
        raise UsageError(
            f"{names} cannot be used with --evidence: that was decided when the evidence was collected.",
            hint=f"Collect again, or use only {', '.join('--' + key.replace('_', '-') for key in REJUDGED)}.",
        )
    if given and "parts" in evidence.facts:
        raise UsageError(
            "A saved health report takes no options: each of its checks has its own.", hint="Collect again with them."
        )
    scope = scope_from(source=evidence.facts["source"], **given).facts()
    fields = {"expected_latency": "expected_latency_seconds"}
    changed = {fields.get(key, key): scope[fields.get(key, key)] for key in given}
    return replace(evidence, facts={**evidence.facts, **changed})


def save(examination: Examination, folder: Path, seal: Seal | None = None) -> Path:
    """Writes the evidence, ``report.json`` and ``ledger.parquet`` into a folder.

    Raises:
        EvidenceError: the folder holds other files.
    """
    seal = seal or Seal.fresh()
    extras = folder / "evidence"
    target = examination.evidence.save(extras, seal).parent
    examination.report.write(target / "report.json")
    examination.write_ledger(target / "ledger.parquet", seal)
    return target


def evidence_in(folder: Path) -> Evidence:
    """The evidence of a folder that ``save`` or ``Evidence.save`` wrote.

    Raises:
        EvidenceError: it is damaged, or lacks a fact or table that every diagnosis reads.
    """
    inner = folder / "evidence"
    evidence = Evidence.load(inner if (inner / "evidence.json").is_file() else folder)
    lacking = [name for name in (*Scope(source="").facts(), "collected_at") if name not in evidence.facts]
    if "records" in evidence.tables:
        lacking += [name for name in ("offsets", "scan") if name not in evidence.tables]
    if lacking:
        raise EvidenceError(f"The evidence in {folder} lacks {', '.join(lacking)}.", hint="Collect it again.")
    return evidence


def remove(folder: Path) -> None:
    """Removes a private work folder, whatever is left in it."""
    shutil.rmtree(folder, ignore_errors=True)
