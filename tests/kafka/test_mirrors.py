"""Sinks on another cluster, where that does not answer, is the same one, or lacks the topic."""

from __future__ import annotations

from pathlib import Path

import pytest

from workbench.config import profile_from_options
from workbench.errors import NotFound, UsageError
from workbench.problems import loss
from workbench.problems.scope import scope_from
from workbench.report import Report
from workbench.sandbox.incidents import topics
from workbench.sandbox.incidents.messages import Message
from workbench.sandbox.incidents.sending import send
from workbench.sandbox.kafka import start
from workbench.sources import connect

pytestmark = pytest.mark.kafka


@pytest.fixture
def source(kafka: str) -> str:
    name = "mirrors.in"
    if name not in _names(kafka):
        topics.create(kafka, name, 1)
        send(kafka, name, [Message(id=f"m{n}", key=None, value={"messageId": f"m{n}"}) for n in range(5)])
    return name


def _names(bootstrap: str) -> set[str]:
    with connect(profile_from_options(bootstrap, {})) as sources:
        return {row["topic"] for row in sources.cluster.topics().rows()}


def check(bootstrap: str, source: str, sink: str, folder: Path) -> Report:
    with connect(profile_from_options(bootstrap, {}), timeout_seconds=5) as sources:
        scope = scope_from(source=source, sink=[sink], expected_latency="1s")
        return loss.diagnose(loss.collect(sources, scope, work_dir=folder))


def test_the_cluster_itself_is_refused(kafka: str, source: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cluster of the source itself"):
        check(kafka, source, f"profile:{kafka.split(',', maxsplit=1)[0]}/{source}", tmp_path)


def test_a_cluster_that_does_not_answer_leaves_it_undecided(kafka: str, source: str, tmp_path: Path) -> None:
    report = check(kafka, source, "profile:127.0.0.1:1/mirror.in", tmp_path)
    assert (report.verdict, report.ledger["lost"]) == ("undecided", 0)
    assert any("profile:127.0.0.1:1/mirror.in" in item.reason for item in report.undecided)


def test_a_topic_that_is_not_there_is_the_user_s_mistake(kafka: str, source: str, tmp_path: Path) -> None:
    with start(nodes=1) as other, pytest.raises(NotFound, match=r"mirror\.in"):
        check(kafka, source, f"profile:{other.bootstrap}/mirror.in", tmp_path)
