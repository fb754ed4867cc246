"""docker-compose.yml: of the right form, hardened, and in step with what the files beside it say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from dotenv import dotenv_values

from serving.commands.secret_files import make_secret_files
from serving.settings import load_settings, setting_keys
from serving.settings.environment import key_in_a_file, make_key
from tests.unit.shipping.shipped import find_path, read_compose, read_dockerfile

COMPOSE = read_compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
COMMANDS = ("deploy", "tools", "doctor", "backup", "erasures")
NODES = ("ray-head", "ray-worker", "ray-worker-gpu", *COMMANDS)
ALONE = ("rehearsal", "secrets")
"""Commands that know no store and reach nothing."""
ONE_SHOT = (*COMMANDS, *ALONE)
MACHINE_CORES, MACHINE_GIB = 8, 16
"""What docs/compose.md asks for."""
LEFT_TO_THE_MACHINE_GIB = 1.0
ROOTLESS_IMAGES = ("prom/prometheus", "prom/alertmanager", "grafana/grafana")
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
        if source.startswith(".") and name != "secrets":
            assert rest.endswith(":ro"), f"{name} could change {source}"


@pytest.mark.parametrize("name", sorted(set(SERVICES) - set(ONE_SHOT)))
def test_every_service_that_stays_has_a_health_check(name: str) -> None:
    check = SERVICES[name]["healthcheck"]
    assert check["test"][0] in ("CMD", "CMD-SHELL")
    assert {"interval", "timeout", "start_period", "retries"} <= set(check)
    assert SERVICES[name]["restart"] == "unless-stopped"


def test_postgresql_is_healthy_when_others_can_reach_it() -> None:
    """Its image makes the database with a server that listens on its socket alone."""
    assert "-h" in SERVICES["postgres"]["healthcheck"]["test"]


def test_what_waits_for_another_waits_for_its_health() -> None:
    for name, service in SERVICES.items():
        for other, how in service.get("depends_on", {}).items():
            assert how == {"condition": "service_healthy"}, name
            assert "healthcheck" in SERVICES[other]
            profiles = set(SERVICES[other].get("profiles", service.get("profiles", [])))
            assert profiles >= set(service.get("profiles", [])), (
                f"{name} waits for {other} of another profile"
            )


def test_the_limits_add_up_to_the_machine_that_the_page_asks_for() -> None:
    """Memory cannot be lent, so it adds up; processors can, and all but the workers' are ceilings."""
    page = find_path(Path("docs/compose.md")).read_text()
    assert f"{MACHINE_CORES} cores, {MACHINE_GIB} GB" in page
    limits = {name: service["deploy"]["resources"]["limits"] for name, service in SERVICES.items()}
    memory_gib = {name: _read_gib(each["memory"]) for name, each in limits.items()}
    stays = set(SERVICES) - {*ONE_SHOT, "ray-worker-gpu"}
    at_most = sum(memory_gib[name] for name in stays) + max(memory_gib[name] for name in ONE_SHOT)
    assert at_most <= MACHINE_GIB - LEFT_TO_THE_MACHINE_GIB
    assert float(limits["ray-worker"]["cpus"]) <= MACHINE_CORES / 2
    for name in stays - {"ray-worker"}:
        assert float(limits[name]["cpus"]) <= 2
        row = re.search(rf"^\| `{name}` .*\| (\S+) \| (\S+) GB", page, re.MULTILINE)
        assert row is not None, name
        assert (float(row[1]), float(row[2])) == (float(limits[name]["cpus"]), memory_gib[name]), name


def _read_gib(text: str) -> float:
    return float(text[:-1]) / {"g": 1, "m": 1024}[text[-1]]


def test_a_worker_plans_with_what_it_may_take_and_stays_as_many_as_they_were() -> None:
    given = read_compose({"WORKERS": "3", "WORKER_CPUS": "6"})["services"]
    for name in ("ray-worker", "ray-worker-gpu"):
        assert given[name]["deploy"]["replicas"] == 3, "a bare `up -d` would end two of them"
        assert given[name]["deploy"]["resources"]["limits"]["cpus"] == "6"
        assert "--num-cpus=6" in given[name]["command"]


def test_the_example_of_env_has_every_variable_with_its_default() -> None:
    text = find_path(Path("docker-compose.yml")).read_text()
    defaults = dict(re.findall(r"(?<!\$)\$\{(\w+):-([^}]*)\}", text))
    example = dotenv_values(find_path(Path("config/compose/env.example")))
    assert set(example) == {*defaults, "COMPOSE_PROFILES"}, "Rollcall reads .env too: none is a setting's"
    given = {"PUBLIC_HOST", "COMPOSE_PROFILES"}
    assert {name: example[name] for name in defaults if name not in given} == {
        name: value for name, value in defaults.items() if name not in given
    }
    assert set(str(example["COMPOSE_PROFILES"]).split(",")) <= {
        profile for service in SERVICES.values() for profile in service.get("profiles", [])
    }
    assert not [name for name in example if name.startswith("ROLLCALL_")]


