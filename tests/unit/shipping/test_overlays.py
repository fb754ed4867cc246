"""What `kubectl apply -k` of an overlay applies: the example's, and with what it may switch on."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from serving.settings import setting_keys
from serving.settings.environment import key_in_a_file, make_key
from tests.unit.shipping.monitoring_schema import POD_MONITOR, PROMETHEUS_RULE
from tests.unit.shipping.ray_service_schema import RAY_SERVICE
from tests.unit.shipping.shipped import REPOSITORY, read_compose, read_kubernetes

pytestmark = pytest.mark.skipif(shutil.which("kubectl") is None, reason="needs kubectl, for its kustomize")

KUBERNETES = REPOSITORY / "config" / "kubernetes"
EXAMPLE = "overlays/example/kustomization.yaml"
HOST = "rollcall.example.org"
SCHEMAS = {"RayService": RAY_SERVICE, "PodMonitor": POD_MONITOR, "PrometheusRule": PROMETHEUS_RULE}
COMMANDS = {"rollcall-backup", "rollcall-erasures", "rollcall-rehearsal", "rollcall-restore"}
Objects = dict[str, dict[str, dict[str, Any]]]
"""By kind and name."""


def build(folder: Path) -> Objects:
    done = subprocess.run(
        ["kubectl", "kustomize", str(folder)], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    objects: Objects = {}
    for one in yaml.safe_load_all(done.stdout):
        objects.setdefault(one["kind"], {})[one["metadata"]["name"]] = one
    return objects


@pytest.fixture(scope="module")
def example() -> Objects:
    return build(KUBERNETES / "overlays" / "example")


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Objects:
    """A copy of the example as its reader would edit it: another host, GPUs, monitoring, one Qdrant node."""
    copy = tmp_path_factory.mktemp("deployment") / "kubernetes"
    shutil.copytree(KUBERNETES, copy)
    shutil.copytree(copy / "overlays" / "example", copy / "overlays" / "arena")
    path = copy / "overlays" / "arena" / "kustomization.yaml"
    text = path.read_text().replace(HOST, "faces.arena.example")
    text = re.sub(r"components: \[\]\n#(  - \S+).*\n#(  - \S+).*\n", r"components:\n\1\n\2\n", text)
    for name in ("REPLICATION_FACTOR", "WRITE_CONSISTENCY_FACTOR", "READ_CONSISTENCY"):
        text = re.sub(rf"(ROLLCALL_GALLERY__{name}): .*", r"\1: null", text)
    path.write_text(text)
    return build(path.parent)


def test_what_is_applied_is_of_the_right_form(everything: Objects) -> None:
    kubernetes = pytest.importorskip("kubernetes_validate")
    for kind, named in everything.items():
        for one in named.values():
            assert one["metadata"].get("namespace", "rollcall") == "rollcall"
            if kind in SCHEMAS:
                jsonschema.validate(one, SCHEMAS[kind])
            else:
                kubernetes.validate(one, "1.37", strict=True)
    monitor = yaml.safe_load(json.dumps(everything["PodMonitor"]["rollcall"]))
    monitor["spec"]["podMetricsEndpoints"][0]["relabeling"] = []
    with pytest.raises(jsonschema.ValidationError, match="relabeling"):
        jsonschema.validate(monitor, POD_MONITOR)


def test_it_is_the_base_and_what_was_switched_on(example: Objects, everything: Objects) -> None:
    base = {(one["kind"], one["metadata"]["name"]) for one in read_kubernetes()}
    assert {(kind, name) for kind, named in example.items() for name in named} == base
    more = {(kind, name) for kind, named in everything.items() for name in named} - base
    assert more == {("PodMonitor", "rollcall"), ("PrometheusRule", "rollcall")}
    for objects, has_gpus in ((example, False), (everything, True)):
        served = yaml.safe_load(objects["RayService"]["rollcall"]["spec"]["serveConfigV2"])["applications"][0]
        assert any("num_gpus" in one["ray_actor_options"] for one in served["deployments"]) is has_gpus


def test_every_place_that_differs_is_changed_by_the_overlay(example: Objects, everything: Objects) -> None:
    text = json.dumps(everything)
    assert HOST not in text
    assert '"rollcall-cpu"' not in text
    assert '"rollcall-gpu"' not in text
    images = set(re.findall(r'"image": "([^"]+)"', text))
    assert images == {f"registry.example.org/rollcall:0.1.0-{runtime}" for runtime in ("cpu", "gpu")}
    for one in everything["Ingress"].values():
        (rule,) = one["spec"]["rules"]
        assert [rule["host"]] == one["spec"]["tls"][0]["hosts"] == ["faces.arena.example"]
    settings = everything["ConfigMap"]["rollcall-settings"]["data"]
    assert settings["ROLLCALL_WEB__ALLOWED_HOSTS"] == '["faces.arena.example"]'
    assert not [name for name in settings if "CONSISTENCY" in name or "REPLICATION" in name]
    for claim in example["PersistentVolumeClaim"].values():
        assert claim["spec"]["storageClassName"] == "shared"
    fault_tolerance = example["RayService"]["rollcall"]["spec"]["rayClusterConfig"][
        "gcsFaultToleranceOptions"
    ]
    assert fault_tolerance["redisAddress"] == "rediss://redis.stores.svc:6379"
    assert everything["PrometheusRule"]["rollcall"]["metadata"]["labels"]["release"]


def test_commands_are_those_of_compose_which_its_check_runs(example: Objects) -> None:
    services = read_compose()["services"]
    for name in ("backup", "erasures", "rehearsal"):
        job = example["CronJob"][f"rollcall-{name}"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
        words = [word.replace('"${KEEP_BACKUP_DAYS:-30}"', "30") for word in job["containers"][0]["command"]]
        assert words == [word.replace("$$", "$") for word in services[name]["command"]]
    restore = example["CronJob"]["rollcall-restore"]["spec"]["jobTemplate"]["spec"]["template"]["spec"]
    rehearsal = services["rehearsal"]["command"][-1].replace("$$newest", "${RESTORE_FILE:-$newest}")
    assert restore["containers"][0]["command"][-1] == f"{rehearsal} --replace"


def test_every_setting_is_one(example: Objects) -> None:
    known = set(setting_keys())
    for variable in example["ConfigMap"]["rollcall-settings"]["data"]:
        if variable.startswith("ROLLCALL_"):
            assert (key_in_a_file(variable, known) or make_key(variable)) in known, variable


def test_prometheus_finds_the_ports_that_pods_have(everything: Objects) -> None:
    cluster = everything["RayService"]["rollcall"]["spec"]["rayClusterConfig"]
    groups = [cluster["headGroupSpec"], *cluster["workerGroupSpecs"]]
    monitor = everything["PodMonitor"]["rollcall"]["spec"]
    jobs = {}
    for endpoint in monitor["podMetricsEndpoints"]:
        (job,) = [one["replacement"] for one in endpoint["relabelings"] if one.get("targetLabel") == "job"]
        jobs[job] = {
            port["containerPort"]
            for group in groups
            for port in group["template"]["spec"]["containers"][0]["ports"]
            if port["name"] == endpoint["port"]
        }
    settings = everything["ConfigMap"]["rollcall-settings"]["data"]
    assert jobs == {"rollcall": {int(settings["ROLLCALL_METRICS__PORT"])}, "ray": {8080}}
    shipped = yaml.safe_load((REPOSITORY / "config/prometheus/prometheus.yaml").read_text())
    assert set(jobs) == {job["job_name"] for job in shipped["scrape_configs"]}, "alerts ask for these"
    for group in groups:
        assert monitor["selector"]["matchLabels"].items() <= group["template"]["metadata"]["labels"].items()


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_commands_are_hardened_and_find_what_they_need(example: Objects, name: str) -> None:
    job = example["CronJob"][name]["spec"]
    assert job["concurrencyPolicy"] == "Forbid"
    assert job["suspend"] is (name == "rollcall-restore"), "said, so that applying again wakes a schedule"
    template = job["jobTemplate"]["spec"]["template"]
    pod = template["spec"]
    (container,) = pod["containers"]
    assert job["jobTemplate"]["spec"]["backoffLimit"] <= 1
    assert pod["securityContext"]["runAsUser"] == pod["securityContext"]["fsGroup"] == 10001
    assert pod["automountServiceAccountToken"] is False
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {"requests", "limits"} == set(container["resources"])
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert set(mounts) == set(volumes)
    claims = {
        volume: one["persistentVolumeClaim"]["claimName"]
        for volume, one in volumes.items()
        if "persistentVolumeClaim" in one
    }
    assert set(claims.values()) <= set(example["PersistentVolumeClaim"])
    assert (mounts["backups"], claims["backups"]) == ("/backups", "rollcall-backups")
    if name == "rollcall-rehearsal":
        keys = [one["key"] for one in volumes["secrets"]["secret"]["items"]]
        assert keys == ["backup.keys"], "it must not find the stores"
        assert "envFrom" not in container
        assert claims == {"backups": "rollcall-backups"}
        policy = example["NetworkPolicy"]["rollcall-rehearsal"]["spec"]
        assert template["metadata"]["labels"] == policy["podSelector"]["matchLabels"]
    else:
        assert container["envFrom"] == [{"configMapRef": {"name": "rollcall-settings"}}]
        policy = example["NetworkPolicy"]["rollcall-stores"]["spec"]
        assert policy["podSelector"]["matchLabels"].items() <= template["metadata"]["labels"].items()
        key = example["ConfigMap"]["rollcall-settings"]["data"]["ROLLCALL_BACKUP__KEY_FILE"]
        assert key.startswith(mounts["secrets"])
