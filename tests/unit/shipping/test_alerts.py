"""Alerts about nodes, backups and disks fire when they should and only then: Prometheus' promtool judges."""

from __future__ import annotations

import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.commands.backup import LITTLE_ROOM_BACKUPS
from serving.operations.doctor.copies import LATE_DAYS, LATE_LIST_HOURS
from tests.unit.shipping.shipped import REPOSITORY, find_path, read_compose

ALERTS = REPOSITORY / "config" / "prometheus" / "alerts.yaml"
RULES: dict[str, Any] = {
    rule["alert"]: rule for rule in yaml.safe_load(ALERTS.read_text())["groups"][0]["rules"]
}
UNDER_TEST = (
    "RollcallNodeDown|RollcallNodeIdle|RollcallExporterSilent|RollcallBackup.*|RollcallNeverBackedUp|"
    "RollcallErasureListOld|RollcallDisk.*"
)
GIB = 2**30
HOUR_S, DAY_S = 3600, 86400
STEP_S = {"1m": 60, "30m": 1800}
"""Between samples, by the name that promtool has for it."""


@dataclass(frozen=True)
class Case:
    """What is scraped, and what fires.

    Attributes:
        series: name and labels -> a number that stays, or what promtool takes for a series.
        firing: at which time -> alerts, each as `name instance`.
        step: between samples and evaluations.
    """

    name: str
    series: dict[str, float | str]
    firing: dict[str, set[str]]
    step: str = "1m"
    hours: float = field(default=1)


def up(job: str, node: str, is_up: int) -> dict[str, float | str]:
    port = {"rollcall": 9464, "ray": 8080}[job]
    label = f',node="{node}"' if node else ""
    return {f'up{{job="{job}",instance="{node or "old"}:{port}"{label}}}': is_up}


def replica(node: str, rss_mb: float) -> dict[str, float | str]:
    labels = f'job="ray",instance="{node}:8080",node="{node}"'
    return {f'ray_component_rss_mb{{{labels},Component="ray::ServeReplica:rollcall:Detector"}}': rss_mb}


def disk(free: float | str, size: float, reserve: float = 0, node: str = "n1") -> dict[str, float | str]:
    labels = f'{{job="rollcall",instance="{node}:9464",node="{node}",holds="data"}}'
    return {
        f"rollcall_disk_free_bytes{labels}": free,
        f"rollcall_disk_bytes{labels}": size,
        f"rollcall_disk_reserve_bytes{labels}": reserve,
    }


def ray_disk(node: str, free: float, percentage: float) -> dict[str, float | str]:
    labels = f'{{job="ray",instance="{node}:8080",node="{node}"}}'
    return {
        f"ray_node_disk_free{labels}": free,
        f"ray_node_disk_utilization_percentage{labels}": percentage,
    }


def backup(at: float | str, faces: float | str = 0, **others: float) -> dict[str, float | str]:
    """Two nodes tell the same of one registry."""
    values = {"rollcall_last_backup_timestamp_seconds": at, "rollcall_gallery_faces": faces, **others}
    return {
        f'{name}{{instance="{node}:9464"}}': value for name, value in values.items() for node in ("n1", "n2")
    }


def after(steps: int, before: float | str, then: float, count: int) -> str:
    """A series that is `before` for some steps and `then` for `count` more; `_` is nothing at all."""
    return f"{'_' if before == '_' else before}x{steps} {then}x{count}"


def days(number: float) -> int:
    """In steps of half an hour."""
    return int(number * DAY_S / STEP_S["30m"])


