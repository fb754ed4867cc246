"""The picture and its faces."""

from __future__ import annotations

from serving.errors.base import RollcallError


class NotAnImage(RollcallError):
    code = "not_an_image"
    status = 400
    title = "These bytes are not a picture"
    cure = "Send a JPEG, PNG or WebP file."


class UnsupportedPictureType(RollcallError):
    code = "unsupported_picture_type"
    status = 415
    title = "This kind of picture is not accepted"
    cure = "Convert it to JPEG, PNG or WebP."


class TruncatedPicture(RollcallError):
    code = "truncated_picture"
    status = 400
    title = "The picture file ends too early or is damaged"
    cure = "Send the whole file; the upload was probably cut off."


class PictureTooLarge(RollcallError):
    code = "picture_too_large"
    status = 413
    title = "The picture file has too many bytes"
    cure = "Send a smaller file; context.max_bytes is the limit."


class TooManyPixels(RollcallError):
    code = "too_many_pixels"
    status = 413
    title = "The picture has too many pixels"
    cure = "Scale it down; context.max_pixels is the limit."


class PictureTooSmall(RollcallError):
    code = "picture_too_small"
    status = 422
    title = "The picture is too small to hold a face"
    cure = "Send a larger picture; context.min_side_px is the limit."


class NoFace(RollcallError):
    code = "no_face"
    status = 422
    title = "No face was found in the picture"
    cure = "Send a picture in which the face is visible, lit and at least 40 pixels wide."


class SeveralFaces(RollcallError):
    code = "several_faces"
    status = 422
    title = "More than one face was found where exactly one is needed"
    cure = "Crop the picture to the person being enrolled; context.boxes shows what was found."


class QualityTooLow(RollcallError):
    code = "quality_too_low"
    status = 422
    title = "The face is not good enough for the quality level asked for"
    cure = "Take another picture; context.faults says what is wrong and what helps."


class PresentationAttack(RollcallError):
    code = "presentation_attack"
    status = 422
    title = "The face was not found to be that of a person before the camera"
    cure = (
        "Take a picture of the person themselves, not of paper or a screen; context.faults says what helps."
    )
