"""Each rule of lag: it fires, it stays silent just inside its limits, it is undecided without its evidence."""

from __future__ import annotations

import pytest

from tests.unit.builder import NOW_MS
from tests.unit.lag_world import WINDOW, Group, line
from workbench.evidence import Evidence
from workbench.problems import lag


def found(group):
    report = lag.diagnose(group.evidence())
    return report, {item.code: item.state for item in report.findings}


def reason(report, code):
    return next(item.reason for item in report.undecided if item.code == code)


def even(count=3, sent=50.0, read=20.0):
    return Group(*((line(sent), line(read)) for _ in range(count)))


def stuck(count=4, at=100, others=10.0):
    """The last partition's commit stands; the others keep up."""
    healthy = [(line(others, 200), line(others, 200)) for _ in range(count - 1)]
    return Group(*healthy, (line(others, 80), lambda at_: min(at, 80 + others * at_)))


def stopped(at=20.0, sent=10.0):
    """All commits stop at a moment of the window."""
    return Group(*((line(sent), lambda now: sent * min(now, at)) for _ in range(2)))


def test_more_is_sent_than_read():
    report, codes = found(even())
    assert codes == {"lag-throughput-deficit": "confirmed"}
    assert report.causes["lag-throughput-deficit"] == 3
    assert all(item["slope_low"] > 0 for item in report.facts["partitions"])


def test_equal_rates_are_no_deficit():
    report, codes = found(Group(*((line(20, 200), line(20)) for _ in range(3))))
    assert "lag-throughput-deficit" in report.ruled_out
    assert codes == {}
    assert report.verdict == "undecided"  # it is behind, and nothing says why


def test_without_samples_the_rates_are_undecided():
    group = even()
    group.without = {"samples"}
    report, _ = found(group)
    assert "Read denied" in reason(report, "lag-throughput-deficit")
    assert report.verdict == "undecided"


def burst(at):
    return 900 if at > 20 else 10 * at


def test_a_burst_is_worked_off():
    report, codes = found(Group(*((burst, line(12)) for _ in range(2))))
    assert codes == {"lag-burst": "confirmed"}
    assert report.verdict == "info"
    assert report.facts["partitions"][0]["catch_up_seconds"] == pytest.approx(15, abs=2)


def test_a_backlog_of_before_the_window_is_a_suspected_burst():
    _, codes = found(Group(*((line(0, 5_000), line(10)) for _ in range(2))))
    assert codes == {"lag-burst": "suspected"}


def slower(*, before=2.0, now=20.0, sent=10.0):
    group = Group(*((line(sent), lambda at: min(10 * at, 200 + 4 * at)) for _ in range(2)))
    group.log = [
        {"at_ms": group.at(at), "event": "processed", "duration_ms": now if at > 33 else before} for at in range(WINDOW)
    ]
    return group


def test_processing_that_takes_longer_is_named():
    assert found(slower())[1] == {"lag-slow-processing": "confirmed"}


def test_flat_durations_are_no_slow_processing():
    report, codes = found(slower(now=2.0))
    assert "lag-slow-processing" in report.ruled_out
    assert codes == {"lag-throughput-deficit": "confirmed"}


def test_a_group_that_reads_less_without_durations_is_undecided_on_processing():
    group = slower()
    group.log = None
    assert "durations" in reason(found(group)[0], "lag-slow-processing")


def hot(rate):
    return Group(*((line(5), line(5)) for _ in range(4)), (line(rate), line(5)))


def test_one_partition_gets_most_of_the_traffic():
    report, codes = found(hot(80))
    assert codes == {"lag-hot-partition": "confirmed"}
    assert report.findings[0].subject["partition"] == 4


def test_even_traffic_with_uneven_lag_is_only_suspected():
    _, codes = found(Group(*((line(20), line(20)) for _ in range(4)), (line(20), line(10))))
    assert codes == {"lag-hot-partition": "suspected"}


def test_a_record_that_does_not_decode_stops_its_partition():
    group = stuck()
    for offset in range(60, 160):
        group.record(3, offset, decoded=offset != 100)
    report, codes = found(group)
    assert codes == {"lag-poison-pill": "confirmed"}
    assert report.verdict == "critical"
    assert "offset 100" in report.findings[0].summary


