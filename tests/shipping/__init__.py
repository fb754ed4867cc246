"""Checks of what is shipped that take minutes, or root: `make image-check` and `make compose-check`."""
