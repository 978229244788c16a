"""What the nodes of a sandbox are told."""

from __future__ import annotations

import re
from pathlib import Path

from workbench.sandbox.layout import CONTROLLER_ID, NodePlan, lay_out, properties
from workbench.sandbox.pinned import PINNED

FOLDER = Path("somewhere")


def written(plan: NodePlan, plans: tuple[NodePlan, ...], **settings: str) -> dict[str, str]:
    text = properties(plan, plans, {name.replace("_", "."): value for name, value in settings.items()})
    return dict(line.split("=", 1) for line in text.splitlines())


def test_a_single_broker_is_its_own_controller():
    (only,) = plans = lay_out(1, FOLDER, [7001, 7002])
    said = written(only, plans)
    assert said["process.roles"] == "broker,controller"
    assert said["controller.quorum.voters"] == "1@127.0.0.1:7001"
    assert said["advertised.listeners"] == "PLAINTEXT://127.0.0.1:7002"
    assert said["offsets.topic.replication.factor"] == "1"


def test_several_brokers_have_a_controller_that_is_none_of_them():
    """So that any broker may be killed while the metadata stays up."""
    plans = lay_out(3, FOLDER, [7000, 7001, 7002, 7003])
    assert [(plan.node_id, plan.is_broker) for plan in plans] == [
        (CONTROLLER_ID, False),
        (1, True),
        (2, True),
        (3, True),
    ]
    for plan in plans:
        said = written(plan, plans)
        assert said["controller.quorum.voters"] == f"{CONTROLLER_ID}@127.0.0.1:7000"
        assert {said[name] for name in said if name.endswith("replication.factor")} == {"3"}


def test_settings_of_the_user_win():
    (only,) = plans = lay_out(1, FOLDER, [7001, 7002])
    assert written(only, plans, log_cleaner_backoff_ms="9")["log.cleaner.backoff.ms"] == "9"


def test_every_listener_is_on_the_loopback_interface():
    for plans in (lay_out(1, FOLDER, [7001, 7002]), lay_out(2, FOLDER, [7001, 7002, 7003])):
        for plan in plans:
            assert set(re.findall(r"//([\d.]+):", written(plan, plans)["listeners"])) == {"127.0.0.1"}


def test_each_pinned_version_has_kafka_and_what_it_logs_with():
    for version, pinned in PINNED.items():
        assert f"org.apache.kafka:kafka_2.13:{version}" in pinned
        assert any(":log4j-slf4j-impl:" in coordinate for coordinate in pinned)
        assert all(re.fullmatch("[0-9a-f]{64}", checksum) for checksum in pinned.values())


def test_each_node_has_a_port_for_its_metrics_where_they_are_asked_for():
    assert [plan.metrics_port for plan in lay_out(2, FOLDER, [7000, 7001, 7002])] == [0, 0, 0]
    assert [plan.metrics_port for plan in lay_out(2, FOLDER, [7000, 7001, 7002, 7003, 7004, 7005])] == [
        7003,
        7004,
        7005,
    ]
    assert [plan.metrics_port for plan in lay_out(1, FOLDER, [7000, 7001, 7002, 7003])] == [7002]