def test_a_format_that_nothing_decodes_says_nothing_of_one_record():
    group = stuck()
    for offset in range(60, 160):
        group.record(3, offset, decoded=False)
    assert "lag-poison-pill" not in found(group)[1]


def test_a_record_that_fails_again_and_again_in_the_log_stops_its_partition():
    group = stuck()
    group.log = [
        {"at_ms": group.at(50 + n), "level": "ERROR", "error": "boom", "topic": "in", "partition": 3, "offset": 100}
        for n in range(3)
    ]
    assert found(group)[1] == {"lag-poison-pill": "confirmed"}
    group.log = group.log[:1]
    assert "lag-poison-pill" not in found(group)[1]


def test_a_partition_that_stands_alone_may_be_paused():
    report, codes = found(stuck())
    assert codes == {"lag-paused": "suspected"}
    assert "service's log" in reason(report, "lag-poison-pill")


def test_a_pause_that_the_log_names_is_confirmed_until_it_is_resumed():
    group = stuck()
    group.log = [{"at_ms": group.at(1), "event": "consumer.paused", "topic": "in", "partition": 3}]
    assert found(group)[1] == {"lag-paused": "confirmed"}
    group.log.append({"at_ms": group.at(2), "event": "consumer.resumed", "topic": "in", "partition": 3})
    assert found(group)[1].get("lag-paused") != "confirmed"


def test_a_reader_that_works_off_another_partition_is_not_paused():
    """One member serves its partitions in turns: the other one waits for its turn."""
    group = Group((burst, line(12)), (burst, lambda at: 10 * min(at, 20)))
    assert "lag-paused" not in found(group)[1]


def test_a_record_above_the_consumer_s_limit():
    group = stuck()
    group.facts["consumer_config"] = {"receive.message.max.bytes": "50000"}
    for offset in range(90, 120):
        group.record(3, offset, value_size=60_000 if offset == 100 else 100)
    assert found(group)[1] == {"lag-fetch-limit": "confirmed"}
    group.facts["consumer_config"] = {"receive.message.max.bytes": "70000"}
    assert "lag-fetch-limit" in found(group)[0].ruled_out
    group.facts["consumer_config"] = {}
    assert "--consumer-config" in reason(found(group)[0], "lag-fetch-limit")


def done_at_sink(share):
    group = stopped()
    group.facts["sinks"] = ["out"]
    for part in range(2):
        for offset in range(200, 300):
            group.record(part, offset)
            if offset < 200 + 100 * share:
                group.record(part, offset, role="sink", topic="out")
    return group


def test_results_at_the_sink_without_commits():
    assert found(done_at_sink(0.9))[1] == {"lag-commit-stuck": "confirmed"}
    assert "lag-commit-stuck" in found(done_at_sink(0.3))[0].ruled_out
    assert "--sink" in reason(found(stopped())[0], "lag-commit-stuck")


def test_offsets_in_the_log_behind_the_commit():
    group = stopped()
    group.log = [
        {"at_ms": group.at(30 + n), "event": "processed", "topic": "in", "partition": part, "offset": 200 + n}
        for n in range(5)
        for part in range(2)
    ]
    assert found(group)[1] == {"lag-commit-stuck": "confirmed"}


def emptied(*runs, at=40.0):
    group = stopped(at)
    group.state, group.members, group.owners = "Empty", (), {}
    group.generations = list(runs) or [(-3600.0, 1), (at, 0)]
    group.commit_times = [float(one) for one in range(int(at))]
    return group


def test_a_group_that_left_and_has_no_habit():
    report, codes = found(emptied())
    assert codes == {"lag-no-members": "confirmed"}
    assert "has no members since" in report.findings[0].summary


def test_a_job_between_its_runs_is_fine():
    runs = [(-50.0, 1), (-40.0, 0), (-10.0, 1), (0.0, 0), (30.0, 1), (40.0, 0)]
    report, codes = found(emptied(*runs))
    assert codes == {}
    assert report.verdict == "info"
    assert {note.code for note in report.notes} >= {"between-runs"}


def test_a_job_whose_run_is_overdue_is_not():
    runs = [(-50.0, 1), (-45.0, 0), (-30.0, 1), (-25.0, 0), (-10.0, 1), (-5.0, 0)]
    assert found(emptied(*runs))[1] == {"lag-no-members": "confirmed"}


