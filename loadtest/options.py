"""The options that Rollcall's load tests add to Locust's own; each may be given in the environment too."""

from __future__ import annotations

from argparse import Namespace
from typing import Any

from loadtest.kinds import KINDS
from loadtest.rates import RatePlan, make_plan, read_steps
from loadtest.slo import Objectives

SHAPES = ("none", "steady", "ramp", "spike", "soak", "steps", "search")
USERS_AT_PEAK = 200
"""Simulated users at the highest rate of a plan: enough for the rate to be set to half a per cent."""

DEFAULT_NICENESS = -10
"""A few milliseconds of work for each request, which must not wait for a core behind the service's: a late
generator offers bursts instead of its arrivals, and times its own delay."""

DEFAULT_SOAK_S = 3600.0
DEFAULT_SECONDS = 60.0


def add_options(parser: Any) -> None:
    """Declare them on Locust's parser."""
    group = parser.add_argument_group("Rollcall")

    def add(name: str, default: Any, about: str, **more: Any) -> None:
        variable = "ROLLCALL_LOAD_" + name.upper().replace("-", "_")
        if "action" not in more:
            more.setdefault("type", str if default is None else type(default))
        group.add_argument(f"--{name}", default=default, help=about, env_var=variable, **more)

    # Outside of the group, which does not know these; a secret alone is still in the page, as a password.
    about = "access token or API key of an administrator"
    parser.add_argument(
        "--token", default="", env_var="ROLLCALL_TOKEN", is_secret=True, include_in_web_ui=False, help=about
    )
    add("pictures", "", "folder with pictures of your own (docs/load-testing.md); default: samples")
    add("gallery", 1000, "strangers in the event's gallery, besides the people in the pictures")
    add("mix", "", f"weights such as one_face=3,verify=1 for MixedDay; of {', '.join(KINDS)}")
    add("shape", "none", "how the rate changes; none: Locust's own users", choices=SHAPES)
    add("rate", 5.0, "requests a second of the shape")
    add("spike-rate", None, "requests a second of the spike; default: three times the rate", type=float)
    add("seconds", None, "how long; default 60, a soak 3600, a trial of a search 20", type=float)
    add("steps", "", "of the shape steps: RATE:SECONDS,RATE:SECONDS")
    add(
        "user-rate",
        None,
        "requests a second of one user; default: 1, and with a shape what suits it",
        type=float,
    )
    add(
        "closed",
        False,
        "users wait for answers and ask again at once, instead of open-loop arrivals",
        action="store_true",
    )
    add(
        "max-in-flight",
        500,
        "requests under way in one Locust process; one more is not sent and fails the run",
    )
    add("request-timeout", 35.0, "seconds after which an unanswered request has failed")
    add(
        "niceness",
        DEFAULT_NICENESS,
        "of this process, where its user may; below 0 it is not late when what it loads shares its cores",
    )
    add("warm-up", 0.0, "seconds at the start that are not judged")
    add("seed", 1, "of the arrivals")
    add("report", "bench-results/load", "where the report goes, without .json and .html")
    add("prometheus", "", "URL of a Prometheus with Rollcall's metrics; default: the service's own /metrics")
    add("scrape", 1.0, "seconds between looks at /metrics; 0: never")
    add("keep-event", False, "leave the event where it is", action="store_true")
    add("precision", 0.05, "relative precision of a search")
    add("repeats", 3, "how often the result of a search is repeated")
    add("slo-p50-ms", None, "median latency at most", type=float)
    add("slo-p95-ms", None, "95th percentile of the latency at most", type=float)
    add("slo-p99-ms", None, "99th percentile of the latency at most", type=float)
    add("slo-errors", 0.0, "share that fails at most, shed ones apart")
    add("slo-shed", None, "share answered 429 or 503 at most", type=float)
    add("slo-rate", None, "accepted requests a second at least", type=float)
    add("slo-drift", None, "p95 of the last third of the time over the first at most", type=float)


def read_objectives(options: Namespace) -> Objectives:
    """What the run is judged by."""
    return Objectives(
        p50_ms=options.slo_p50_ms,
        p95_ms=options.slo_p95_ms,
        p99_ms=options.slo_p99_ms,
        errors=options.slo_errors,
        shed=options.slo_shed,
        rate_per_s=options.slo_rate,
        drift=options.slo_drift,
    )


def read_plan(options: Namespace) -> RatePlan | None:
    """The plan of rates; None without a shape and for a search.

    Raises:
        ValueError: the options name none that can be.
    """
    if options.shape in ("none", "search"):
        return None
    if options.shape == "steps":
        return read_steps(options.steps)
    seconds = options.seconds or (DEFAULT_SOAK_S if options.shape == "soak" else DEFAULT_SECONDS)
    return make_plan(options.shape, options.rate, seconds, spike_per_s=options.spike_rate)


def choose_user_rate(options: Namespace, plan: RatePlan | None) -> float:
    """Requests a second of one user: as the options say, or what `USERS_AT_PEAK` users share."""
    if options.user_rate:
        return float(options.user_rate)
    if options.shape == "search":
        return float(options.rate) / USERS_AT_PEAK * 4
    return 1.0 if plan is None else plan.highest_per_s / USERS_AT_PEAK


def describe_options(options: Namespace) -> dict[str, Any]:
    """Every option that shapes the load, for the report; secrets are left out."""
    names = (
        "host pictures gallery mix shape rate spike_rate seconds steps user_rate closed max_in_flight"
        " request_timeout niceness warm_up seed precision repeats num_users run_time processes"
    )
    return {name: getattr(options, name, None) for name in names.split()}
