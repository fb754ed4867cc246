"""Ports are looked at before anything starts: Ray says of a taken one only that a worker died."""

from __future__ import annotations

import errno
import socket

from serving.commands.console import messages
from serving.errors import CommandError, ConfigurationError
from serving.runtime import find_free_port

METRICS_PORT = 8080


def check_port_is_free(host: str, port: int, name: str, option: str) -> None:
    """Nothing when this process could listen there.

    Args:
        name: what the message calls the port.
        option: of the command, that chooses another.

    Raises:
        CommandError: something listens there.
        ConfigurationError: the host is none of this machine's.
    """
    try:
        _bind(host, port)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise CommandError(
                f"{name} {port} is in use: stop what listens there or choose another with {option}"
            ) from None
        raise ConfigurationError(f"cannot listen on {host!r}, {name} {port}: {error.strerror}") from None
    except UnicodeError:
        raise ConfigurationError(f"{host!r} is not the name of a host") from None


def choose_metrics_port(wanted: int | None, port: int) -> int:
    """The port for metrics, beside the service's own `port`: the one that is wanted, else 8080 or a free one.

    Raises:
        ConfigurationError: the one that is wanted is in use.
    """
    if wanted is not None:
        if wanted == port:
            raise ConfigurationError(
                f"metrics port {wanted} is the service's own: choose another with --metrics-port"
            )
        check_port_is_free("", wanted, "metrics port", "--metrics-port")
        return wanted
    try:
        if port != METRICS_PORT:
            _bind("", METRICS_PORT)
            return METRICS_PORT
    except OSError:
        pass
    free = find_free_port()
    messages.print(f"[dim]Port {METRICS_PORT} is in use; metrics are on port {free}.[/]")
    return free


def _bind(host: str, port: int) -> None:
    """Listen on all addresses of the host that this machine has, for a moment; raises OSError."""
    failures = []
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as probe:
                # As servers do: connections of one that has just stopped are no reason to refuse.
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                probe.bind(address)
        except OSError as error:
            failures.append(error)
    for failure in failures:
        # A name may also stand for an address of a family that this machine does not use.
        if failure.errno == errno.EADDRINUSE or len(failures) == len(found):
            raise failure
