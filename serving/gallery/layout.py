"""Sizes of a collection that both engines share."""

FULL_SCAN_KIB = 51_200
"""Up to this much vector data in an event (100k faces of 128-D, 25k of 512-D) a search is always exact."""
HNSW_EDGES = 16
HNSW_BUILD_EF = 128
HNSW_SEARCH_EF = 256
POINTS_PER_WRITE = 500
POINTS_PER_PAGE = 1000
