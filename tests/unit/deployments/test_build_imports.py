"""What the graph is built from is imported before any replica can start, so it must stay light."""

from __future__ import annotations

import subprocess
import sys

_SHOW = """import sys, serving.app
print(*sorted(name for name in sys.modules if name.startswith("serving.")))
"""


def test_building_the_graph_imports_neither_routes_nor_stores() -> None:
    done = subprocess.run([sys.executable, "-c", _SHOW], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    imported = done.stdout.split()
    assert "serving.deployments.ingress" in imported
    heavy = ("serving.api", "serving.registry", "serving.accounts", "serving.jobs")
    assert [name for name in imported if name.startswith(heavy)] == []
