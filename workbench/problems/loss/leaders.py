"""Loss when a leader fails: what it alone had is not in the log of those after it."""

from __future__ import annotations

from workbench.problems.loss.lineage import AROUND, acks_of, has_followers, replaced, turn_in_words, turn_rows
from workbench.problems.loss.retention import config_of
from workbench.problems.rules import RULED_OUT, Case, Claim, Ruling, rule
from workbench.report import Severity

_UNCLEAN = "unclean.leader.election.enable"


@rule("loss-leader-failover", Severity.CRITICAL, needs=("sent_log", "epochs"))
def leader_failover(case: Case) -> Ruling:
    """A leader acknowledged messages that no other replica had, and then it failed.

    Confirmed where the offset at which the sent log was told that a message is (at or above the log start) holds another
    message or none, the leader of a later epoch began at or below it after the message was sent, unclean elections are off, and
    the producer waited for the leader alone (``acks=1``) or did not say. Suspected where an unclean election may have done
    it too (allowed on the topic, or not known), or the producer says that it waited for all. Ruled out where each
    acknowledged offset still holds its message, no leader began at those, the topic has one replica, the producer asked for no
    acknowledgement, or somebody had read there (that is loss-unclean-election).
    """
    mine = replaced(case, "t.partition NOT IN (SELECT partition FROM cut_off)")
    if not has_followers(case) or acks_of(case) == "0" or not case.count(mine):
        return RULED_OUT
    clean = config_of(case, _UNCLEAN) == "false"
    if acks_of(case) == "all" and not clean:
        return RULED_OUT  # all replicas in sync had them: only one that was not in sync can lead without them
    return Ruling(
        claims=(Claim("confirmed" if clean and acks_of(case) != "all" else "suspected", mine),),
        summary=f"{{count}} messages were acknowledged by a leader of {case.facts['source']} that failed before another had "
        f"them: {turn_in_words(case)}.",
        subject={"topic": str(case.facts["source"])},
        tables=("sent_log", "records", "epochs"),
        rows=turn_rows(case),
    )


_SILENT = "NOT in_source AND NOT held AND acked IS NOT FALSE AND acked_offset IS NULL AND error_class IS NULL AND source_reaches"


@rule("loss-acks-zero", Severity.CRITICAL, needs=("sent_log",))
def acks_zero(case: Case) -> Ruling:
    """The producer asked for no acknowledgement (``acks=0``), and a leader failed while it sent.

    Confirmed where the producer is known to have run with ``acks=0`` (``--producer-config``), a message of the sent log is
    not in the source, nothing was acknowledged nor any error written down, and it was sent between the last record of one
    leader and the first of the next. Suspected where no leader changed: then a broken connection, or a batch that the
    broker refused without being able to say so. Undecided where the producer's ``acks`` are not known and messages are missing
    without a word. Ruled out with ``acks=1`` or ``acks=all``, or where each missing message has an error or an offset.
    """
    if not case.count(_SILENT) or acks_of(case) not in (None, "0"):
        return RULED_OUT
    if acks_of(case) is None:
        return Ruling(undecided="needs the producer's setting (--producer-config acks=...)")
    around = case.count(f"{_SILENT} AND {AROUND}")
    why = f": {turn_in_words(case)} while they were sent" if around else ""
    return Ruling(
        claims=(Claim("confirmed", f"{_SILENT} AND {AROUND}"), Claim("suspected", _SILENT)),
        summary=f"{{count}} messages were sent without asking for an acknowledgement (acks=0) and are not in the log{why}.",
        subject={"topic": str(case.facts["source"])},
        tables=("sent_log", "records", *(("epochs",) if around else ())),
        rows=turn_rows(case) if around else (),
    )


# Messages that were written below what the group had committed of the former leader's log: it never read them.
_BELOW = """in_source AND passed AND entry IN (
    SELECT e.entry FROM entries e JOIN cut_off c ON c.partition = e.partition AND e."offset" >= c.start AND e."offset" < c.until
)"""


@rule("loss-unclean-election", Severity.CRITICAL)
def unclean_election(case: Case) -> Ruling:
    """A replica that was not in sync became the leader, and what it did not have was cut off.

    Confirmed where something had been read that is not there any more: a commit of the group names a leader epoch that ended
    below the committed offset, or a message reached a sink though the offset at which it was acknowledged holds another.
    Then the acknowledged messages that were replaced in that partition are this rule's, and so are those written anew
    below the group's commit, which it never read. Confirmed too where the producer waited for all replicas and the topic allows
    unclean elections. Suspected where messages were replaced and unclean elections are allowed, or that is not known. Undecided
    where leader epochs are not known. Ruled out where no leader began below what was committed or acknowledged, or unclean
    elections are off and nobody had read there.
    """
    if not case.has("epochs"):
        return Ruling(
            undecided=f"needs the leader epochs of the source: {case.evidence.missing.get('epochs', 'not read')}"
        )
    read = replaced(case, "t.partition IN (SELECT partition FROM cut_off)")
    others = replaced(case, "t.partition NOT IN (SELECT partition FROM cut_off)")
    cut = case.rows("SELECT * FROM cut_off ORDER BY partition")
    allowed = config_of(case, _UNCLEAN)
    possible = has_followers(case) and allowed != "false" and acks_of(case) != "0" and case.count(others)
    if not cut and not possible:
        return RULED_OUT
    sure = acks_of(case) == "all" and allowed == "true"
    offsets = sum(row["until"] - row["start"] for row in cut)
    told = (
        f"offsets {cut[0]['start']:,} to {cut[0]['until'] - 1:,} of partition {cut[0]['partition']} had been read"
        if cut
        else ""
    )
    claims = (Claim("confirmed", read), Claim("confirmed", _BELOW), Claim("confirmed" if sure else "suspected", others))
    unit = "messages" if any(case.count(claim.where) for claim in claims) else "offsets, at least,"
    return Ruling(
        claims=claims if possible else claims[:2],
        state="confirmed" if cut or sure else "suspected",
        upper_bound=offsets,
        summary=f"{{count}} {unit} were cut off when a replica of {case.facts['source']} without them became leader: "
        f"{told or turn_in_words(case)}.",
        subject={"topic": str(case.facts["source"])},
        tables=("epochs", *(("sent_log",) if case.has("sent_log") else ()), *(("committed",) if cut else ())),
        rows=turn_rows(case),
    )
