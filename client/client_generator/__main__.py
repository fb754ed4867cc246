"""Writes the generated files, and deletes those that are not made any more."""

from __future__ import annotations

from client_generator.files import PACKAGE, find_stale, make_files

if __name__ == "__main__":
    for path in find_stale():
        path.unlink()
    for name, text in make_files().items():
        path = PACKAGE / name
        path.parent.mkdir(exist_ok=True)
        if not path.exists() or path.read_text() != text:
            path.write_text(text)
