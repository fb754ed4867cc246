"""What `rollcall serve` refuses before it starts Ray."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from serving.cli import app
from serving.commands import ports
from serving.commands import serve as serve_module
from serving.commands.ports import check_port_is_free, choose_metrics_port
from serving.commands.serve import (
    _print_welcome,
    complete_config,
    find_application,
    read_config,
)
from serving.errors import CommandError, ConfigurationError, RayNotStarted
from serving.operations.service_note import make_local_url
from serving.runtime import find_free_port
from serving.settings import load_settings

ROOT = Path(__file__).parents[3]
APPLICATION = {"name": "a", "import_path": "x:y"}


@pytest.fixture(autouse=True)
def _leave_the_process_as_it_was() -> Iterator[None]:
    """The command sets its umask and environment, and ends ignoring signals, which its children inherit."""
    before, mask = dict(os.environ), os.umask(0)
    handlers = {each: signal.getsignal(each) for each in serve_module.STOP_SIGNALS}
    os.umask(mask)
    yield
    for each, handler in handlers.items():
        signal.signal(each, handler)
    os.umask(mask)
    for name in set(os.environ) - set(before):
        del os.environ[name]
    os.environ.update(before)


def read(path: Path, text: str) -> dict[str, Any]:
    path.write_text(text)
    return find_application(read_config(path), path)


def test_the_one_application_is_found(tmp_path: Path) -> None:
    application = read(tmp_path / "c.yaml", "applications: [{name: a, import_path: x:y}]")
    assert application == {"name": "a", "import_path": "x:y", "args": {}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[1]",
        "a: [",
        "{}",
        "applications: []",
        "applications: {}",
        yaml.safe_dump({"applications": [{}, {}]}),
        "applications: [rollcall]",
        "applications: [null]",
        "applications: [{name: a, import_path: x:y, args: null}]",
        "applications: [{name: a, import_path: x:y, args: [1]}]",
    ],
)
def test_configs_that_cannot_be(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    with pytest.raises(ConfigurationError) as caught:
        read(path, text)
    assert str(path) in caught.value.detail


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="No such file"):
        read_config(tmp_path / "nothing.yaml")
    with pytest.raises(CommandError):
        read_config(tmp_path)


def test_settings_that_no_command_would_see_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"env_vars\.ROLLCALL_DATA_DIR: no command would see it"):
        read(
            tmp_path / "c.yaml",
            "applications: [{name: a, runtime_env: {env_vars: {A: x, ROLLCALL_DATA_DIR: /srv}}}]",
        )


def test_a_config_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError):
        read_config(path)


@pytest.mark.parametrize("name", ["serve_config.yaml", "config/laptop.yaml", "config/one-gpu.yaml"])
def test_our_configs_are_taken(name: str) -> None:
    path = ROOT / name
    content = read_config(path)
    host = content["http_options"]["host"]
    assert complete_config(content, {}, path) == (host, 8000)
    assert complete_config(content, {"host": "::1", "port": 81}, path) == ("::1", 81)
    assert content["http_options"]["port"] == 81


def test_without_http_options_serves_own_hold() -> None:
    content: dict[str, Any] = {"applications": [dict(APPLICATION)]}
    assert complete_config(content, {"port": 81}, Path("c")) == ("0.0.0.0", 81)
    assert content["http_options"] == {"port": 81}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"http_options": None}, "http_options"),
        ({"http_options": [8000]}, "http_options"),
        ({"http_options": {"port": "many"}}, "http_options.port: "),
        ({"http_options": {"port": 70_000}}, "http_options.port: "),
        ({"http_options": {"prt": 1}}, "http_options.prt: there is no such key; did you mean port?"),
        (
            {"proxy_locatoin": "HeadOnly"},
            "proxy_locatoin: there is no such key; did you mean proxy_location?",
        ),
        ({"proxy_location": "Somewhere"}, "proxy_location: "),
        ({"applications": [{**APPLICATION, "import_path": "xy"}]}, "applications.0.import_path: "),
        (
            {"applications": [{**APPLICATION, "deployment": []}]},
            "applications.0.deployment: there is no such",
        ),
        ({"applications": [{**APPLICATION, "deployments": None}]}, "applications.0.deployments: "),
        ({"applications": [{**APPLICATION, "deployments": [{}]}]}, "applications.0.deployments.0.name: "),
        (
            {"applications": [{**APPLICATION, "deployments": [{"name": "Ingress", "user_cfg": {}}]}]},
            "applications.0.deployments.0.user_cfg: there is no such key; did you mean user_config?",
        ),
        (
            {"applications": [{**APPLICATION, "deployments": [{"name": "I", "max_ongoing_requests": -1}]}]},
            "applications.0.deployments.0.max_ongoing_requests: ",
        ),
    ],
)
def test_what_serve_does_not_take_is_named(changes: dict[str, Any], words: str) -> None:
    content = {"applications": [dict(APPLICATION)], **changes}
    with pytest.raises(ConfigurationError) as caught:
        complete_config(content, {}, Path("c.yaml"))
    assert caught.value.detail.startswith("--config c.yaml: ")
    assert words in caught.value.detail


@pytest.fixture(params=["127.0.0.1", "0.0.0.0"])
def taken(request: pytest.FixtureRequest) -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server((request.param, 0)) as server:
        yield server.getsockname()[1]


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "localhost", ""])
def test_a_taken_port_is_refused(taken: int, host: str) -> None:
    with pytest.raises(CommandError) as caught:
        check_port_is_free(host, taken, "port", "--port")
    assert caught.value.detail == (
        f"port {taken} is in use: stop what listens there or choose another with --port"
    )
    check_port_is_free(host, find_free_port(), "port", "--port")


@pytest.mark.parametrize("host", ["192.0.2.1", "no-such-host.invalid", "a..b"])
def test_a_host_that_is_not_ours_is_refused(host: str) -> None:
    with pytest.raises(ConfigurationError, match=host):
        check_port_is_free(host, find_free_port(), "port", "--port")


def test_a_port_whose_connections_have_just_closed_is_free() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port)) as client:
            accepted, _ = server.accept()
            accepted.close()  # first, so that this side keeps the TIME_WAIT
            assert client.recv(1) == b""
    time.sleep(0.05)
    check_port_is_free("127.0.0.1", port, "port", "--port")


def test_the_metrics_port(
    taken: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    free = find_free_port()
    assert choose_metrics_port(free, 8000) == free
    with pytest.raises(CommandError, match=f"metrics port {taken} is in use: .* --metrics-port"):
        choose_metrics_port(taken, 8000)
    with pytest.raises(ConfigurationError, match="the service's own"):
        choose_metrics_port(free, free)
    monkeypatch.setattr(ports, "METRICS_PORT", free)
    assert choose_metrics_port(None, 8000) == free
    assert capsys.readouterr().err == ""
    assert choose_metrics_port(None, free) not in (free, 8000)
    monkeypatch.setattr(ports, "METRICS_PORT", taken)
    chosen = choose_metrics_port(None, 8000)
    check_port_is_free("", chosen, "port", "--port")
    assert f"Port {taken} is in use; metrics are on port {chosen}." in capsys.readouterr().err


def test_a_ray_that_does_not_start_is_told_with_its_cure(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def give_up(**_: object) -> None:
        raise Exception("The current node timed out during startup.")  # as Ray does

    monkeypatch.setattr(serve_module, "set_ray_flags", lambda **_: None)
    monkeypatch.setattr(serve_module, "prepare_with_progress", lambda _: None)
    monkeypatch.setattr("ray.init", give_up)
    monkeypatch.setenv("ROLLCALL_DATA_DIR", str(tmp_path))
    options = ["--port", str(find_free_port()), "--metrics-port", str(find_free_port())]
    result = CliRunner().invoke(app, ["serve", "--config", str(ROOT / "config" / "laptop.yaml"), *options])
    assert isinstance(result.exception, RayNotStarted)
    assert "timed out" in result.exception.detail
    assert "run the command again" in result.exception.cure


def test_nothing_starts_when_the_port_is_taken(
    taken: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    started: list[str] = []
    monkeypatch.setattr(serve_module, "set_ray_flags", lambda **_: None)
    monkeypatch.setattr(serve_module, "prepare_with_progress", lambda _: started.append("packs"))
    monkeypatch.setattr(serve_module, "_run", lambda *_: started.append("ray"))
    monkeypatch.setenv("ROLLCALL_DATA_DIR", str(tmp_path))
    command = ["serve", "--config", str(ROOT / "config" / "laptop.yaml")]
    for options in (["--port", str(taken)], ["--port", str(find_free_port()), "--metrics-port", str(taken)]):
        result = CliRunner().invoke(app, [*command, *options])
        assert isinstance(result.exception, CommandError)
        assert f"port {taken} is in use" in result.exception.detail
    assert started == []
    free = [str(find_free_port()), str(find_free_port())]
    result = CliRunner().invoke(app, [*command, "--port", free[0], "--metrics-port", free[1]])
    assert result.exit_code == 0, result.exception
    assert started == ["packs", "ray"]


@pytest.mark.parametrize(
    ("host", "url"),
    [
        ("0.0.0.0", "http://127.0.0.1:81"),
        ("::", "http://[::1]:81"),
        ("::1", "http://[::1]:81"),
        ("example.org", "http://example.org:81"),
    ],
)
def test_the_address_that_is_shown(host: str, url: str) -> None:
    assert make_local_url(host, 81) == url


def test_the_welcome_says_where_everything_is(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    metrics = "http://127.0.0.1:9/metrics"
    _print_welcome("http://127.0.0.1:81", metrics, load_settings({"data_dir": tmp_path}), 3.0)
    shown = capsys.readouterr().out
    for part in ("http://127.0.0.1:81", "http://127.0.0.1:81/docs", metrics, f"{tmp_path}/samples/guest.jpg"):
        assert part in shown
