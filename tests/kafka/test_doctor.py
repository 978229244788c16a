"""Doctor and the rights: what is denied is said to be denied, and the printed grants are exactly what is missing."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from tests.kafka.commits import commit, stored
from tests.kafka.secured import Secured, secured
from workbench.cli import app
from workbench.config import profile_from_options
from workbench.errors import AccessDenied
from workbench.sources import Cluster, connect
from workbench.sources.doctor import COMMIT_LOG, diagnose_access, grants

pytestmark = pytest.mark.kafka


@pytest.fixture(scope="module")
def broker() -> Iterator[Secured]:
    with secured() as found:
        admin = AdminClient({"bootstrap.servers": found.plain})
        for future in admin.create_topics([NewTopic("orders", 2, 1), NewTopic("hidden", 1, 1)]).values():
            future.result()
        while not {"orders", "hidden"} <= admin.list_topics().topics.keys():
            time.sleep(0.05)
        producer = Producer({"bootstrap.servers": found.plain})
        producer.produce("orders", b"x", partition=0)
        producer.flush()
        commit(admin, "billing", TopicPartition("orders", 0, 1))
        found.grant(grants(found.bootstrap, ["orders"], ["billing"], "User:reader"))
        yield found


def states(checks) -> dict[str, str]:
    return {check.name: check.state for check in checks}


def test_with_the_printed_grants_everything_can_be_decided(broker: Secured):
    checks = diagnose_access(broker.profile("reader"), ["orders"], ["billing"])
    assert set(states(checks).values()) == {"ok"}
    assert not any(check.undecided for check in checks)


def test_without_rights_each_check_says_what_stays_undecided(broker: Secured):
    checks = diagnose_access(broker.profile("nobody"), ["orders", "missing"], ["billing"])
    assert states(checks) == {
        "Reach the cluster": "ok",
        "Versions": "ok",
        "Describe on the cluster": "denied",
        "DescribeConfigs on the cluster": "denied",
        "Describe on topic orders": "denied",
        "Describe on topic missing": "denied",  # a broker does not say whether what it hides exists
        "Describe on group billing": "denied",
        "Describe on transactional id *": "unknown",
        f"Read on topic {COMMIT_LOG}": "denied",
    }
    undecided = {code for check in checks for code in check.undecided}
    assert {"loss", "duplicates", "loss-hanging-transaction", "duplicates-offset-rewind"} <= undecided


def test_a_wrong_password_is_one_check_and_no_secret_shows(broker: Secured):
    (check,) = diagnose_access(broker.profile("reader", "hush-hush"), ["orders"])
    assert check.state == "denied"
    assert "refused the login" in check.detail
    assert "hush-hush" not in repr(check)


def test_an_open_cluster_has_every_right(kafka: str):
    checks = states(diagnose_access(profile_from_options(kafka)))
    assert checks.pop(f"Read on topic {COMMIT_LOG}") in {"ok", "unknown"}  # there is none before the first commit
    assert set(checks.values()) == {"ok"}


def test_denied_topics_and_groups_are_failures_with_reasons(broker: Secured):
    cluster = connect(broker.profile("reader")).cluster
    assert cluster.topics(["orders", "hidden"]).failures == {"hidden": "Describe denied on topic hidden"}
    offsets = cluster.offsets(["orders", "hidden"])
    assert offsets.failures == {"hidden": "Describe denied on topic hidden"}
    assert [row["high_watermark"] for row in offsets.rows()] == [1, 0]
    assert cluster.topic_configs(["hidden"]).failures == {"hidden": "DescribeConfigs denied on topic hidden"}
    assert cluster.committed("secret").failures == {"secret": "Describe denied on group secret"}
    assert cluster.committed("billing", ["orders", "hidden"]).failures == {"hidden": "Describe denied on topic hidden"}
    assert cluster.members(["secret"]).failures == {"secret": "Describe denied on group secret"}


def test_a_denied_topic_is_raised_with_the_right_to_ask_for(broker: Secured):
    with pytest.raises(AccessDenied) as caught:
        connect(broker.profile("nobody")).cluster.require_topics(["orders"])
    assert "Describe on topic orders" in caught.value.hint


def test_listings_that_leave_out_say_so(broker: Secured):
    """Without Describe on the cluster, a broker lists only some groups and says nothing about the others."""
    cluster = connect(broker.profile("nobody")).cluster
    assert "left out" in cluster.groups_reading(None).failures["groups"]
    assert "left out" in cluster.groups().failures["groups"]
    broker.grant("kafka-acls --allow-principal User:nobody --operation Describe --topic hidden")
    assert "Describe denied" in cluster.offsets(["hidden"]).failures["log_size_bytes"]


def test_an_open_transaction_needs_rights_to_be_judged(broker: Secured):
    """A producer whose transactional id may not be seen: undecided, never hanging."""
    broker.grant("kafka-acls --allow-principal User:nobody --operation Read --operation Describe --topic orders")
    settings = {**broker.profile("full").kafka, "transactional.id": "hidden-sender", "log_level": 0}
    producer = Producer(settings)
    producer.init_transactions()
    producer.begin_transaction()
    producer.produce("orders", b"y", partition=1)
    producer.flush()
    try:
        (seen,) = connect(broker.profile("nobody")).cluster.open_transactions(["orders"]).rows()
        assert (seen["hanging"], seen["transactional_id"]) == (None, None)
        assert "not proven" in seen["reason"]
        (known,) = connect(broker.profile("reader")).cluster.open_transactions(["orders"]).rows()
        assert (known["hanging"], known["transactional_id"]) == (False, "hidden-sender")
    finally:
        producer.abort_transaction()


def test_reading_everything_changes_nothing(broker: Secured):
    """All of the cluster's questions, as a principal that may only read: it could not write if it tried."""
    admin = AdminClient({"bootstrap.servers": broker.plain})
    before = (set(admin.list_topics().topics), stored(admin, "billing"))
    read_all(connect(broker.profile("reader")).cluster)
    assert (set(admin.list_topics().topics), stored(admin, "billing")) == before


def read_all(cluster: Cluster) -> None:
    cluster.topics()
    cluster.offsets(["orders"])
    cluster.offsets_at(["orders"], 0)
    cluster.topic_configs(["orders"])
    cluster.broker_configs()
    cluster.committed("billing", ["orders"])
    cluster.groups()
    cluster.members(["billing"])
    cluster.groups_reading(["orders"])
    cluster.open_transactions(["orders"])


def run(*words: str):
    return CliRunner().invoke(app, ["doctor", *words])


def test_the_command_prints_checks_and_its_exit_code_says_how_far_one_gets(kafka: str):
    done = run("--bootstrap", kafka, "--topic", "no-such-topic", "--format", "json")
    found = {check["name"]: check for check in json.loads(done.stdout)["checks"]}
    assert found["Describe on topic no-such-topic"]["state"] == "missing"
    assert done.exit_code == 3
    assert run("--bootstrap", "127.0.0.1:1").exit_code == 1


def test_the_grants_need_no_broker_and_are_quoted():
    done = run(
        "--bootstrap", "nowhere:1", "--acls", "--group", "it's", "--topic", "orders", "--principal", "User:CN=a b"
    )
    assert done.exit_code == 0
    assert "--transactional-id '*'" in done.stdout
    assert "--group 'it'\"'\"'s'" in done.stdout
    assert "--allow-principal 'User:CN=a b'" in done.stdout
    assert "Write" not in done.stdout
    assert "Alter" not in done.stdout
