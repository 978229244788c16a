"""``check`` with fewer rights and with bad input: a sentence with the next step, or undecided; never a traceback."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import AdminClient, NewTopic
from typer.testing import CliRunner

from tests.kafka.secured import Secured, secured
from workbench.cli import app, main
from workbench.sources.doctor import grants

pytestmark = pytest.mark.kafka
TOPICS = ("orders", "mails")


@pytest.fixture(scope="module")
def broker() -> Iterator[Secured]:
    with secured() as found:
        admin = AdminClient({"bootstrap.servers": found.plain})
        for future in admin.create_topics([NewTopic(name, 2, 1) for name in TOPICS]).values():
            future.result()
        while not set(TOPICS) <= admin.list_topics().topics.keys():
            time.sleep(0.05)
        producer = Producer({"bootstrap.servers": found.plain})
        for number in range(20):
            for topic in TOPICS:
                producer.produce(topic, f'{{"messageId": "m{number}"}}', partition=number % 2)
        producer.flush()
        yield found


def words(bootstrap: str, *more: str) -> list[str]:
    return [
        "check",
        "loss",
        "--bootstrap",
        bootstrap,
        "--source",
        "orders",
        "--sink",
        "mails",
        "--format",
        "json",
        *more,
    ]


def secured_words(broker: Secured, user: str, *more: str) -> list[str]:
    login = broker.profile(user).kafka
    settings = [word for key in login if key != "bootstrap.servers" for word in ("-X", f"{key}={login[key]}")]
    return words(broker.bootstrap, *settings, *more)


def report(broker: Secured, user: str, *more: str) -> tuple[int, dict]:
    done = CliRunner().invoke(app, secured_words(broker, user, *more))
    return done.exit_code, json.loads(done.stdout)


def said(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, given: list[str]) -> tuple[int, str]:
    """(exit code, what a user reads) of a command that ends in an error."""
    monkeypatch.setattr("sys.argv", ["workbench", *given])
    with pytest.raises(SystemExit) as ended:
        main()
    return int(ended.value.code or 0), capsys.readouterr().err


def test_topics_that_may_not_be_seen_leave_the_ledger_undecided(broker: Secured):
    code, found = report(broker, "nobody")
    assert (code, found["verdict"]) == (3, "undecided")
    assert set(found["ledger"].values()) == {None}
    reasons = json.dumps(found["undecided"])
    assert "Describe" in reasons
    assert "orders" in reasons


def test_a_sink_that_may_not_be_read_is_named_and_nothing_counts_as_lost(broker: Secured):
    broker.grant(grants(broker.bootstrap, ["orders"], [], "User:reader"))
    broker.grant("kafka-acls --allow-principal User:reader --operation Describe --topic mails")
    code, found = report(broker, "reader")
    assert (code, found["verdict"], found["ledger"]["lost"]) == (3, "undecided", 0)
    assert any("mails" in item["reason"] and "denied" in item["reason"].lower() for item in found["undecided"])


def test_a_group_that_may_not_be_seen_is_said(broker: Secured):
    broker.grant(grants(broker.bootstrap, TOPICS, [], "User:reader"))
    code, found = report(broker, "reader", "--group", "billing")
    assert (code, found["ledger"]["delivered"]) == (3, 20)
    assert any("Describe" in item["reason"] and "billing" in item["reason"] for item in found["undecided"])


def test_with_the_printed_grants_the_check_is_decided(broker: Secured):
    broker.grant(grants(broker.bootstrap, TOPICS, [], "User:reader"))
    code, found = report(broker, "reader")
    assert (code, found["verdict"], found["ledger"]["delivered"]) == (0, "ok", 20)


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        (["--sink", "mial"], (1, "mial")),
        (["--since", "1h", "--until", "2h"], (2, "Swap the two times")),
        (["--where", "value->>'$.a' = (SELECT 1"], (2, "--where")),
        (["--id-from", "jsno:$.x"], (2, "jsno")),
        (["--profile", "nowhere"], (2, "--profile")),
        (["--reader", "fast"], (2, "auto, wire, client")),
        (["--sent-log", "no-such-file.jsonl"], (2, "no-such-file.jsonl")),
        (["--limit", "-1"], (2, "--limit")),
    ],
)
def test_bad_input_is_one_sentence_with_the_next_step(
    broker: Secured, capsys, monkeypatch, more: list[str], expected: tuple[int, str]
):
    code, err = said(capsys, monkeypatch, words(broker.plain, *more))
    assert (code, expected[1] in err) == (expected[0], True), err
    assert "Traceback" not in err


def test_a_wrong_password_is_one_sentence_without_the_password(broker: Secured, capsys, monkeypatch):
    given = [word.replace("reader-password", "hush-hush") for word in secured_words(broker, "reader")]
    code, err = said(capsys, monkeypatch, given)
    assert code == 1
    assert "refused the login" in err
    assert "hush-hush" not in err
    assert "Traceback" not in err
