from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from serving.telemetry import counting
from serving.telemetry.exposition import Exposition
from serving.telemetry.node_directory import NodeDirectory

Samples = dict[tuple[str, frozenset[tuple[str, str]]], float]


def parse(answer: bytes) -> Samples:
    """Every sample of an exposition, by name and labels; raises when it is not one, or says a thing twice."""
    samples: Samples = {}
    for family in text_string_to_metric_families(answer.decode()):
        for sample in family.samples:
            key = sample.name, frozenset(sample.labels.items())
            assert key not in samples, f"twice: {key}"
            samples[key] = sample.value
    return samples


def find(samples: Samples, metric: str, **labels: str) -> float | None:
    """The value of the one series of a metric with these labels, None where there is none."""
    return samples.get((metric, frozenset(labels.items())))


class CountingProcess:
    """A replica of `deployment` that counts in `directory`."""

    def __init__(self, directory: Path, deployment: str) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.telemetry.counting_process", str(directory), deployment],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._read() == "ready"
        self.pid = self._process.pid

    def do(self, order: str) -> None:
        """Have it carry out a line."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{order}\n")
        self._process.stdin.flush()
        assert self._read() == "done"

    def leave(self) -> None:
        """It ends by itself."""
        self._process.communicate("leave\n")

    def kill(self) -> None:
        """It ends at once."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def directory(tmp_path: Path) -> NodeDirectory:
    return NodeDirectory(tmp_path)


@pytest.fixture
def start(directory: NodeDirectory) -> Iterator[Callable[[str], CountingProcess]]:
    """Start a process that counts in `directory`; all are gone when the test ends."""
    started = []

    def start_one(deployment: str) -> CountingProcess:
        started.append(CountingProcess(directory.path, deployment))
        return started[-1]

    yield start_one
    for process in started:
        process.kill()


@pytest.fixture
def scrape(directory: NodeDirectory) -> Callable[[], Samples]:
    """A scrape that remembers nothing of the one before."""
    return lambda: parse(Exposition(directory).render())


@pytest.fixture
def fresh_counts() -> Iterator[None]:
    """This process counts from zero, in no file, and other tests do not see what it counted."""
    counting.let_go()
    yield
    counting.let_go()
