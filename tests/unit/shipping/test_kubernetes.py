"""config/kubernetes: of the right form, and in step with the serve config, the image and the compose file."""

from __future__ import annotations

import shutil
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from serving.commands.secret_files import make_secret_files
from serving.settings import load_settings
from tests.shipping.derived_configs import derive, for_kubernetes
from tests.unit.shipping.ray_service_schema import RAY_SERVICE
from tests.unit.shipping.shipped import REPOSITORY, read_compose, read_kubernetes

OBJECTS = read_kubernetes()
KUBERNETES = "1.37"


def find(kind: str) -> dict[str, Any]:
    (one,) = [one for one in OBJECTS if one["kind"] == kind]
    return one


SERVICE = find("RayService")
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
SETTINGS = find("ConfigMap")["data"]


def validate(one: dict[str, Any]) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate")
    kubernetes.validate(one, KUBERNETES, strict=True)


@pytest.mark.parametrize(
    "one", [one for one in OBJECTS if one["kind"] != "RayService"], ids=lambda one: one["kind"]
)
def test_kubernetes_objects_are_of_the_right_form(one: dict[str, Any]) -> None:
    validate(one)


def test_the_ray_service_is_of_the_right_form() -> None:
    jsonschema.validate(SERVICE, RAY_SERVICE)
    misspelt = yaml.safe_load(yaml.safe_dump(SERVICE))
    misspelt["spec"]["rayClusterConfig"]["workerGroupSpecs"][0]["maxReplica"] = 3
    with pytest.raises(jsonschema.ValidationError, match="maxReplica"):
        jsonschema.validate(misspelt, RAY_SERVICE)


@pytest.mark.parametrize("group", GROUPS, ids=["head", "cpu", "gpu"])
def test_its_pods_are_of_the_right_form(group: dict[str, Any]) -> None:
    template = group["template"]
    labels = template["metadata"]["labels"]
    validate(
        {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": {"name": "as-kuberay-makes-it"},
            "spec": {"selector": {"matchLabels": labels}, "template": template},
        }
    )


@pytest.mark.parametrize("group", GROUPS, ids=["head", "cpu", "gpu"])
def test_its_pods_are_hardened(group: dict[str, Any]) -> None:
    pod = group["template"]["spec"]
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    mounted = {mount["name"] for container in pod["containers"] for mount in container["volumeMounts"]}
    assert mounted == {volume["name"] for volume in pod["volumes"]}
    for container in pod["containers"]:
        context = container["securityContext"]
        assert context["readOnlyRootFilesystem"] is True
        assert context["runAsNonRoot"] is True
        assert context["allowPrivilegeEscalation"] is False
        assert context["capabilities"] == {"drop": ["ALL"]}
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}
        assert container["resources"]["requests"] == container["resources"]["limits"], "Ray counts on it"
        assert {"readinessProbe", "livenessProbe"} <= set(container)
        assert container["image"] in ("rollcall:0.1.0-cpu", "rollcall:0.1.0-gpu")


@pytest.mark.parametrize("path", derive())
def test_the_serve_configs_follow_from_one(path: str) -> None:
    assert (REPOSITORY / path).read_text() == derive()[path], f"{path}: run `make manifests`"


def test_only_where_ingresses_stand_differs_from_the_cluster_s_config() -> None:
    cluster = yaml.safe_load((REPOSITORY / "serve_config.yaml").read_text())
    shipped = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])
    assert shipped == for_kubernetes(cluster)
    ingress, *others = shipped["applications"][0]["deployments"]
    assert others == cluster["applications"][0]["deployments"][1:]
    assert shipped["applications"][0]["args"] == cluster["applications"][0]["args"]
    assert ingress["max_replicas_per_node"] == 1
    assert ingress["autoscaling_config"]["min_replicas"] >= 2
    most = max(group["maxReplicas"] for group in CLUSTER["workerGroupSpecs"])
    assert ingress["autoscaling_config"]["max_replicas"] <= most, "no node for the last"


