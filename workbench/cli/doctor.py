"""``workbench doctor`` and ``workbench discover``: what can be reached, and what an integration could be."""

from __future__ import annotations

import dataclasses
import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from workbench.cli.options import target

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from workbench.config import Integration, Profile
    from workbench.sources.doctor import Check
    from workbench.sources.proposal import Proposal

UNDECIDED = 3  # exit code: reached, but something could not be decided with these rights
UNREACHED = 1
_MOST_GROUPS = 10  # that are worth a line


class Form(StrEnum):
    """How the result is printed."""

    text = "text"
    json = "json"


ProfileName = Annotated[str | None, typer.Option("--profile", help="A profile of workbench.toml.")]
Bootstrap = Annotated[str | None, typer.Option("--bootstrap", help="HOST:PORT of a broker, instead of a profile.")]
Settings = Annotated[list[str] | None, typer.Option("-X", help="With --bootstrap: librdkafka KEY=VALUE; repeatable.")]
Format = Annotated[Form, typer.Option("--format", help="How the result is printed.")]


def doctor(
    integration: Annotated[str | None, typer.Argument(help="An integration of workbench.toml.")] = None,
    profile: ProfileName = None,
    bootstrap: Bootstrap = None,
    settings: Settings = None,
    topics: Annotated[list[str] | None, typer.Option("--topic", help="A topic to try; repeatable.")] = None,
    groups: Annotated[list[str] | None, typer.Option("--group", help="A consumer group to try; repeatable.")] = None,
    acls: Annotated[bool, typer.Option("--acls", help="Print the grants to ask for; asks no broker.")] = False,
    principal: Annotated[str | None, typer.Option("--principal", help="User:NAME for --acls.")] = None,
    form: Format = Form.text,
) -> None:
    """Say what can be reached, with which rights, and what stays undecided without.

    Exit code: 0 everything can be decided, 3 something cannot, 1 the cluster cannot be reached.
    """
    named, client = target(integration, profile, bootstrap, settings)
    wanted_topics, wanted_groups = _subjects(named, topics or [], groups or [])
    from workbench.sources.doctor import diagnose_access, grants

    if acls:
        name = client.kafka.get("sasl.username", "")
        who = principal or (f"User:{name}" if name else "")
        print(grants(client.bootstrap, wanted_topics, wanted_groups, who))
        return
    checks = diagnose_access(client, wanted_topics, wanted_groups)
    reached = checks[0].state == "ok"
    checks += [_wire(client)] if reached else []
    print(_as_json(checks) if form is Form.json else _as_text(checks))
    if not reached:
        raise typer.Exit(UNREACHED)
    if any(check.undecided for check in checks):
        raise typer.Exit(UNDECIDED)


def _wire(profile: Profile) -> Check:
    """Whether records are read as record batches, which is faster and tells more."""
    from workbench.capture.readers import why_not_wire
    from workbench.sources.doctor import Check

    why = why_not_wire(profile.kafka)
    if why:
        return Check("Read record batches", "missing", f"{why}: records are read through the client library")
    return Check("Read record batches", "ok", "record batches are read as they are stored")


def discover(
    topic: Annotated[str, typer.Argument(help="The topic whose messages are due somewhere.")],
    profile: ProfileName = None,
    bootstrap: Bootstrap = None,
    settings: Settings = None,
    sample: Annotated[int, typer.Option("--sample", help="Records of it to look at.", min=2, max=100_000)] = 200,
    form: Format = Form.text,
) -> None:
    """Propose an integration for workbench.toml: ids, sinks, retry topics, dead letters, group, latency."""
    _, client = target(None, profile, bootstrap, settings)
    from workbench.sources import connect
    from workbench.sources.discover import discover as propose

    with connect(client) as sources:
        found = propose(sources.cluster, topic, sample, profile="" if bootstrap else client.name)
    if form is Form.json:
        print(json.dumps({**dataclasses.asdict(found), "toml": found.toml}))
    else:
        print("\n".join(f"# {line}" for line in _reasons(found)) + "\n" + found.toml, end="")


def _subjects(named: Integration | None, topics: Sequence[str], groups: Sequence[str]) -> tuple[list[str], list[str]]:
    if named is None:
        return list(topics), list(groups)
    own = [named.source, *named.sinks, *named.retry_topics, *named.dead_letters]
    return [*own, *topics], [*([named.group] if named.group else []), *groups]


def _as_json(checks: Sequence[Check]) -> str:
    return json.dumps({"checks": [dataclasses.asdict(check) for check in checks]})


def _as_text(checks: Sequence[Check]) -> str:
    from workbench.cli.text import plain

    width = max(len(check.name) for check in checks)
    lines = [plain(f"{check.state:<11} {check.name:<{width}}  {check.detail}").rstrip() for check in checks]
    open_codes = list(dict.fromkeys(code for check in checks for code in check.undecided))
    if not open_codes:
        return "\n".join(lines)
    lines += ["", "Undecided without what is not ok, when there is something to explain:"]
    lines += [f"  {code}" for code in open_codes]
    if any(check.state == "denied" for check in checks[1:]):
        lines += ["", "workbench doctor --acls prints the grants to ask for."]
    return "\n".join(lines)


def _reasons(found: Proposal) -> Iterable[str]:
    """What the proposal rests on, one line each; names are quoted, so that none can leave its comment line."""
    yield f"{found.sampled} records of {found.topic} were looked at. Check this before you keep it."
    for one in found.ids:
        seen = f"in {one.share:.0%} of them, {one.distinct:.0%} different, {one.matched:.0%} found in another topic"
        yield f"ids: {json.dumps(one.id_from)}: {seen}"
    for topic in found.related:
        delay = (
            "" if topic.p99_seconds is None else f"; after {topic.median_seconds:.1f} s, p99 {topic.p99_seconds:.1f} s"
        )
        yield f"{topic.role.replace('_', ' ')}: {json.dumps(topic.topic)}: {topic.why}{delay}"
    for group in found.groups[:_MOST_GROUPS]:
        members = "unknown" if group.members is None else str(group.members)
        yield f"group: {json.dumps(group.group)}: {group.state}, members {members}, {group.partitions} partitions"
    if len(found.groups) > _MOST_GROUPS:
        yield f"group: and {len(found.groups) - _MOST_GROUPS} more"
    yield from (f"note: {json.dumps(note)[1:-1]}" for note in found.notes)
