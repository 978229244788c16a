"""pyproject.toml, requirements.lock, environment.yml, Makefile and README say the same."""

from __future__ import annotations

import re

import pytest
import yaml
from packaging.utils import canonicalize_name

from tests.contract.repository import ROOT, direct_dependencies, pyproject

TARGETS = ("help", "setup", "demo", "test", "lint", "bench", "accuracy", "reliability", "docs", "clean")


def locked() -> dict[str, list[tuple[str, bool]]]:
    """Canonical name -> (version, whether it has hashes) of each entry; a package may have one a Python version."""
    entries: dict[str, list[tuple[str, bool]]] = {}
    text = (ROOT / "requirements.lock").read_text()
    for name, version, rest in re.findall(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)((?:.|\n)*?)(?=^\S|\Z)", text, re.MULTILINE):
        entries.setdefault(canonicalize_name(name), []).append((version, "--hash=sha256:" in rest))
    return entries


def test_the_lock_has_every_dependency_in_a_version_that_fits():
    lock = locked()
    unmet = [
        str(requirement)
        for name, requirement in direct_dependencies().items()
        if not any(requirement.specifier.contains(version) for version, _ in lock.get(name, []))
    ]
    assert unmet == []


def test_the_lock_has_a_hash_for_each_entry_and_no_address():
    text = (ROOT / "requirements.lock").read_text()
    assert [name for name, entries in locked().items() if not all(hashed for _, hashed in entries)] == []
    assert "://" not in text
    assert not re.search(r"^\s*(-i|-f|--index|--extra-index|--find-links|--trusted)", text, re.MULTILINE)


def test_environment_yml_agrees_with_pyproject():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    project = pyproject()["project"]
    plain = [item for item in environment["dependencies"] if isinstance(item, str)]
    (nested,) = [item["pip"] for item in environment["dependencies"] if isinstance(item, dict)]
    assert f"python{project['requires-python']}" in plain
    assert "pip" in plain
    (editable,) = nested
    extras = re.fullmatch(r"-e \.\[([a-z,]+)\]", editable)
    assert extras is not None
    assert set(extras[1].split(",")) == set(project["optional-dependencies"])


def test_the_make_targets_are_there_and_listed():
    makefile = (ROOT / "Makefile").read_text()
    for target in TARGETS:
        assert re.search(rf"^{target}:.*## \S", makefile, re.MULTILINE), target
        assert f"`make {target}`" in (ROOT / "README.md").read_text(), target


def test_the_readme_gives_each_dependency_a_reason():
    section = (ROOT / "README.md").read_text().split("## Dependencies", 1)[1].split("\n## ", 1)[0]
    rows = dict(re.findall(r"^\| `([^`]+)` \| (.+) \|$", section, re.MULTILINE))
    assert {canonicalize_name(name) for name in rows} == set(direct_dependencies())
    assert [name for name, reason in rows.items() if len(reason.split()) < 3] == []


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md", "CHANGELOG.md"])
def test_links_between_our_files_lead_somewhere(page: str):
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", (ROOT / page).read_text())
    assert [link for link in links if not (ROOT / link).exists()] == []


def test_the_licence_and_the_version_are_the_stated_ones():
    assert "Apache License" in (ROOT / "LICENSE").read_text()
    version = re.search(r'__version__ = "(.+)"', (ROOT / "workbench/_version.py").read_text())
    assert version is not None
    assert f"## [{version[1]}]" in (ROOT / "CHANGELOG.md").read_text()
