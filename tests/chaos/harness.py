"""A failure under load: start a service, keep asking it, break something, and see what that cost.

    with start_target(tmp_path, environment={...}) as target:
        row = target.suffer("kill -9 of a detector", lambda: kill_role(target.data_dir, "Detector"))
        assert row.recovery_s is not None

`suffer` has checked by then that nothing acknowledged was lost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import httpx

from loadtest.kinds import Scene
from loadtest.scene import build_scene, open_client
from loadtest.service import Service
from tests.chaos.ledger import KINDS, Answered, Ledger, find_recovery_s
from tests.chaos.load import BackgroundLoad
from tests.chaos.processes import count_ready, find_processes, kill_processes, kill_role, wait_until
from tests.chaos.results import Row, record

REPOSITORY = Path(__file__).resolve().parents[2]

QUIET_S = 3.0
"""Without a failure: then the service has recovered."""
WARM_UP_LIMIT_S = 60.0
RECOVERY_LIMIT_S = 90.0
"""After which a measurement gives up; far above the target, so that the number is known when it is missed."""
CHECK_TIMEOUT_S = 60.0
FIRST_PEOPLE = 12
"""Enrolled before the failure, so that there is somebody to erase while enrolments fail."""


@dataclass(slots=True)
class Target:
    """A service under chaos, with what the load needs.

    Attributes:
        service: started by `rollcall serve`, or what looks like it.
        data_dir: its data.
        ledger: of all failures that this service has suffered.
    """

    service: Service
    data_dir: Path
    token: str
    scene: Scene
    ledger: Ledger = field(default_factory=Ledger)

    @property
    def url(self) -> str:
        """Of the service."""
        return self.service.url

    def make_client(self) -> httpx.Client:
        """Speaks as an administrator."""
        headers = {"Authorization": f"Bearer {self.token}"}
        return httpx.Client(base_url=self.url, headers=headers, timeout=60)

    def suffer(
        self,
        failure: str,
        inject: Callable[[], object],
        *,
        is_whole: Callable[[], bool] | None = None,
        rate_per_s: float = 6.0,
        limit_s: float = RECOVERY_LIMIT_S,
        note: str = "",
    ) -> Row:
        """Break something under load and wait until it works again; the row is recorded.

        Args:
            failure: what the row is called.
            inject: does it. When it returns the failure is over: it kills a process and returns, or stops a
                store, waits, and starts it again. How long it took is the row's `outage_s`.
            is_whole: whether what had died is there again; the load goes on until it is, and for
                `QUIET_S` more, since a replacement that starts may disturb too.
            rate_per_s: requests sent a second, half of them recognitions.
            limit_s: after which no recovery is waited for any more.
            note: for the row.

        Raises:
            AssertionError: something acknowledged was lost; or the service was not well to begin with.
        """
        with BackgroundLoad(self.url, self.token, self.scene, self.ledger, rate_per_s):
            self.await_well()
            failed_s = time.monotonic()
            inject()
            over_s = time.monotonic()
            recovery = self._await_recovery(over_s, limit_s)
            whole_s = None if is_whole is None else _await(is_whole, over_s, limit_s)
            if whole_s is not None:
                time.sleep(max(0.0, over_s + whole_s + QUIET_S - time.monotonic()))
        # What was sent last may have failed after all.
        recovery = recovery if recovery is None else self._find_recovery(over_s)
        lost = self.find_lost()
        answers = [each for each in self.ledger.read_answers() if each.sent_s >= failed_s]
        row = make_row(failure, answers, len(lost), recovery, over_s - failed_s, rate_per_s)
        row = dataclasses.replace(row, whole_s=whole_s, note=note)
        record(row)
        assert not lost, f"{failure}: {lost}"
        return row

    def suffer_kill(self, failure: str, role: str, *, rate_per_s: float = 6.0, note: str = "") -> Row:
        """`suffer` a kill -9 of one process of a role (see `processes`), until it is replaced."""
        before = count_ready(self.data_dir, role)
        return self.suffer(
            failure,
            lambda: kill_role(self.data_dir, role),
            is_whole=lambda: count_ready(self.data_dir, role) >= before,
            rate_per_s=rate_per_s,
            note=note,
        )

    def await_well(self) -> None:
        """Wait, under load, until every kind of request succeeds and none has failed for `QUIET_S`.

        Raises:
            AssertionError: not within `WARM_UP_LIMIT_S`.
        """
        began_s = time.monotonic()
        recovery = self._await_recovery(began_s, WARM_UP_LIMIT_S)
        assert recovery is not None, f"not well: {dict(self.ledger.count_failed(began_s))}"

    def await_answers(self) -> None:
        """Wait, under load, until every kind of request has succeeded once since now."""
        began_s = time.monotonic()
        wait_until(
            lambda: {each.kind for each in self._answers_since(began_s) if not each.is_failed} == set(KINDS),
            "a success of every kind",
        )

    def _answers_since(self, since_s: float) -> list[Answered]:
        return [each for each in self.ledger.read_answers() if each.sent_s >= since_s]

    def find_lost(self) -> list[str]:
        """What was acknowledged and is not so: people enrolled and not found, people erased and still there.

        Asks the registry (each person), the gallery (a verification of each) and recognition.
        """
        ledger, event = self.ledger, f"/v1/events/{self.scene.enrol_event}"
        lost = [f"{person}: enrolled, and unknown when it was erased" for person in ledger.vanished]

        def check_enrolled(client: httpx.Client, person: str, picture: int) -> list[str]:
            answer = _insist(client, "POST", f"{event}/people/{person}/verify", self.scene.known[picture][1])
            is_found = answer.status_code == 200 and answer.json()["verified"]
            return [] if is_found else [f"{person}: enrolled, and not found: {answer.text[:200]}"]

        def check_erased(client: httpx.Client, person: str) -> list[str]:
            answer = _insist(client, "GET", f"{event}/people/{person}")
            is_gone = answer.status_code == 404
            return [] if is_gone else [f"{person}: erased, and here again: {answer.text[:200]}"]

        with self.make_client() as client, ThreadPoolExecutor(4) as pool:
            checks = [pool.submit(check_enrolled, client, *each) for each in list(ledger.enrolled.items())]
            checks += [pool.submit(check_erased, client, person) for person in sorted(ledger.erased)]
            for check in checks:
                lost += check.result()
            for _, picture in self.scene.known:
                answer = _insist(client, "POST", f"{event}/recognise?top_k=20", picture)
                for face in answer.json()["faces"]:
                    found = {candidate["person_id"] for candidate in face["candidates"]}
                    lost += [f"{person}: erased, and recognised" for person in found & ledger.erased]
        return lost

    def _find_recovery(self, since_s: float) -> float | None:
        return find_recovery_s(self.ledger.read_answers(), since_s, time.monotonic(), QUIET_S)

    def _await_recovery(self, since_s: float, limit_s: float) -> float | None:
        while time.monotonic() - since_s < limit_s:
            recovery = self._find_recovery(since_s)
            if recovery is not None:
                return recovery
            time.sleep(0.1)
        return None


def _await(is_so: Callable[[], bool], since_s: float, limit_s: float) -> float | None:
    """Seconds from `since_s` until it was so; None: not within the limit."""
    while time.monotonic() - since_s < limit_s:
        if is_so():
            return time.monotonic() - since_s
        time.sleep(0.1)
    return None


def make_row(
    failure: str,
    answers: list[Answered],
    lost: int,
    recovery_s: float | None,
    outage_s: float,
    rate_per_s: float,
) -> Row:
    """A row of the table out of the answers to what was sent since the failure."""
    failed: dict[str, int] = {}
    for each in answers:
        if each.is_failed:
            failed[each.code] = failed.get(each.code, 0) + 1
    slowest_s = max((each.done_s - each.sent_s for each in answers), default=0.0)
    outage_s = outage_s if outage_s > 1 else 0.0  # to kill takes a moment too
    return Row(
        *(failure, len(answers), failed, lost, recovery_s),
        outage_s=outage_s,
        slowest_s=slowest_s,
        rate_per_s=rate_per_s,
    )


@contextlib.contextmanager
def start_target(
    directory: Path, *, config: Path | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[Target]:
    """`rollcall serve` with a Ray and data of its own, an administrator, and people to recognise.

    Whatever is left of it when the block ends, is killed.

    Args:
        directory: an empty one; data and the log are kept there.
        config: the serve config; None: `config/laptop.yaml`.
        environment: more environment variables, `ROLLCALL_*` settings among them.
    """
    data_dir = directory / "data"
    service = Service(
        data_dir, config=config or REPOSITORY / "config" / "laptop.yaml", environment=environment
    )
    try:
        service.run_command("admin", "create", "chaos")
        token = service.run_command("token", "chaos")
        service.start()
        yield populate(service, data_dir, token)
    finally:
        kill_processes(find_processes(data_dir))


def populate(service: Service, data_dir: Path, token: str) -> Target:
    """The scene of the load on a service that runs, and people who can be erased from its first second on."""
    with open_client(service.url, token) as client:
        target = Target(service, data_dir, token, build_scene(client, pictures=None, gallery=0))
    with target.make_client() as client:
        enrol_first(client, target)
    return target


def enrol_first(client: httpx.Client, target: Target, people: int = FIRST_PEOPLE) -> None:
    """People whom the load can erase from its first second on."""
    for place in range(people):
        picture = place % len(target.scene.known)
        query = {"person_id": f"first-{place}", "on_duplicate": "allow"}
        path = f"/v1/events/{target.scene.enrol_event}/people"
        answer = client.post(path, params=query, content=target.scene.known[picture][1])
        assert answer.status_code == 201, answer.text
        target.ledger.note_enrolled(f"first-{place}", picture)


def _insist(client: httpx.Client, method: str, path: str, body: bytes = b"") -> httpx.Response:
    """The answer of a service that works again; what it refuses for a moment is asked again."""
    until_s = time.monotonic() + CHECK_TIMEOUT_S
    while True:
        with contextlib.suppress(httpx.TransportError):
            answer = client.request(method, path, content=body or None)
            if not (answer.status_code == 429 or answer.status_code >= 500) or time.monotonic() > until_s:
                return answer
        if time.monotonic() > until_s:
            raise AssertionError(f"{method} {path}: no answer for {CHECK_TIMEOUT_S:g} s")
        time.sleep(0.2)
