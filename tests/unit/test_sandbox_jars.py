"""Only the jars that were pinned are ever run."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from workbench.errors import SandboxError
from workbench.sandbox import jars

COORDINATE = "org.example:thing:1.0"
GOOD = b"the jar"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, one pinned jar, and downloads that deliver ``served[0]``."""
    monkeypatch.setenv("WORKBENCH_CACHE", str(tmp_path))
    monkeypatch.setattr(jars, "PINNED", {"9.9": {COORDINATE: hashlib.sha256(GOOD).hexdigest()}})
    return tmp_path / "kafka" / "9.9"


def serve(monkeypatch: pytest.MonkeyPatch, content: bytes) -> None:
    def download(staging: Path, _coordinate: str) -> Path:
        path = staging / "download"
        path.write_bytes(content)
        return path

    monkeypatch.setattr(jars, "_download", download)


def test_a_jar_is_fetched_once(cache: Path, monkeypatch: pytest.MonkeyPatch):
    serve(monkeypatch, GOOD)
    said: list[str] = []
    assert jars.kafka_jars("9.9", say=said.append) == [cache / "thing-1.0.jar"]
    assert jars.kafka_jars("9.9", say=said.append) == [cache / "thing-1.0.jar"]
    assert len(said) == 1
    assert [path.name for path in cache.parent.iterdir()] == ["9.9"]


def test_a_jar_that_differs_is_refused_and_not_installed(cache: Path, monkeypatch: pytest.MonkeyPatch):
    serve(monkeypatch, b"something else")
    with pytest.raises(SandboxError, match=r"org\.example:thing:1\.0 is not the pinned one"):
        jars.kafka_jars("9.9")
    assert list(cache.iterdir()) == []


def test_a_jar_that_was_changed_in_the_cache_is_fetched_again(cache: Path, monkeypatch: pytest.MonkeyPatch):
    cache.mkdir(parents=True)
    (cache / "thing-1.0.jar").write_bytes(GOOD[:3])
    serve(monkeypatch, GOOD)
    (path,) = jars.kafka_jars("9.9")
    assert path.read_bytes() == GOOD


def test_an_unknown_version_names_those_that_are_pinned():
    with pytest.raises(SandboxError) as caught:
        jars.kafka_jars("0.8")
    assert jars.KAFKA_VERSION in caught.value.hint