def test_commands_find_backups_keys_and_the_config_where_they_are_mounted() -> None:
    moved = {"BACKUP_DIR": "/srv/b", "BACKUP_KEY_DIR": "/srv/k", "SERVE_CONFIG": "./config/cluster-gpu.yaml"}
    services = read_compose(moved)["services"]
    for name in ("tools", "doctor", "backup", "erasures"):
        volumes = services[name]["volumes"]
        assert {"/srv/b:/backups", "/srv/k:/backup-keys"} <= set(volumes), name
        assert "./config/cluster-gpu.yaml:/srv/rollcall/serve_config.yaml:ro" in volumes, name
    key_file = services["tools"]["environment"]["ROLLCALL_BACKUP__KEY_FILE"]
    assert Path(key_file).parent == Path("/backup-keys")
    rehearsal = services["rehearsal"]
    assert rehearsal["environment"] == {"ROLLCALL_BACKUP__KEY_FILE": key_file}, "it must not find the stores"
    assert "data:/var/lib/rollcall" not in rehearsal["volumes"]
    assert {volume.partition(":")[2] for volume in rehearsal["volumes"] if volume.startswith("/srv/")} == {
        "/backups:ro",
        "/backup-keys:ro",
    }
    for name in ALONE:
        assert services[name]["networks"] == ["alone"]
        assert services[name]["env_file"] == []
        assert services[name]["secrets"] == []
    assert COMPOSE["networks"]["alone"]["internal"] is True
    (made,) = [one.text for one in read_dockerfile() if "/backup-keys" in one.text]
    assert "-o 10001 -g 10001 -m 0700 /backups /backup-keys" in made, "volumes begin with these owners"


def test_only_the_proxy_can_be_reached_and_what_watches_from_this_machine() -> None:
    published = {name: service["ports"] for name, service in SERVICES.items() if "ports" in service}
    assert set(published) == {"proxy", "grafana", "prometheus", "alertmanager"}
    for name in set(published) - {"proxy"}:
        assert all(port.startswith("127.0.0.1:") for port in published[name]), name
    assert COMPOSE["networks"]["inside"]["internal"] is True
    for name in ("ray-head", "ray-worker", "ray-worker-gpu", "qdrant", "postgres", "redis"):
        assert set(SERVICES[name]["networks"]) == {"inside"}, f"{name} is not inside alone"
        assert "network_mode" not in SERVICES[name]


def test_every_path_volume_network_and_secret_is_there(tmp_path: Path) -> None:
    made = {written.name for written in make_secret_files(tmp_path / "secrets", ["localhost"])}
    for name, secret in COMPOSE["secrets"].items():
        assert secret == {"file": f"./secrets/{name}"}
    own = {"alertmanager.yaml"}
    assert set(COMPOSE["secrets"]) - own == made - {"ca.key"}, (
        "the authority's key leaves the host for nobody"
    )
    used = set()
    for name, service in SERVICES.items():
        for secret in service.get("secrets", []):
            used.add(secret if isinstance(secret, str) else secret["source"])
        assert set(service["networks"]) <= set(COMPOSE["networks"])
        for volume in service.get("volumes", []):
            source = volume.partition(":")[0]
            if source == "./secrets":
                assert name == "secrets"
            elif source.startswith("./"):
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
        assert settings.web.allowed_hosts == ("localhost",)
        assert settings.auth.sign_up is False
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
    assert {str(SERVICES[name]["env_file"]) for name in NODES} == {
        "[{'path': 'settings.env', 'required': False}]"
    }
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
    ((alertmanagers,),) = [each["dns_sd_configs"] for each in ours["alerting"]["alertmanagers"]]
    assert alertmanagers["names"] == ["alertmanager"]
    assert SERVICES["alertmanager"]["ports"] == [f"127.0.0.1:{alertmanagers['port']}:{alertmanagers['port']}"]
    assert set(SERVICES["alertmanager"]["networks"]) <= set(SERVICES["prometheus"]["networks"])


def test_alerts_of_every_severity_reach_somebody_or_nobody_on_purpose() -> None:
    config = yaml.safe_load(find_path(Path("config/compose/alertmanager.yaml")).read_text())
    rules = yaml.safe_load(find_path(Path("config/prometheus/alerts.yaml")).read_text())["groups"]
    severities = {rule["labels"]["severity"] for group in rules for rule in group["rules"]}
    names = {rule["alert"] for group in rules for rule in group["rules"]}
    routes = config["route"]["routes"]
    assert {each["receiver"] for each in (config["route"], *routes)} == {
        one["name"] for one in config["receivers"]
    }
    matched = [re.fullmatch(r'(\w+)="(\w+)"', word) for route in routes for word in route["matchers"]]
    for rule in config["inhibit_rules"]:
        matched += [
            re.fullmatch(r'(\w+)="(\w+)"', rule[key][0]) for key in ("source_matchers", "target_matchers")
        ]
    for found in matched:
        assert found is not None
        assert found[2] in {"severity": severities, "alertname": names}[found[1]]


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
    assert SERVICES["deploy"]["volumes"] == ["./serve_config.yaml:/srv/rollcall/serve_config.yaml:ro"]
    assert f":{agent[1]}/" in " ".join(SERVICES["ray-worker"]["healthcheck"]["test"])
    config = yaml.safe_load(find_path(Path("serve_config.yaml")).read_text())
    assert f"http://ray-worker:{config['http_options']['port']}" in SERVICES["doctor"]["command"]
    proxy = SERVICES["proxy"]["environment"]
    assert proxy["ROLLCALL_PROXY_UPSTREAM"] == f"ray-worker:{config['http_options']['port']}"
    assert [port.split(":")[1] for port in SERVICES["proxy"]["ports"]] == [
        proxy[name].split(":")[1] for name in ("ROLLCALL_PROXY_BIND", "ROLLCALL_PROXY_PLAIN_BIND")
    ]


GCS_FLAGS = ("port", "dashboard-port", "dashboard-agent-listen-port")
