"""What deployments are bound to: settings without secrets, which each process reads where it runs."""

from __future__ import annotations

import os
import pickle
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import SecretStr
from ray import cloudpickle

import serving
from serving.app import build
from serving.errors import ConfigurationError
from serving.settings import (
    DEPLOYED_AS,
    DeployedSettings,
    Settings,
    check_digest,
    load_settings,
    make_digest,
    setting_keys,
)
from serving.settings.deployed import read_value, secret_keys

SECRETS = {
    "database_url": "postgresql://rollcall:s3cret-database@127.0.0.1/rollcall",
    "gallery.api_key": "s3cret-gallery",
    "rate_limits.redis_url": "rediss://:s3cret-redis@127.0.0.1:6379/0",
    "metrics.token": "s3cret-metrics",
    "tracing.headers": "authorization=s3cret-traces",
}
PLAIN = {
    "picture": {"max_faces": 7, "detection_side_px": 320},
    "load": {"request_timeout_s": 7.5},
    "web": {"trusted_proxies": ["10.0.0.0/8"], "cors_origins": ["https://door.example.org"]},
    "rate_limits": {"recognition": "5/second; 100/minute"},
    "logging": {"directory": "/var/log/rollcall"},
}


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.upper().startswith("ROLLCALL_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def secret_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> dict[str, Path]:
    files = {}
    for key, secret in SECRETS.items():
        files[key] = tmp_path / key
        files[key].write_text(f"{secret}\n")
        monkeypatch.setenv(f"ROLLCALL_{key.upper().replace('.', '__')}_FILE", str(files[key]))
    return files


def _deploy(args: Mapping[str, Any] | None = None) -> DeployedSettings:
    settings = load_settings(args)
    return DeployedSettings.of(settings, args or {})


def _revealed(settings: Settings) -> dict[str, Any]:
    values = {key: read_value(settings, key) for key in setting_keys()}
    return {key: v.get_secret_value() if isinstance(v, SecretStr) else v for key, v in values.items()}


def test_all_secrets_are_known() -> None:
    assert set(secret_keys()) == set(SECRETS)


@pytest.mark.parametrize("args", [None, {}, PLAIN])
def test_what_is_loaded_is_what_was_deployed(
    args: Mapping[str, Any] | None, secret_files: dict[str, Path]
) -> None:
    deployed = pickle.loads(cloudpickle.dumps(_deploy(args)))
    assert _revealed(deployed.load()) == _revealed(load_settings(args))


@pytest.mark.parametrize("name", ["serve_config.yaml", "config/laptop.yaml", "config/one-gpu.yaml"])
def test_the_shipped_configs_come_through(name: str, repository: Path) -> None:
    args = yaml.safe_load((repository / name).read_text())["applications"][0]["args"]
    assert _deploy(args).load() == load_settings(args)


def test_no_secret_is_carried(secret_files: dict[str, Path]) -> None:
    carried = cloudpickle.dumps(_deploy(PLAIN))
    assert b"max_faces" in carried
    assert b"s3cret" not in carried
    assert set(_deploy(PLAIN).secrets) == set(SECRETS)


def test_a_secret_that_was_changed_counts_from_the_next_start_on(secret_files: dict[str, Path]) -> None:
    deployed = _deploy()
    secret_files["gallery.api_key"].write_text("s3cret-of-today")
    loaded = deployed.load()
    assert loaded.gallery.api_key == SecretStr("s3cret-of-today")
    assert loaded.metrics.token == SecretStr(SECRETS["metrics.token"])


def test_what_is_no_secret_stays_as_it_was_deployed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("ROLLCALL_PICTURE__MAX_FACES", "7")
    deployed = _deploy()
    monkeypatch.setenv("ROLLCALL_PICTURE__MAX_FACES", "8")
    monkeypatch.setenv("ROLLCALL_DATA_DIR", "elsewhere")
    loaded = deployed.load()
    assert (loaded.picture.max_faces, loaded.data_dir) == (7, tmp_path / "data")


def test_a_node_without_a_secret_is_refused_and_no_other_store_is_used(
    secret_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    deployed = _deploy()
    monkeypatch.delenv("ROLLCALL_DATABASE_URL_FILE")
    with pytest.raises(ConfigurationError, match="ROLLCALL_DATABASE_URL: set where the service was deployed"):
        deployed.load()


@pytest.mark.parametrize(
    ("key", "here"),
    [
        ("database_url", "postgresql://rollcall:s3cret-database@127.0.0.2/rollcall"),
        ("database_url", "postgresql://rollcall:s3cret-database@127.0.0.1:5433/rollcall"),
        ("database_url", "postgresql://rollcall:s3cret-database@127.0.0.1/of_yesterday"),
        ("database_url", "postgresql://other:s3cret-database@127.0.0.1/rollcall"),
        ("database_url", "sqlite:////srv/registry.sqlite3"),
        ("rate_limits.redis_url", "rediss://:s3cret-redis@127.0.0.1:6379/1"),
    ],
)
def test_a_node_that_names_another_store_is_refused(
    secret_files: dict[str, Path], key: str, here: str
) -> None:
    deployed = _deploy()
    secret_files[key].write_text(here)
    with pytest.raises(ConfigurationError, match="where it was deployed from") as caught:
        deployed.load()
    assert "s3cret" not in caught.value.detail


def test_a_password_and_options_of_a_url_may_change(secret_files: dict[str, Path]) -> None:
    deployed = _deploy()
    secret_files["database_url"].write_text("postgresql://rollcall:n3w@127.0.0.1/rollcall?sslmode=require")
    assert deployed.load().registry_url.startswith("postgresql://rollcall:n3w@")


def test_a_secret_that_nobody_deployed_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    deployed = _deploy()
    monkeypatch.setenv("ROLLCALL_DATABASE_URL", SECRETS["database_url"])
    assert deployed.load().database_url is None


def test_a_secret_under_args_goes_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    args = {"metrics": {"token": "s3cret-of-args"}}
    monkeypatch.setenv("ROLLCALL_METRICS__TOKEN", "s3cret-of-the-environment")
    deployed = _deploy(args)
    assert deployed.secrets == {}
    assert "s3cret" not in repr(deployed)
    assert deployed.load().metrics.token == SecretStr("s3cret-of-args")


def test_what_another_release_deployed_is_read(secret_files: dict[str, Path]) -> None:
    deployed = _deploy(PLAIN)
    values = {**deployed.values, "of_another": 1}
    values["picture"] = {"max_faces": 9, "of_another": 2}  # and lacks what this one has added
    loaded = DeployedSettings(values, deployed.secrets).load()
    assert (loaded.picture.max_faces, loaded.picture.detection_side_px) == (9, 640)


def test_the_graph_is_bound_to_no_secret(secret_files: dict[str, Path]) -> None:
    """As Serve keeps it."""
    from ray.serve._private.build_app import build_app

    built = build_app(build({"data_dir": load_settings().data_dir}), name="rollcall")
    kept = [d._replica_config.serialized_init_args for d in built.deployments]
    assert len(kept) == 4
    for each in kept:
        assert b"max_faces" in each
        assert b"s3cret" not in each


def test_the_digest_names_what_is_set(secret_files: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    seen = [make_digest(load_settings(PLAIN))]
    assert seen[0] == make_digest(load_settings({**PLAIN, DEPLOYED_AS: seen[0]}))
    assert re.fullmatch("[0-9a-f]{24}", seen[0])
    seen.append(make_digest(load_settings()))
    for key in SECRETS:
        check_digest(load_settings(), f"{seen[-1]}-0123abcd")
        secret_files[key].write_text(SECRETS[key].replace("s3cret", "other"))
        with pytest.raises(ConfigurationError, match="the same environment"):
            check_digest(load_settings(), seen[-1])
        seen.append(make_digest(load_settings()))
    monkeypatch.setattr(serving, "__version__", "99.0")
    seen.append(make_digest(load_settings()))
    assert len(set(seen)) == len(seen)


def test_the_digest_changes_with_a_certificate_that_a_setting_names(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    settings = load_settings({"gallery": {"ca_file": str(ca_file)}})
    seen = [make_digest(settings)]
    for content in ("one", "two", "x" * 2**21):
        ca_file.write_text(content)
        seen.append(make_digest(settings))
    assert len(set(seen)) == 4


def test_the_digest_stays_when_a_key_for_backups_is_made(tmp_path: Path) -> None:
    key_file = tmp_path / "keys"
    settings = load_settings({"backup": {"key_file": str(key_file)}})
    before = make_digest(settings)
    key_file.write_text("a key")
    assert make_digest(settings) == before


def test_a_path_may_differ_between_deploying_and_building(tmp_path: Path) -> None:
    there, here = load_settings({"data_dir": str(tmp_path / "a")}), load_settings()
    assert make_digest(there) != make_digest(here)
    check_digest(here, make_digest(there))


@pytest.mark.parametrize("mark", [None, 2, "2026-11-23", "release 7", ""])
def test_a_mark_of_ones_own_is_no_digest(mark: object) -> None:
    check_digest(load_settings(), mark)
    assert build({"data_dir": load_settings().data_dir, DEPLOYED_AS: mark})


def test_the_digest_changes_with_the_code(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    package = tmp_path / "serving"
    (package / "console").mkdir(parents=True)
    (package / "__init__.py").write_text("")
    monkeypatch.setattr(serving, "__file__", str(package / "__init__.py"))
    seen = [make_digest(load_settings())]
    for name, content in (("a.py", "x = 1"), ("a.py", "x = 2"), ("console/b.js", ""), ("b.js", "")):
        (package / name).write_text(content)
        seen.append(make_digest(load_settings()))
    assert len(set(seen)) == 5
    (package / "a.pyc").write_text("made of a.py")
    assert make_digest(load_settings()) == seen[-1]
