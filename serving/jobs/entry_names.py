"""From the name of an archive's entry to the person it is a picture of. No name is ever used as a path."""

from __future__ import annotations

from serving.errors import InvalidRequest, RollcallError, UnsupportedPictureType
from serving.registry.identifiers import is_person_id

PEOPLE_FILE = "people.ndjson"
PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png", ".webp")
MAX_NAME_CHARS = 512
LAYOUT = "the layout is <person_id>/<name>.jpg or <person_id>.jpg"


def normalise(name: str) -> str:
    """The name without the `./` that `tar -C folder .` writes."""
    while name.startswith("./"):
        name = name[2:]
    return name


def is_clutter(name: str) -> bool:
    """Whether it is what file managers leave behind and nobody means to import."""
    parts = normalise(name).split("/")
    hidden = any(part.startswith(".") and part not in (".", "..") for part in parts)
    return hidden or parts[0] == "__MACOSX" or parts[-1].lower() in ("thumbs.db", "desktop.ini")


def find_person(name: str) -> str | RollcallError:
    """The id of the person an entry of this name is a picture of, or why there is none."""
    if len(name) > MAX_NAME_CHARS:
        return InvalidRequest(f"the entry's name has more than {MAX_NAME_CHARS} characters")
    if name.startswith("/") or "\\" in name or any(ord(character) < 32 for character in name):
        return InvalidRequest(f"the entry's name is no plain relative path; {LAYOUT}")
    parts = normalise(name).split("/")
    if any(part in ("", ".", "..") for part in parts) or len(parts) > 2:
        return InvalidRequest(f"the entry lies in no folder named after a person; {LAYOUT}")
    stem, suffix = _split(parts[-1])
    if not suffix:
        return UnsupportedPictureType(f"the entry's name ends in none of {', '.join(PICTURE_SUFFIXES)}")
    person = parts[0] if len(parts) == 2 else stem
    if not is_person_id(person):
        return InvalidRequest(f"{person[:130]!r} is not a person id; {LAYOUT}")
    return person


def _split(name: str) -> tuple[str, str]:
    for suffix in PICTURE_SUFFIXES:
        if name.lower().endswith(suffix):
            return name[: -len(suffix)], suffix
    return name, ""
