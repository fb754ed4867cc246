from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serving import app
from serving.database import Database
from serving.errors import ConfigurationError
from serving.graph.tuning import BatchTuning, IngressTuning, read_tuning
from serving.settings import Settings, load_settings, setting_keys

ROOT = Path(__file__).parents[2]
CONFIGS = [ROOT / "serve_config.yaml", *sorted((ROOT / "config").glob("*.yaml"))]


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith("ROLLCALL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


def refused(args: Any = None) -> str:
    with pytest.raises(ConfigurationError) as caught:
        load_settings(args)
    return caught.value.detail


def test_args_over_environment_over_dotenv_over_default(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def max_bytes(args: dict[str, Any] | None = None) -> int:
        return load_settings(args).picture.max_bytes

    assert max_bytes() == 10 * 2**20
    (tmp_path / ".env").write_text("ROLLCALL_PICTURE__MAX_BYTES=2000\nROLLCALL_PICTURE__MAX_FACES=7\n")
    assert max_bytes() == 2000
    monkeypatch.setenv("ROLLCALL_PICTURE__MAX_BYTES", "3000")
    assert max_bytes() == 3000
    assert max_bytes({"picture": {"max_bytes": 4000}}) == 4000
    both = load_settings({"picture": {"min_side_px": 50}}).picture
    assert (both.max_bytes, both.max_faces, both.min_side_px) == (3000, 7, 50)  # sections are merged


def test_names_in_the_environment_have_no_case(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("rollcall_picture__max_bytes", "3000")
    assert load_settings().picture.max_bytes == 3000


def test_a_section_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ROLLCALL_PICTURE", '{"max_bytes": 5000, "max_faces": 3}')
    monkeypatch.setenv("ROLLCALL_PICTURE__MAX_FACES", "4")
    monkeypatch.setenv("ROLLCALL_PACK__PROVIDERS", '["CUDAExecutionProvider", "CPUExecutionProvider"]')
    loaded = load_settings()
    assert (loaded.picture.max_bytes, loaded.picture.max_faces) == (5000, 4)
    assert loaded.pack.providers == ("cuda", "cpu")
    monkeypatch.setenv("ROLLCALL_PICTURE", '{"max_byte": 5000}')
    assert "did you mean picture.max_bytes?" in refused()


@pytest.mark.parametrize("name", ["ROLLCALL_PICTURE", "ROLLCALL_PACK__PROVIDERS"])
@pytest.mark.parametrize("where", ["environment", ".env"])
def test_bad_json_in_the_environment_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, where: str
) -> None:
    if where == ".env":
        (tmp_path / ".env").write_text(f"{name}=CUDAExecutionProvider\n")
    else:
        monkeypatch.setenv(name, "CUDAExecutionProvider")
    monkeypatch.setenv("ROLLCALL_LOAD", "{}")
    assert name.split("__")[0].removeprefix("ROLLCALL_").lower() in refused().lower()
    assert refused() == f"{name}: this is not JSON"


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("ROLLCALL_PICTURE__MAX_BYTE", "ROLLCALL_PICTURE__MAX_BYTES"),
        ("ROLLCALL_PICTURE_MAX_BYTES", "ROLLCALL_PICTURE__MAX_BYTES"),
        ("ROLLCALL_PICTUR__MAX_BYTES", "ROLLCALL_PICTURE__MAX_BYTES"),
        ("ROLLCALL_PICTURE__MAX_BYTES__X", "ROLLCALL_PICTURE__MAX_BYTES"),
        ("rollcall_data_dirr", "ROLLCALL_DATA_DIR"),
        ("ROLLCALL_ZZZZZZZZ", None),
    ],
)
@pytest.mark.parametrize("where", ["environment", ".env"])
def test_a_misspelt_variable_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, meant: str | None, where: str
) -> None:
    if where == ".env":
        (tmp_path / ".env").write_text(f"{name}=1\n")
    else:
        monkeypatch.setenv(name, "1")
    expected = f"{name.upper()}: there is no such setting" + (f"; did you mean {meant}?" if meant else "")
    assert refused() == expected


