"""Keeps Ray's own start-up talk off the terminal; warnings and errors still show."""

from __future__ import annotations

import logging


def quiet_ray() -> None:
    """Raise the level of Ray's driver-side loggers to WARNING."""
    for name in ("ray", "ray.serve", "ray.serve.scripts"):
        logging.getLogger(name).setLevel(logging.WARNING)
