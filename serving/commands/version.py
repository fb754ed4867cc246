"""`rollcall version`, which is `rollcall --version` too."""

from __future__ import annotations

import serving
from serving.commands.console import AsJson, console, print_json


def print_version(as_json: AsJson = False) -> None:
    """Print the version."""
    if as_json:
        print_json({"version": serving.__version__})
    else:
        console.print(serving.__version__)
