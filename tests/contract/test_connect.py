"""Each recipe of docs/connect.md is a profile that the parser takes as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.contract.repository import ROOT
from workbench.config import load_config
from workbench.errors import ConfigError

PAGE = (ROOT / "docs" / "connect.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```toml\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
VARIABLES = {block: sorted(set(re.findall(r"\$\{([A-Z_]+)\}", block))) for block in BLOCKS}


def name_of(block: str) -> str:
    return block.split("[profiles.")[1].split("]", maxsplit=1)[0]


def written(block: str, folder: Path) -> Path:
    path = folder / "workbench.toml"
    path.write_text(block, encoding="utf-8")
    return path


def test_each_part_of_the_page_has_one_recipe():
    assert sorted(map(name_of, BLOCKS)) == ["aiven", "confluent-cloud", "event-hubs", "msk", "redpanda", "strimzi"]
    assert len(BLOCKS) == PAGE.count("\n## ")


@pytest.mark.parametrize("block", BLOCKS, ids=name_of)
def test_a_recipe_is_accepted_and_hides_its_secrets(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in VARIABLES[block]:
        monkeypatch.setenv(name, f"value-of-{name.lower()}")
    profile = load_config(written(block, tmp_path)).profile(name_of(block))
    assert profile.kafka["bootstrap.servers"].startswith("value-of-")
    assert profile.kafka["security.protocol"] in {"SASL_SSL", "SSL"}
    assert "${" not in str(dict(profile.kafka))
    password = profile.kafka.get("sasl.password")
    assert password is None or password not in repr(profile)


@pytest.mark.parametrize("block", BLOCKS, ids=name_of)
def test_a_variable_that_is_not_set_is_named(block: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name in VARIABLES[block]:
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(ConfigError, match="|".join(VARIABLES[block])):
        load_config(written(block, tmp_path)).profile(name_of(block))
