"""Debian's Prometheus and Alertmanager, scraping what two small files name."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from workbench.sandbox.stack.service import ServicePlan, require_program
from workbench.shelves import home

# Fast enough for a test to see a change, slow enough for a small machine. An answer must come within its interval, and a
# broker's exporter needs more than a second for its first one.
SCRAPE_SECONDS = {"kafka": 5, "integration": 1}
EVALUATE_SECONDS = 1

# Rules and the routing of alerts are those of the repository; a package without them runs Prometheus alone.
DEPLOY = home() / "deploy"

_PROMETHEUS = """\
global:
  evaluation_interval: {seconds}s
rule_files: {rules}
alerting:
  alertmanagers:
  - static_configs:
    - targets: ["127.0.0.1:{alertmanager}"]
scrape_configs:
{jobs}"""

_JOB = """\
- job_name: {job}
  scrape_interval: {seconds}s
  scrape_timeout: {seconds}s
  file_sd_configs:
  - files: [{file}]
    refresh_interval: 1s
"""

_ALERTMANAGER = """\
# Alerts stay where they are; the sandbox tells nobody.
route:
  receiver: nobody
  group_by: [alertname]
receivers:
- name: nobody
"""


def require_prometheus() -> tuple[Path, Path]:
    """The programs of Prometheus and Alertmanager.

    Raises:
        SandboxError: one is not installed.
    """
    prometheus = require_program(("prometheus",), "prometheus")
    return prometheus, require_program(("prometheus-alertmanager", "alertmanager"), "prometheus-alertmanager")


def plan_prometheus(folder: Path, ports: Sequence[int], settings: Mapping[str, str]) -> list[ServicePlan]:
    """Plans both services and writes their configuration.

    Args:
        folder: of the stack.
        ports: two free ports: of Prometheus, of Alertmanager.
        settings: ``rules``: a folder of rule files instead of the repository's.
    """
    prometheus, alertmanager = require_prometheus()
    rules = Path(settings.get("rules") or DEPLOY / "prometheus" / "rules")
    mine, other = folder / "prometheus", folder / "alertmanager"
    _write(other / "alertmanager.yml", _ALERTMANAGER)
    _write(mine / "prometheus.yml", _configuration(folder, ports[1], rules))
    for job in SCRAPE_SECONDS:
        name_targets(folder, job, {}, keep=True)
    return [_alertmanager(alertmanager, other, ports[1]), _prometheus(prometheus, mine, ports[0])]


def _prometheus(program: Path, folder: Path, port: int) -> ServicePlan:
    address, mark = f"http://127.0.0.1:{port}", f"--config.file={folder / 'prometheus.yml'}"
    command = (
        str(program),
        mark,
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-lifecycle",
    )
    return ServicePlan("prometheus", command, mark, folder, f"{address}/-/ready", {"prometheus": address})


def _alertmanager(program: Path, folder: Path, port: int) -> ServicePlan:
    address, mark = f"http://127.0.0.1:{port}", f"--config.file={folder / 'alertmanager.yml'}"
    command = (
        str(program),
        mark,
        f"--storage.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--cluster.listen-address=",
    )
    return ServicePlan("alertmanager", command, mark, folder, f"{address}/-/ready", {"alertmanager": address})


def _configuration(folder: Path, alertmanager: int, rules: Path) -> str:
    files = sorted(str(path) for path in rules.glob("*.yml"))
    jobs = "".join(
        _JOB.format(job=job, seconds=seconds, file=json.dumps(str(_targets_file(folder, job))))
        for job, seconds in SCRAPE_SECONDS.items()
    )
    return _PROMETHEUS.format(seconds=EVALUATE_SECONDS, rules=json.dumps(files), alertmanager=alertmanager, jobs=jobs)


def name_targets(folder: Path, job: str, targets: Mapping[str, str], *, keep: bool = False) -> None:
    """Says what a job scrapes; Prometheus notices within a second or two.

    Args:
        folder: of the stack.
        job: ``kafka`` or ``integration``.
        targets: ``host:port`` -> the value of its label ``node``.
        keep: leave a file that is there.
    """
    file = _targets_file(folder, job)
    if keep and file.exists():
        return
    document = [{"targets": [target], "labels": {"node": node}} for target, node in targets.items()]
    draft = file.with_suffix(".draft")
    _write(draft, json.dumps(document))
    draft.replace(file)


def _targets_file(folder: Path, job: str) -> Path:
    return folder / "targets" / f"{job}.json"


def _write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
