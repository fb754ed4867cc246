"""Sends requests when they are due, whatever became of the ones before, and counts what becomes of them.

A request's latency begins when it was due, not when it was sent: when the service is slow, or this process
late, the delay is counted and not hidden ("coordinated omission", Tene, How NOT to Measure Latency, 2015).
"""

from __future__ import annotations

import functools
import gc
import json
import logging
import random
import time
from dataclasses import asdict
from typing import Any

import gevent
from gevent.pool import Pool
from geventhttpclient import HTTPClient
from locust.runners import MasterRunner, WorkerRunner

from loadtest.bisection import RateSearch
from loadtest.kinds import KINDS, Scene
from loadtest.rates import RatePlan
from loadtest.scraping import Scraper
from loadtest.tally import SHED_STATUSES, Fate, Outcome, Tally

logger = logging.getLogger("rollcall.load")

REPORT_EVERY_S = 1.0
SCENE_TIMEOUT_S = 900.0
CONNECT_TIMEOUT_S = 5.0
DRAIN_MARGIN_S = 5.0


WORKER_OPTIONS = (
    "token",
    "max_in_flight",
    "request_timeout",
    "warm_up",
    "seed",
    "mix",
    "closed",
    "user_rate",
)
"""What a worker does as the master was told."""


class Overfull(Exception):
    """Too many requests were under way for another one to be sent."""


class Driver:
    """One run in this process.

    Attributes:
        tally: what has been counted here; on a worker what was not reported yet, on the master all workers'.
        scene: where the load takes place; None until it is known.
        began_s: Unix time at which the load began; 0 before.
        ended_s: how long it lasted, once it has ended.
        is_offering: False once the run ends: what is under way is waited for, nothing new begins.
        plan, search: what sets the rate, if anything does.
        scraper: what reads the service's metrics, if anything does.
        model: what the service said of its model.
        finished_workers: which have told of everything.
    """

    def __init__(self, environment: Any) -> None:
        self.environment = environment
        options = environment.parsed_options
        self._options = options
        self.tally = Tally(options.warm_up)
        self.scene: Scene | None = None
        self.began_s = 0.0
        self.ended_s = 0.0
        self.is_offering = False
        self.plan: RatePlan | None = None
        self.search: RateSearch | None = None
        self.scraper: Scraper | None = None
        self.model: dict[str, Any] = {}
        self.finished_workers: set[str] = set()
        self._pool = Pool()
        self._client: HTTPClient | None = None
        self._headers: dict[str, str] = {}
        self._drawn = 0

    @property
    def elapsed_s(self) -> float:
        """Since the load began; 0 before."""
        return time.time() - self.began_s if self.began_s else 0.0

    def begin(self, scene: Scene, began_s: float) -> None:
        """From now on requests are sent."""
        self.tally = Tally(self._options.warm_up)
        self.scene, self.began_s = scene, began_s
        self._pool = Pool(self._options.max_in_flight)
        self._headers = {
            "Authorization": f"Bearer {self._options.token}",
            "Content-Type": "application/octet-stream",
        }
        self._client = HTTPClient.from_url(
            self.environment.host,
            concurrency=self._options.max_in_flight,
            connection_timeout=CONNECT_TIMEOUT_S,
            network_timeout=self._options.request_timeout,
        )
        # Looked up once: each connection would else wait for a thread that asks for the address, and a
        # refusal before the whole picture has been read ends its connection.
        sockets = self._client._connection_pool
        sockets._resolve = functools.cache(sockets._resolve)  # type: ignore[method-assign]
        # What lives until the end is looked at no more: a collection of it all stops each request for 60 ms.
        gc.collect()
        gc.freeze()
        self.is_offering = True

    def wait_for_scene(self) -> None:
        """Return when requests may be sent."""
        with gevent.Timeout(SCENE_TIMEOUT_S):
            while self.scene is None:
                gevent.sleep(0.05)

    def make_rng(self) -> random.Random:
        """Another for each user, the same in each run."""
        self._drawn += 1
        worker = getattr(self.environment.runner, "worker_index", 0)
        return random.Random(f"{self._options.seed}/{worker}/{self._drawn}")

    def offer(self, kind: str, due_s: float, rng: random.Random) -> None:
        """Send a request of a kind without waiting for its answer.

        Args:
            due_s: when it is due by the system's clock; now or in the past.
        """
        if not self.is_offering:
            return
        at_s = due_s - self.began_s
        self.tally.offer(kind, at_s)
        if self._pool.full():
            self._end(Outcome(kind, at_s, "not_sent"), due_s, 0, Overfull("too many requests under way"))
        else:
            self._pool.spawn(self._send, kind, at_s, due_s, rng)

    def ask(self, kind: str, rng: random.Random) -> None:
        """Send a request of a kind now and wait for its answer: a closed loop."""
        if self.is_offering:
            due_s = time.time()
            self.tally.offer(kind, due_s - self.began_s)
            self._send(kind, due_s - self.began_s, due_s, rng)
        else:
            gevent.sleep(0.05)

    def finish(self) -> None:
        """Stop offering and wait for what is under way, as long as requests may take."""
        self.is_offering = False
        self._pool.join(timeout=self._options.request_timeout + DRAIN_MARGIN_S)
        self._pool.kill()

    def take_tally(self) -> dict[str, Any]:
        """What was counted since the last call, for the master."""
        taken, self.tally = self.tally, Tally(self._options.warm_up)
        return taken.dump()

    def _send(self, kind: str, at_s: float, due_s: float, rng: random.Random) -> None:
        assert self.scene is not None
        assert self._client is not None
        call = KINDS[kind](self.scene, rng)
        sent_s = time.time()
        lag_s = max(0.0, sent_s - due_s)
        try:
            answer = self._client.post(call.path, call.body, self._headers)
            body = bytes(answer.read())
            status, retry_after = answer.status_code, answer.get("retry-after")
            latency_s = time.time() - due_s
        except Exception as error:  # whatever the connection does is a failed request
            reason = type(error).__name__
            self._end(Outcome(kind, at_s, "failed", reason, time.time() - due_s, lag_s), due_s, 0, error)
            return
        if 200 <= status < 300:
            outcome = Outcome(kind, at_s, "accepted", "", latency_s, lag_s, is_expected=_is_right(call, body))
            self._end(outcome, due_s, len(body), None)
            return
        fate: Fate = "shed" if status in SHED_STATUSES else "failed"
        reason = f"{status} {_read_code(body)}".strip()
        outcome = Outcome(kind, at_s, fate, reason, latency_s, lag_s, says_when=retry_after is not None)
        self._end(outcome, due_s, len(body), Exception(reason))

    def _end(self, outcome: Outcome, due_s: float, length: int, error: BaseException | None) -> None:
        self.tally.note(outcome)
        self.environment.events.request.fire(
            request_type="POST",
            name=outcome.kind,
            response_time=outcome.latency_s * 1000,
            response_length=length,
            exception=error,
            context={},
            start_time=due_s,
        )


