"""Alert rules, dashboards and their provisioning: they parse, fire as they should, and name what exists."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import yaml

from scripts import dashboards
from scripts.runbook_index import alerts
from tests.contract.promql import metrics_of
from tests.contract.repository import ROOT
from workbench.integration.metrics import Metrics
from workbench.problems import checking
from workbench.sources.prometheus import METRICS

DEPLOY = ROOT / "deploy"
RULES = sorted((DEPLOY / "prometheus" / "rules").glob("*.yml"))
LAG_AND_DLQ = ("lag-", "dlq-")
BROKERS = ("kafka_server_", "kafka_controller_", "kafka_network_")
# Critical findings that no metric shows: what decides them is in the records.
ONLY_IN_RECORDS = {"lag-fetch-limit", "dlq-redrive-loop"}


def run(*command: str, cwd: Path = ROOT) -> subprocess.CompletedProcess[str]:
    assert shutil.which(command[0]), f"{command[0]} is needed: apt-get install prometheus prometheus-alertmanager"
    return subprocess.run(command, cwd=cwd, check=False, capture_output=True, text=True)


def rules() -> Iterator[dict]:
    for path in RULES:
        for group in yaml.safe_load(path.read_text())["groups"]:
            yield from group["rules"]


def dashboard_expressions() -> list[str]:
    found = []
    for path in sorted((DEPLOY / "grafana" / "dashboards").glob("*.json")):
        panels = json.loads(path.read_text())["panels"]
        found += [target["expr"] for panel in panels for target in panel["targets"]]
    return found


def test_the_rules_fire_where_they_should_and_only_there():
    tests = sorted(path.name for path in (DEPLOY / "prometheus" / "tests").glob("*.yml"))
    assert [path.name for path in RULES] == tests
    done = run("promtool", "test", "rules", *tests, cwd=DEPLOY / "prometheus" / "tests")
    assert done.returncode == 0, done.stderr + done.stdout


def test_each_alert_is_tried():
    tried = " ".join(path.read_text() for path in (DEPLOY / "prometheus" / "tests").glob("*.yml"))
    assert [rule["alert"] for rule in rules() if rule["alert"] not in tried] == []


def test_prometheus_and_alertmanager_take_their_configuration():
    for command in (
        ("promtool", "check", "config", "deploy/prometheus/prometheus.yml"),
        ("amtool", "check-config", "deploy/alertmanager/alertmanager.yml"),
    ):
        done = run(*command)
        assert done.returncode == 0, done.stderr + done.stdout


def test_each_critical_finding_that_metrics_show_has_an_alert():
    critical = {
        rule.code
        for rule in checking.rules()
        if rule.severity.word == "critical" and rule.kind != "note" and rule.code.startswith(LAG_AND_DLQ)
    }
    alerted = {rule["labels"]["code"] for rule in rules()}
    assert critical - alerted <= ONLY_IN_RECORDS
    assert {rule.code for rule in checking.rules()} >= alerted


def test_each_alert_leads_to_a_page_that_is_there():
    for rule in rules():
        page = urlsplit(rule["annotations"]["runbook_url"]).path.removeprefix("/lab/tree/")
        assert (ROOT / page).is_file(), rule["alert"]
        assert rule["labels"]["severity"] in {"warning", "critical"}
        assert rule["annotations"]["summary"]


def test_each_alert_leads_to_the_runbook_of_its_code_where_there_is_one():
    for path in RULES:
        assert alerts(path.read_text()) == path.read_text()


def test_the_dashboards_are_what_the_script_writes():
    assert {path: path.read_text() for path in dashboards.pages()} == dashboards.pages()


def test_each_expression_of_the_dashboards_parses(tmp_path: Path):
    expressions = [re.sub(r"\$__rate_interval", "5m", text).replace("$topic", ".*") for text in dashboard_expressions()]
    assert len(expressions) > 20
    recorded = [{"record": f"x:{number}", "expr": text} for number, text in enumerate(expressions)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": recorded}]}))
    done = run("promtool", "check", "rules", str(file))
    assert done.returncode == 0, done.stderr + done.stdout


def integration_names() -> set[str]:
    """Series of the integration, with those that its histograms are written as."""
    registry = Metrics().registry
    families = list(registry.collect())
    names = {f"{family.name}_total" if family.type == "counter" else family.name for family in families}
    return names | {f"{family.name}_bucket" for family in families if family.type == "histogram"}


def test_each_metric_that_is_named_exists():
    """In the integration, or in the table of exporters; those of brokers alone are held on a real broker."""
    known = integration_names() | {metric.name for metric in METRICS} | {"up"}
    named = {
        name for text in (*dashboard_expressions(), *(rule["expr"] for rule in rules())) for name in metrics_of(text)
    }
    of_brokers = {name for name in named if name.startswith(BROKERS)}
    assert named - known - of_brokers == set()
    assert len(named & integration_names()) > 10


def test_names_are_found_in_expressions():
    assert metrics_of('sum by (le, x) (rate(a_bucket{y="z",v=~"w(b)"}[5m] offset 1h)) > 5') == {"a_bucket"}
    assert metrics_of("b and on (g) c == 0 or -1.5e3 < predict_linear(d[1h], 3600)") == {"b", "c", "d"}


def test_grafana_is_provisioned_with_what_compose_runs():
    folder = DEPLOY / "grafana" / "provisioning"
    sources = yaml.safe_load((folder / "datasources" / "workbench.yml").read_text())["datasources"]
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
    for source in sources:
        address = urlsplit(source["url"])
        assert address.hostname in services
        assert any(port.endswith(f":{address.port}") for port in services[address.hostname]["ports"])
    uids = {source["uid"] for source in sources}
    assert dashboards.SOURCE["uid"] in uids
    (provider,) = yaml.safe_load((folder / "dashboards" / "workbench.yml").read_text())["providers"]
    mounted = [volume.split(":")[:2] for volume in services["grafana"]["volumes"]]
    assert ["./deploy/grafana/dashboards", provider["options"]["path"]] in mounted
