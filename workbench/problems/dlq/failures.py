"""Why messages are given up: causes read from the groups of dead letters that nobody has seen to yet."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from workbench.problems.rules import RULED_OUT, Case, Ruling, rule
from workbench.report import Severity

# So many dead letters make a pattern; fewer are single mishaps.
PATTERN = 5
DOMINANT = 0.8
QUIET_MS = 60_000  # without a failure before an outage counts as over, where no traffic shows that it is
FEW_ATTEMPTS = 2
DEPLOY_SLACK_MS = 600_000

_WHAT = (
    "count(*) AS n, count(DISTINCT key) AS keys, mode(topic ORDER BY topic) AS topic,"
    " mode(exception_class ORDER BY exception_class) AS name"
)
_PAYLOAD_STAGES = "('VALUE_CONVERTER', 'KEY_CONVERTER', 'HEADER_CONVERTER', 'deserialization')"


@rule("dlq-poison-payload", Severity.WARNING, needs=("letters",))
def poison_payload(case: Case) -> Ruling:
    """Payloads that cannot be read or do not fit their schema are given up.

    Looks at the unresolved dead letters whose failure is one of reading a payload (a conversion or deserialisation stage, or
    a class of parsing and schemas). Confirmed where the stage says so, where the payloads are no JSON while those of other dead
    letters are, or where a schema or event version is new with the group; suspected where only the class says so, or where
    several dead letters are all of one key. Ruled out where no failure is of that kind.
    """
    rows = case.rows(
        f"SELECT fingerprint, {_WHAT}, bool_or(stage IN {_PAYLOAD_STAGES}) AS staged,"
        " count(*) FILTER (readable = false) AS broken, count(schema_id) AS schemas FROM unresolved"
        " WHERE kind = 'payload' GROUP BY fingerprint ORDER BY n DESC, fingerprint"
    )
    if not rows:
        return RULED_OUT
    others = case.rows("SELECT count(*) FILTER (readable) AS whole FROM dead WHERE kind <> 'payload'")[0]["whole"]
    sure = [row for row in rows if _is_sure(row, others)]
    chosen = sure or rows
    total = sum(row["n"] for row in chosen)
    broken = sum(row["broken"] for row in chosen)
    return Ruling(
        state="confirmed" if sure else "suspected",
        affected=total,
        summary=f"{{count}} dead letters hold payloads that could not be read ({_named(chosen)});"
        f" {broken:,} of them are no JSON, keys: {_keys(chosen)}.",
        subject={"topic": chosen[0]["topic"]},
        tables=("letters", "records"),
    )


def _is_sure(row: dict[str, Any], others: int) -> bool:
    told = (
        row["staged"]
        or row["schemas"] > 0
        or (row["broken"] >= DOMINANT * row["n"] and (others > 0 or row["n"] >= PATTERN))
    )
    return bool(told and not (row["n"] >= PATTERN and row["keys"] == 1))


def _named(rows: Sequence[dict[str, Any]]) -> str:
    names = [row["name"] for row in rows if row["name"]]
    return ", ".join(dict.fromkeys(names[:3])) or "no class given"


def _keys(rows: Sequence[dict[str, Any]]) -> str:
    return f"{max(row['keys'] for row in rows):,}" if any(row["keys"] for row in rows) else "none"


_OUTAGE = """
SELECT count(*) AS n, count(DISTINCT key) AS keys, count(DISTINCT event_type) AS types, mode(topic ORDER BY topic) AS topic,
       count(DISTINCT origin_topic || '/' || origin_partition) AS partitions,
       mode(exception_class ORDER BY exception_class) AS name,
       quantile_disc(failed_ms, 0.02) AS start, quantile_disc(failed_ms, 0.98) AS stop, count(attempts) AS counted,
       max(attempts) AS attempts, median(last_failure_ms - first_failure_ms) FILTER (last_failure_ms > first_failure_ms) AS tried_ms
FROM unresolved WHERE kind = 'transient'
"""
_TRAFFIC = """
SELECT count(*) FILTER (timestamp_ms > $stop) AS after, count(*) FILTER (timestamp_ms < $start) AS before,
       count(*) FILTER (timestamp_ms BETWEEN $start AND $stop) AS during
