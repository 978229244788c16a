"""The document's text: Markdown, in the sections of an integration pattern."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from workbench.errors import UsageError
from workbench.services.document.kept import block
from workbench.services.document.shapes import paths

REVIEW_DAYS = 90
_FACTS = re.compile(r"<!-- facts: (\{.*\}) -->\s*\Z", re.DOTALL)
_SHOWN_SETTINGS = (
    "cleanup.policy", "retention.ms", "retention.bytes", "min.insync.replicas", "max.message.bytes",
    "message.timestamp.type", "unclean.leader.election.enable", "compression.type",
)  # fmt: skip
_RUNBOOKS = {
    "Messages are missing at the sink": (
        "loss-consumer-dropped",
        "loss-offset-skipped-forward",
        "loss-retention-overtook",
    ),
    "Messages come twice": (
        "duplicates-crash-before-commit",
        "duplicates-offset-rewind",
        "duplicates-application-resend",
    ),
    "The group is behind": ("lag-no-members", "lag-poison-pill", "lag-throughput-deficit"),
    "Dead letters pile up": ("dlq-poison-payload", "dlq-dependency-outage", "dlq-not-drained"),
}
_PATTERNS = {
    "Publish-subscribe": "each group is an integration of its own: check loss and lag for every one of the readers above.",
    "Point-to-point": "one group and one sink; what a second group writes into the same sink shows as duplicates-second-group.",
    "Request-response": "check requests to replies with the correlation id as `id_from`; a reply that is late counts as in flight "
    "up to the expected latency.",
    "Event sourcing": "the topic is the truth: retention and compaction findings weigh most, and the sink is a projection that "
    "can be built again.",
    "CQRS": "the read side is a sink (a topic, or `sql:NAME`); lag tells how stale it is, loss what it will never show.",
    "Saga": "each step is a hop: name the topics on the way with `through`; a step that was compensated shows as delivered where "
    "it wrote.",
}


def page(facts: Mapping[str, Any], kept: dict[str, str], *, today: datetime | None = None, spec: str = "") -> str:
    """The whole document.

    Args:
        facts: as ``observe`` returns them.
        kept: what people wrote, by block.
        today: the date of its metadata; now by default.
        spec: name of the AsyncAPI file beside it, "" where there is none.
    """
    today = today or datetime.now(UTC)
    lines = [
        f"# {_text(facts['integration']['name'])}",
        "",
        *_overview(facts, kept),
        *_architecture(facts, kept),
        *_data_flow(facts, spec),
        *_configuration(facts),
        *_errors(facts, kept),
        *_security(facts),
        *_signals(facts, kept),
        *_troubleshooting(facts),
        *_patterns(kept),
        *_metadata(facts, kept, today),
        f"<!-- facts: {_hidden(facts)} -->",
    ]
    return "\n".join(lines) + "\n"


def facts_of(text: str) -> dict[str, Any]:
    """The facts that a document was written from.

    Raises:
        UsageError: it holds none.
    """
    found = _FACTS.search(text)
    try:
        facts: dict[str, Any] = json.loads(found[1]) if found else {}
    except ValueError:
        facts = {}
    if not {"integration", "topics", "readers", "cluster", "security"} <= facts.keys():
        raise UsageError("The document does not say what it was written from.", hint="Write it anew, without --check.")
    return facts


def _hidden(facts: Mapping[str, Any]) -> str:
    """JSON that no name out of a message can end the comment with."""
    return json.dumps(facts, sort_keys=True).replace("-", "\\u002d").replace("<", "\\u003c").replace(">", "\\u003e")


def _overview(facts: Mapping[str, Any], kept: dict[str, str]) -> list[str]:
    mine = facts["integration"]
    flow = " -> ".join(
        [mine["source"], *(stop.partition(":")[0] for stop in mine["through"]), ", ".join(mine["sinks"])]
    )
    due = f"Messages of `{_code(mine['source'])}` are due in {_codes(mine['sinks']) or 'no sink that is known'}"
    return [
        "## Overview", "", f"{due} within {mine['expected_latency_seconds']:g} s: `{_code(flow)}`.", "",
        *block("overview", kept, "What this integration is for, and who depends on it."),
    ]  # fmt: skip


def _architecture(facts: Mapping[str, Any], kept: dict[str, str]) -> list[str]:
    return [
        "## Architecture", "", "```mermaid", *_diagram(facts), "```", "",
        "| topic | role | partitions | replicas | read by |", "|---|---|--:|--:|---|",
        *(
            f"| `{_code(name)}` | {found['role']} | {found['partitions']} | {found['replication']} | "
            f"{_codes(facts['readers'].get(name, [])) or 'no group with a commit'} |"
            for name, found in facts["topics"].items()
        ),
        "", "Who writes into the first topic is not on record in Kafka; sent logs and traces would name it.", "",
        *block("trade-offs", kept, "Why it is built like this, and what was not chosen."),
        *block("prerequisites", kept, "What has to be there before it runs."),
    ]  # fmt: skip


def _diagram(facts: Mapping[str, Any]) -> list[str]:
    """Mermaid: topics as cylinders, groups as boxes; names are quoted, and stand for nothing else."""
    mine, ids = facts["integration"], {name: f"t{number}" for number, name in enumerate(facts["topics"])}
    lines = ["graph LR", '  p(["producers"])']
    lines += [f'  {ids[name]}[("{_label(name)}")]' for name in ids]
    steps = [(mine["source"], mine["group"]), *(tuple(stop.split(":", 1)) for stop in mine["through"])]
    if mine["source"] in ids:
        lines.append(f"  p --> {ids[mine['source']]}")
    for number, (topic, group) in enumerate(steps):
        after = [steps[number + 1][0]] if number + 1 < len(steps) else mine["sinks"]
        lines.append(f'  g{number}["{_label(group or "unknown group")}"]')
        lines += [f"  {ids[topic]} --> g{number}"] if topic in ids else []
        for sink in after:
            lines += (
                [f"  g{number} --> {ids[sink]}"] if sink in ids else [f'  g{number} --> s{number}["{_label(sink)}"]']
            )
    last = len(steps) - 1
    lines += [
        f"  g{last} -. fails .-> {ids[topic]}"
        for topic in (*mine["retry_topics"], *mine["dead_letters"])
        if topic in ids
    ]
    others = {group for groups in facts["readers"].values() for group in groups} - {group for _, group in steps}
    for number, group in enumerate(sorted(others)):
        lines.append(f'  o{number}["{_label(group)}"]')
        lines += [f"  {ids[topic]} --> o{number}" for topic, groups in facts["readers"].items() if group in groups]
    return lines


def _data_flow(facts: Mapping[str, Any], spec: str) -> list[str]:
    lines = ["## Data flow", "", "Fields as seen in a sample, without values; `?` marks what is not always there.", ""]
    lines += [f"The same as AsyncAPI 3: [{_text(spec)}]({spec}).", ""] if spec else []
    for name, found in facts["topics"].items():
        lines += [f"### `{_code(name)}`", ""]
        if not found["sampled"]:
            lines += ["No record could be looked at.", ""]
            continue
        lines += [f"{found['sampled']:,} records were looked at, {found['not_json']:,} of them are not JSON.", ""]
        if found["headers"]:
            lines += [f"Headers: {', '.join(f'`{_code(h)}` ({how})' for h, how in found['headers'].items())}.", ""]
        if found["schema"]:
            rows = (f"| `{_code(path)}` | {kind} |" for path, kind in paths(found["schema"]).items() if path != "$")
            lines += ["| field | type |", "|---|---|", *rows, ""]
    return lines


def _configuration(facts: Mapping[str, Any]) -> list[str]:
    cluster, ids = facts["cluster"], _code(facts["integration"]["id_from"])
    count = f"{cluster['brokers']} broker{'' if cluster['brokers'] == 1 else 's'}"
    lines = ["## Protocol and configuration", ""]
    lines += [f"Kafka, {count}, cluster `{_code(str(cluster['cluster_id']))}`; message ids: `{ids}`.", ""]
    lines += ["| topic | setting | value |", "|---|---|---|"]
    for name, found in facts["topics"].items():
        for setting in _SHOWN_SETTINGS:
            if setting in found["settings"]:
                mark = " (changed)" if setting in found["changed"] else ""
                lines.append(f"| `{_code(name)}` | {setting} | {_text(found['settings'][setting])}{mark} |")
    return [*lines, ""]


def _errors(facts: Mapping[str, Any], kept: dict[str, str]) -> list[str]:
    mine = facts["integration"]
    dead = _codes(mine["dead_letters"]) or "nowhere: no dead-letter topic is configured"
    retry = _codes(mine["retry_topics"]) or "no retry topic"
    return [
        "## Error handling", "", f"What is given up goes to {dead}; waiting for another try: {retry}.", "",
        f"    workbench check dlq {_text(mine['name'])}", "",
        *block("error-handling", kept, "What is retried how often, and who looks at dead letters."),
    ]  # fmt: skip


def _security(facts: Mapping[str, Any]) -> list[str]:
    found = facts["security"]
    login = f", login by {_text(found['mechanism'])}" if found["mechanism"] else ", without a login by SASL"
    sealed = (
        "Headers speak of encrypted values." if found["encrypted_values"] else "No header speaks of encrypted values."
    )
    return [
        "## Security", "", f"This document was read over {_text(found['protocol'])}{login}. {sealed}", "",
        "Access rules were not read; `workbench doctor --acls` prints the grants that reading needs.", "",
    ]  # fmt: skip


def _signals(facts: Mapping[str, Any], kept: dict[str, str]) -> list[str]:
    names = {"prometheus": "Prometheus", "traces": "a trace store", "registry": "a schema registry"}
    there = [names[key] for key, known in facts["signals"].items() if known]
    return [
        "## Metrics, alerts and tests", "",
        f"Configured for this profile: {', '.join(there) or 'neither Prometheus, nor traces, nor a schema registry'}.", "",
        f"    workbench check health {_text(facts['integration']['name'])}", "",
        *block("testing", kept, "How this integration is tested, and before which changes."),
    ]  # fmt: skip


def _troubleshooting(facts: Mapping[str, Any]) -> list[str]:
    name = _text(facts["integration"]["name"])
    lines = ["## Troubleshooting", "", "| symptom | ask | runbooks |", "|---|---|---|"]
    asks = ("check loss", "check duplicates", "check lag", "check dlq")
    for (symptom, codes), ask in zip(_RUNBOOKS.items(), asks, strict=True):
        lines.append(f"| {symptom} | `workbench {ask} {name}` | {', '.join(f'`{code}`' for code in codes)} |")
    return [
        *lines,
        "",
        f"Where is one message? `workbench message ID {name}`. Runbooks open with `workbench open`.",
        "",
    ]


def _patterns(kept: dict[str, str]) -> list[str]:
    lines = ["## Related patterns", "", "How the checks apply, where this integration is a part of one:", ""]
    lines += [f"- **{name}**: {text}" for name, text in _PATTERNS.items()]
    return [*lines, "", *block("related", kept, "Other integrations that this one belongs to.")]


def _metadata(facts: Mapping[str, Any], kept: dict[str, str], today: datetime) -> list[str]:
    lines = ["## Metadata", "", "| | |", "|---|---|", f"| written | {today:%Y-%m-%d} |"]
    lines += [f"| next review | {today + timedelta(days=REVIEW_DAYS):%Y-%m-%d} |", ""]
    if facts["missing"]:
        lines += ["What could not be read:", ""]
        lines += [f"- {_text(what)}: {_text(why)}" for what, why in sorted(facts["missing"].items())] + [""]
    return [
        *lines, *block("contacts", kept, "Who owns it, and whom to call."), *block("notes", kept, "Anything else."),
    ]  # fmt: skip


def _text(value: Any) -> str:
    """Text from the cluster, so that it is text in Markdown too."""
    shown = "".join(char if char.isprintable() else "\ufffd" for char in str(value))
    return re.sub(r"([\\`*_\[\]<>|#])", r"\\\1", shown)


def _code(value: str) -> str:
    """The same within backticks, where nothing can be escaped."""
    shown = "".join(char if char.isprintable() else "\ufffd" for char in value)
    return shown.replace("`", "'").replace("|", "\u2502")


def _codes(values: list[str]) -> str:
    return ", ".join(f"`{_code(value)}`" for value in values)


def _label(value: str) -> str:
    """A Mermaid label: no quote, bracket or entity of its own."""
    return "".join(char if char.isalnum() or char in " ._-:/*" else f"#{ord(char)};" for char in value)[:300]
