"""docker-compose.yml: of the right form, hardened, and in step with what the files beside it say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.commands.secret_files import make_secret_files
from serving.settings import load_settings, setting_keys
from serving.settings.environment import key_in_a_file, make_key
from tests.unit.shipping.shipped import find_path, read_compose, read_dockerfile

COMPOSE = read_compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
NODES = ("ray-head", "ray-worker", "ray-worker-gpu", "deploy", "deploy-gpu", "tools")
ONE_SHOT = ("deploy", "deploy-gpu", "tools")
ROOTLESS_IMAGES = ("prom/prometheus", "grafana/grafana")
"""Images that name an unprivileged user of their own."""


def test_it_follows_the_compose_specification() -> None:
    specification = pytest.importorskip("compose_spec")
    specification.PyCompose.from_yaml(yaml.safe_dump(COMPOSE))
    COMPOSE["services"]["proxy"]["helthcheck"] = {}
    try:
        with pytest.raises(ValueError, match="helthcheck"):
            specification.PyCompose.from_yaml(yaml.safe_dump(COMPOSE))
    finally:
        del COMPOSE["services"]["proxy"]["helthcheck"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_hardened_and_bounded(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert "cap_add" not in service
    assert "privileged" not in service
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"cpus", "memory"} <= set(service["deploy"]["resources"]["limits"])
    assert re.search(r":v?\d+(\.\d+)+", service["image"]), f"{service['image']} may change"
    rootless = (
        service["image"].startswith(("rollcall:", *ROOTLESS_IMAGES)) or "unprivileged" in service["image"]
    )
    assert rootless or service["user"].split(":")[0] != "0"
    for volume in service.get("volumes", []):
        source, _, rest = volume.partition(":")
        if source.startswith("."):
            assert rest.endswith(":ro"), f"{name} could change {source}"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(ONE_SHOT)))
def test_every_service_that_stays_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "start_period", "retries"} <= set(check)
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_what_waits_for_another_waits_for_its_health() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert "healthcheck" in SERVICES[other]
            profiles = set(SERVICES[other].get("profiles", service.get("profiles", [])))
            assert profiles >= set(service.get("profiles", [])), (
                f"{name} waits for {other} of another profile"
            )


def test_only_the_proxy_can_be_reached_and_grafana_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"proxy", "grafana"}
    assert all(port.startswith("127.0.0.1:") for port in published["grafana"])
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("ray-head", "ray-worker", "ray-worker-gpu", "qdrant", "postgres", "redis"):
        assert set(SERVICES[name]["networks"]) == {"inside"}, f"{name} is not inside alone"
        assert "network_mode" not in SERVICES[name]


def test_every_path_volume_network_and_secret_is_there(tmp_path: Path) -> None:
    made = {written.name for written in make_secret_files(tmp_path / "secrets", ["localhost"])}
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    assert set(COMPOSE["secrets"]) == made - {"ca.key"}, "the authority's key leaves the host for nobody"
    used = set()
    for name, service in SERVICES.items():
        for secret in service.get("secrets", []):
            used.add(secret if isinstance(secret, str) else secret["source"])
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source.startswith("./"):
                find_path(Path(source))
            elif not source.startswith("/"):
                assert source in COMPOSE["volumes"], f"{name} mounts {source}"
        mounted = {
            secret if isinstance(secret, str) else secret["target"] for secret in service.get("secrets", [])
        }
        for path in re.findall(r"/run/secrets/([\w.-]+)", yaml.safe_dump(service)):
            assert path in mounted, f"{name} reads {path}, which it is not given"
    assert used == set(COMPOSE["secrets"])


@pytest.mark.parametrize("name", NODES)
def test_every_variable_is_a_setting(name: str) -> None:
    known = set(setting_keys())
    for variable in SERVICES[name]["environment"]:
        if variable.startswith("ROLLCALL_"):
            assert (key_in_a_file(variable, known) or make_key(variable)) in known, variable


def test_the_service_takes_the_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As a container does, but for where the secrets lie."""
    make_secret_files(tmp_path / "secrets", ["localhost"])
    monkeypatch.chdir(tmp_path)
    for variable, value in SERVICES["ray-worker"]["environment"].items():
        monkeypatch.setenv(variable, value.replace("/run/secrets", str(tmp_path / "secrets")))
    for config in ("serve_config.yaml", "config/cluster-gpu.yaml"):
        content = yaml.safe_load(find_path(Path(config)).read_text())
        settings = load_settings(content["applications"][0]["args"])
        assert settings.gallery.engine == "server"
        assert settings.web.https
        assert settings.metrics.port == 9464
        load = content["applications"][0]["args"]["load"]
        told_to_proxies = SERVICES["ray-worker"]["environment"]["ROLLCALL_LOAD__MAX_PENDING_REQUESTS"]
        assert told_to_proxies == str(load["max_pending_requests"])
    subnet = COMPOSE["networks"]["inside"]["ipam"]["config"][0]["subnet"]
    assert settings.web.trusted_proxies == (subnet,)


