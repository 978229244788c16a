"""The planters' truth against what an independent client finds on the broker."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from tests.kafka import witness
from tests.kafka.planting import begin, of_each_run, planted
from workbench.errors import UsageError
from workbench.problems.scope import scope_from
from workbench.sandbox.incidents import INCIDENTS, plant

# Those that need brokers of their own take minutes: one test plants them, and the report is its witness.
ORDINARY = sorted(name for name, item in INCIDENTS.items() if not item.special)
# The witness reads topics; what is in tables test_stores.py looks at.
IN_TOPICS = [name for name in ORDINARY if not INCIDENTS[name].tables]
LOSSES = [name for name in IN_TOPICS if INCIDENTS[name].problem == "loss"]
DUPLICATES = [name for name in IN_TOPICS if INCIDENTS[name].problem == "duplicates"]
COMPACTED_SINK = "clean-compacted-sink"


@pytest.fixture(scope="module")
def chosen(request, kafka):
    """Starts to plant all that the chosen tests of this module look at."""
    items = (item for item in request.session.items if getattr(item, "module", None) is request.module)
    begin({item.callspec.params["truth"] for item in items if "truth" in item.fixturenames}, kafka)


@pytest.fixture
def truth(request, chosen, kafka):
    return planted(request.param, kafka)


def look(truth, kafka, role):
    """The topics of a role, read by the witness."""
    named = truth.options.get(role, [])
    return [witness.look(kafka, name) for name in ([named] if isinstance(named, str) else named)]


def all_ids(topics):
    return set().union(*(topic.ids for topic in topics))


def copies_at(truth, kafka):
    """For the source and each sink: id -> records that its readers see."""
    uncommitted = truth.options.get("isolation") == "read_uncommitted"
    source, *sinks = [*look(truth, kafka, "source"), *look(truth, kafka, "sink")]
    views = [source.visible, *(sink.records if uncommitted else sink.visible for sink in sinks)]
    return [Counter(record.id for record in view if record.id) for view in views]


def test_registry_has_enough_faults_and_controls():
    faults = [item for item in INCIDENTS.values() if not item.clean]
    controls = [item for item in INCIDENTS.values() if item.clean]
    assert len(faults) >= 10
    assert len(controls) >= 6
    assert {item.problem for item in controls} == {item.problem for item in faults}
    assert all(item.summary.endswith(".") and len(item.summary) < 120 for item in INCIDENTS.values())


def test_unknown_incident_names_the_nearest():
    with pytest.raises(UsageError) as error:
        plant("retention-overtok", "127.0.0.1:1")
    assert "retention-overtook" in error.value.hint


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run([n for n in ORDINARY if INCIDENTS[n].problem != "lag"]), indirect=True)
def test_truth_is_consistent_and_its_options_are_those_of_check(truth):
    item = INCIDENTS[truth.incident]
    assert dict(truth.findings) == dict(item.expects)
    assert truth.clean is item.clean
    scope = scope_from(**truth.options)
    assert scope.source == truth.options["source"]
    whole = {"loss": "lost", "duplicates": "extra_copies"}.get(truth.problem)
    assert whole is None or sum(truth.causes.values()) == truth.ledger[whole]
    assert json.loads(truth.to_json())["options"]["source"] == scope.source


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run(LOSSES), indirect=True)
def test_every_message_lies_where_the_truth_says(truth, kafka):
    """The witness derives each id's disposition from the topics, the commits and the sent log alone."""
    assert dispositions(truth, kafka) == {name: sorted(ids) for name, ids in truth.dispositions.items()}


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run(LOSSES), indirect=True)
def test_loss_ledger_counts_what_is_there(truth, kafka):
    (source,) = look(truth, kafka, "source")
    log = witness.sent_log(truth.options["sent_log"]) if "sent_log" in truth.options else {}
    sent = source.ids | {record.id for record in source.hidden} | set(log)
    assert truth.ledger["sent"] == len(sent)
    others = sum(map(len, truth.dispositions.values()))
    assert truth.ledger["delivered"] == len(sent) - others
    unmatched = all_ids(look(truth, kafka, "sink")) - sent
    assert len(unmatched) == truth.facts.get("unmatched_at_sink", 0)
    assert sum(record.id is None for record in source.visible) == truth.facts.get("unidentified", 0)


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run([name for name in LOSSES if name.endswith("-blind")]), indirect=True)
def test_losses_without_ids_are_bounded_by_offsets(truth, kafka):
    (source,) = look(truth, kafka, "source")
    commits = witness.committed(kafka, truth.options["group"], source.name)
    gone = sum(max(source.starts[partition] - offset, 0) for partition, offset in commits.items())
    (ids,) = truth.ids.values()
    assert truth.facts["lost_offsets_upper_bound"] == gone == len(ids) > 0
    assert not set(ids) & (source.ids | all_ids(look(truth, kafka, "sink")))


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run(DUPLICATES), indirect=True)
def test_duplicates_ledger_counts_what_is_there(truth, kafka):
    places = copies_at(truth, kafka)
    records, messages = sum(map(Counter.total, places)), sum(map(len, places))
    assert truth.ledger["records"] == records
    assert truth.ledger["messages"] == messages
    assert truth.ledger["extra_copies"] == records - messages


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run([n for n in DUPLICATES if not INCIDENTS[n].clean]), indirect=True)
def test_ids_that_were_hit_are_those_with_copies(truth, kafka):
    doubled = {id_ for place in copies_at(truth, kafka) for id_, count in place.items() if count > 1}
    hit = set().union(*truth.ids.values())
    assert hit
    assert doubled == (set() if "content-mismatch" in truth.ids else hit)


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run(["producer-retry"]), indirect=True)
def test_retried_batch_was_stored_twice_with_the_same_times(truth, kafka):
    (source,) = look(truth, kafka, "source")
    copies = {}
    for record in source.records:
        copies.setdefault(record.id, []).append(record)
    for id_ in truth.ids["duplicates-producer-retry"]:
        first, second = copies[id_]
        assert (first.partition, first.timestamp_ms, first.key) == (second.partition, second.timestamp_ms, second.key)
        assert second.offset - first.offset == len(truth.ids["duplicates-producer-retry"])


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run(["application-resend", "partitioner-change"]), indirect=True)
def test_resent_events_have_new_times(truth, kafka):
    """And they come to the same partition, unless the partitioner changed."""
    (source,) = look(truth, kafka, "source")
    (ids,) = truth.ids.values()
    for id_ in ids:
        first, second = sorted((r for r in source.records if r.id == id_), key=lambda r: r.timestamp_ms)
        assert second.timestamp_ms > first.timestamp_ms
        assert second.key == first.key
        assert (second.partition == first.partition) == (truth.incident == "application-resend")


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run(["redrive", "redrive-home-made"]), indirect=True)
def test_redriven_copies_carry_marks_everywhere(truth, kafka):
    marks = {"workbench-redrive-origin", "x-replay-count"}
    ids = set(truth.ids["duplicates-redrive"])
    for (topic,) in (look(truth, kafka, "source"), look(truth, kafka, "sink")):
        marked = [record.id for record in topic.records if marks & set(record.headers)]
        assert sorted(marked) == sorted(ids)
    assert all_ids(look(truth, kafka, "dead_letters")) == ids


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run(["content-mismatch"]), indirect=True)
def test_mismatched_content_differs_for_exactly_the_ids_named(truth, kafka):
    (source,), (sink,) = look(truth, kafka, "source"), look(truth, kafka, "sink")
    written = {record.id: record.value["data"]["email"] for record in sink.records}
    differing = {r.id for r in source.records if r.value["data"]["email"] != written[r.id]}
    assert differing == set(truth.ids["content-mismatch"])


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run(["consumer-dropped", "consumer-dropped-version"]), indirect=True)
def test_pattern_is_whole(truth, kafka):
    """All of one type or version are lost, and no other."""
    (source,) = look(truth, kafka, "source")
    lost = set(truth.ids["loss-consumer-dropped"])
    field = "version" if truth.incident.endswith("version") else "eventType"
    values = {record.value[field] for record in source.records if record.id in lost}
    assert len(values) == 1
    assert {record.id for record in source.records if record.value[field] in values} == lost


