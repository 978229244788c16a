"""docs/integration.md: its commands work in their order, its keys are those that the configuration has."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.contract.repository import ROOT
from workbench.integration.config import IntegrationConfig, _paths

pytestmark = pytest.mark.kafka
PAGE = (ROOT / "docs" / "integration.md").read_text()


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language, without the indentation of their list."""
    found = re.findall(rf"^( *)```{language}\n(.*?)^ *```$", PAGE, re.MULTILINE | re.DOTALL)
    return [re.sub(rf"^{indent}", "", text, flags=re.MULTILINE) for indent, text in found]


COMMANDS = [line for block in blocks("sh") for line in block.splitlines()]


def run(command: str, folder: Path, environment: dict[str, str]) -> str:
    """One line of the page as a shell would read it, with this environment's Python."""
    known = {**os.environ, **environment}
    words = [re.sub(r"\$(\w+)", lambda match: known[match[1]], word) for word in shlex.split(command)]
    done = subprocess.run(
        [sys.executable, "-m", "workbench", *words[1:]],
        cwd=folder,
        env=known,
        check=False,
        capture_output=True,
        text=True,
        timeout=300,
    )
    # doctor's 3: on a fresh broker there is no log of commits yet, and so it cannot say all.
    good = {0, 3} if words[1] == "doctor" else {0}
    assert done.returncode in good, (command, done.stderr[-2000:])
    return done.stdout


def test_the_commands_of_the_page_work_in_their_order(tmp_path: Path):
    """Those of kubectl name manifests, which the contract tests validate."""
    (tmp_path / "integration.yml").write_text(blocks("yaml")[0])
    environment = {"WORKBENCH_SANDBOX_DIR": str(tmp_path / "sandbox"), "PYTHONPATH": str(ROOT)}
    printed = {}
    ours = [command for command in COMMANDS if not command.startswith("kubectl")]
    try:
        for command in ours:
            printed[command] = run(command, tmp_path, environment)
            if command == "workbench sandbox up":
                environment["KAFKA_BROKERS"] = re.search(r"bootstrap +(\S+)", printed[command])[1]
    finally:
        if "workbench sandbox down" not in printed:
            run("workbench sandbox down", tmp_path, environment)
    settings = json.loads(printed["workbench integration settings --config integration.yml"])
    assert settings["consumer"]["bootstrap.servers"] == environment["KAFKA_BROKERS"]
    assert json.loads(printed["workbench integration asyncapi --config integration.yml"])["asyncapi"] == "3.0.0"
    assert json.loads(printed["workbench sandbox incident clean-out-of-order"])
    manifests = [words[-1] for words in map(str.split, COMMANDS) if words[0] == "kubectl"]
    assert manifests
    assert all((ROOT / path).exists() for path in manifests)


def test_every_key_of_the_file_is_on_the_page():
    listed = set(re.findall(r"`([\w.]+)`", PAGE.split("## Keys of integration.yml")[1].split("\n## ")[0]))
    names = {part for name in listed for part in name.split(".")}
    assert [".".join(path) for path in _paths(IntegrationConfig) if path[-1] not in names] == []
    assert yaml.safe_load(blocks("yaml")[0])["integration"]["producer"]["acks"] == "all"


def test_the_flow_is_drawn_with_the_topics_of_the_configuration():
    (drawing,) = blocks("mermaid")
    assert drawing.startswith("flowchart LR")
    nodes = set(re.findall(r"(\w+)\[", drawing))
    used = {
        name
        for left, right in re.findall(r"^ *(\w+)\S* -[^>]*->(?:\|[^|]*\|)? *(\w+)", drawing, re.MULTILINE)
        for name in (left, right)
    }
    assert used <= nodes
    for topic in ("user.events", "user.notifications", "user.events.dlq"):
        assert f"[({topic})]" in drawing
