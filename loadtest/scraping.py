"""Rollcall's metrics while a load runs: read from the service, or afterwards from a Prometheus."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

import httpx
from prometheus_client.parser import text_string_to_metric_families

MAX_SNAPSHOTS = 1200
"""With more, every other one is dropped and the scraper looks half as often."""

TIMEOUT_S = 10.0
_HISTOGRAMS = (
    "stage_queue_seconds stage_call_seconds replica_seconds batch_wait_seconds batch_seconds batch_tasks"
    " parcel_tasks"
)
_PLAIN = (
    "replicas process_resident_bytes process_cpu_seconds_total shed_total stage_waiting admitted_requests"
    " batch_limit"
)
NAMES = (
    *(f"rollcall_{name}_{part}" for name in _HISTOGRAMS.split() for part in ("sum", "count")),
    *(f"rollcall_{name}" for name in _PLAIN.split()),
)
_WANTED = re.compile(rf"^(?:{'|'.join(NAMES)})[ {{].*$", re.MULTILINE)

Labels = tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Values of `NAMES` at one time, in seconds since the load began, by name and labels."""

    at_s: float
    values: Mapping[tuple[str, Labels], float] = field(repr=False)


class Scraper:
    """Reads `/metrics` again and again, in a thread (under Locust: a greenlet) of its own.

    Lines are kept as text and read only when the load is over: reading them costs CPU that the load needs.
    """

    def __init__(self, url: str, token: str, every_s: float, began_s: float) -> None:
        self._every_s, self._began_s = every_s, began_s
        # One for all looks: to make a client takes 35 ms, in which a process of greenlets sends nothing.
        self._client = httpx.Client(
            base_url=url, headers={"Authorization": f"Bearer {token}"}, timeout=TIMEOUT_S
        )
        self._texts: list[tuple[float, str]] = []
        self._is_stopped = False

    def start(self) -> None:
        """Begin to read, and return."""
        import threading

        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Read once more, so that everything is counted, and end."""
        self._is_stopped = True
        self._thread.join(TIMEOUT_S + self._every_s)
        # The service remembers an answer for a second.
        time.sleep(1.1)
        self._look()
        self._client.close()

    def read(self) -> list[Snapshot]:
        """What was seen, without answers that say the same as the one before."""
        found: list[Snapshot] = []
        last = ""
        for at_s, text in self._texts:
            if text != last:
                found.append(read_snapshot(at_s, text))
            last = text
        return found

    def _run(self) -> None:
        while not self._is_stopped:
            self._look()
            time.sleep(self._every_s)

    def _look(self) -> None:
        try:
            answer = self._client.get("/metrics")
        except httpx.TransportError:
            return
        if answer.status_code != 200:
            return
        self._texts.append((time.time() - self._began_s, "\n".join(_WANTED.findall(answer.text)) + "\n"))
        if len(self._texts) > MAX_SNAPSHOTS:
            self._texts = self._texts[::2]
            self._every_s *= 2


def read_snapshot(at_s: float, text: str) -> Snapshot:
    """Values out of an exposition."""
    values: dict[tuple[str, Labels], float] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            if sample.name in NAMES:
                values[sample.name, tuple(sorted(sample.labels.items()))] = sample.value
    return Snapshot(at_s, values)


def ask_prometheus(url: str, began_s: float, seconds: float, every_s: float) -> list[Snapshot]:
    """The same from a Prometheus server, of all nodes that it scrapes.

    Args:
        began_s: Unix time at which the load began.
        every_s: resolution wanted; no finer than the server scrapes gives anything new.

    Raises:
        httpx.HTTPError: it does not answer, or refuses.
    """
    step_s = max(every_s, seconds / MAX_SNAPSHOTS, 1.0)
    query = {
        "query": f'{{__name__=~"{"|".join(NAMES)}"}}',
        "start": f"{began_s:.3f}",
        "end": f"{began_s + seconds:.3f}",
        "step": f"{step_s:.3f}",
    }
    answer = httpx.post(f"{url.rstrip('/')}/api/v1/query_range", data=query, timeout=60)
    answer.raise_for_status()
    return gather_series(answer.json()["data"]["result"], began_s)


def gather_series(series: Iterable[Mapping[str, object]], began_s: float) -> list[Snapshot]:
    """Snapshots out of the `result` of a range query."""
    by_time: dict[float, dict[tuple[str, Labels], float]] = {}
    for each in series:
        labels: dict[str, str] = dict(each["metric"])  # type: ignore[call-overload]
        name = labels.pop("__name__")
        key = name, tuple(sorted(labels.items()))
        for at, value in each["values"]:  # type: ignore[attr-defined]
            by_time.setdefault(float(at), {})[key] = float(value)
    return [Snapshot(at - began_s, by_time[at]) for at in sorted(by_time)]