def test_no_secret_stands_in_the_file() -> None:
    for name, service in SERVICES.items():
        for variable, value in service.get("environment", {}).items():
            if re.search(r"PASSWORD|TOKEN|API_KEY|SECRET|DATABASE_URL|REDIS_URL", variable):
                assert "/run/secrets/" in value or "_TOKEN_DISABLED" in variable, f"{name}: {variable}"


def test_all_nodes_have_the_same_settings_and_image() -> None:
    settings = [
        {key: value for key, value in SERVICES[name]["environment"].items() if key.startswith("ROLLCALL_")}
        for name in NODES
    ]
    assert all(one == settings[0] for one in settings)
    assert {SERVICES[name]["image"] for name in (*NODES, "proxy")} == {"rollcall:0.1.0-cpu"}
    gpu = read_compose({"RUNTIME": "gpu"})["services"]
    assert {gpu[name]["image"] for name in NODES} == {"rollcall:0.1.0-gpu"}
    assert gpu["ray-worker-gpu"]["build"]["args"] == {"RUNTIME": "gpu"}
    (device,) = gpu["ray-worker-gpu"]["deploy"]["resources"]["reservations"]["devices"]
    assert device["capabilities"] == ["gpu"]
    version = next(one.text for one in read_dockerfile() if one.name == "ARG" and "VERSION=" in one.text)
    assert version == "VERSION=0.1.0"


def test_prometheus_finds_every_node_and_runs_the_shipped_alerts() -> None:
    ours = yaml.safe_load(find_path(Path("config/compose/prometheus.yaml")).read_text())
    shipped = yaml.safe_load(find_path(Path("config/prometheus/prometheus.yaml")).read_text())
    assert ours["rule_files"] == shipped["rule_files"]
    assert ours["global"] == shipped["global"]
    jobs = {job["job_name"]: job for job in ours["scrape_configs"]}
    assert set(jobs) == {job["job_name"] for job in shipped["scrape_configs"]}
    (exporters,) = jobs["rollcall"]["dns_sd_configs"]
    environment = SERVICES["ray-worker"]["environment"]
    assert str(exporters["port"]) == environment["ROLLCALL_METRICS__PORT"]
    (ray,) = jobs["ray"]["dns_sd_configs"]
    for name in ray["names"]:
        command = " ".join(SERVICES[name]["command"])
        assert f"--metrics-export-port={ray['port']}" in command
    assert SERVICES["ray-worker-gpu"]["networks"]["inside"]["aliases"] == exporters["names"]


def test_grafana_reads_the_shipped_dashboard() -> None:
    volumes = [volume.split(":") for volume in SERVICES["grafana"]["volumes"]]
    places = {target: source for source, target, *_ in volumes}
    provider = yaml.safe_load(
        find_path(Path("config/grafana/provisioning/dashboards/rollcall.yaml")).read_text()
    )
    for one in provider["providers"]:
        assert places[one["options"]["path"]] == "./config/grafana/dashboards"
    source = yaml.safe_load(find_path(Path("config/compose/datasource.yaml")).read_text())["datasources"][0]
    shipped = yaml.safe_load(
        find_path(Path("config/grafana/provisioning/datasources/prometheus.yaml")).read_text()
    )
    assert source | {"url": ""} == shipped["datasources"][0] | {"url": ""}
    assert source["url"] == "http://prometheus:9090"


def test_the_ports_agree() -> None:
    head = " ".join(SERVICES["ray-head"]["command"])
    worker = " ".join(SERVICES["ray-worker"]["command"])
    gcs, dashboard, agent = (re.search(rf"--{name}=(\d+)", head) for name in GCS_FLAGS)
    assert gcs is not None
    assert dashboard is not None
    assert agent is not None
    assert f"--address=ray-head:{gcs[1]}" in worker
    assert f":{dashboard[1]}/" in " ".join(SERVICES["ray-head"]["healthcheck"]["test"])
    assert f"http://ray-head:{dashboard[1]}" in SERVICES["deploy"]["command"]
    assert f":{agent[1]}/" in " ".join(SERVICES["ray-worker"]["healthcheck"]["test"])
    config = yaml.safe_load(find_path(Path("serve_config.yaml")).read_text())
    proxy = SERVICES["proxy"]["environment"]
    assert proxy["ROLLCALL_PROXY_UPSTREAM"] == f"ray-worker:{config['http_options']['port']}"
    assert [port.split(":")[1] for port in SERVICES["proxy"]["ports"]] == [
        proxy[name].split(":")[1] for name in ("ROLLCALL_PROXY_BIND", "ROLLCALL_PROXY_PLAIN_BIND")
    ]


GCS_FLAGS = ("port", "dashboard-port", "dashboard-agent-listen-port")
