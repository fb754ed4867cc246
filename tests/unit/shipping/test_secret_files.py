"""Settings whose values lie in files, as container engines hand secrets over."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from serving.errors import ConfigurationError
from serving.settings import load_settings
from serving.settings.environment import MAX_FILE_BYTES

URL = "postgresql://rollcall:s3cret@127.0.0.1/rollcall"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.upper().startswith("ROLLCALL_"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    file = tmp_path / "database_url"
    file.write_text(URL + "\n")
    return file


def test_a_file_holds_the_value_of_any_setting(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, secret: Path
) -> None:
    values = {"metrics.token": " kept as it is ", "picture.max_faces": "7", "pack.also": '["a", "b"]'}
    for key, value in values.items():
        file = tmp_path / key
        file.write_text(value + "\r\n")
        monkeypatch.setenv("ROLLCALL_" + key.upper().replace(".", "__") + "_FILE", str(file))
    monkeypatch.setenv("ROLLCALL_DATABASE_URL_FILE", str(secret))
    loaded = load_settings()
    assert loaded.database_url is not None
    assert loaded.database_url.get_secret_value() == URL
    assert loaded.metrics.token is not None
    assert loaded.metrics.token.get_secret_value() == " kept as it is "
    assert (loaded.picture.max_faces, loaded.pack.also) == (7, ("a", "b"))


def test_dotenv_may_name_the_file(tmp_path: Path, secret: Path) -> None:
    (tmp_path / ".env").write_text(f"ROLLCALL_DATABASE_URL_FILE={secret}\n")
    loaded = load_settings()
    assert loaded.database_url is not None
    assert loaded.database_url.get_secret_value() == URL


def test_args_are_stronger_than_a_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    file = tmp_path / "faces"
    file.write_text("7")
    monkeypatch.setenv("ROLLCALL_PICTURE__MAX_FACES_FILE", str(file))
    assert load_settings({"picture": {"max_faces": 9}}).picture.max_faces == 9


def test_a_setting_whose_name_ends_so_is_a_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    authorities = tmp_path / "ca.pem"
    authorities.write_text("not read here")
    monkeypatch.setenv("ROLLCALL_GALLERY__CA_FILE", str(authorities))
    assert load_settings().gallery.ca_file == authorities


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "cannot be read: No such file or directory"),
        (b"", "is empty"),
        (b"\n", "is empty"),
        (b"s3cret\xff", "is not UTF-8 text"),
        (b"s3cret" * MAX_FILE_BYTES, f"is above {MAX_FILE_BYTES} bytes"),
    ],
)
def test_a_file_that_does_not_do_is_named_and_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("ROLLCALL_DATABASE_URL_FILE", str(file))
    with pytest.raises(ConfigurationError) as caught:
        load_settings()
    assert caught.value.detail.startswith("ROLLCALL_DATABASE_URL_FILE: ")
    assert words in caught.value.detail
    assert "s3cret" not in caught.value.detail


def test_a_value_and_a_file_are_one_too_many(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    monkeypatch.setenv("ROLLCALL_DATABASE_URL", URL)
    monkeypatch.setenv("ROLLCALL_DATABASE_URL_FILE", str(secret))
    with pytest.raises(ConfigurationError, match="are both set; keep one") as caught:
        load_settings()
    assert "s3cret" not in caught.value.detail


def test_a_file_for_no_setting_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, secret: Path) -> None:
    monkeypatch.setenv("ROLLCALL_DATABASE_URI_FILE", str(secret))
    with pytest.raises(ConfigurationError, match="ROLLCALL_DATABASE_URI_FILE: there is no such setting"):
        load_settings()
