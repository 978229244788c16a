"""Header names that are not UTF-8: the client library fails on them; nothing of ours may."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.kafka.capture_topics import create

pytestmark = pytest.mark.kafka


class NotUtf8(str):
    """A header name as a client in another language may send it."""

    __slots__ = ()

    def encode(self, *_):
        return b"\xff\xfename"


def test_discover_survives_header_names_that_are_no_text(kafka, topic_name):
    from kafka import KafkaProducer

    create(kafka, topic_name, 1)
    sender = KafkaProducer(bootstrap_servers=kafka, allow_auto_create_topics=False)
    for n in range(20):
        headers = [("plain" if n % 2 else NotUtf8("x"), b"1")]
        sender.send(topic_name, b'{"messageId": "m%d"}' % n, headers=headers, partition=0).get(20)
    sender.close()
    done = subprocess.run(
        [sys.executable, "-m", "workbench", "discover", topic_name, "--bootstrap", kafka],
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "json:$.messageId" in done.stdout
