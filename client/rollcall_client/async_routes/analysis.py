"""Made by client_generator from docs/openapi.json: methods of analysis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from rollcall_client.base_routes import AsyncRoutes
from rollcall_client.bodies import Picture
from rollcall_client.inputs import ReferenceInput, SampleInput
from rollcall_client.models import (
    Comparison,
    Detection,
    Embedding,
    FaceChoice,
    QualityLevel,
    SingleFace,
    Strictness,
)
from rollcall_client.requests import analysis as requests


class AsyncAnalysisRoutes(AsyncRoutes):
    """Routes of analysis."""

    async def detect(
        self,
        picture: Picture,
        *,
        pack_id: str | None = None,
        faces: FaceChoice | None = None,
        quality: QualityLevel | None = None,
        timeout_s: float | None = None,
    ) -> Detection:
        """Find the faces in a picture.

        Where faces are, how sure that is, and how they fall short of a quality level. Nothing is stored.

        Args:
            picture: the file: its bytes, its path or open
            pack_id: A pack that serves, see `GET /v1/model`; null: the default one.
            faces: All faces, the one with the largest box, or the one nearest the centre. (default: all)
            quality: The level whose limits `faults` are counted against. (default: standard)
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.detect(picture, pack_id=pack_id, faces=faces, quality=quality), timeout_s
        )

    async def embed(
        self,
        pictures: Picture | Sequence[Picture],
        *,
        pack_id: str | None = None,
        faces: FaceChoice | None = None,
        quality: QualityLevel | None = None,
        encoding: Literal["json", "base64"] | None = None,
        timeout_s: float | None = None,
    ) -> Embedding:
        """Turn faces into vectors.

        The vectors of the faces in one or several pictures, each of which fails alone. Nothing is
        stored.

        Vectors have unit length, so the cosine of two is their dot product. Only vectors of the same
        `pack_id` can be compared.

        Args:
            pictures: one file or several, each as its bytes, its path or open
            pack_id: A pack that serves, see `GET /v1/model`; null: the default one.
            faces: All faces, the one with the largest box, or the one nearest the centre. (default: all)
            quality: Faces that fall short of this level get no vector. (default: off)
            encoding: Vectors as lists of numbers, or as base64 of little-endian float32. (default: json)
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.embed(pictures, pack_id=pack_id, faces=faces, quality=quality, encoding=encoding),
            timeout_s,
        )

    async def compare(
        self,
        pictures: Picture | Sequence[Picture] | None = None,
        *,
        pack_id: str | None = None,
        threshold: float | None = None,
        false_match_rate: float | None = None,
        strictness: Strictness | None = None,
        metric: Literal["cosine", "euclidean"] | None = None,
        face: SingleFace | None = None,
        quality: QualityLevel | None = None,
        query: SampleInput | None = None,
        references: Sequence[ReferenceInput] | None = None,
        timeout_s: float | None = None,
    ) -> Comparison:
        """Compare two faces, or one with several.

        How alike a face is to others, best first. Nothing is stored.

        Send two pictures or more, the first to be compared with each of the others; or, in JSON, `query`
        and `references`, each a picture or a vector. Of each picture one face counts. A reference that
        cannot be used is told in `failed`, unless none is left.

        Args:
            pictures: one file or several, each as its bytes, its path or open
            pack_id: A pack that serves, see `GET /v1/model`; null: the default one.
            threshold: Raw cosine at or above which it is a match, for this request.
            false_match_rate: In place of a threshold: share of pairs of different people that may match.
            strictness: In place of a threshold: false match rate 1e-4, 1e-3 or 1e-2.
            metric: What `score` is and results are ranked by; euclidean: between unit vectors. (default:
                cosine)
            face: Which face of a picture counts; `only` refuses pictures with several. (default: largest)
            quality: Refuse pictures whose face falls short of this level. (default: off)
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.compare(
                pictures,
                pack_id=pack_id,
                threshold=threshold,
                false_match_rate=false_match_rate,
                strictness=strictness,
                metric=metric,
                face=face,
                quality=quality,
                query=query,
                references=references,
            ),
            timeout_s,
        )
