"""Ports for services on one machine: nobody gets one that another was given and does not yet listen on."""

from __future__ import annotations

import socket
import subprocess
import sys

import pytest

from serving import runtime
from serving.runtime import choose_own_ports, find_free_port

ASK = """
import sys
from serving import runtime
runtime.OWN_PORTS = range(int(sys.argv[1]), int(sys.argv[1]) + 100)
print(*(runtime.find_free_port() for _ in range(50)))
"""


def find_quiet_hundred() -> range:
    """A hundred ports that nobody has, for tests alone."""
    for first in range(10_000, 19_900, 100):
        probes = [socket.socket() for _ in range(100)]
        try:
            for offset, probe in enumerate(probes):
                probe.bind(("127.0.0.1", first + offset))
            return range(first, first + 100)
        except OSError:
            continue
        finally:
            for probe in probes:
                probe.close()
    pytest.skip("no hundred ports are free")


def test_processes_that_ask_at_once_get_others_and_servers_may_listen() -> None:
    ports = find_quiet_hundred()
    ask = [sys.executable, "-c", ASK, str(ports.start)]
    asking = [subprocess.Popen(ask, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    given = [int(port) for each in asking for port in each.communicate(timeout=60)[0].split()]
    assert sorted(given) == list(ports), "each once"
    for port in given[:10]:
        for host in ("127.0.0.1", "0.0.0.0"):
            with socket.create_server((host, port)):  # SO_REUSEADDR, as servers have it
                pass


def test_what_is_listened_on_is_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    ports = find_quiet_hundred()
    monkeypatch.setattr(runtime, "OWN_PORTS", ports)
    with socket.create_server(("127.0.0.1", ports.start)):
        given = {find_free_port() for _ in range(99)}
        assert given == set(ports) - {ports.start}
        with pytest.raises(OSError, match="no free port"):
            find_free_port()


def test_a_services_own_ports_are_different() -> None:
    for _ in range(20):
        assert len(set(choose_own_ports().values())) == 4