FROM records WHERE role = 'sink' AND coalesce(is_aborted, false) = false
"""


@rule("dlq-dependency-outage", Severity.WARNING, needs=("letters",))
def dependency_outage(case: Case) -> Ruling:
    """Something that the service needs was not to be had, and everything that came in the meantime was given up.

    Looks at the unresolved dead letters with passing failures (timeouts, refused connections, unavailable services): at least
    five, over several partitions, keys or event types. Confirmed where the failures stopped: the sink went on afterwards and
    got less in the meantime than was given up, or, without traffic to see, nothing failed so for a minute and for as long as it
    lasted. Suspected where they have not stopped yet. Ruled out where messages passed all the while.
    """
    found = case.rows(_OUTAGE)[0]
    spread = max(found["keys"] or 0, found["types"] or 0, found["partitions"] or 0) >= 2
    if (found["n"] or 0) < PATTERN or not spread:
        return RULED_OUT
    traffic = _traffic(case, found)
    if traffic is not None and traffic["during"] > found["n"]:
        return RULED_OUT
    over = _is_over(case, found, traffic)
    seconds = (found["stop"] - found["start"]) / 1000
    ended = "then it stopped" if over else "no end is seen"
    return Ruling(
        state="confirmed" if over else "suspected",
        affected=found["n"],
        summary=f"{{count}} dead letters of passing failures ({found['name'] or 'no class given'}) within {seconds:,.1f} s, over"
        f" {found['partitions']:,} partitions, {found['keys']:,} keys and {found['types']:,} event types; {ended}.",
        subject={"topic": found["topic"]},
        tables=("letters", "records"),
    )


def _traffic(case: Case, found: dict[str, Any]) -> dict[str, Any] | None:
    """What the sinks got before, during and after; None where no sink was read."""
    if not case.facts["sinks"] or not case.rows("SELECT 1 FROM records WHERE role = 'sink' LIMIT 1"):
        return None
    cursor = case.con.execute(_TRAFFIC, {"start": found["start"], "stop": found["stop"]})
    return dict(zip(("after", "before", "during"), cursor.fetchall()[0], strict=True))


def _is_over(case: Case, found: dict[str, Any], traffic: dict[str, Any] | None) -> bool:
    if traffic is not None and traffic["after"]:
        return True
    now = case.rows("SELECT now_ms() AS now")[0]["now"]
    return bool(now - found["stop"] >= max(QUIET_MS, found["stop"] - found["start"]))


@rule("dlq-retry-budget", Severity.WARNING, needs=("letters",))
def retry_budget(case: Case) -> Ruling:
    """Failures that pass were given up after too few tries, or tries too close together.

    Looks at the unresolved dead letters with passing failures. Confirmed where at least five were tried at most twice, or where
    the time from a message's first try to its last is shorter than the failures went on. Undecided where the dead letters do
    not say how often they were tried. Ruled out where they were tried often and long enough.
    """
    found = case.rows(_OUTAGE)[0]
    if (found["n"] or 0) < PATTERN:
        return RULED_OUT
    lasted = found["stop"] - found["start"]
    few = case.rows(
        "SELECT count(*) AS n FROM unresolved WHERE kind = 'transient' AND attempts BETWEEN 1 AND ?", [FEW_ATTEMPTS]
    )[0]["n"]
    short = found["tried_ms"] is not None and found["counted"] and found["attempts"] > 1 and found["tried_ms"] < lasted
    if few < DOMINANT * found["n"] and not short:
        known = found["counted"] or found["tried_ms"] is not None
        return RULED_OUT if known else Ruling(undecided="the dead letters do not say how often they were tried")
    how = (
        f"tried at most {FEW_ATTEMPTS} times"
        if few >= DOMINANT * found["n"]
        else f"tried for {found['tried_ms'] / 1000:,.1f} s"
    )
    return Ruling(
        state="confirmed",
        affected=found["n"],
        summary=f"{{count}} dead letters of passing failures ({found['name'] or 'no class given'}) were {how}, while such failures"
        f" went on for {lasted / 1000:,.1f} s.",
        subject={"topic": found["topic"]},
        tables=("letters",),
    )


_NO_VERSION = "no version of the application is in the headers, and no service log marks deployments (--service-log)"
_NEW_GROUPS = """
SELECT fingerprint, count(*) AS n, min(failed_ms) AS began, mode(topic ORDER BY topic) AS topic, mode(kind ORDER BY kind) AS kind,
       mode(exception_class ORDER BY exception_class) AS name, min(app_version) AS version, count(DISTINCT app_version) AS versions,
       count(app_version) AS versioned
