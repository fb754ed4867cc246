"""The packs there are: those whose manifests ship with Rollcall, and those that the user added."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from importlib import resources
from pathlib import Path

from serving.errors import PackError
from serving.packs.manifest import Pack
from serving.packs.manifest_format import MANIFEST_NAME, parse_manifest, read_manifest

DEFAULT_PRECISION = "int8"
DEFAULT_MIRRORED = True
"""What plain `starter` means; docs/accuracy.md has the measurements behind the choice."""

STARTER = "starter"
_STARTER_PREFIX = f"{STARTER}-"
_IMPORTED = "imported"


def find_pack(
    name: str, precision: str | None = None, mirrored: bool | None = None, *, cache_dir: Path | None = None
) -> Pack:
    """Return a pack by its id, or a variant of `starter` by precision ("int8", "fp32") and mirroring.

    None means the default for plain `starter`, and whatever the id says for a full id.

    Args:
        cache_dir: where packs that the user added are looked for; None: only Rollcall's own are.

    Raises:
        PackError: there is no such pack, or the id contradicts precision or mirrored.
        ManifestInvalid: the pack that the user added has a manifest with faults.
    """
    if name == STARTER:
        chosen_precision = precision or DEFAULT_PRECISION
        chosen_mirrored = DEFAULT_MIRRORED if mirrored is None else mirrored
        name = f"{_STARTER_PREFIX}{chosen_precision}" + ("-mirror" if chosen_mirrored else "")
    if name in shipped_ids():
        pack = _load_shipped(name)
    elif cache_dir is not None and name in imported_ids(cache_dir):
        pack = _load_imported(cache_dir, name)
    else:
        raise PackError(
            f"there is no pack {name!r}; known are {', '.join([STARTER, *list_ids(cache_dir)])}; "
            "another one is added with `rollcall packs add DIR`"
        )
    if precision not in (None, pack.precision) or mirrored not in (None, pack.embedder.mirrored):
        raise PackError(f"pack {name!r} contradicts precision={precision!r}, mirrored={mirrored!r}")
    return pack


def list_ids(cache_dir: Path | None = None) -> list[str]:
    """Ids of all packs, the starter's variants first."""
    ids = [*shipped_ids(), *(imported_ids(cache_dir) if cache_dir is not None else ())]
    return sorted(ids, key=lambda pack_id: (not pack_id.startswith(_STARTER_PREFIX), pack_id))


@cache
def shipped_ids() -> tuple[str, ...]:
    """Ids of the packs whose manifests ship with Rollcall."""
    folder = resources.files("serving.packs") / "data" / "manifests"
    return tuple(sorted(entry.name[:-5] for entry in folder.iterdir() if entry.name.endswith(".yaml")))


def starter_ids() -> tuple[str, ...]:
    """Ids of the starter's variants."""
    return tuple(pack_id for pack_id in shipped_ids() if pack_id.startswith(_STARTER_PREFIX))


def imported_ids(cache_dir: Path) -> list[str]:
    """Ids of the packs that the user added."""
    try:
        return sorted(path.parent.name for path in imported_directory(cache_dir).glob(f"*/{MANIFEST_NAME}"))
    except OSError:
        return []


def imported_directory(cache_dir: Path) -> Path:
    """Where the manifests of packs that the user added lie, each in a folder named by its id."""
    return Path(cache_dir).expanduser() / "packs" / _IMPORTED


@cache
def _load_shipped(pack_id: str) -> Pack:
    stored = resources.files("serving.packs") / "data" / "manifests" / f"{pack_id}.yaml"
    pack = parse_manifest(stored.read_text(encoding="utf-8"), stored.name)
    if pack.id != pack_id:
        raise PackError(f"{stored.name} is the manifest of {pack.id}")
    return pack


def _load_imported(cache_dir: Path, pack_id: str) -> Pack:
    folder = imported_directory(cache_dir) / pack_id
    pack = read_manifest(folder / MANIFEST_NAME, imported_from=folder)
    if pack.id != pack_id:
        raise PackError(f"{folder / MANIFEST_NAME} is the manifest of {pack.id}")
    return pack


class _StarterPacks(Mapping[str, Pack]):
    """The variants of the starter by id, read when asked for."""

    def __getitem__(self, pack_id: str) -> Pack:
        if pack_id not in starter_ids():
            raise KeyError(pack_id)
        return _load_shipped(pack_id)

    def __iter__(self) -> Iterator[str]:
        return iter(starter_ids())

    def __len__(self) -> int:
        return len(starter_ids())


PACKS: Mapping[str, Pack] = _StarterPacks()
"""The variants of the starter pack: what can be prepared from the registry, with no licence to accept."""
