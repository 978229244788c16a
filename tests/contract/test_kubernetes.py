"""deploy/kubernetes: valid against the schemas of Kubernetes, complete, careful, and in agreement with the programs it runs."""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import typer
import yaml

from tests.contract.repository import ROOT
from workbench.cli import app
from workbench.config import load_config
from workbench.integration.config import load_integration

FOLDER = ROOT / "deploy" / "kubernetes"
OLDEST, NEWEST = "1.29", kubernetes_validate.latest_version()
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())["services"]
OBJECTS = [item for path in sorted(FOLDER.glob("*.yaml")) for item in yaml.safe_load_all(path.read_text())]
BY_KIND = {item["kind"]: item for item in OBJECTS}


def name(item: dict[str, Any]) -> str:
    return f"{item['kind']}-{item['metadata']['name']}"


def pods() -> list[dict[str, Any]]:
    """The pod of each object that has one."""
    specs = [item["spec"].get("jobTemplate", item)["spec"] for item in OBJECTS if "spec" in item]
    return [spec["template"]["spec"] for spec in specs if "template" in spec]


CONTAINERS = [container for pod in pods() for container in pod["containers"]]


@pytest.mark.parametrize("version", [OLDEST, NEWEST])
@pytest.mark.parametrize("item", OBJECTS, ids=name)
def test_each_object_fits_the_schema_of_kubernetes(item, version):
    kubernetes_validate.validate(item, version, strict=True)


def test_the_validator_bites():
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**BY_KIND["CronJob"], "spec": {"schedul": "* * * * *"}}, NEWEST, strict=True)


def test_the_parts_of_the_document_are_there_in_one_namespace():
    assert {"Namespace", "ConfigMap", "Job", "CronJob", "Service", "Deployment"} <= set(BY_KIND)
    inside = [item["metadata"].get("namespace") for item in OBJECTS if item["kind"] != "Namespace"]
    assert set(inside) == {BY_KIND["Namespace"]["metadata"]["name"]}


def test_what_a_pod_mounts_it_has_and_what_it_reads_is_there():
    held = set(BY_KIND["ConfigMap"]["data"])
    for pod in pods():
        volumes = {volume["name"] for volume in pod["volumes"]}
        for container in pod["containers"]:
            assert {mount["name"] for mount in container["volumeMounts"]} == volumes
            read = re.findall(r"/etc/integration/([\w.]+)", yaml.safe_dump(container))
            assert set(read) <= held
    claims = {
        volume["persistentVolumeClaim"]["claimName"]
        for pod in pods()
        for volume in pod["volumes"]
        if "persistentVolumeClaim" in volume
    }
    assert claims == {item["metadata"]["name"] for item in OBJECTS if item["kind"] == "PersistentVolumeClaim"}


@pytest.mark.parametrize("container", CONTAINERS, ids=lambda container: container["name"])
def test_a_container_runs_with_the_least_rights_and_no_secret_in_clear(container):
    security = container["securityContext"]
    assert security["allowPrivilegeEscalation"] is False
    assert security["capabilities"]["drop"] == ["ALL"]
    assert container["resources"]["limits"]["memory"]
    secret = {entry["name"] for entry in container["env"] if "secretKeyRef" in entry.get("valueFrom", {})}
    assert secret == {"KAFKA_USERNAME", "KAFKA_PASSWORD"}
    assert container["image"] in {COMPOSE["kafka"]["image"], COMPOSE["jupyterlab"]["image"]}


def test_pods_are_not_root():
    assert all(pod["securityContext"]["runAsNonRoot"] for pod in pods())
    assert all(pod["automountServiceAccountToken"] is False for pod in pods())


def commands() -> list[list[str]]:
    return [
        [*container["command"], *container.get("args", [])]
        for container in CONTAINERS
        if container["command"][0] == "workbench"
    ]


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_the_commands_are_ours_with_options_that_exist(command):
    """Parsed by the command line itself, not run."""
    found, words = typer.main.get_command(app), command[1:]
    while hasattr(found, "commands"):
        found = found.commands[words.pop(0)]
    assert found.make_context("it", words) is not None


def test_the_report_s_notebook_takes_its_parameters():
    from workbench.services.parameters import declared_parameters
    from workbench.services.runs import find_notebook, read_notebook

    (report,) = [words for words in commands() if words[1] == "schedule"]
    given = {word.split("=")[1] for word in report if word.startswith("--parameter=")}
    assert given <= set(declared_parameters(read_notebook(find_notebook(report[2]))))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The files of the ConfigMap, with the variables that the containers have."""
    for entry in chain.from_iterable(container["env"] for container in CONTAINERS):
        if entry["name"].startswith("KAFKA_"):
            monkeypatch.setenv(entry["name"], entry.get("value", "of-the-secret"))
    for file, text in BY_KIND["ConfigMap"]["data"].items():
        (tmp_path / file).write_text(text)
    return tmp_path


def test_the_configuration_is_read_by_the_programs_and_names_the_topics_that_are_made(config):
    flow = load_integration(config / "integration.yml")
    made = [line.split()[0] for line in (config / "topics").read_text().splitlines()]
    assert made == [flow.source, flow.sink, flow.dead_letters]
    profile = load_config(config / "workbench.toml").profile("cluster")
    assert profile.bootstrap == ",".join(flow.integration.consumer.brokers)
    (report,) = [words for words in commands() if words[1] == "schedule"]
    wanted = {f"--parameter=source={flow.source}", f"--parameter=sink={flow.sink}", f"--parameter=group={flow.group}"}
    assert wanted <= set(report)


def test_the_service_finds_its_pods_and_its_port():
    service, deployment = BY_KIND["Service"]["spec"], BY_KIND["Deployment"]["spec"]
    assert service["selector"].items() <= deployment["template"]["metadata"]["labels"].items()
    (container,) = deployment["template"]["spec"]["containers"]
    (port,) = [
        entry["containerPort"] for entry in container["ports"] if entry["name"] == service["ports"][0]["targetPort"]
    ]
    assert str(port) in container["command"]