def test_every_wrong_key_is_named_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    detail = refused({"picture": {"max_byte": 1, "max_faces": "many"}, "pak": {}, "load": {"x": 1}})
    for part in (
        "picture.max_byte: there is no such setting; did you mean picture.max_bytes?",
        "picture.max_faces: ",
        "pak: there is no such setting",
        "load.x: there is no such setting",
    ):
        assert part in detail
    monkeypatch.setenv("ROLLCALL_A__B", "1")
    monkeypatch.setenv("ROLLCALL_C__D", "1")
    detail = refused()
    assert "ROLLCALL_A__B" in detail
    assert "ROLLCALL_C__D" in detail


@pytest.mark.parametrize(
    ("args", "key"),
    [
        ({"picture": {"max_bytes": "many"}}, "picture.max_bytes"),
        ({"picture": {"max_bytes": 0}}, "picture.max_bytes"),
        ({"picture": None}, "picture"),
        ({"picture": [1]}, "picture"),
        ({"recognition": {"threshold": 1.1}}, "recognition.threshold"),
        ({"recognition": {"threshold": float("nan")}}, "recognition.threshold"),
        ({"load": {"request_timeout_s": 0}}, "load.request_timeout_s"),
        ({"load": {"request_timeout_s": float("inf")}}, "load.request_timeout_s"),
        ({"gallery": {"engine": "sever"}}, "gallery.engine"),
        ({"gallery": {"engine": "server"}}, "gallery.url"),
        ({"pack": {"precision": "fp16"}}, "pack.precision"),
        ({"data_dir": 7}, "data_dir"),
        ({"database_url": ["s3cret"]}, "database_url"),
    ],
)
def test_wrong_values_name_their_key(args: dict[str, Any], key: str) -> None:
    detail = refused(args)
    assert key in detail
    assert "s3cret" not in detail


@pytest.mark.parametrize("args", [{"_env_file": "x"}, {"_env_prefix": "X_"}, {1: 2}, [1], "picture", [], 0])
def test_args_that_are_no_settings(args: Any) -> None:
    key = f"{next(iter(args))}: there is no such setting" if isinstance(args, dict) else "args: "
    assert key in refused(args)


@pytest.mark.parametrize("line", ["COMPOSE_PROJECT_NAME=x", "TOKEN=abc", "ROLLCALL_TEST_POSTGRES_URL=x"])
def test_variables_of_others_in_dotenv(tmp_path: Path, line: str) -> None:
    (tmp_path / ".env").write_text(f"{line}\nROLLCALL_PICTURE__MAX_BYTES=2000\n")
    assert load_settings().picture.max_bytes == 2000