FROM unresolved WHERE kind <> 'transient' GROUP BY fingerprint ORDER BY n DESC, fingerprint
"""
_VERSIONS = """
SELECT version, min(seen_ms) AS first_ms FROM (SELECT app_version AS version, failed_ms AS seen_ms FROM dead {records})
WHERE version IS NOT NULL GROUP BY version
"""


@rule("dlq-code-regression", Severity.CRITICAL, needs=("letters",))
def code_regression(case: Case) -> Ruling:
    """A new version of the application fails on messages that the version before could process.

    Looks at each group of unresolved dead letters that is not of passing failures. Confirmed where all of the group comes from
    one version of the application, another version was at work before it and gave up none of the kind, and messages were
    processed before the group began; or where the service's log marks a deployment just before the group began. Undecided
    where failures are of the code and no version, deployment or earlier traffic is known. Ruled out where the group is older
    than the version.
    """
    groups = case.rows(_NEW_GROUPS)
    if not groups:
        return RULED_OUT
    versions, deploys = _versions(case), _deploys(case)
    found = [(row, why) for row in groups if (why := _since(case, row, versions, deploys))]
    if found:
        row, why = found[0]
        return Ruling(
            state="confirmed",
            affected=sum(one["n"] for one, _ in found),
            summary=f"{{count}} dead letters ({_named([one for one, _ in found])}) began with {why};"
            " messages were processed before.",
            subject={"topic": row["topic"]},
            tables=("letters", "records", *(("service_log",) if case.has("service_log") else ())),
        )
    blind = [row for row in groups if row["kind"] == "code" and not row["versioned"] and not case.has("service_log")]
    if blind:
        return Ruling(undecided=_NO_VERSION)
    return RULED_OUT


def _versions(case: Case) -> dict[str, int]:
    """Version of the application -> when it was first seen, on dead letters and at the sinks."""
    known = "app_version" in case.evidence.tables["records"].schema.names
    records = "UNION ALL SELECT app_version, timestamp_ms FROM records WHERE role <> 'dead_letters'" if known else ""
    return {row["version"]: row["first_ms"] for row in case.rows(_VERSIONS.format(records=records))}


def _deploys(case: Case) -> list[int]:
    if not case.has("service_log"):
        return []
    rows = case.rows(
        "SELECT at_ms FROM service_log WHERE at_ms IS NOT NULL AND regexp_matches(lower(coalesce(event, '')),"
        " 'deploy|release|rollout|rolled out|upgrade|new version|version changed') ORDER BY at_ms"
    )
    return [row["at_ms"] for row in rows]


def _since(case: Case, row: dict[str, Any], versions: dict[str, int], deploys: list[int]) -> str | None:
    """What the group began with; None where it is not known to be new with anything."""
    began, own = row["began"], row["version"]
    if began is None or not _passed_before(case, row):
        return None
    if own is not None and row["versions"] == 1 and row["versioned"] >= DOMINANT * row["n"]:
        older = [at for version, at in versions.items() if version != own and at is not None]
        return (
            f"version {own} of the application"
            if any(at < min(began, versions.get(own, began)) for at in older)
            else None
        )
    if any(0 <= began - at <= DEPLOY_SLACK_MS for at in deploys):
        return "a deployment that the service's log marks"
    return None


def _passed_before(case: Case, row: dict[str, Any]) -> bool:
    """Whether messages were processed before the group began; without a sink, dead letters of an older kind say so."""
    if case.facts["sinks"]:
        query = "SELECT count(*) AS n FROM records WHERE role = 'sink' AND timestamp_ms < ?"
    else:
        query = "SELECT count(*) AS n FROM dead WHERE failed_ms < ?"
    return bool(case.rows(query, [row["began"]])[0]["n"])


_SPAN = """
CREATE OR REPLACE TEMP VIEW span AS SELECT min(t) AS low, max(t) AS high FROM (
    SELECT failed_ms AS t FROM dead UNION ALL SELECT timestamp_ms FROM records WHERE role = 'sink')