def test_commits_without_members_are_those_of_assigned_readers():
    group = emptied()
    group.commit_times = [float(at) for at in range(WINDOW + 1)]
    assert "lag-no-members" in found(group)[0].ruled_out


def test_partitions_of_nobody():
    group = even(4)
    del group.owners[3]
    group.curves = (*((line(20), line(20)) for _ in range(3)), (line(20), line(10)))
    report, codes = found(group)
    assert codes["lag-idle-members"] == "confirmed"
    assert "assigned to no member" in report.findings[0].summary


def test_one_member_has_it_all():
    group = even(5)
    group.members = ("m", "n")
    assert found(group)[1] == {"lag-idle-members": "confirmed"}
    group.owners = {part: "mn"[part % 2] for part in range(5)}
    assert "lag-idle-members" in found(group)[0].ruled_out


def test_generation_after_generation():
    group = even(3, sent=50, read=10)
    group.generations = [(-3600.0, 2), *((float(at), 2) for at in range(5, 60, 5))]
    assert found(group)[1] == {"lag-rebalance-storm": "confirmed"}
    group.generations = [(-3600.0, 2), (30.0, 2)]
    assert "lag-rebalance-storm" in found(group)[0].ruled_out


def dying(*others, session_ms=4_000):
    """The last partition stands at 60, and every eight seconds the reader that has just come is gone; so little is done."""
    group = Group(*((line(20, 100), read) for read in others), (line(20, 60), line(0, 60)))
    group.generations = [(-3600.0, 1), *((float(at), 1) for at in range(8, 60, 8))]
    group.commit_times = [0.0, *(float(at + 1) for at in range(8, 60, 8))]
    group.left, group.session_ms = 1, session_ms
    return group


def test_one_partition_that_brings_reader_after_reader_down():
    report, codes = found(dying(line(1, 90), line(1, 90)))
    assert codes == {"lag-poison-pill": "confirmed"}
    assert report.causes["lag-poison-pill"] == 3
    assert "stands at 60" in report.findings[0].summary


def test_a_partition_that_may_have_waited_for_its_turn_is_only_suspected_of_that():
    _, codes = found(dying(line(1, 90)))
    assert codes == {"lag-poison-pill": "suspected", "lag-rebalance-storm": "confirmed"}


def test_readers_that_leave_in_order_are_a_storm():
    _, codes = found(dying(line(1, 90), line(1, 90), session_ms=60_000))
    assert "lag-rebalance-storm" in codes
    assert "lag-poison-pill" not in codes


def test_a_partition_that_others_of_its_reader_overtake_again_and_again_does_not_wait_for_its_turn():
    group = Group(*((line(12), line(10)) for _ in range(2)), (line(10, 80), lambda at: min(100, 80 + 10 * at)))
    assert found(group)[1].get("lag-paused") == "suspected"


def test_a_partition_without_a_commit_stands_since_its_reader_came():
    group = stuck()
    group.unbegun = {3: (100, 2.0)}
    for offset in range(60, 160):
        group.record(3, offset, decoded=offset != 100)
    report, codes = found(group)
    assert codes == {"lag-poison-pill": "confirmed"}
    assert "no-commit" in {note.code for note in report.notes}


def loaded(age_ms=30 * 86_400_000):
    """The next records are a month old, and came behind one of forty seconds ago."""
    group = Group((lambda at: 100 + at if at < 20 else 3_000, line(5, 100)))
    group.heads = {0: age_ms}
    for offset in range(250, 500):
        group.record(0, offset, timestamp_ms=group.at(20) if offset < 400 else NOW_MS - age_ms)
    return group


def test_old_records_behind_young_ones_are_a_load():
    assert found(loaded())[1] == {"lag-bulk-load": "confirmed"}


def test_old_records_in_their_order_are_none():
    group = loaded()
    group.heads = {}
    group.records = [{**row, "timestamp_ms": group.at(20) + row["offset"]} for row in group.records]
    assert "lag-bulk-load" in found(group)[0].ruled_out


def test_a_partition_without_a_leader():
    group = Group((line(10), line(10)), (line(10), line(10)))
    group.leaderless = {1}
    report, codes = found(group)
    assert codes == {"lag-broker": "confirmed"}
    assert (report.verdict, report.causes["lag-broker"]) == ("critical", 1)
    assert report.facts["partitions"][1]["why"] == "the partition has no leader: nobody can read it"


