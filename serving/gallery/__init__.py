"""Faces in Qdrant: one protocol (`Gallery`), an embedded engine and a server engine behind it."""

from serving.gallery.engines import connect_gallery
from serving.gallery.protocol import Gallery, GalleryHealth
from serving.gallery.records import FacePage, FaceRecord, Hit, Probe, point_id

__all__ = [
    "FacePage",
    "FaceRecord",
    "Gallery",
    "GalleryHealth",
    "Hit",
    "Probe",
    "connect_gallery",
    "point_id",
]
