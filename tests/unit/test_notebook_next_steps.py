"""From each finding to its runbook: what it means, what to do, where to go on."""

from __future__ import annotations

import pytest

from tests.unit.builder import World
from workbench import notebook
from workbench.notebook import following
from workbench.problems import loss


@pytest.fixture
def shown(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The Markdown that was shown."""
    texts: list[str] = []
    monkeypatch.setattr(following, "emit", lambda bundle: texts.append(bundle["text/markdown"]))
    return texts


def report(lost: list[str]):
    world = World()
    world.flow([f"m{n}" for n in range(200)], lost=lost)
    world.commit()
    return loss.diagnose(world.evidence())


def test_a_finding_leads_to_its_runbook(shown: list[str]):
    found = report(["m3", "m90"])
    notebook.next_steps(found, "out/here")
    assert [item.code for item in found.findings] == ["loss-consumer-dropped"]
    assert "### loss-consumer-dropped" in shown[0]
    assert "**Mitigation**\n\n1. " in shown[0]
    assert "[runbooks/loss-consumer-dropped.ipynb](runbooks/loss-consumer-dropped.ipynb)" in shown[0]
    assert "out/here/evidence" in shown[0]


def test_a_headless_run_names_no_place_of_the_machine(shown: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path):
    monkeypatch.setenv("WORKBENCH_RUN_FOLDER", str(tmp_path / "run"))
    notebook.next_steps(report(["m3", "m90"]), tmp_path / "run")
    assert str(tmp_path) not in shown[0].replace("../", "")
    assert "run/evidence" in shown[0]


def test_nothing_to_do_is_said(shown: list[str]):
    notebook.next_steps(report([]))
    assert shown == ["Nothing to do: every message is accounted for."]
