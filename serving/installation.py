"""Which of several packages that install the same module is there: exactly one must be.

`onnxruntime` comes as several distributions that all write into one folder, and so does `cv2`. pip does not
know that they exclude each other: with two installed, what runs is a mixture, and removing one breaks both.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions

from serving.errors import InstallationConflict


@dataclass(frozen=True, slots=True)
class Module:
    """A module, the pattern of the distributions that install it, and the one to propose."""

    name: str
    pattern: re.Pattern[str]
    proposed: str


MODULES = (
    Module(
        "onnxruntime",
        re.compile(
            r"onnxruntime(-(gpu|openvino|directml|training|qnn|rocm|migraphx|vitisai|cann|azure|silicon|noopenmp"
            r"|dnnl|webgpu|windowsml))?|ort-(gpu-)?nightly"
        ),
        "onnxruntime",
    ),
    Module("cv2", re.compile(r"opencv(-contrib)?-python(-headless)?(-rolling)?"), "opencv-python-headless"),
)


def check_installation(installed: Iterable[Distribution] | None = None) -> None:
    """Check that each of `MODULES` comes from exactly one distribution.

    Args:
        installed: what to look through; None: all that this Python finds.

    Raises:
        InstallationConflict: with the pip commands that mend it.
    """
    versions = {
        normalise(one.metadata["Name"]): one.version
        for one in (distributions() if installed is None else installed)
        if one.metadata["Name"]  # a half-removed package has none
    }
    problems = [problem for module in MODULES if (problem := _examine(module, versions))]
    if problems:
        raise InstallationConflict("; ".join(problems))


def find_distribution(module: str) -> tuple[str, str] | None:
    """Name and version of the distribution that installs a module of `MODULES`; None where there is none."""
    [wanted] = [one for one in MODULES if one.name == module]
    for one in distributions():
        name = normalise(one.metadata["Name"] or "")
        if wanted.pattern.fullmatch(name):
            return name, one.version
    return None


def normalise(name: str) -> str:
    """A distribution's name as the packaging standard compares it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _examine(module: Module, versions: dict[str, str]) -> str:
    found = sorted(name for name in versions if module.pattern.fullmatch(name))
    if len(found) == 1:
        return ""
    if not found:
        return f"nothing installs {module.name}; run: pip install {module.proposed}"
    kept = _choose(module, found)
    return (
        f"{' and '.join(f'{name} {versions[name]}' for name in found)} all install {module.name}; run: "
        f"pip uninstall -y {' '.join(found)} && pip install {kept}=={versions[kept]}"
    )


def _choose(module: Module, found: list[str]) -> str:
    """The one most likely meant: headless OpenCV; the ONNX Runtime that somebody added to the plain one."""
    if module.name == "cv2" and module.proposed in found:
        return module.proposed
    return next(name for name in found if name != "onnxruntime")
