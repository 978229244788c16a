"""Offset accounting on a real broker: every offset of a scan is named, and the names sum up."""

from __future__ import annotations

import pytest

from tests.kafka.capture_topics import create, messages, produce, transaction
from workbench.config import profile_from_options
from workbench.problems import checking
from workbench.problems.scope import scope_from
from workbench.sources import connect

pytestmark = pytest.mark.kafka


def report(kafka, work_dir, **options):
    with connect(profile_from_options(kafka, {})) as sources:
        evidence = checking.problem("duplicates").collect(sources, scope_from(**options), work_dir=work_dir)
    return checking.examine("duplicates", evidence).report


def test_every_offset_is_accounted_for(kafka, topic_name, unique, tmp_path):
    create(kafka, topic_name, 2)
    produce(kafka, topic_name, messages(40, partitions=2))
    for commit in (True, False):
        with transaction(kafka, f"t-{unique}", commit=commit) as producer:
            for number in range(6):
                producer.produce(topic_name, value=f'{{"messageId": "{commit}-{number}"}}', partition=number % 2)
    with transaction(kafka, f"open-{unique}", commit=None) as producer:
        producer.produce(topic_name, value=b'{"messageId": "open"}', partition=0)
        producer.flush(20)
        produce(kafka, topic_name, messages(4, 40, partitions=2))
        wire = report(kafka, tmp_path / "wire", source=topic_name)
        client = report(kafka, tmp_path / "client", source=topic_name, reader="client")
        producer.abort_transaction(20)
    assert (wire.facts["reader"], client.facts["reader"]) == ("wire", "client")
    # Two markers in each partition; behind the open transaction wait itself and two of the last four.
    known = {"scanned": 61, "readable": 48, "hidden": 3, "aborted": 6, "removed": 0}
    assert wire.facts["offsets"] == {topic_name: {**known, "control": 4, "compacted": 0}}
    assert client.facts["offsets"] == {topic_name: {**known, "control": None, "compacted": None}}
    assert wire.ledger == client.ledger
    assert any("client library" in note.summary for note in client.notes)
