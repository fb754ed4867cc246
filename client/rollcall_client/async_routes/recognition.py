"""Made by client_generator from docs/openapi.json: methods of recognition."""

from __future__ import annotations

from collections.abc import Sequence

from rollcall_client.base_routes import AsyncRoutes
from rollcall_client.bodies import Picture
from rollcall_client.models import (
    BatchRecognition,
    FaceChoice,
    Identification,
    LivenessMode,
    QualityLevel,
    Recognition,
    SingleFace,
    Strictness,
    VectorVerdicts,
    Verification,
)
from rollcall_client.requests import recognition as requests


class AsyncRecognitionRoutes(AsyncRoutes):
    """Routes of recognition."""

    async def recognise(
        self,
        event: str,
        picture: Picture,
        *,
        threshold: float | None = None,
        false_match_rate: float | None = None,
        strictness: Strictness | None = None,
        faces: FaceChoice | None = None,
        top_k: int | None = None,
        quality: QualityLevel | None = None,
        liveness: LivenessMode | None = None,
        timeout_s: float | None = None,
    ) -> Recognition:
        """Recognise the faces in a picture.

        Who is in the picture, among the people enrolled at this event, how sure, and `unknown` when
        nobody is.

        Send the picture as a raw image body, as a multipart form, or as JSON with base64; options in the
        query, or beside it in the form or JSON. A picture without a face is answered with an empty list.
        `timings` and the `Server-Timing` header say where the time went.

        Args:
            event: The event's id.
            picture: the file: its bytes, its path or open
            threshold: Raw cosine at or above which it is a match, for this request.
            false_match_rate: In place of a threshold: share of pairs of different people that may match.
            strictness: In place of a threshold: false match rate 1e-4, 1e-3 or 1e-2.
            faces: All faces, the one with the largest box, or the one nearest the centre. (default: all)
            top_k: Candidates wanted for each face.
            quality: Refuse faces that fall short of this level, instead of comparing them. (default: off)
            liveness: Check faces for being live at least so strictly; else as the event says.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.recognise(
                event,
                picture,
                threshold=threshold,
                false_match_rate=false_match_rate,
                strictness=strictness,
                faces=faces,
                top_k=top_k,
                quality=quality,
                liveness=liveness,
            ),
            timeout_s,
        )

    async def recognise_batch(
        self,
        event: str,
        pictures: Picture | Sequence[Picture],
        *,
        threshold: float | None = None,
        false_match_rate: float | None = None,
        strictness: Strictness | None = None,
        faces: FaceChoice | None = None,
        top_k: int | None = None,
        quality: QualityLevel | None = None,
        liveness: LivenessMode | None = None,
        timeout_s: float | None = None,
    ) -> BatchRecognition:
        """Recognise the faces in many pictures.

        As `recognise`, for several pictures: `results` holds, in their order, the faces or the problem.

        The answer is 200 also when pictures failed; look at `status`. The settings bound the pictures of
        one request.

        Args:
            event: The event's id.
            pictures: one file or several, each as its bytes, its path or open
            threshold: Raw cosine at or above which it is a match, for this request.
            false_match_rate: In place of a threshold: share of pairs of different people that may match.
            strictness: In place of a threshold: false match rate 1e-4, 1e-3 or 1e-2.
            faces: All faces, the one with the largest box, or the one nearest the centre. (default: all)
            top_k: Candidates wanted for each face.
            quality: Refuse faces that fall short of this level, instead of comparing them. (default: off)
            liveness: Check faces for being live at least so strictly; else as the event says.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.recognise_batch(
                event,
                pictures,
                threshold=threshold,
                false_match_rate=false_match_rate,
                strictness=strictness,
                faces=faces,
                top_k=top_k,
                quality=quality,
                liveness=liveness,
            ),
            timeout_s,
        )

    async def identify(
        self,
        event: str,
        pictures: Picture | Sequence[Picture],
        *,
        threshold: float | None = None,
        false_match_rate: float | None = None,
        strictness: Strictness | None = None,
        face: SingleFace | None = None,
        quality: QualityLevel | None = None,
        liveness: LivenessMode | None = None,
        top_k: int | None = None,
        timeout_s: float | None = None,
    ) -> Identification:
        """Identify one person by several pictures.

        Who the one person in all the pictures is: one decision, on the mean cosine of the pictures.

        A picture that cannot be used is left out and its problem told, unless none is left.

        Args:
            event: The event's id.
            pictures: one file or several, each as its bytes, its path or open
            threshold: Raw cosine at or above which it is a match, for this request.
            false_match_rate: In place of a threshold: share of pairs of different people that may match.
            strictness: In place of a threshold: false match rate 1e-4, 1e-3 or 1e-2.
            face: Each picture must hold only one face; or its largest counts, or the one nearest the
                centre. (default: only)
            quality: Leave out pictures whose face falls short of this level. (default: off)
            liveness: Check faces for being live at least so strictly; else as the event says.
            top_k: Candidates wanted.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.identify(
                event,
                pictures,
                threshold=threshold,
                false_match_rate=false_match_rate,
                strictness=strictness,
                face=face,
                quality=quality,
                liveness=liveness,
                top_k=top_k,
            ),
            timeout_s,
        )

    async def verify(
        self,
        event: str,
        person: str,
        pictures: Picture | Sequence[Picture],
        *,
        threshold: float | None = None,
        false_match_rate: float | None = None,
        strictness: Strictness | None = None,
        face: SingleFace | None = None,
        quality: QualityLevel | None = None,
        liveness: LivenessMode | None = None,
        timeout_s: float | None = None,
    ) -> Verification:
        """Verify that it is this person.

        Whether the one person in the pictures is the one they claim to be; nobody else is looked at.

        Each picture is compared with all faces of the person. With several pictures the mean of their
        cosines decides. A picture that cannot be used is left out and its problem told, unless none is
        left.

        Args:
            event: The event's id.
            person: The person's id.
            pictures: one file or several, each as its bytes, its path or open
            threshold: Raw cosine at or above which it is a match, for this request.
            false_match_rate: In place of a threshold: share of pairs of different people that may match.
            strictness: In place of a threshold: false match rate 1e-4, 1e-3 or 1e-2.
            face: Each picture must hold only one face; or its largest counts, or the one nearest the
                centre. (default: only)
            quality: Leave out pictures whose face falls short of this level. (default: off)
            liveness: Check faces for being live at least so strictly; else as the event says.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.verify(
                event,
                person,
                pictures,
                threshold=threshold,
                false_match_rate=false_match_rate,
                strictness=strictness,
                face=face,
                quality=quality,
                liveness=liveness,
            ),
            timeout_s,
        )

    async def search(
        self,
        event: str,
        *,
        pack_id: str,
        vectors: Sequence[Sequence[float]],
        top_k: int | None = None,
        threshold: float | None = None,
        false_match_rate: float | None = None,
        strictness: Strictness | None = None,
        timeout_s: float | None = None,
    ) -> VectorVerdicts:
        """Search by ready vectors.

        Who each vector is, among the people enrolled at this event, as `recognise` answers for faces.

        The vectors must come from the event's own model pack, for example from `POST /v1/embed`; at most
        100 of them, of any length.

        Args:
            event: The event's id.
            pack_id: The model pack that made the vectors: the event's own.
            vectors: Of any length; they are normalised here.
            top_k: Candidates wanted for each vector.
            threshold: Raw cosine at or above which it is a match.
            false_match_rate: Target, in place of a threshold.
            strictness: In place of a threshold.
            timeout_s: the most that all tries together take; the client's own by default
        """
        return await self._performer.perform(
            requests.search(
                event,
                pack_id=pack_id,
                vectors=vectors,
                top_k=top_k,
                threshold=threshold,
                false_match_rate=false_match_rate,
                strictness=strictness,
            ),
            timeout_s,
        )
