"""Sizes of a collection that both engines share."""

FULL_SCAN_KIB = 51_200
"""Up to this much vector data in an event (100k faces of 128-D, 25k of 512-D) a search is always exact."""
HNSW_EDGES = 16
HNSW_BUILD_EF = 128
HNSW_SEARCH_EF = 256
OVERSAMPLING = 16.0
"""Of the server engine, whose codes have 4 bits; of the embedded one, whose codes have 8:"""
QUANTIZED_OVERSAMPLING = 4.0
"""Candidates by quantised codes, over those wanted, that are compared again with the full vectors."""
POINTS_PER_WRITE = 500
POINTS_PER_PAGE = 1000