def held(*, hanging):
    group = Group((line(0, 50), line(0, 30)))
    group.open = [
        ("in", 0, 7, 30, NOW_MS - 1000, "Ongoing", "t", 60_000, NOW_MS - 9_000, hanging, "open for 9 s of 60 s")
    ]
    group.curves = ((line(0, 50), line(0, 30)),)
    return group


def test_a_transaction_that_hangs_and_one_that_is_long():
    def report_of(hanging):
        evidence = held(hanging=hanging).evidence()
        heads = evidence.tables["cutoffs"].to_pylist()
        assert heads
        return lag.diagnose(evidence)

    report = report_of(True)
    assert {item.code: item.state for item in report.findings} == {"lag-hanging-transaction": "confirmed"}
    healthy = report_of(False)
    assert (healthy.findings, healthy.verdict) == ((), "info")
    assert "open-transaction" in {note.code for note in healthy.notes}
    assert report_of(None).verdict == "undecided"


def expiring(seconds):
    """Retention by time reaches what the group has not read after so many seconds."""
    group = even()
    group.rows["configs"] = [("in", "retention.ms", "600000", False)]
    group.rows["expiry"] = [
        ("in", part, ahead, 2_500 if ahead >= seconds else 0)
        for part in range(3)
        for ahead in (0.0, 60.0, 300.0, 600.0)
    ]
    return group


def test_retention_gets_there_first():
    report, codes = found(expiring(60.0))
    assert codes == {"lag-throughput-deficit": "confirmed", "lag-retention-risk": "confirmed"}
    assert report.verdict == "critical"
    assert "in about 60 s" in report.findings[0].summary


def test_a_group_that_stays_ahead_of_retention_is_no_risk():
    assert "lag-retention-risk" in found(expiring(300.0))[0].ruled_out


def test_commits_that_went_back_are_no_forecast():
    """A new owner of a partition went on from an older commit: nobody reads backwards from now on."""
    back = Group(*((line(50.0), lambda at: 900.0 - 0.5 * at) for _ in range(3)))
    back.rows["configs"] = [("in", "retention.ms", "600000000", False)]
    back.rows["expiry"] = [("in", part, ahead, 0) for part in range(3) for ahead in (0.0, 43_200.0, 86_400.0)]
    assert "lag-retention-risk" in found(back)[0].ruled_out


def test_retention_by_size():
    group = even()
    group.rows["configs"] = [("in", "retention.bytes", "1100", False)]
    assert "lag-retention-risk" in found(group)[1]
    group.rows["configs"] = [("in", "retention.bytes", "100000000000", False)]
    assert "lag-retention-risk" not in found(group)[1]


def test_without_settings_the_risk_is_undecided():
    group = even()
    group.without = {"configs"}
    assert "Read denied" in reason(found(group)[0], "lag-retention-risk")


def test_slow_but_regular_commits_are_no_lag():
    every = 12
    group = Group(*((line(10), lambda at: 10 * (at - at % every)) for _ in range(2)))
    group.commit_times = [float(at) for at in range(0, WINDOW, every)]
    group.curves = tuple((line(10), lambda at: 10 * min(at - at % every, 48)) for _ in range(2))
    report, codes = found(group)
    assert codes == {}
    assert {note.code for note in report.notes} >= {"between-commits"}


def test_a_group_that_has_just_begun_is_starting():
    group = Group(*((line(0, 5_000), lambda at: max(0, 300 * (at - 57))) for _ in range(2)))
    group.generations = [(57.0, 1)]
    group.commit_times = [58.0, 59.0, 60.0]
    group.heads = {0: 3_600_000, 1: 3_600_000}
    report, codes = found(group)
    assert codes == {}
    assert {note.code for note in report.notes} >= {"starting"}


@pytest.mark.parametrize("group", [even(), stuck(), emptied(), loaded(), held(hanging=True), expiring(60.0)])
def test_a_saved_case_leads_to_the_same_report(group, tmp_path):
    evidence = group.evidence()
    assert lag.diagnose(Evidence.load(evidence.save(tmp_path / "kept"))) == lag.diagnose(evidence)
