"""``workbench document`` on a real broker: written, kept, checked against a system that changes."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from workbench.cli import app
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.messages import Message
from workbench.sandbox.incidents.sending import send

pytestmark = pytest.mark.kafka

CONFIG = """
[profiles.p]
kafka = {{ "bootstrap.servers" = "{bootstrap}" }}
[integrations.documented]
profile = "p"
source = "documented.in"
sinks = ["documented.out"]
group = "documented-group"
"""


def test_written_kept_and_checked(kafka: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("documented.in", "documented.out"):
        topics.create(kafka, name, 2)
        send(kafka, name, [Message(id=f"m{n}", key=None, value={"messageId": f"m{n}", "n": n}) for n in range(30)])
    topics.commit(kafka, "documented-group", "documented.in", {0: 1})
    config = tmp_path / "workbench.toml"
    config.write_text(CONFIG.format(bootstrap=kafka))
    monkeypatch.setenv("WORKBENCH_CONFIG", str(config))
    out = tmp_path / "docs" / "documented.md"

    def run(*more: str) -> tuple[int, str]:
        done = CliRunner().invoke(app, ["document", "documented", "--out", str(out), *more])
        return done.exit_code, done.output

    assert run()[0] == 0
    text = out.read_text()
    assert "`documented-group`" in text
    assert "| `$.n` | integer |" in text
    assert "m17" not in text
    assert json.loads(out.with_suffix(".asyncapi.json").read_text())["asyncapi"] == "3.0.0"
    out.write_text(text.replace("*Anything else.*", "Ask before Fridays."))
    assert run("--check") == (0, f"{out} and the system agree.\n")

    topics.add_partition(kafka, "documented.out", 3)
    topics.commit(kafka, "another-group", "documented.in", {0: 1})
    code, said = run("--check")
    assert code == 12
    assert "topic documented.out: partitions is 3, the document says 2" in said
    assert "group another-group reads it now" in said
    assert run()[0] == 0
    assert "Ask before Fridays." in out.read_text()
    assert run("--check")[0] == 0