def connect(driver: Driver) -> None:
    """Let workers learn the scene from the master, and the master count what workers tell."""
    runner = driver.environment.runner

    def tell_scene(environment: Any, msg: Any) -> None:
        if driver.scene is not None and driver.is_offering:
            content = {
                "scene": asdict(driver.scene),
                "began_s": driver.began_s,
                "host": environment.host,
                "options": {name: getattr(environment.parsed_options, name) for name in WORKER_OPTIONS},
            }
            runner.send_message("rollcall_scene", content, msg.node_id)

    def learn_scene(environment: Any, msg: Any) -> None:
        if driver.began_s != msg.data["began_s"]:
            # Locust tells workers the options too, but later than this.
            environment.host = msg.data["host"]
            vars(environment.parsed_options).update(msg.data["options"])
            fields = dict(msg.data["scene"])
            fields["known"] = [(person, picture) for person, picture in fields["known"]]
            driver.begin(Scene(**fields), msg.data["began_s"])

    def count(environment: Any, msg: Any) -> None:
        driver.tally.merge(Tally.read(msg.data))

    def finish(environment: Any, msg: Any) -> None:
        driver.finish()
        driver.scene = None
        runner.send_message("rollcall_tally", driver.take_tally())
        runner.send_message("rollcall_finished", None)

    def note_finished(environment: Any, msg: Any) -> None:
        driver.finished_workers.add(msg.node_id)

    if isinstance(runner, MasterRunner):
        runner.register_message("rollcall_scene_wanted", tell_scene)
        runner.register_message("rollcall_tally", count)
        runner.register_message("rollcall_finished", note_finished)
    elif isinstance(runner, WorkerRunner):
        runner.register_message("rollcall_scene", learn_scene)
        runner.register_message("rollcall_finish", finish, concurrent=True)
        gevent.spawn(_report, driver, runner)


def finish_everywhere(driver: Driver) -> None:
    """Stop offering here and on all workers, and return when everything is counted."""
    runner = driver.environment.runner
    driver.is_offering = False
    if not isinstance(runner, MasterRunner):
        driver.finish()
        return
    finished = driver.finished_workers
    finished.clear()
    runner.send_message("rollcall_finish")
    until = time.monotonic() + driver.environment.parsed_options.request_timeout + 2 * DRAIN_MARGIN_S
    while time.monotonic() < until and not finished.issuperset(node.id for node in runner.clients.all):
        gevent.sleep(0.1)


def _report(driver: Driver, runner: WorkerRunner) -> None:
    while True:
        gevent.sleep(REPORT_EVERY_S)
        if driver.scene is None:
            runner.send_message("rollcall_scene_wanted", None)
        else:
            runner.send_message("rollcall_tally", driver.take_tally())


def _is_right(call: Any, body: bytes) -> bool:
    try:
        return bool(call.is_right(body))
    except (ValueError, LookupError, TypeError):
        return False


def _read_code(body: bytes) -> str:
    try:
        return str(json.loads(body).get("code", ""))
    except (ValueError, AttributeError):
        return ""
