"""Locust's shapes: a plan of rates, and the search for the highest rate that holds the objectives."""

from __future__ import annotations

import logging

from locust import LoadTestShape

from loadtest.bisection import RateSearch
from loadtest.driver import REPORT_EVERY_S, Driver
from loadtest.rates import RatePlan
from loadtest.slo import Objectives, judge

logger = logging.getLogger("rollcall.load")

REPORTS_S = 2 * REPORT_EVERY_S
"""After which workers have told of everything that was offered."""

Tick = tuple[int, float]

DEFAULT_TRIAL_S = 20.0
SETTLE_SHARE = 0.25
"""Of a trial, at its start, that is not judged."""

SPAWN_PER_S = 1e4
"""Users appear at once: it is their number that makes the rate."""


class PlannedShape(LoadTestShape):
    """So many users as the plan's rate needs."""

    abstract = True

    def __init__(self, driver: Driver, plan: RatePlan, user_rate: float) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._driver, self._plan, self._user_rate = driver, plan, user_rate

    def tick(self) -> Tick | None:
        """Called by Locust every second."""
        rate = self._plan.rate_at(self._driver.elapsed_s)
        return None if rate is None else (max(1, round(rate / self._user_rate)), SPAWN_PER_S)


class SearchShape(LoadTestShape):
    """Offers what a `RateSearch` asks for, a trial after another."""

    abstract = True

    def __init__(
        self,
        driver: Driver,
        search: RateSearch,
        objectives: Objectives,
        user_rate: float,
        trial_s: float,
        timeout_s: float,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.search = search
        self._driver, self._objectives = driver, objectives
        self._user_rate, self._trial_s, self._timeout_s = user_rate, trial_s, timeout_s
        self._trial_began_s: float | None = None
        self.windows: list[dict[str, float]] = []

    def tick(self) -> Tick | None:
        """Called by Locust every second."""
        rate = self.search.next_rate()
        if rate is None:
            return None
        users = max(1, round(rate / self._user_rate))
        if not self._driver.began_s:
            return users, SPAWN_PER_S
        now_s = self._driver.elapsed_s
        if self._trial_began_s is None:
            # Whole seconds, as the cells of the time series are.
            self._trial_began_s = float(int(now_s) + 1)
        if now_s < self._trial_began_s + self._trial_s:
            return users, SPAWN_PER_S
        # The next trial begins with an idle service: nobody asks until all have been answered.
        ended_s = self._trial_began_s + self._trial_s
        is_counted = now_s > ended_s + REPORTS_S and not self._driver.tally.under_way
        if not is_counted and now_s < ended_s + self._timeout_s:
            return 0, SPAWN_PER_S
        self._judge(rate, self._trial_began_s + SETTLE_SHARE * self._trial_s, ended_s)
        self._trial_began_s = None
        following = self.search.next_rate()
        return None if following is None else (max(1, round(following / self._user_rate)), SPAWN_PER_S)

    def _judge(self, rate: float, from_s: float, to_s: float) -> None:
        from_s, to_s = float(int(from_s)), float(int(to_s))
        lines = judge(self._objectives, self._driver.tally.between(from_s, to_s), to_s - from_s)
        missed = [line.describe() for line in lines if not line.is_held]
        told = f"does not: {'; '.join(missed)}" if missed else "holds"
        logger.info("%.4g requests a second: %s", rate, told)
        self.windows.append({"from_s": from_s, "to_s": to_s, "from_per_s": rate, "to_per_s": rate})
        self.search.tell(not missed)
