"""Plans: they hold coordinates, come back as they were, and cannot be changed unseen."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from workbench.errors import RedriveError
from workbench.redrive.plan import HOME_MADE, Plan, Row, Topic, load_plan

ROWS = tuple(
    Row("dlq", number % 2, number // 2, "orders", number % 3, f"orders/0/{number}", number % 2, "v1:abc", HOME_MADE)
    for number in range(7)
)
PLAN = Plan(
    cluster_id="c1",
    made_at="2026-01-31T12:00:00.000+00:00",
    dead_letters={"dlq": Topic("d1", {0: 4, 1: 3})},
    targets={"orders": Topic("t1", {0: 10, 1: 20, 2: 30})},
    rows=ROWS,
    sinks=("mails",),
    ids={"dlq": "header:message-id"},
    readers=({"group": "billing", "topic": "orders"},),
    excluded={"superseded": 2},
    groups={"v1:abc": 7},
    warnings=("Fan-out.",),
    canaries=1,
)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return PLAN.save(tmp_path / "plan.json")


def test_a_plan_comes_back_as_it_was(file: Path):
    found = load_plan(file)
    assert found == PLAN
    assert found.hash == PLAN.hash
    assert found.transactional_id == f"workbench-redrive-{PLAN.hash[:16]}"


def test_it_is_written_for_its_user_alone_and_never_over_another(file: Path):
    assert file.stat().st_mode & 0o777 == 0o600
    with pytest.raises(RedriveError, match="exists"):
        PLAN.save(file)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d["rows"][0].__setitem__(2, 99),
        lambda d: d["rows"].pop(),
        lambda d: d["rows"].reverse(),
        lambda d: d.update(cluster_id="c2"),
        lambda d: d["targets"]["orders"].update(topic_id="t2"),
        lambda d: d.update(transform={"kind": "expression", "expression": "value"}),
        lambda d: d["excluded"].clear(),
        lambda d: d.update(note="kilroy was here"),
        lambda d: d.update(hash=PLAN.hash[::-1]),
        lambda d: d.pop("hash"),
    ],
)
def test_a_plan_that_was_edited_is_refused(file: Path, change):
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))
    with pytest.raises(RedriveError, match="changed after it was made"):
        load_plan(file)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "no redrive plan"),
        ('{"kind": "workbench redrive plan", "version": 99}', "version 99"),
        ("\x00\xff", "not JSON"),
    ],
)
def test_what_is_no_plan_is_named(tmp_path: Path, text: str, why: str):
    path = tmp_path / "plan.json"
    path.write_text(text)
    with pytest.raises(RedriveError, match=why):
        load_plan(path)
    with pytest.raises(RedriveError, match="cannot be read"):
        load_plan(tmp_path / "no-such.json")


def test_another_content_is_another_id():
    assert replace(PLAN, rows=ROWS[1:]).id != PLAN.id
    assert replace(PLAN, cluster_id="c2").id != PLAN.id
    assert replace(PLAN, canaries=2).id != PLAN.id
