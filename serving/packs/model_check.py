"""Whether the models of a pack run at all, and do what its manifest says."""

from __future__ import annotations

import numpy as np

from serving.errors import PackError, RollcallError
from serving.packs.loading import load_embedder, load_finder
from serving.packs.onnx_rewriting import check_is_whole
from serving.packs.store import PreparedFiles

_PICTURE_SHAPE = (240, 320, 3)
_BATCH_TOLERANCE = 1e-3
"""Between the unit vectors of a chip alone and among others."""


def check_models(files: PreparedFiles) -> None:
    """Load detector and embedder, run both, and compare a batch with its members alone.

    Raises:
        PackError: a model does not load or run, gives vectors of another length, or mixes up its batch, or
            keeps weights in another file.
    """
    pack = files.pack
    pictures = [np.full(_PICTURE_SHAPE, level, np.uint8) for level in (64, 128)]
    try:
        check_is_whole(files.detector_path, "detector")
        load_finder(files).find_decoded(pictures)
    except RollcallError as error:
        raise PackError(f"{pack.id}: the detector does not run: {error.detail}") from error
    except Exception as error:  # ONNX Runtime's own, of many classes
        raise PackError(f"{pack.id}: the detector does not run: {str(error)[:300]}") from error
    side = pack.embedder.size_px
    chips = np.random.default_rng(0).integers(0, 256, (3, side, side, 3), np.uint8)
    try:
        check_is_whole(files.embedder_path, "embedder")
        embedder = load_embedder(files, max_batch=8)
        together = embedder.embed(chips)
        alone = np.concatenate([embedder.embed(chips[i : i + 1]) for i in range(len(chips))])
    except RollcallError as error:
        raise PackError(f"{pack.id}: the embedder does not run: {error.detail}") from error
    except Exception as error:
        raise PackError(f"{pack.id}: the embedder does not run: {str(error)[:300]}") from error
    difference = float(np.abs(together - alone).max())
    if difference > _BATCH_TOLERANCE:
        raise PackError(f"{pack.id}: the embedder's vectors depend on the batch, by up to {difference:.2g}")
