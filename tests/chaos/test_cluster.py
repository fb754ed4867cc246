"""Several Ray nodes on one machine: a configuration is rolled out, and a node is taken away, under load."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.chaos.cluster import RayCluster, make_config, start_cluster
from tests.chaos.harness import Target
from tests.chaos.processes import count_ready, find_role, wait_until
from tests.chaos.stores import PostgresServer

ROLES = ("Ingress", "Detector", "Embedder", "Matcher")
ROLL_OUT_LIMIT_S = 120.0


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RayCluster, Target]]:
    """A head and a worker node; the gallery is embedded, and its owner lives on the head."""
    directory = tmp_path_factory.mktemp("chaos")
    with PostgresServer() as server:
        environment = {"ROLLCALL_DATABASE_URL": server.url}
        with start_cluster(directory, ("head", "worker"), environment) as served:
            yield served


def find_pids(target: Target) -> set[int]:
    """Of all replicas."""
    return {process.pid for role in ROLES for process in find_role(target.data_dir, role)}


def is_complete(target: Target, replicas: int) -> bool:
    """Whether so many replicas of each role have started."""
    return all(count_ready(target.data_dir, role) >= replicas for role in ROLES)


@pytest.mark.timeout(400)
def test_numbers_change_without_a_lost_request_or_a_new_replica(served: tuple[RayCluster, Target]) -> None:
    cluster, target = served
    wait_until(lambda: is_complete(target, 2), "two of each", ROLL_OUT_LIMIT_S)
    before = find_pids(target)
    config = make_config(cluster.port, 2)
    for deployment in config["applications"][0]["deployments"]:
        if "max_batch_size" in deployment["user_config"]:
            deployment["user_config"]["max_batch_size"] += 1
        else:
            deployment["user_config"]["detector"]["max_calls"] += 1
    row = target.suffer("rollcall deploy of other numbers (user_config)", lambda: cluster.deploy(config))
    assert row.failed == {}
    assert find_pids(target) == before


@pytest.mark.timeout(400)
def test_a_rolling_deploy_replaces_every_replica_without_a_lost_request(
    served: tuple[RayCluster, Target],
) -> None:
    """Other settings are another version: all replicas are replaced, as they are by other code."""
    cluster, target = served
    before = find_pids(target)
    config = make_config(cluster.port, 2, {"load": {"max_pending_requests": 100}})

    def is_rolled_out() -> bool:
        return is_complete(target, 2) and not before & find_pids(target)

    row = target.suffer(
        "rollcall deploy of another setting (every replica replaced)",
        lambda: cluster.deploy(config),
        is_whole=is_rolled_out,
        limit_s=ROLL_OUT_LIMIT_S,
    )
    assert row.whole_s is not None
    assert row.failed == {}


@pytest.mark.timeout(400)
def test_a_node_is_taken_away_and_comes_back(served: tuple[RayCluster, Target]) -> None:
    cluster, target = served
    row = target.suffer("kill -9 of all of a worker node", lambda: cluster.kill_node("worker"))
    assert row.recovery_s is not None
    row = target.suffer(
        "a worker node joins",
        lambda: cluster.start_node("another worker"),
        is_whole=lambda: is_complete(target, 2),
        limit_s=ROLL_OUT_LIMIT_S,
    )
    assert row.whole_s is not None
    assert row.failed == {}
