"""Runbooks: one for each code that a finding can have, all sections, the rule's own words, outputs in every cell."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from scripts import runbook_index
from tests.contract.repository import ROOT
from workbench.notebook.following import runbook_sections
from workbench.problems import checking
from workbench.sandbox.record import INCIDENT_OF, rule_in_words

RUNBOOKS = sorted((ROOT / "runbooks").glob("*.ipynb"))
SECTIONS = ["Meaning", "Impact", "Diagnosis", "False positives", "Mitigation", "Verification", "Related"]
PROBLEM_OF = {item.code: problem for item, problem in checking.rules().items() if item.kind != "note"} | {
    "unexplained": "loss"
}
CODES = set(PROBLEM_OF)
LARGEST_BYTES = 200_000


def name(path: Path) -> str:
    return path.stem


def test_codes_runbooks_recordings_and_the_index_agree():
    assert {path.stem for path in RUNBOOKS} == CODES
    assert set(INCIDENT_OF) == CODES
    assert {path.name for path in (ROOT / "runbooks" / "evidence").iterdir()} == CODES
    assert [code for code in CODES if f"(runbooks/{code}.ipynb)" not in runbook_index.index()] == []


def test_the_index_of_the_readme_is_up_to_date():
    text = runbook_index.README.read_text()
    assert runbook_index.readme(text) == text


@pytest.mark.parametrize("path", RUNBOOKS, ids=name)
def test_a_runbook_has_its_sections_in_order(path: Path):
    sections = runbook_sections(path)
    assert list(sections) == SECTIONS
    assert [heading for heading, text in sections.items() if len(text) < 60] == []
    assert "workbench check" in sections["Verification"]


@pytest.mark.parametrize("path", RUNBOOKS, ids=name)
def test_its_meaning_quotes_the_rule(path: Path):
    assert rule_in_words(path.stem) in runbook_sections(path)["Meaning"]


@pytest.mark.parametrize("path", RUNBOOKS, ids=name)
def test_every_compared_cell_has_a_count_and_an_output(path: Path):
    """nbval passes a cell that has neither."""
    document = json.loads(path.read_text())
    code = [cell for cell in document["cells"] if cell["cell_type"] == "code"]
    compared = [cell for cell in code if "parameters" not in cell["metadata"].get("tags", [])]
    assert len(compared) >= 2
    assert [cell["source"] for cell in compared if not cell["execution_count"] or not cell["outputs"]] == []
    kinds = {output["output_type"] for cell in compared for output in cell["outputs"]}
    assert kinds == {"display_data"}


@pytest.mark.parametrize("path", RUNBOOKS, ids=name)
def test_its_recorded_evidence_is_small_and_leads_to_its_code(path: Path):
    folder = ROOT / "runbooks" / "evidence" / path.stem
    assert sum(file.stat().st_size for file in folder.iterdir()) < LARGEST_BYTES
    found = checking.examine(PROBLEM_OF[path.stem], checking.evidence_in(folder)).report.findings
    assert path.stem in {item.code for item in found}