@pytest.mark.parametrize(("folder", "name"), [("base", "cpu"), ("gpu", "gpu")])
def test_the_workers_hold_what_is_served(folder: str, name: str) -> None:
    manifest = yaml.safe_load((REPOSITORY / "config" / "kubernetes" / folder / "rayservice.yaml").read_text())
    deployments = yaml.safe_load(manifest["spec"]["serveConfigV2"])["applications"][0]["deployments"]
    (group,) = [group for group in CLUSTER["workerGroupSpecs"] if group["groupName"] == name]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    cpus, gpus = float(limits["cpu"]), float(limits.get("nvidia.com/gpu", 0))
    least = 0.0
    for deployment in deployments:
        options = deployment["ray_actor_options"]
        assert options["num_cpus"] <= cpus, deployment["name"]
        assert options.get("num_gpus", 0) <= gpus, deployment["name"]
        least += options["num_cpus"] * deployment["autoscaling_config"]["min_replicas"]
    assert least <= cpus * max(1, group["minReplicas"]), "the first replicas wait for the autoscaler"
    assert CLUSTER["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    assert CLUSTER["enableInTreeAutoscaling"] is True


def test_the_versions_are_those_of_the_image() -> None:
    assert CLUSTER["rayVersion"] == version("ray")
    images = {group["template"]["spec"]["containers"][0]["image"] for group in GROUPS}
    ours = {read_compose({"RUNTIME": runtime})["services"]["ray-head"]["image"] for runtime in ("cpu", "gpu")}
    assert images == ours


def test_the_settings_are_the_compose_file_s_and_the_service_takes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compose = read_compose()["services"]["ray-worker"]["environment"]
    own = {"ROLLCALL_WEB__TRUSTED_PROXIES", "RAY_AUTH_TOKEN_PATH"}
    for name in set(compose) - own:
        assert SETTINGS[name] == compose[name], name
    make_secret_files(tmp_path / "secrets", ["localhost"])
    monkeypatch.chdir(tmp_path)
    for name, value in SETTINGS.items():
        monkeypatch.setenv(name, value.replace("/run/secrets", str(tmp_path / "secrets")))
    settings = load_settings(yaml.safe_load(SERVICE["spec"]["serveConfigV2"])["applications"][0]["args"])
    assert settings.gallery.replication_factor == 3


def test_secrets_are_references(tmp_path: Path) -> None:
    assert not [one for one in OBJECTS if one["kind"] == "Secret"]
    made = {written.name for written in make_secret_files(tmp_path / "secrets", ["localhost"])}
    password = CLUSTER["gcsFaultToleranceOptions"]["redisPassword"]
    key = password["valueFrom"]["secretKeyRef"]["key"]
    assert key in made
    assert (tmp_path / "secrets" / key).read_text().isprintable(), "a new line would be part of the password"
    for value in SETTINGS.values():
        if value.startswith("/run/secrets/"):
            assert value.removeprefix("/run/secrets/") in made


def test_policies_reach_the_pods_and_the_ports_that_they_have() -> None:
    workers = CLUSTER["workerGroupSpecs"]
    budget = find("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    policy = find("NetworkPolicy")["spec"]
    for group in workers:
        assert budget.items() <= group["template"]["metadata"]["labels"].items()
    for group in GROUPS:
        assert policy["podSelector"]["matchLabels"].items() <= group["template"]["metadata"]["labels"].items()
    serve_port = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])["http_options"]["port"]
    clients = policy["ingress"][1]["ports"]
    assert [port["port"] for port in clients] == [serve_port]
    backend = find("Ingress")["spec"]["rules"][0]["http"]["paths"][0]["backend"]["service"]
    assert backend == {"name": f"{SERVICE['metadata']['name']}-serve-svc", "port": {"number": serve_port}}
    scraped = {port["port"] for port in policy["ingress"][2]["ports"]}
    assert int(SETTINGS["ROLLCALL_METRICS__PORT"]) in scraped
    opened = {port["port"] for rule in policy["egress"] for port in rule.get("ports", [])}
    for name in ("postgres", "qdrant", "redis"):
        assert {"postgres": 5432, "qdrant": 6333, "redis": 6379}[name] in opened


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, for its kustomize")
@pytest.mark.parametrize("folder", ["base", "gpu"])
def test_kustomize_puts_it_together(folder: str) -> None:
    done = subprocess.run(
        ["kubectl", "kustomize", str(REPOSITORY / "config" / "kubernetes" / folder)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    made = {one["kind"]: one for one in yaml.safe_load_all(done.stdout)}
    assert set(made) == {one["kind"] for one in OBJECTS}
    jsonschema.validate(made["RayService"], RAY_SERVICE)
    assert all(one["metadata"].get("namespace", "rollcall") == "rollcall" for one in made.values())
    served = yaml.safe_load(made["RayService"]["spec"]["serveConfigV2"])["applications"][0]
    asks_for_gpus = any("num_gpus" in one["ray_actor_options"] for one in served["deployments"])
    assert asks_for_gpus is (folder == "gpu")
