"""What every test may use: real pictures, the data folder that only some machines have, Ray's flags."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from serving.runtime import choose_own_ports, set_ray_flags
from serving.settings import ENV_PREFIX

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background job. What the tests start would ignore Ctrl-C too.
    signal.signal(signal.SIGINT, signal.default_int_handler)
set_ray_flags(own_cluster=True)  # before anything imports Ray
os.environ.update(choose_own_ports())  # a parallel process has inherited those of the one that started it
os.environ.pop("COLUMNS", None)  # of a parallel worker, which has no terminal: consoles would keep its width


def _make_ray_token() -> None:
    """What Ray does where there is none; of two that start at once each would make its own."""
    path = Path("~/.ray/auth_token").expanduser()
    path.parent.mkdir(mode=0o700, exist_ok=True)
    with contextlib.suppress(FileExistsError), open(path, "x", opener=partial(os.open, mode=0o600)) as file:
        file.write(secrets.token_hex(32))


_make_ray_token()  # before parallel workers begin
pytest_plugins = ["tests.service_fixtures"]

REPOSITORY = Path(__file__).resolve().parent.parent
PROCESS_STATUS = Path("/proc/self/status")


@pytest.fixture(autouse=True)
def _process_as_found() -> Iterator[None]:
    """No test changes what later ones, and the processes that they start, inherit of this process."""
    before = _read_inherited()
    yield
    after = _read_inherited()
    names = before.keys() | after.keys()
    assert [name for name in sorted(names) if before.get(name) != after.get(name)] == []


def _read_inherited() -> dict[str, object]:
    variables = {name: value for name, value in os.environ.items() if name.startswith(ENV_PREFIX)}
    ignored = {
        each.name: signal.getsignal(each) is signal.SIG_IGN for each in (signal.SIGINT, signal.SIGTERM)
    }
    status = PROCESS_STATUS.read_text("ascii", "replace") if PROCESS_STATUS.exists() else ""
    umask = status.partition("Umask:")[2].partition("\n")[0]
    return {**variables, **ignored, "umask": umask, "directory": os.getcwd()}


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout."""
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """LFW, WIDER and hostile files, where they are at hand; the test is skipped where they are not."""
    directory = Path(os.environ.get("ROLLCALL_SHARED_DIR", REPOSITORY.parent / "shared"))
    if not (directory / "lfw" / "pairs.txt").is_file():
        pytest.skip(f"needs the test data in {directory} (set ROLLCALL_SHARED_DIR)")
    return directory


@pytest.fixture(scope="session")
def samples(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Real pictures from the package registry: `group` of six, `guest` is one of them, `portrait` is not."""
    from serving.packs.samples import prepare_samples

    return prepare_samples(tmp_path_factory.mktemp("samples"))