CASES = [
    Case(
        "a node that is down, an idle one, a silent exporter, a head that is down, others that are well",
        {
            **up("rollcall", "down", 0), **up("ray", "down", 0),
            **up("rollcall", "idle", 0), **up("ray", "idle", 1), **replica("idle", 0),
            **up("rollcall", "silent", 0), **up("ray", "silent", 1), **replica("silent", 300),
            **up("rollcall", "well", 1), **up("ray", "well", 1), **replica("well", 300),
            **up("rollcall", "half", 1), **up("ray", "half", 0),
            **up("ray", "head", 0), **up("ray", "other-head", 1),
        },
        {
            "1m": set(),
            "4m": {"RollcallNodeDown down:9464", "RollcallNodeDown head:8080"},
            "20m": {
                "RollcallNodeDown down:9464", "RollcallNodeDown head:8080",
                "RollcallNodeIdle idle:9464", "RollcallExporterSilent silent:9464",
            },
        },
    ),
    Case(
        "scrape configs of before, whose targets do not say of which node they are",
        {**up("rollcall", "", 0), **up("ray", "", 1)},
        {"20m": {"RollcallNodeDown old:9464"}},
    ),
    Case(
        "a backup of two days and more ago, as both nodes say",
        backup(HOUR_S, faces=9),
        {"47h": set(), "49h": set(), "51h": {"RollcallBackupMissing "}},
        "30m",
        60,
    ),
    Case(
        "a backup of a clock that is ahead by a year",
        backup(365 * DAY_S),
        {"2h": {"RollcallBackupMissing "}},
        "30m",
        3,
    ),
    Case(
        "people are enrolled, and no backup is ever made",
        backup(0, faces=9),
        {"71h": set(), "74h": {"RollcallNeverBackedUp "}, "120h": {"RollcallNeverBackedUp "}},
        "30m",
        121,
    ),
    Case("nobody is enrolled, and no backup is ever made", backup(0), {"120h": set()}, "30m", 121),
    Case(
        "a release that knows of no backup is replaced by one that does, between two backups",
        backup(after(days(4), "_", 0, days(1)), faces=9),
        {"97h": set(), "118h": set()},
        "30m",
        120,
    ),
    Case(
        "a registry is restored, which knows of no backup of its own, and none is made again",
        backup(after(days(4), 300_000, 0, days(5)), faces=9),
        {"95h": set(), "97h": set(), "166h": set(), "170h": {"RollcallNeverBackedUp "}},
        "30m",
        200,
    ),
    Case(
        "a backup that lacks vectors, on a disk with room for two more",
        backup(
            HOUR_S,
            rollcall_last_backup_missing_faces=2,
            rollcall_last_backup_bytes=GIB,
            rollcall_last_backup_free_bytes=2.5 * GIB,
        ),
        {"1h": {"RollcallBackupIncomplete ", "RollcallBackupDiskFull "}},
    ),
    Case(
        "a backup that is whole, with room for four more, and a list of erasures of an hour and more ago",
        backup(
            HOUR_S,
            rollcall_last_backup_missing_faces=0,
            rollcall_last_backup_bytes=GIB,
            rollcall_last_backup_free_bytes=4 * GIB,
            rollcall_last_erasure_list_timestamp_seconds=600,
        ),
        {"69m": set(), "85m": {"RollcallErasureListOld "}},
        hours=2,
    ),
    Case(
        "no list of erasures was ever written",
        backup(0, rollcall_last_erasure_list_timestamp_seconds=0),
        {"5h": set()},
        "30m",
        6,
    ),
    Case(
        "disks of all sizes, with room",
        {
            **disk(6 * GIB, 500 * GIB, node="large"),
            **disk(0.3 * GIB, 2 * GIB, node="small"),
            **disk(0.6 * GIB, 2 * GIB, 0.25 * GIB, node="gallery"),
            **ray_disk("head", 6 * GIB, 99), **ray_disk("small-head", 0.3 * GIB, 85),
        },
        {"20m": set()},
    ),
    Case(
        "disks of all sizes, full; of a node that has an exporter Ray need not tell",
        {
            **disk(4.9 * GIB, 500 * GIB, node="large"), **ray_disk("large", GIB, 99),
            **disk(0.1 * GIB, 2 * GIB, node="small"),
            **disk(0.4 * GIB, 2 * GIB, 0.25 * GIB, node="gallery"),
            **disk(0, 900 * GIB, node="read-only"),
            **ray_disk("head", 4 * GIB, 95),
        },
        {
            "20m": {
                "RollcallDiskFull large:9464", "RollcallDiskFull small:9464", "RollcallDiskFull gallery:9464",
                "RollcallDiskFull read-only:9464", "RollcallDiskFull head:8080",
            }
        },
    ),
    Case(
        "one disk fills by 2 GiB an hour and one by a fifth of that; one fills fast and is nearly empty yet",
        {
            **disk(f"{40 * GIB}-{GIB}x100", 100 * GIB, node="fast"),
            **disk(f"{40 * GIB}-{GIB // 5}x100", 100 * GIB, node="slow"),
            **disk(f"{90 * GIB}-{2 * GIB}x100", 100 * GIB, node="import"),
        },
        {"2h": {"RollcallDiskFilling fast:9464"}},
        "30m",
        3,
    ),
]  # fmt: skip


def describe(case: Case) -> dict[str, Any]:
    """The case as promtool reads it."""
    steps = int(case.hours * HOUR_S / STEP_S[case.step])
    asked = f'count by (alertname, instance) (ALERTS{{alertname=~"{UNDER_TEST}",alertstate="firing"}})'
    return {
        "name": case.name,
        "interval": case.step,
        "input_series": [
            {"series": name, "values": value if isinstance(value, str) else f"{value:.0f}x{steps}"}
            for name, value in case.series.items()
        ],
        "promql_expr_test": [
            {
                "expr": asked,
                "eval_time": at,
                "exp_samples": [{"labels": _labels_of(alert), "value": 1} for alert in sorted(alerts)],
            }
            for at, alerts in case.firing.items()
        ],
    }