@pytest.mark.kafka
@pytest.mark.parametrize(
    "truth", of_each_run(["aborted-transaction", "aborted-transaction-source", "read-uncommitted"]), indirect=True
)
def test_aborted_copies_are_in_the_log(truth, kafka):
    (topic,) = look(truth, kafka, "source" if truth.incident.endswith("source") else "sink")
    (ids,) = truth.ids.values()
    assert {record.id for record in topic.aborted} == set(ids)


@pytest.mark.kafka
@pytest.mark.parametrize("truth", of_each_run(["business-duplicates"]), indirect=True)
def test_business_duplicates_share_their_request(truth, kafka):
    (source,) = look(truth, kafka, "source")
    requests = Counter(record.value["data"]["requestId"] for record in source.records)
    doubled = {r.id for r in source.records if requests[r.value["data"]["requestId"]] == 2}
    assert doubled == set(truth.ids["duplicates-business"])


@pytest.mark.kafka
@pytest.mark.parametrize(
    "truth",
    of_each_run([name for name in LOSSES if name.startswith(("producer-", "oversize-", "rejected-"))]),
    indirect=True,
)
def test_lost_sends_are_in_the_sent_log_without_an_offset(truth, kafka):
    (source,) = look(truth, kafka, "source")
    log = witness.sent_log(truth.options["sent_log"])
    (ids,) = truth.ids.values()
    assert set(log) - source.ids == set(ids)
    assert not any("offset" in line for id_ in ids for line in log[id_])


