"""config/kubernetes: of the right form, and in step with the serve config, the image and the compose file."""

from __future__ import annotations

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
IMAGES = ("rollcall-cpu", "rollcall-gpu")
"""Which images an overlay names."""


def find(kind: str, name: str = "") -> dict[str, Any]:
    (one,) = [one for one in OBJECTS if one["kind"] == kind and name in ("", one["metadata"]["name"])]
    return one


def name_of(one: dict[str, Any]) -> str:
    return f"{one['kind']}-{one['metadata']['name']}"


SERVICE = find("RayService")
CLUSTER = SERVICE["spec"]["rayClusterConfig"]
GROUPS = [CLUSTER["headGroupSpec"], *CLUSTER["workerGroupSpecs"]]
SETTINGS = find("ConfigMap")["data"]
EXAMPLE = yaml.safe_load(
    (REPOSITORY / "config" / "kubernetes" / "overlays" / "example" / "kustomization.yaml").read_text()
)


def validate(one: dict[str, Any]) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate")
    kubernetes.validate(one, KUBERNETES, strict=True)


@pytest.mark.parametrize("one", [one for one in OBJECTS if one["kind"] != "RayService"], ids=name_of)
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
        assert container["image"] in IMAGES


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
    images = {f"{one['name']}": one["newTag"] for one in EXAMPLE["images"]}
    ours = {read_compose({"RUNTIME": runtime})["services"]["ray-head"]["image"] for runtime in ("cpu", "gpu")}
    assert {f"rollcall:{tag}" for tag in images.values()} == ours
    assert all(tag.endswith(name.removeprefix("rollcall")) for name, tag in images.items())
    assert {group["template"]["spec"]["containers"][0]["image"] for group in GROUPS} == set(images)


def test_the_settings_are_the_compose_file_s_and_the_service_takes_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    compose = read_compose()["services"]["ray-worker"]["environment"]
    own = {"ROLLCALL_WEB__TRUSTED_PROXIES", "ROLLCALL_WEB__ALLOWED_HOSTS", "RAY_AUTH_TOKEN_PATH"}
    own |= {"ROLLCALL_BACKUP__KEY_FILE"}
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
    page = (REPOSITORY / "docs" / "kubernetes.md").read_text()
    made.add("backup.keys")
    for value in SETTINGS.values():
        if value.startswith("/run/secrets/"):
            name = value.removeprefix("/run/secrets/")
            assert name in made
            assert f"--from-file=secrets/{name}" in page, "the page does not put it into the secret"
    assert f"--from-file=secrets/{key}" in page


def test_policies_reach_the_pods_and_the_ports_that_they_have() -> None:
    workers = CLUSTER["workerGroupSpecs"]
    budget = find("PodDisruptionBudget")["spec"]["selector"]["matchLabels"]
    for group in workers:
        assert budget.items() <= group["template"]["metadata"]["labels"].items()
    policies = {one["metadata"]["name"]: one["spec"] for one in OBJECTS if one["kind"] == "NetworkPolicy"}
    for name, policy in policies.items():
        if name != "rollcall-rehearsal":
            reached = workers if name == "rollcall-clients" else GROUPS
            labels = policy["podSelector"]["matchLabels"].items()
            assert all(labels <= group["template"]["metadata"]["labels"].items() for group in reached), name
    serve_port = yaml.safe_load(SERVICE["spec"]["serveConfigV2"])["http_options"]["port"]
    assert _ports(policies["rollcall-clients"], "ingress") == {serve_port}
    for one in OBJECTS:
        if one["kind"] == "Ingress":
            for path in one["spec"]["rules"][0]["http"]["paths"]:
                service = {"name": f"{SERVICE['metadata']['name']}-serve-svc", "port": {"number": serve_port}}
                assert path["backend"]["service"] == service
    scraped = _ports(policies["rollcall-prometheus"], "ingress")
    assert scraped == {int(SETTINGS["ROLLCALL_METRICS__PORT"]), 8080}
    assert _ports(policies["rollcall-stores"], "egress") == {5432, 6333, 6379}
    rehearsal = policies["rollcall-rehearsal"]
    assert set(rehearsal["policyTypes"]) == {"Ingress", "Egress"}
    assert not {"ingress", "egress"} & set(rehearsal), "it reaches nobody"


def _ports(policy: dict[str, Any], way: str) -> set[int]:
    return {port["port"] for rule in policy[way] for port in rule.get("ports", [])}
