"""`make manifests`: files that follow from serve_config.yaml and the alerts, which so stand in one place.

`config/cluster-gpu.yaml` takes what GPUs need from `config/one-gpu.yaml`; `config/kubernetes/` holds each of
the two within its manifest, with ingress replicas on different nodes, and the alerts within a rule of
Prometheus' operator.
"""

from __future__ import annotations

import copy
import re
import textwrap
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[2]
CLUSTER = "serve_config.yaml"
ONE_GPU = "config/one-gpu.yaml"
CLUSTER_GPU = "config/cluster-gpu.yaml"
RAY_SERVICE = "config/kubernetes/base/rayservice.yaml"
RAY_SERVICE_GPU = "config/kubernetes/gpu/rayservice.yaml"
ALERTS = "config/prometheus/alerts.yaml"
ALERTS_OF_THE_OPERATOR = "config/kubernetes/monitoring/alerts.yaml"
GPU_HEAD = """\
# serve_config.yaml for nodes that have NVIDIA GPUs: `rollcall deploy --config config/cluster-gpu.yaml`.
# Made by `make manifests` from serve_config.yaml and what config/one-gpu.yaml says of packs, Detector and
# Embedder; docs/gpu.md explains the numbers. They have not been tuned on a GPU yet.

"""
ALERTS_HEAD = """\
# config/prometheus/alerts.yaml for Prometheus' operator. Made by `make manifests`.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: rollcall
  namespace: rollcall
  labels: {app.kubernetes.io/part-of: rollcall}
spec:
"""
NODES = 8
"""Most ingress replicas on Kubernetes: one on each worker of the manifest's largest groups."""


def derive() -> dict[str, str]:
    """Path -> the text that the file must have."""
    cluster, one_gpu = _read(CLUSTER), _read(ONE_GPU)
    cluster_gpu = for_gpus(cluster, one_gpu)
    return {
        CLUSTER_GPU: GPU_HEAD + write_config(cluster_gpu),
        RAY_SERVICE: _embed(RAY_SERVICE, for_kubernetes(cluster)),
        RAY_SERVICE_GPU: _embed(RAY_SERVICE_GPU, for_kubernetes(cluster_gpu)),
        ALERTS_OF_THE_OPERATOR: ALERTS_HEAD + _read_rules(),
    }


def for_gpus(cluster: dict[str, Any], one_gpu: dict[str, Any]) -> dict[str, Any]:
    """The cluster's config with packs, Detector and Embedder as on one GPU, but for how many replicas."""
    config = copy.deepcopy(cluster)
    application, other = config["applications"][0], one_gpu["applications"][0]
    application["args"]["pack"] = other["args"]["pack"]
    for deployment, theirs in zip(application["deployments"], other["deployments"], strict=True):
        assert deployment["name"] == theirs["name"]
        if "num_gpus" in theirs["ray_actor_options"]:
            for key in ("ray_actor_options", "user_config", "health_check_timeout_s", "max_ongoing_requests"):
                deployment[key] = theirs[key]
    # A parcel fills a batch, and theirs are larger.
    ours, other_stages = (each["deployments"][0]["user_config"] for each in (application, other))
    for name, stage in ours.items():
        stage["max_parcel_tasks"] = other_stages[name]["max_parcel_tasks"]
    return config


def for_kubernetes(config: dict[str, Any]) -> dict[str, Any]:
    """The config with two ingress replicas or more, no two on one node."""
    config = copy.deepcopy(config)
    ingress = config["applications"][0]["deployments"][0]
    assert ingress["name"] == "Ingress"
    ingress["autoscaling_config"] |= {"min_replicas": 2, "max_replicas": NODES}
    ingress["max_replicas_per_node"] = 1
    return config


def write_config(config: dict[str, Any]) -> str:
    """A serve config as YAML: small mappings on one line, the rest as an operator would write it."""
    lines = _write({key: value for key, value in config.items() if key != "applications"})
    lines.append("applications:")
    for application in config["applications"]:
        head = {key: value for key, value in application.items() if key != "deployments"}
        lines += _item(_write(head), 2)
        lines.append("    deployments:")
        for deployment in application["deployments"]:
            lines += _item(_write(deployment), 6)
    return "\n".join(lines) + "\n"


def _write(mapping: dict[str, Any]) -> list[str]:
    lines = []
    for key, value in mapping.items():
        if isinstance(value, dict) and (
            len(flow := _flow(value)) > 70 or any(isinstance(inner, dict) for inner in value.values())
        ):
            lines += [f"{key}:", *(f"  {line}" for line in _write(value))]
        else:
            lines.append(f"{key}: {flow if isinstance(value, dict) else _flow(value)}")
    return lines


def _flow(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=1000)
    return text.removesuffix("...\n").strip()


def _item(lines: list[str], indent: int) -> list[str]:
    return [" " * indent + ("- " if place == 0 else "  ") + line for place, line in enumerate(lines)]


def _embed(path: str, config: dict[str, Any]) -> str:
    """The manifest with this config under `serveConfigV2`."""
    manifest = (REPOSITORY / path).read_text()
    block = re.search(r"^( *)serveConfigV2: \|\n((?:\1  .*\n|\n)*)", manifest, re.MULTILINE)
    assert block is not None, f"{path} has no serveConfigV2"
    indent = block[1] + "  "
    text = "".join(indent + line + "\n" for line in write_config(config).splitlines())
    return manifest[: block.start(2)] + text + manifest[block.end(2) :]


def _read_rules() -> str:
    """The groups of alerts, two places further in."""
    text = (REPOSITORY / ALERTS).read_text()
    return textwrap.indent(text[text.index("groups:") :], "  ")


def _read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load((REPOSITORY / path).read_text())
    return content


if __name__ == "__main__":
    for name, text in derive().items():
        (REPOSITORY / name).write_text(text)
        print(f"wrote {name}")
