"""What `rollcall serve` refuses before it starts Ray."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from serving.commands.serve import _read_config, _single_application
from serving.errors import ConfigurationError


def read(path: Path, text: str) -> dict[str, Any]:
    path.write_text(text)
    return _single_application(_read_config(path), path)


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
        *(
            pytest.param(
                text,
                marks=pytest.mark.xfail(
                    strict=True,
                    reason="commands/serve.py: an application or args of another type is a traceback",
                ),
            )
            for text in ("applications: [rollcall]", "applications: [null]")
        ),
    ],
)
def test_configs_that_cannot_be(tmp_path: Path, text: str) -> None:
    path = tmp_path / "c.yaml"
    with pytest.raises(ConfigurationError) as caught:
        read(path, text)
    assert str(path) in caught.value.detail


def test_a_config_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="No such file"):
        _read_config(tmp_path / "nothing.yaml")
    with pytest.raises(ConfigurationError):
        _read_config(tmp_path)


@pytest.mark.xfail(
    strict=True,
    reason="commands/serve.py _read_config: a file that is not UTF-8 is a UnicodeDecodeError traceback",
)
def test_a_config_that_is_not_text(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigurationError):
        _read_config(path)