"""


@rule("dlq-validation-rejects", Severity.INFO, needs=("letters",))
def validation_rejects(case: Case) -> Ruling:
    """The service refuses messages by a rule of the business, as a steady share of the traffic.

    Looks at groups of at least five unresolved dead letters whose class or message is one of validation. Confirmed where they
    come over the whole time that is seen; suspected where they all come in its last or first quarter, which looks like a
    change of the rule. Ruled out where there are none.
    """
    case.con.execute(_SPAN)
    rows = case.rows(
        "SELECT fingerprint, count(*) AS n, mode(topic ORDER BY topic) AS topic, count(DISTINCT key) AS keys,"
        " mode(exception_class ORDER BY exception_class) AS name, min(failed_ms) AS start, max(failed_ms) AS stop,"
        " any_value(low) AS low, any_value(high) AS high FROM unresolved, span WHERE kind = 'validation'"
        " GROUP BY fingerprint HAVING count(*) >= ? ORDER BY n DESC, fingerprint",
        [PATTERN],
    )
    if not rows:
        return RULED_OUT
    steady = [row for row in rows if not _is_step(row)]
    chosen = steady or rows
    return Ruling(
        state="confirmed" if steady else "suspected",
        affected=sum(row["n"] for row in chosen),
        summary=f"{{count}} dead letters were refused by a rule of the business ({_named(chosen)}), keys: {_keys(chosen)}.",
        subject={"topic": chosen[0]["topic"]},
        tables=("letters",),
    )


def _is_step(row: dict[str, Any]) -> bool:
    """Whether all of a group lies in the first or the last quarter of the time that is seen."""
    if None in (row["start"], row["stop"], row["low"], row["high"]) or row["high"] - row["low"] < QUIET_MS:
        return False
    quarter = (row["high"] - row["low"]) / 4
    return bool(row["start"] > row["high"] - quarter or row["stop"] < row["low"] + quarter)


@rule("dlq-single-key", Severity.INFO, needs=("letters",))
def single_key(case: Case) -> Ruling:
    """One key, tenant or producer makes up nearly all of a group.

    Looks at groups with at least five different unresolved messages. Confirmed where four of five and more have the same key, or
    the same tenant or producer in their headers, and others have another one (in the queue or at the sinks). Ruled out where
    they are spread, or where there is only one key at all.
    """
    for column, word in (("key", "key"), ("tenant", "tenant"), ("producer", "producer")):
        found = case.rows(_dominated(column), [PATTERN, DOMINANT])
        if found and _has_others(case, column):
            row = found[0]
            return Ruling(
                state="confirmed",
                affected=row["top"],
                summary=f"{{count}} of {row['n']:,} dead letters of one cause ({_named([row])}) have the same {word}.",
                subject={"topic": row["topic"]},
                tables=("letters", "records"),
            )
    return RULED_OUT


def _dominated(column: str) -> str:
    return f"""
    SELECT fingerprint, any_value(topic) AS topic, any_value(exception_class) AS name, max(of_value) AS top,
           sum(of_value)::BIGINT AS n
    FROM (SELECT fingerprint, {column}, mode(topic ORDER BY topic) AS topic, mode(exception_class) AS exception_class,
                 count(DISTINCT who) AS of_value FROM unresolved WHERE {column} IS NOT NULL GROUP BY fingerprint, {column})
    GROUP BY fingerprint HAVING sum(of_value) >= ? AND max(of_value) >= ? * sum(of_value) ORDER BY top DESC, fingerprint LIMIT 1"""


def _has_others(case: Case, column: str) -> bool:
    """Whether the traffic has more than one value: of a single one, nothing stands out."""
    if column != "key":
        return bool(case.rows(f"SELECT count(DISTINCT {column}) AS n FROM dead")[0]["n"] > 1)
    return bool(case.rows("SELECT count(DISTINCT key_of(r)) AS n FROM records r")[0]["n"] > 1)


@rule("dlq-delivery-count", Severity.WARNING, needs=("letters",))
def delivery_count(case: Case) -> Ruling:
    """A share group delivered records as often as it may, and nobody accepted them.

    Confirmed where the broker says of dead letters of a share group that the delivery count or the acquisition lock ran out:
    the consumer crashed, hung or released them each time. Ruled out where the consumer rejected them itself.
    """
    row = case.rows(
        f'SELECT {_WHAT}, mode("group") AS grp, max(attempts) AS attempts FROM unresolved'
        " WHERE dialect = 'share_group' AND code IN ('delivery-count-exceeded', 'acquisition-lock-timeout')"
    )[0]
    if not row["n"]:
        return RULED_OUT
    subject = {"topic": row["topic"], **({"group": row["grp"]} if row["grp"] else {})}
    return Ruling(
        state="confirmed",
        affected=row["n"],
        summary=f"{{count}} dead letters of share group {row['grp'] or 'unknown'} were delivered"
        f" {row['attempts'] or 'too many'} times and accepted by nobody.",
        subject=subject,
        tables=("letters",),
    )
