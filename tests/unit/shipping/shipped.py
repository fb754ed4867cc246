"""The shipped files as the engines that read them see them."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

REPOSITORY = Path(__file__).resolve().parents[3]


def read_compose(variables: Mapping[str, str] | None = None) -> dict[str, Any]:
    """docker-compose.yml with `${NAME:-default}` filled in, `$$` still as it stands."""
    given = variables or {}
    text = (REPOSITORY / "docker-compose.yml").read_text()
    text = re.sub(r"(?<!\$)\$\{(\w+):-([^}]*)\}", lambda found: given.get(found[1], found[2]), text)
    assert not re.search(r"(?<!\$)\$[\w{]", text), "a variable without a default"
    content: dict[str, Any] = yaml.safe_load(text)
    return content


def read_kubernetes(folder: str = "base") -> list[dict[str, Any]]:
    """Every object of config/kubernetes/FOLDER, in the order of its kustomization, its patches left out."""
    base = REPOSITORY / "config" / "kubernetes" / folder
    kustomization = yaml.safe_load((base / "kustomization.yaml").read_text())
    names = [name for name in kustomization["resources"] if name.endswith(".yaml")]
    patches = [patch["path"] for patch in kustomization.get("patches", [])]
    assert {*names, *patches, "kustomization.yaml"} == {path.name for path in base.iterdir()}
    return [one for name in names for one in yaml.safe_load_all((base / name).read_text())]


@dataclass(frozen=True)
class Instruction:
    """One instruction of the Dockerfile.

    Attributes:
        stage: name of the stage it stands in; empty before the first FROM.
        name: such as `RUN`.
        words: the rest, joined lines split as a shell would.
        text: the rest, joined.
    """

    stage: str
    name: str
    words: list[str]
    text: str


def read_dockerfile() -> Iterator[Instruction]:
    """Dockerfile's instructions in order, comments left out and continued lines joined."""
    lines = [
        line for line in (REPOSITORY / "Dockerfile").read_text().splitlines() if not line.startswith("#")
    ]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    stage = ""
    for line in filter(str.strip, joined.splitlines()):
        name, _, text = line.partition(" ")
        words = shlex.split(text)
        if name == "FROM":
            assert words[1].upper() == "AS", f"a stage without a name: {line}"
            stage = words[2]
        yield Instruction(stage, name, words, text)


def find_path(parts: Path) -> Path:
    """A path of the checkout, which must be there."""
    path = REPOSITORY / parts
    assert path.exists(), f"{parts} is not there"
    return path
