"""docker-compose.yml, checked without an engine: pinned, on loopback, and in agreement with workbench.toml."""

from __future__ import annotations

import re
import tomllib

import pytest
import yaml

from tests.contract.repository import ROOT, tracked_files
from workbench.config import load_config

COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
PINNED = re.compile(r"[^:\s]+:v?\d+\.\d+\.\d+[\w.-]*")


def listeners(name: str) -> dict[str, str]:
    """Listener -> host:port, from one of Kafka's listener settings."""
    entries = SERVICES["kafka"]["environment"][name].split(",")
    return dict(entry.split("://") for entry in entries)


def test_every_image_has_a_full_version():
    images = [service["image"] for service in SERVICES.values()]
    dockerfiles = [path for path in tracked_files() if path.name == "Dockerfile"]
    images += [image for path in dockerfiles for image in re.findall(r"^FROM (\S+)", path.read_text(), re.MULTILINE)]
    assert len(images) > len(SERVICES)
    assert [image for image in images if not PINNED.fullmatch(image)] == []


def test_every_service_is_checked_and_bound_to_loopback():
    for name, service in SERVICES.items():
        assert service["healthcheck"]["test"], name
        assert all(port.startswith("127.0.0.1:") for port in service["ports"]), name


def test_the_whole_stack_is_there():
    assert set(SERVICES) >= {"kafka", "jupyterlab", "prometheus", "alertmanager", "grafana", "jaeger"}


def test_what_is_mounted_from_the_repository_is_there():
    mounted = [volume.split(":")[0] for service in SERVICES.values() for volume in service.get("volumes", [])]
    ours = [path for path in mounted if path.startswith("./")]
    assert len(ours) >= 4
    assert [path for path in ours if not (ROOT / path).is_dir()] == []


def test_no_two_services_publish_the_same_port():
    ports = [port.split(":")[1] for service in SERVICES.values() for port in service["ports"]]
    assert len(set(ports)) == len(ports)


def test_prometheus_scrapes_and_alerts_services_by_the_ports_they_have():
    settings = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())
    jobs = {job["job_name"]: job["static_configs"][0]["targets"] for job in settings["scrape_configs"]}
    (alerting,) = settings["alerting"]["alertmanagers"]
    targets = [*jobs["kafka"], *alerting["static_configs"][0]["targets"]]
    for target in targets:
        name, port = target.split(":")
        assert any(published.endswith(f":{port}") for published in SERVICES[name]["ports"]), target
    assert (
        f"--kafka.server={listeners('KAFKA_ADVERTISED_LISTENERS')['INTERNAL']}" in SERVICES["kafka-exporter"]["command"]
    )


@pytest.mark.parametrize(
    ("key", "variable", "service"),
    [("prometheus", "WORKBENCH_COMPOSE_PROMETHEUS", "prometheus"), ("traces", "WORKBENCH_COMPOSE_JAEGER", "jaeger")],
)
def test_the_compose_profile_finds_what_watches(monkeypatch: pytest.MonkeyPatch, key: str, variable: str, service: str):
    """From this machine by the published port, from JupyterLab by the service's name and the same port."""
    monkeypatch.delenv(variable, raising=False)
    url = getattr(load_config(ROOT / "workbench.toml").profile("compose"), key)["url"]
    port = url.rpartition(":")[2]
    assert url == f"http://localhost:{port}"
    assert f"127.0.0.1:{port}:{port}" in SERVICES[service]["ports"]
    assert SERVICES["jupyterlab"]["environment"][variable] == f"http://{service}:{port}"


def test_named_volumes_and_dependencies_exist():
    for service in SERVICES.values():
        named = [volume.split(":")[0] for volume in service.get("volumes", []) if not volume.startswith((".", "/"))]
        assert set(named) <= set(COMPOSE["volumes"])
        assert set(service.get("depends_on", {})) <= set(SERVICES)
        if "build" in service:
            assert (ROOT / service["build"]["dockerfile"]).is_file()


def test_the_compose_profile_is_the_published_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORKBENCH_COMPOSE_BOOTSTRAP", raising=False)
    bootstrap = load_config(ROOT / "workbench.toml").profile("compose").kafka["bootstrap.servers"]
    host, port = bootstrap.split(":")
    assert f"127.0.0.1:{port}:{port}" in SERVICES["kafka"]["ports"]
    assert listeners("KAFKA_ADVERTISED_LISTENERS")["HOST"] == f"{host}:{port}"
    assert listeners("KAFKA_LISTENERS")["HOST"] == f":{port}"


def test_jupyterlab_is_pointed_at_the_other_container():
    inside = SERVICES["jupyterlab"]["environment"]["WORKBENCH_COMPOSE_BOOTSTRAP"]
    assert inside == listeners("KAFKA_ADVERTISED_LISTENERS")["INTERNAL"]
    assert "WORKBENCH_COMPOSE_BOOTSTRAP" in (ROOT / "workbench.toml").read_text()


def test_kafkas_listeners_agree_with_each_other():
    environment = SERVICES["kafka"]["environment"]
    mapped = dict(entry.split(":") for entry in environment["KAFKA_LISTENER_SECURITY_PROTOCOL_MAP"].split(","))
    assert set(mapped) == set(listeners("KAFKA_LISTENERS"))
    assert environment["KAFKA_INTER_BROKER_LISTENER_NAME"] in listeners("KAFKA_ADVERTISED_LISTENERS")
    controller = listeners("KAFKA_LISTENERS")[environment["KAFKA_CONTROLLER_LISTENER_NAMES"]]
    assert environment["KAFKA_CONTROLLER_QUORUM_VOTERS"].endswith(controller)


def test_the_shipped_config_names_profiles_that_exist():
    raw = tomllib.loads((ROOT / "workbench.toml").read_text())
    assert set(raw["profiles"]) == {"sandbox", "compose"}
    assert load_config(ROOT / "workbench.toml").integration("demo").profile in raw["profiles"]
