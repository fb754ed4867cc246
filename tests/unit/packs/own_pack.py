"""A pack as a user would describe one, and files to go with it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import yaml

DETECTOR = b"detector" * 5000
EMBEDDER = b"embedder" * 7000
MERGE_BOMB = "a0: &a0 {x: 1}\n" + "".join(
    f"a{level}: &a{level} {{<<: [{', '.join([f'*a{level - 1}'] * 9)}]}}\n" for level in range(1, 40)
)
"""YAML of a few kilobytes that means 9**39 keys."""


def describe_pack(**changes: Any) -> dict[str, Any]:
    """A manifest whose models are taken as they are; `changes` are by dotted key, None removes one."""
    manifest: dict[str, Any] = {
        "format": 1,
        "id": "our-pack",
        "title": "A pack of our own",
        "precision": "fp32",
        "dimension": 64,
        "licence": {"summary": "Ours."},
        "detector": {
            "kind": "scrfd",
            "file": {"name": "find.onnx", "max_bytes": 100_000},
            "conversion": "none",
            "score_threshold": 0.5,
            "nms_iou": 0.4,
        },
        "embedder": {
            "file": {"name": "embed.onnx", "max_bytes": 100_000},
            "conversion": "none",
            "size_px": 112,
            "mean": [127.5, 127.5, 127.5],
            "scale": 0.0078125,
        },
        "template": {"preset": "arcface-112"},
    }
    for key, value in changes.items():
        *path, last = key.split("__")
        place = manifest
        for part in path:
            place = place.setdefault(part, {})
        if value is None:
            place.pop(last, None)
        else:
            place[last] = value
    return manifest


def write_manifest(**changes: Any) -> str:
    """As describe_pack, as text."""
    return yaml.safe_dump(describe_pack(**changes))


def write_folder(folder: Path, **changes: Any) -> Path:
    """A folder to add: pack.yaml and both files."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pack.yaml").write_text(write_manifest(**changes))
    (folder / "find.onnx").write_bytes(DETECTOR)
    (folder / "embed.onnx").write_bytes(EMBEDDER)
    return folder


def sha256(data: bytes) -> str:
    """Lower case hex."""
    return hashlib.sha256(data).hexdigest()