def _labels_of(alert: str) -> str:
    name, _, instance = alert.partition(" ")
    return f'{{alertname="{name}"' + (f',instance="{instance}"}}' if instance else "}")


def judge(folder: Path, tests: list[dict[str, Any]], step: str) -> None:
    if not shutil.which("promtool"):
        pytest.skip("needs promtool, of Debian's prometheus")
    file, rules = folder / "tests.yaml", folder / "rules.yaml"
    judged = [rule for name, rule in RULES.items() if re.fullmatch(UNDER_TEST, name)]
    rules.write_text(yaml.safe_dump({"groups": [{"name": "judged", "rules": judged}]}))
    content = {"rule_files": [str(rules)], "evaluation_interval": step, "tests": tests}
    file.write_text(yaml.safe_dump(content))
    done = subprocess.run(["promtool", "test", "rules", str(file)], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("step", STEP_S)
def test_alerts_fire_when_they_should_and_only_then(step: str, tmp_path: Path) -> None:
    judge(tmp_path, [describe(case) for case in CASES if case.step == step], step)


def test_a_wrong_expectation_is_found(tmp_path: Path) -> None:
    wrong = describe(Case("", up("rollcall", "n1", 0), {"10m": set()}))
    with pytest.raises(AssertionError, match="RollcallNodeDown"):
        judge(tmp_path, [wrong], "1m")


@pytest.mark.parametrize(
    ("series", "at", "alert", "labels", "summary"),
    [
        (disk(GIB, 100 * GIB), "6m", "RollcallDiskFull", {"instance": "n1:9464", "holds": "data"},
         "A disk of n1:9464 (data) has 1GiB left"),
        (ray_disk("head", GIB, 99), "6m", "RollcallDiskFull", {"instance": "head:8080"},
         "A disk of head:8080 (/) has 1GiB left"),
        (backup(3 * DAY_S + HOUR_S), "70m", "RollcallBackupMissing", {},
         "The newest backup is of 2d 23h 50m 0s ago"),
    ],
)  # fmt: skip
def test_what_people_read(
    series: dict[str, float | str], at: str, alert: str, labels: dict[str, str], summary: str, tmp_path: Path
) -> None:
    case = describe(Case(alert, series, {}, hours=2))
    own = {"severity": RULES[alert]["labels"]["severity"]}
    if "instance" in labels:
        node, port = labels["instance"].split(":")
        own |= {"job": {"9464": "rollcall", "8080": "ray"}[port], "node": node}
    told = {"summary": summary, "action": RULES[alert]["annotations"]["action"]}
    expected = {"exp_labels": labels | own, "exp_annotations": told}
    del case["promql_expr_test"]
    case["alert_rule_test"] = [{"eval_time": at, "alertname": alert, "exp_alerts": [expected]}]
    judge(tmp_path, [case], "1m")


def test_the_commands_and_the_alerts_agree() -> None:
    assert RULES["RollcallBackupMissing"]["expr"].endswith(f" > {LATE_DAYS * DAY_S}")
    assert RULES["RollcallErasureListOld"]["expr"].endswith(f" > {LATE_LIST_HOURS * HOUR_S}")
    assert f" < {LITTLE_ROOM_BACKUPS} * " in RULES["RollcallBackupDiskFull"]["expr"]


def test_every_shipped_way_says_of_which_node_a_target_is() -> None:
    """In both jobs by what both have in common, or no alert could join them."""
    for path in ("prometheus/prometheus.yaml", "prometheus/machines.yaml", "compose/prometheus.yaml"):
        jobs = yaml.safe_load(find_path(Path("config") / path).read_text())["scrape_configs"]
        assert {job["job_name"] for job in jobs} == {"rollcall", "ray"}
        for job in jobs:
            (rule,) = [one for one in job["relabel_configs"] if one["target_label"] == "node"]
            assert rule["source_labels"] == ["__address__"]
            for host in ("10.0.0.5", "node1", "[::1]"):
                found = re.fullmatch(rule["regex"], f"{host}:9464")
                assert found is not None
                assert found[1] == host
    monitor = yaml.safe_load(find_path(Path("config/kubernetes/monitoring/pod-monitor.yaml")).read_text())
    sources = {
        tuple(rule["sourceLabels"])
        for endpoint in monitor["spec"]["podMetricsEndpoints"]
        for rule in endpoint["relabelings"]
        if rule.get("targetLabel") == "node"
    }
    assert sources == {("__meta_kubernetes_pod_name",)}
    nodes = ("ray-head", "ray-worker")
    assert all("inside" in read_compose()["services"][name]["networks"] for name in nodes)
