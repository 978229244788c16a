"""Everything that can be refused before anything is sent."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from workbench.errors import NotFound, RedriveError
from workbench.redrive.plan import Plan, Topic
from workbench.redrive.scan import copies_since
from workbench.redrive.spool import Spool
from workbench.redrive.targets import require_write

if TYPE_CHECKING:
    from workbench.sources import Cluster

_PLAN_AGAIN = "Make a new plan; nothing was sent."


def require_same_cluster(cluster: Cluster, plan: Plan) -> None:
    """Refuses a plan that is for another cluster, or whose topics are not the ones it was made for.

    Raises:
        RedriveError: with what differs; nothing was sent.
        SourceError: the cluster cannot be asked.

    Reads: DescribeCluster, Metadata.
    """
    found = cluster.info()["cluster_id"]
    if found != plan.cluster_id:
        raise RedriveError(
            f"The plan is for cluster {plan.cluster_id}, this is {found}; nothing was sent.",
            hint="Use its own profile.",
        )
    for what, topics in (("target", plan.targets), ("dead-letter topic", plan.dead_letters)):
        for name, planned in topics.items():
            _require_same_topic(cluster, what, name, planned)


def _require_same_topic(cluster: Cluster, what: str, name: str, planned: Topic) -> None:
    try:
        cluster.require_topics([name])
    except NotFound:
        raise RedriveError(f"The {what} {name} does not exist any more; nothing was sent.", hint=_PLAN_AGAIN) from None
    rows = cluster.topics([name]).rows()
    topic_id = rows[0]["topic_id"] if rows else None
    if planned.topic_id is not None and topic_id != planned.topic_id:
        raise RedriveError(
            f"The {what} {name} was deleted and made again after the plan was made; nothing was sent.", hint=_PLAN_AGAIN
        )
    if what == "target" and len(rows) != len(planned.ends):
        raise RedriveError(
            f"The target {name} has {len(rows)} partitions, the plan was made for {len(planned.ends)}; nothing was sent.",
            hint=_PLAN_AGAIN,
        )


def require_rights(cluster: Cluster, plan: Plan) -> None:
    """Refuses a run whose sends would be denied, as far as the brokers tell it beforehand.

    Raises:
        AccessDenied: Write is not granted on a target.
    """
    require_write(cluster, list(plan.targets))


def require_letters(plan: Plan, spool: Spool, done: int) -> None:
    """Refuses a run whose dead letters are gone.

    Raises:
        RedriveError: some that are still to be sent cannot be read.
    """
    gone = [row.letter for row in plan.rows[done:] if row[:3] not in spool]
    if gone:
        raise RedriveError(
            f"{len(gone):,} of the plan's dead letters are no longer there, {gone[0]} for example.", hint=_PLAN_AGAIN
        )


def require_progress(cluster: Cluster, plan: Plan, done: int, recorded: int) -> None:
    """Refuses to go on where copies are that the progress does not count, or that another plan sent.

    Args:
        cluster: where to look.
        plan: whose run begins.
        done: rows that are sent by the progress topic.
        recorded: rows that are sent by the audit.

    Raises:
        RedriveError: going on could send a message twice.

    Reads: Metadata, ListOffsets, Fetch of the targets from the plan's time on.
    """
    ours = others = 0
    by: Counter[str] = Counter()
    rest = {row.letter for row in plan.rows[done:]}
    for copies in copies_since(cluster, {name: topic.ends for name, topic in plan.targets.items()}).values():
        for copy in copies:
            if copy.plan == plan.id:
                ours += copy.letter in rest
            elif copy.letter in rest:
                others += 1
                by[str(copy.plan)] += 1
    if ours or recorded > done:
        raise RedriveError(
            f"The progress of plan {plan.id} is gone: it counts {done:,} as sent, but at least {max(ours + done, recorded):,}"
            " were.",
            hint="Make a new plan: it leaves out what was sent. Nothing more was sent now.",
        )
    if others:
        raise RedriveError(
            f"{others:,} of these dead letters were sent back by another plan ({by.most_common(1)[0][0]}) since this one was"
            " made; nothing was sent.",
            hint="Make a new plan: it leaves them out.",
        )
