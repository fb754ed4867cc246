"""What is installed elsewhere."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path


def test_the_wheel_holds_the_package_its_types_and_nothing_else(repository: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--quiet", "--no-deps"]
    subprocess.run(
        [*command, "--no-build-isolation", "--wheel-dir", str(tmp_path), str(repository / "client")],
        check=True,
        timeout=120,
    )
    [wheel] = tmp_path.glob("rollcall_client-*.whl")
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    package = repository / "client" / "rollcall_client"
    sources = {path for path in package.rglob("*") if path.is_file() and path.suffix != ".pyc"}
    assert names == {path.relative_to(package.parent).as_posix() for path in sources}
    assert "rollcall_client/py.typed" in names
