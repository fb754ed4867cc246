"""Exactly one ONNX Runtime and one OpenCV: real folders of distributions, as pip writes them."""

from __future__ import annotations

from importlib.metadata import distributions
from pathlib import Path

import pytest

from serving.errors import InstallationConflict
from serving.installation import check_installation, find_distribution


def install(site: Path, *requirements: str) -> Path:
    """What pip leaves of each `name==version` in a site-packages folder."""
    for requirement in requirements:
        name, version = requirement.split("==")
        folder = site / f"{name.replace('-', '_')}-{version}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
    return site


def check(site: Path) -> None:
    check_installation(distributions(path=[str(site)]))


@pytest.mark.parametrize("runtime", ["onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"])
@pytest.mark.parametrize("opencv", ["opencv-python-headless", "opencv-python", "opencv_contrib_python"])
def test_one_of_each_is_right(tmp_path: Path, runtime: str, opencv: str) -> None:
    others = ("onnx==1.23.2", "onnxruntime-extensions==0.14.0", "opencv-stubs==0.1")
    check(install(tmp_path, f"{runtime}==1.31.1", f"{opencv}==4.12.0", *others))


@pytest.mark.parametrize(
    ("installed", "cure"),
    [
        (
            ("onnxruntime==1.31.1", "onnxruntime-gpu==1.30.0", "opencv-python-headless==4.12.0"),
            "onnxruntime 1.31.1 and onnxruntime-gpu 1.30.0 all install onnxruntime; run: pip uninstall -y "
            "onnxruntime onnxruntime-gpu && pip install onnxruntime-gpu==1.30.0",
        ),
        (
            ("OnnxRuntime_OpenVINO==1.24.1", "onnxruntime==1.31.1", "opencv-python-headless==4.12.0"),
            "pip uninstall -y onnxruntime onnxruntime-openvino && pip install onnxruntime-openvino==1.24.1",
        ),
        (
            ("onnxruntime==1.31.1", "opencv-python-headless==4.12.0", "opencv-contrib-python==4.11.0"),
            "pip uninstall -y opencv-contrib-python opencv-python-headless && "
            "pip install opencv-python-headless==4.12.0",
        ),
        (("opencv-python-headless==4.12.0",), "nothing installs onnxruntime; run: pip install onnxruntime"),
        (("onnxruntime==1.31.1",), "nothing installs cv2; run: pip install opencv-python-headless"),
    ],
    ids=["gpu", "openvino", "opencv", "no-onnxruntime", "no-opencv"],
)
def test_what_excludes_each_other_is_named_with_its_cure(
    tmp_path: Path, installed: tuple[str, ...], cure: str
) -> None:
    with pytest.raises(InstallationConflict) as caught:
        check(install(tmp_path, *installed))
    assert cure in caught.value.detail


def test_every_conflict_is_told_at_once(tmp_path: Path) -> None:
    with pytest.raises(InstallationConflict) as caught:
        check(tmp_path)
    assert "onnxruntime" in caught.value.detail
    assert "cv2" in caught.value.detail


def test_a_half_removed_package_harms_nothing(tmp_path: Path) -> None:
    install(tmp_path, "onnxruntime==1.31.1", "opencv-python==4.12.0")
    (tmp_path / "onnxruntime_gpu-1.30.0.dist-info").mkdir()
    check(tmp_path)


def test_this_environment_is_right() -> None:
    check_installation()
    found = find_distribution("onnxruntime")
    assert found is not None
    assert found[0].startswith("onnxruntime")
