"""The Dockerfile's rules; `make image-check` builds and runs it."""

from __future__ import annotations

import fnmatch
import re
import subprocess

import pytest

from serving.front import haproxy
from serving.runtime import RAY_FLAGS
from tests.unit.shipping.shipped import REPOSITORY, Instruction, read_dockerfile

INSTRUCTIONS = list(read_dockerfile())
SECRET_WORDS = re.compile(r"pass(word)?|secret|token|api_?key|credential", re.IGNORECASE)


def of(name: str, stage: str | None = None) -> list[Instruction]:
    return [one for one in INSTRUCTIONS if one.name == name and stage in (None, one.stage)]


def test_every_base_is_pinned_or_a_stage_before() -> None:
    arguments = dict(one.text.split("=", 1) for one in of("ARG") if "=" in one.text and one.stage == "")
    stages: list[str] = []
    for one in of("FROM"):
        base = re.sub(r"\$\{(\w+)\}", lambda found: arguments[found[1]], one.words[0])
        assert base in stages or re.fullmatch(r"[\w./-]+:[\w.-]*\d{8}[\w.-]*", base), f"{base} may change"
        stages.append(one.stage)


def test_what_runs_is_no_root_and_cannot_change_itself() -> None:
    (user,) = of("USER")
    assert user.stage == "rollcall"
    assert user.text == "10001:10001"
    after = INSTRUCTIONS[INSTRUCTIONS.index(user) :]
    assert not [one for one in after if one.name in ("COPY", "ADD")], "files that the service could change"
    assert not [one for one in INSTRUCTIONS if one.name == "ADD"]


def test_no_secret_stays_in_the_image() -> None:
    for one in of("ENV") + of("ARG") + of("LABEL"):
        for name in re.findall(r"(\w+)=", one.text):
            assert not SECRET_WORDS.search(name) or name == "RAY_AUTH_TOKEN_PATH", name
    for one in of("RUN"):
        if re.search(r"pip install|packs prepare", one.text) and "--require-hashes" in one.text:
            assert "--mount=type=secret,id=pip_conf" in one.text


def test_every_package_is_locked() -> None:
    installs = [
        command
        for one in of("RUN")
        for command in one.text.split(";")
        if re.search(r"\bpip install\b", command)
    ]
    assert len(installs) == 2
    for command in installs:
        assert "--require-hashes" in command or "--no-deps" in command, command
    for runtime in re.findall(r"\b(cpu|gpu|openvino)\b", next(one.text for one in of("RUN", "build")[1:])):
        lock = f"requirements{'' if runtime == 'cpu' else '-' + runtime}.txt"
        assert (REPOSITORY / "config" / "locks" / lock).is_file()


def test_what_is_copied_is_there_and_reaches_the_build() -> None:
    rules = (REPOSITORY / ".dockerignore").read_text().split("\n")
    let_in = [rule[1:] for rule in rules if rule.startswith("!")]
    assert "*" in rules
    for one in of("COPY"):
        if one.words[0].startswith("--from="):
            continue
        for source in one.words[:-1]:
            assert (REPOSITORY / source).exists(), source
            assert any(source == path or source.startswith(f"{path}/") for path in let_in), source
    for path in let_in:
        assert (REPOSITORY / path).exists(), f".dockerignore lets {path} in, which is not there"


def test_no_data_and_no_secret_reaches_the_build() -> None:
    tracked = subprocess.run(["git", "check-ignore", "data", "secrets", ".env"], cwd=REPOSITORY, check=False)
    assert tracked.returncode == 0
    rules = (REPOSITORY / ".dockerignore").read_text().split("\n")
    for path in ("data", "secrets", ".env", ".git", "tests", "build", ".venv"):
        assert not any(fnmatch.fnmatch(path, rule[1:]) for rule in rules if rule.startswith("!")), path


@pytest.fixture
def environment() -> dict[str, str]:
    (one,) = of("ENV", "rollcall")
    return dict(word.split("=", 1) for word in one.words)


def test_the_flags_are_those_of_the_runtime(environment: dict[str, str]) -> None:
    flags = {name: value for name, value in RAY_FLAGS.items() if name != haproxy.PATH_FLAG}
    assert flags.items() <= environment.items()
    assert environment[haproxy.PATH_FLAG] == f"/opt/rollcall/bin/{haproxy.COMMAND}"
    assert environment["RAY_AUTH_MODE"] == "token"


def test_the_version_is_the_package_s() -> None:
    pyproject = (REPOSITORY / "pyproject.toml").read_text()
    version = re.search(r'^version = "(.+)"$', pyproject, re.MULTILINE)
    assert version is not None
    assert f"VERSION={version[1]}" in [one.text for one in of("ARG")]


def test_it_says_how_it_is() -> None:
    (check,) = of("HEALTHCHECK")
    assert "/readyz" in check.text
    packages = " ".join(one.text for one in of("RUN", "base"))
    for program in ("wget", "tini"):  # of HEALTHCHECK and ENTRYPOINT
        assert f" {program}" in packages
    labels = " ".join(one.text for one in of("LABEL"))
    for label in ("title", "description", "version", "revision"):
        assert f"org.opencontainers.image.{label}=" in labels
