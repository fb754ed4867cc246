"""Locust's entry: `locust -f loadtest/locustfile.py --host URL`; see docs/load-testing.md."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Any

import gevent
from locust import User, events, task
from locust.runners import WorkerRunner

from loadtest.arrivals import KindDraw, PoissonArrivals
from loadtest.bisection import RateSearch
from loadtest.driver import Driver, connect, finish_everywhere
from loadtest.kinds import read_mix
from loadtest.machine import take_niceness
from loadtest.options import add_options, choose_user_rate, read_objectives, read_plan
from loadtest.outcome import write_outcome
from loadtest.scene import SceneError, build_scene, open_client, remove_scene
from loadtest.scraping import Scraper
from loadtest.shapes import DEFAULT_TRIAL_S, PlannedShape, SearchShape

logger = logging.getLogger("rollcall.load")

MISSED = 2
"""Exit status when an objective was missed."""

BROKEN = 3
"""Exit status when the load could not take place."""


class _Visitor(User):
    """One source of requests: a Poisson process of its own, or with --closed one request after another."""

    abstract = True
    kind = ""

    def on_start(self) -> None:
        """Wait until there is somewhere to go."""
        driver: Driver = self.environment.rollcall
        driver.wait_for_scene()
        options = self.environment.parsed_options
        self._driver, self._rng = driver, driver.make_rng()
        weights = {self.kind: 1.0} if self.kind else read_mix(options.mix)
        self._draw = KindDraw(weights, self._rng)
        self._arrivals = None
        if not options.closed:
            self._arrivals = PoissonArrivals(options.user_rate or 1.0, time.time(), self._rng)

    @task
    def arrive(self) -> None:
        """Wait until the next request is due and send it; with --closed, send it and wait."""
        if self._arrivals is None:
            self._driver.ask(self._draw.draw(), self._rng)
            return
        due_s = self._arrivals.next_s()
        gevent.sleep(max(0.0, due_s - time.time()))
        self._driver.offer(self._draw.draw(), due_s, self._rng)


class MixedDay(_Visitor):
    """Everything that is asked on a day at an event; --mix changes the weights. What runs by default."""


class RecogniseOneFace(_Visitor):
    """Pictures of one enrolled person."""

    kind = "one_face"


class RecogniseCrowd(_Visitor):
    """Pictures of many people."""

    kind = "crowd"


class RecogniseUnknown(_Visitor):
    """Pictures of people who are not enrolled."""

    kind = "unknown"


class Enrol(_Visitor):
    """New people, at an event of their own, so that the gallery that is searched keeps its size."""

    kind = "enrol"


class Verify(_Visitor):
    """1:1: is this enrolled person who they claim to be?"""

    kind = "verify"


@events.init_command_line_parser.add_listener
def _declare(parser: Any, **_: Any) -> None:
    add_options(parser)


def _is_news(record: logging.LogRecord) -> bool:
    """Of what Locust's runner logs: with a shape it repeats some of it every second."""
    repeated = ("Shape test updating", "Ramping to", "All users spawned", "Your selected spawn rate")
    return not str(record.msg).startswith(repeated)


@events.init.add_listener
def _prepare(environment: Any, **_: Any) -> None:
    logging.getLogger("httpx").setLevel(logging.WARNING)
    logging.getLogger("locust.runners").addFilter(_is_news)
    options = environment.parsed_options
    if options.headless and not isinstance(environment.runner, WorkerRunner):
        # Until a run has been judged: Locust logs what goes wrong in a listener, and goes on.
        environment.process_exit_code = BROKEN
    # Without a choice on the command line Locust would run all classes alike.
    if not options.user_classes and not options.class_picker:
        environment.user_classes = [MixedDay]
    options.niceness = take_niceness(options.niceness)
    driver = Driver(environment)
    environment.rollcall = driver
    if isinstance(environment.runner, WorkerRunner):
        connect(driver)
        return
    try:
        read_mix(options.mix)
        plan = read_plan(options)
        search = None
        if options.shape == "search":
            search = RateSearch(options.rate, precision=options.precision, repeats=options.repeats)
    except ValueError as error:
        logger.error("%s", error)
        raise SystemExit(BROKEN) from None
    options.user_rate = choose_user_rate(options, plan)
    if plan is not None:
        environment.shape_class = PlannedShape(driver, plan, options.user_rate)
    elif search is not None:
        objectives, trial_s = read_objectives(options), options.seconds or DEFAULT_TRIAL_S
        environment.shape_class = SearchShape(
            driver, search, objectives, options.user_rate, trial_s, options.request_timeout
        )
    if environment.shape_class is not None:
        environment.shape_class.runner = environment.runner
    connect(driver)
    driver.plan, driver.search = plan, search


@events.test_start.add_listener
def _begin(environment: Any, **_: Any) -> None:
    if isinstance(environment.runner, WorkerRunner):
        return
    driver: Driver = environment.rollcall
    options = environment.parsed_options
    pictures = Path(options.pictures) if options.pictures else None
    try:
        with open_client(environment.host or "", options.token) as client:
            scene = build_scene(client, pictures=pictures, gallery=options.gallery)
            driver.model = client.operations.model().model_dump(mode="json", by_alias=True)
    except SceneError as error:
        logger.error("%s", error)
        environment.process_exit_code = BROKEN
        # Locust would offer load to nothing; its own way out is the end of the runner's greenlet.
        gevent.spawn(environment.runner.quit)
        return
    driver.begin(scene, time.time())
    if options.scrape and not options.prometheus:
        driver.scraper = Scraper(environment.host, options.token, options.scrape, driver.began_s)
        driver.scraper.start()


@events.test_stopping.add_listener
def _finish(environment: Any, **_: Any) -> None:
    driver: Driver = environment.rollcall
    if isinstance(environment.runner, WorkerRunner) or driver.scene is None:
        return
    driver.ended_s = driver.elapsed_s
    finish_everywhere(driver)
    if driver.scraper is not None:
        driver.scraper.stop()
    options, scene = environment.parsed_options, driver.scene
    driver.scene = None
    is_held = write_outcome(environment, driver)
    environment.process_exit_code = 0 if is_held else MISSED
    if not options.keep_event:
        try:
            with open_client(environment.host, options.token) as client:
                remove_scene(client, scene)
        except SceneError as error:
            logger.warning("the event was not removed, and goes by itself within a day: %s", error)
