"""A report for other programs' eyes: JUnit XML for build servers, Prometheus' text format for scrapers.

Both take the JSON contract (``Report.to_dict``), so that a saved ``report.json`` will do.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as ET

from workbench.report import VERDICT_ORDER

Document = Mapping[str, Any]

# What XML 1.0 cannot hold, however it is escaped.
_NO_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def parts_of(report: Document) -> list[Document]:
    """The report itself, and the checks it is made of."""
    return [report, *report.get("reports", ())]


def junit_xml(report: Document) -> str:
    """A test suite a check; a test case a rule: a finding fails, what is undecided is an error, what is ruled out passes.

    Findings of severity info, which leave a verdict ``ok`` or ``info``, pass with their words as output.
    """
    root = ET.Element("testsuites", name="workbench")
    for part in parts_of(report):
        cases = list(_cases(part))
        failed, erred = (sum(1 for case in cases if case.find(kind) is not None) for kind in ("failure", "error"))
        suite = ET.SubElement(
            root, "testsuite", name=_name(part), tests=str(len(cases)), failures=str(failed), errors=str(erred), skipped="0"
        )  # fmt: skip
        suite.extend(cases)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _cases(part: Document) -> Iterable[ET.Element]:
    for finding in part["findings"]:
        case = _case(part, finding["code"])
        kind = "system-out" if finding["severity"] == "info" else "failure"
        attributes = {} if kind == "system-out" else {"type": finding["severity"], "message": _text(finding["summary"])}
        ET.SubElement(case, kind, attributes).text = _text(f"{finding['summary']} See {finding['runbook']}.")
        yield case
    for item in part["undecided"]:
        case = _case(part, item["code"])
        ET.SubElement(case, "error", type="undecided", message=_text(item["reason"]))
        yield case
    for code in part["ruled_out"]:
        yield _case(part, code)


def _case(part: Document, code: str) -> ET.Element:
    return ET.Element("testcase", classname=_name(part), name=_text(code))


def _name(part: Document) -> str:
    integration = part["facts"].get("integration")
    return _text(f"{part['problem']}.{integration}" if integration else str(part["problem"]))


def _text(value: object) -> str:
    return _NO_XML.sub("\ufffd", str(value))


def metrics_text(report: Document) -> str:
    """A report as gauges, in Prometheus' text format.

    ``workbench_verdict`` (0 ok, 1 info, 2 undecided, 3 warning, 4 critical), ``workbench_ledger_entries``,
    ``workbench_finding_entries``, ``workbench_undecided_rules``, ``workbench_collected_timestamp_seconds``.
    """
    from prometheus_client import CollectorRegistry, generate_latest

    registry = CollectorRegistry()
    fill(registry, report)
    return generate_latest(registry).decode()


def fill(registry: Any, report: Document) -> None:
    """Puts a report's gauges into a registry of prometheus_client."""
    from prometheus_client import Gauge

    of = ("integration", "problem")
    verdict = Gauge("workbench_verdict", "0 ok, 1 info, 2 undecided, 3 warning, 4 critical.", of, registry=registry)
    entries = Gauge(
        "workbench_ledger_entries", "Entries of a ledger by disposition.", (*of, "disposition"), registry=registry
    )
    findings = Gauge(
        "workbench_finding_entries",
        "Entries that a finding counts.",
        (*of, "code", "state", "severity"),
        registry=registry,
    )
    undecided = Gauge("workbench_undecided_rules", "Rules that could not be decided.", of, registry=registry)
    at = Gauge("workbench_collected_timestamp_seconds", "When the evidence was collected.", of, registry=registry)
    for part in parts_of(report):
        labels = (str(part["facts"].get("integration") or ""), part["problem"])
        verdict.labels(*labels).set(VERDICT_ORDER.index(part["verdict"]))
        undecided.labels(*labels).set(len(part["undecided"]))
        for name, count in part["ledger"].items():
            if count is not None:
                entries.labels(*labels, name).set(count)
        for one in part["findings"]:
            findings.labels(*labels, one["code"], one["state"], one["severity"]).set(one["count"])
        if part["facts"].get("collected_at"):
            at.labels(*labels).set(datetime.fromisoformat(part["facts"]["collected_at"]).timestamp())