@pytest.mark.kafka
def test_same_seed_makes_the_same_incident_on_other_topics(kafka):
    first, second = planted("consumer-dropped", kafka), plant("consumer-dropped", kafka, 0)
    assert first.ids == second.ids
    assert first.ledger == second.ledger
    assert first.options["source"] != second.options["source"]
    assert plant("consumer-dropped", kafka, 1).ids != first.ids


def dispositions(truth, kafka):
    """Disposition -> ids, without those delivered, by the definitions of the ledger."""
    (source,), sinks = look(truth, kafka, "source"), look(truth, kafka, "sink")
    commits = witness.committed(kafka, truth.options["group"], source.name)
    log = witness.sent_log(truth.options["sent_log"]) if "sent_log" in truth.options else {}
    dead, retrying = all_ids(look(truth, kafka, "dead_letters")), all_ids(look(truth, kafka, "retry_topic"))
    records = {record.id: record for record in [*source.visible, *source.hidden] if record.id}
    hidden_at_sink = {record.id for sink in sinks for record in sink.hidden}
    latest_keys = {record.key for sink in sinks for record in sink.visible}
    found = {}
    for id_ in sorted(set(records) | set(log)):
        record = records.get(id_)
        superseded = truth.incident == COMPACTED_SINK and record and record.key in latest_keys
        if record and record.value["eventType"] == "heartbeat" and "where" in truth.options:
            fate = "filtered"
        elif superseded or all(id_ in sink.ids for sink in sinks):
            continue
        elif id_ in dead or id_ in retrying:
            fate = "dead_lettered" if id_ in dead else "retrying"
        elif (record and not record.visible) or id_ in hidden_at_sink:
            fate = "hidden"
        elif record and record.offset >= commits.get(record.partition, 0):
            fate = "waiting"
        else:
            fate = fate_of_the_missing(truth, sinks)
        found.setdefault(fate, []).append(id_)
    return found


def fate_of_the_missing(truth, sinks):
    if truth.options["expected_latency"] != "1s":
        return "in_flight"
    cut = any(start for sink in sinks for start in sink.starts.values())
    return "unverifiable" if cut else "lost"
