"""Upper bounds of the histograms' buckets."""

from __future__ import annotations

REQUEST_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 0.75, 1, 1.5, 2.5, 5, 10, 20)
"""From an answer without a picture to the default deadline, fine where a recognition lies (50 to 500 ms)."""

STAGE_SECONDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.04, 0.07, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 20)
"""From a turn of the event loop to the default deadline: a search takes about 1 ms, a detection 20 to 100."""

DATABASE_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1, 5)
"""From a look at a row that SQLite holds in memory to the time a write waits for its lock."""

BATCH_TASKS = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64, 128, 256)
"""Exact where it matters whether batches form at all; powers of two and their means above."""

FACES = (0, 1, 2, 3, 5, 8, 13, 20, 35, 50, 100)
"""Portraits, groups, crowds; 100 is the default bound of `picture.max_faces`."""

COARSE_COSINES = (-0.2, 0, 0.1, 0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8)
FINE_COSINES = (0.82, 0.84, 0.86, 0.88, 0.9, 0.91, 0.92, 0.93, 0.94, 0.95, 0.96, 0.97, 0.98, 1)
COSINES = (*COARSE_COSINES, *FINE_COSINES)
"""ArcFace-like packs decide between 0.2 and 0.6, the starter pack between 0.86 and 0.97: fine in both."""

FALSE_MATCH_RATES = (
    1e-6,
    1e-5,
    2e-5,
    5e-5,
    1e-4,
    2e-4,
    5e-4,
    1e-3,
    2e-3,
    5e-3,
    1e-2,
    2e-2,
    5e-2,
    0.1,
    0.3,
    1,
)
"""1-2-5 steps of the rates that operators set thresholds by."""

LIVENESS_SCORES = (0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 1)
"""Tenths, where thresholds are, and the ends, where most scores are."""