def test_a_dotenv_that_is_not_text(tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(b"ROLLCALL_DATA_DIR=\xff\n")
    assert ".env" in refused()


@pytest.mark.parametrize(
    "args",
    [
        {"recognition": {"top_k": 50, "max_top_k": 20}},
        {"load": {"max_body_bytes": 2**21, "max_pending_bytes": 2**20}},
        {"picture": {"min_side_px": 100, "max_pixels": 4096}},
        {"auth": {"issuer": ""}},
        {"auth": {"audience": ""}},
        {"picture": {"max_bytes": 2**21}, "load": {"max_body_bytes": 2**20}},
    ],
    ids=["top_k", "body", "pixels", "issuer", "audience", "picture"],
)
def test_settings_that_contradict_each_other(args: dict[str, Any]) -> None:
    detail = refused(args)
    for section, values in args.items():
        assert section in detail
        for key in values:
            assert key in detail


def test_paths_become_absolute(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    loaded = load_settings({"data_dir": "some/where"})
    assert loaded.data_dir == tmp_path / "some" / "where"
    assert load_settings({"data_dir": loaded.data_dir}).data_dir == loaded.data_dir
    monkeypatch.setenv("HOME", "/home/somebody")
    assert load_settings({"data_dir": "~/x"}).data_dir == Path("/home/somebody/x")
    assert load_settings().cache_dir == Path("/home/somebody/.cache/rollcall")
    monkeypatch.chdir("/")
    assert loaded.keys_dir == tmp_path / "some" / "where" / "keys"
    assert loaded.gallery_dir.parent == loaded.data_dir


@pytest.mark.parametrize(
    "name",
    ["plain", "with space", "a#b", "a?b", "a%20b", "ä@b:c"],
)
def test_the_registry_lies_in_the_data_directory(tmp_path: Path, name: str) -> None:
    parsed = Database(load_settings({"data_dir": tmp_path / name}).registry_url)._parsed
    assert parsed.database == str(tmp_path / name / "registry.sqlite3")


def test_secrets_are_not_shown() -> None:
    loaded = load_settings(
        {
            "database_url": "postgresql://u:s3cret@127.0.0.1/n",
            "gallery": {"api_key": "s3cret", "url": "http://q"},
        }
    )
    for text in (repr(loaded), str(loaded), loaded.model_dump_json(), repr(loaded.gallery)):
        assert "s3cret" not in text
    assert loaded.registry_url == "postgresql://u:s3cret@127.0.0.1/n"


def test_settings_do_not_change() -> None:
    loaded = load_settings()
    with pytest.raises(ValueError, match="frozen"):
        loaded.picture.max_bytes = 1  # type: ignore[misc]
    with pytest.raises(ValueError, match="frozen"):
        loaded.data_dir = Path("/")  # type: ignore[misc]


def test_every_key_is_listed_once() -> None:
    keys = list(setting_keys())
    assert len(keys) == len(set(keys))
    assert {"data_dir", "picture.max_bytes", "load.max_pending_requests"} <= set(keys)
    assert {key.split(".")[0] for key in keys} == set(Settings.model_fields)


@pytest.fixture(params=CONFIGS, ids=lambda path: path.name)
def config(request: pytest.FixtureRequest) -> ServeDeploySchema:
    return ServeDeploySchema.parse_obj(yaml.safe_load(request.param.read_text()))


def test_serve_configs_name_deployments_that_exist(config: ServeDeploySchema) -> None:
    [application] = config.applications
    module, _, function = application.import_path.partition(":")
    assert (module, getattr(app, function)) == (app.__name__, app.build)
    assert {deployment.name for deployment in application.deployments} == {
        kind.__name__ for kind in (app.Ingress, app.Detector, app.Embedder, app.Matcher)
    }


def test_serve_configs_hold_valid_settings_and_tuning(config: ServeDeploySchema) -> None:
    [application] = config.applications
    load = load_settings(application.args).load
    assert config.http_options.request_timeout_s > load.request_timeout_s
    for deployment in application.deployments:
        kind = IngressTuning if deployment.name == "Ingress" else BatchTuning
        assert deployment.user_config
        assert (
            read_tuning(kind, deployment.user_config).model_dump(exclude_unset=True) == deployment.user_config
        )
    with pytest.raises(ConfigurationError):
        load_settings({**application.args, "lod": {}})


def test_serve_configs_bound_everything(config: ServeDeploySchema) -> None:
    [application] = config.applications
    load = load_settings(application.args).load
    deployments = {deployment.name: deployment for deployment in application.deployments}
    for deployment in deployments.values():
        assert 0 < deployment.max_queued_requests < 1000
        assert deployment.autoscaling_config["max_replicas"] < 100
        assert deployment.max_ongoing_requests >= deployment.autoscaling_config["target_ongoing_requests"]
        assert deployment.health_check_period_s
        assert deployment.health_check_timeout_s
        assert deployment.ray_actor_options.num_cpus > 0
    ingress = deployments["Ingress"]
    assert ingress.max_ongoing_requests > load.max_pending_requests
    tuning = read_tuning(IngressTuning, ingress.user_config)
    for name, stage in (
        ("Detector", tuning.detector),
        ("Embedder", tuning.embedder),
        ("Matcher", tuning.matcher),
    ):
        deployment = deployments[name]
        batch = read_tuning(BatchTuning, deployment.user_config).max_batch_size
        # What one ingress replica may send at once fits into the fewest replicas and their queue.
        room = deployment.max_ongoing_requests * deployment.autoscaling_config["min_replicas"]
        assert stage.max_calls <= room + deployment.max_queued_requests
        assert stage.max_parcel_tasks * stage.max_calls >= batch
        assert deployment.max_ongoing_requests >= batch  # or Serve warns at each start, and at each tuning
