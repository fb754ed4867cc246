"""The sections of the settings, each with its own bounds; `settings.py` puts them together."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

from serving.vision.execution import Execution, parse_providers
from serving.vision.liveness_modes import LivenessMode
from serving.vision.picture import PictureLimits
from serving.vision.quality_gates import QualityLevel

if TYPE_CHECKING:
    from limits import RateLimitItem


class Section(BaseModel):
    """Base of all: frozen, and a key that is not named here is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PackSettings(Section):
    """Which model pack serves, and in which variant."""

    name: str = "starter"
    precision: Literal["int8", "fp32"] | None = Field(None, description="None: the pack's own default.")
    mirrored: bool | None = Field(
        None, description="Average in the mirrored chip; None: the pack's own default."
    )
    providers: tuple[str, ...] = Field(
        ("cpu",),
        description="What runs the models: cpu, cuda, tensorrt or openvino (docs/gpu.md). Asked for and not "
        "there, it refuses to start.",
    )
    device_id: int = Field(0, ge=0, le=63, description="Which of the GPUs that a replica can see.")
    fp16: bool = Field(False, description="Half precision; for tensorrt, and openvino on a GPU.")
    gpu_memory_bytes: int | None = Field(
        None, ge=64 * 2**20, description="Most that one model's arena takes on the GPU; None: what there is."
    )
    openvino_device: str = Field(
        "CPU", pattern=r"^(CPU|NPU|GPU(\.\d+)?)$", description="Device of openvino: CPU, GPU, GPU.1, NPU."
    )
    cpu_arena: bool = Field(
        True, description="Keep freed memory for the next run; false: give it back, for some more CPU."
    )
    intra_op_threads: int | None = Field(
        None,
        ge=1,
        le=64,
        description="CPU threads of one replica's model; None: its num_cpus in the serve config, rounded up.",
    )
    also: tuple[str, ...] = Field(
        (), description="Ids of further packs that serve beside it, each with stages of its own."
    )
    accept_licence: tuple[str, ...] = Field(
        (),
        description="Ids of packs whose licence is accepted: for machines without a terminal.",
    )
    mirror_url: str | None = Field(
        None,
        pattern=r"^https?://",
        repr=False,  # a password may stand in it
        description="Folder on a web server that holds the pack files; asked instead of the addresses in the "
        "manifests.",
    )

    @field_validator("providers", mode="before")
    @classmethod
    def _one_may_stand_alone(cls, names: object) -> object:
        return (names,) if isinstance(names, str) else names

    @field_validator("providers")
    @classmethod
    def _are_a_chain(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        return parse_providers(names)

    @model_validator(mode="after")
    def _fp16_applies(self) -> PackSettings:
        on_gpu = self.providers[0] == "openvino" and self.openvino_device != "CPU"
        if self.fp16 and not on_gpu and self.providers[0] != "tensorrt":
            raise ValueError(
                f"fp16 does nothing for {self.providers[0]}; it is for tensorrt, and openvino on a GPU"
            )
        return self

    def make_execution(self, cache_dir: Path, threads: int = 1) -> Execution:
        """How models run by these settings.

        Args:
            cache_dir: where compiled engines may be kept.
            threads: where `intra_op_threads` does not say.
        """
        return Execution(
            providers=self.providers,
            intra_op_threads=self.intra_op_threads or threads,
            device_id=self.device_id,
            fp16=self.fp16,
            gpu_memory_bytes=self.gpu_memory_bytes,
            cpu_arena=self.cpu_arena,
            openvino_device=self.openvino_device,
            cache_dir=cache_dir / "engines",
        )


class PictureSettings(Section):
    """What a picture may be."""

    max_bytes: int = Field(10 * 2**20, ge=1024, description="Largest picture file, in bytes.")
    max_pixels: int = Field(40_000_000, ge=4096, description="Largest width x height.")
    min_side_px: int = Field(32, ge=8)
    max_per_request: int = Field(10, ge=1, le=100, description="Pictures in one enrolment.")
    detection_side_px: int = Field(
        640, ge=64, le=4096, description="Longer side of what the detector sees; larger finds smaller faces."
    )
    detection_scales: Literal["auto", "one", "all"] = Field(
        "auto",
        description="`auto`: small scales first, larger ones where faces may be too small for them; "
        "`one`: detection_side_px alone; `all`: every scale, for each picture.",
    )
    max_faces: int = Field(100, ge=1, le=1000, description="Faces answered per picture, the surest first.")

    @property
    def limits(self) -> PictureLimits:
        """What a single picture is held to."""
        return PictureLimits(
            max_bytes=self.max_bytes, max_pixels=self.max_pixels, min_side_px=self.min_side_px
        )

    @model_validator(mode="after")
    def _some_picture_fits(self) -> PictureSettings:
        if self.min_side_px**2 > self.max_pixels:
            raise ValueError(
                f"min_side_px is {self.min_side_px}: a square of it is above max_pixels, {self.max_pixels}"
            )
        return self


class RecognitionSettings(Section):
    """How a probe is decided."""

    threshold: float | None = Field(
        None,
        ge=-1,
        le=1,
        description="Raw cosine of the default pack at or above which it is a match; None: the pack's own.",
    )
    false_match_rate: float | None = Field(
        None,
        gt=0,
        le=1,
        description="In place of a threshold, and for every pack: share of pairs of different people that "
        "may match.",
    )
    top_k: int = Field(1, ge=1, le=100, description="Candidates answered per face when none is asked for.")
    max_top_k: int = Field(20, ge=1, le=100)

    @model_validator(mode="after")
    def _default_is_allowed(self) -> RecognitionSettings:
        if self.top_k > self.max_top_k:
            raise ValueError(f"top_k is {self.top_k}, above max_top_k, {self.max_top_k}")
        return self

    @model_validator(mode="after")
    def _decides_one_way(self) -> RecognitionSettings:
        if self.threshold is not None and self.false_match_rate is not None:
            raise ValueError("give threshold or false_match_rate, not both")
        return self


class GallerySettings(Section):
    """Where face vectors live."""

    engine: Literal["embedded", "server"] = "embedded"
    url: str | None = Field(None, description="Qdrant server, for engine `server`.")
    api_key: SecretStr | None = None
    timeout_s: float = Field(5.0, gt=0, le=60)

    @model_validator(mode="after")
    def _needs_url(self) -> GallerySettings:
        if self.engine == "server" and not self.url:
            raise ValueError("engine `server` needs gallery.url")
        return self


class AuthSettings(Section):
    """How callers prove who they are."""

    issuer: str = Field("rollcall", min_length=1)
    audience: str = Field("rollcall", min_length=1)
    token_lifetime_s: int = Field(
        12 * 3600, ge=60, le=90 * 86400, description="Of tokens that `rollcall token` makes."
    )
    access_lifetime_s: int = Field(900, ge=30, le=86400, description="Of access tokens of a sign-in.")
    session_lifetime_s: int = Field(
        30 * 86400, ge=300, le=366 * 86400, description="Of a sign-in without use of its refresh token."
    )
    sign_up: bool = Field(True, description="Whether people may make accounts for themselves.")
    face_sign_in: bool = Field(
        False, description="Whether a picture of the account's own person may stand in for its password."
    )
    min_password_chars: int = Field(10, ge=8, le=128)
    leeway_s: float = Field(
        10.0, ge=0, le=120, description="Clock difference forgiven when checking a token."
    )


class LoadSettings(Section):
    """How much work one ingress replica holds, and for how long."""

    request_timeout_s: float = Field(20.0, gt=0, le=300)
    max_body_bytes: int = Field(32 * 2**20, ge=1024, description="Whole request body, all pictures together.")
    max_pending_requests: int = Field(
        128, ge=1, description="Picture requests one ingress replica holds; more are answered 503."
    )
    max_pending_bytes: int = Field(256 * 2**20, ge=2**20, description="Bytes of pictures held, likewise.")

    @model_validator(mode="after")
    def _largest_body_may_be_held(self) -> LoadSettings:
        if self.max_body_bytes > self.max_pending_bytes:
            raise ValueError(
                f"max_body_bytes is {self.max_body_bytes}, above max_pending_bytes, {self.max_pending_bytes}"
            )
        return self


class QualitySettings(Section):
    """How good a face must be."""

    enrolment_level: QualityLevel = Field(
        QualityLevel.standard, description="Of events that do not say: off, standard or strict."
    )


class LivenessSettings(Section):
    """Whether faces are checked for being live, and by which model."""

    model: str | None = Field(
        None,
        min_length=1,
        max_length=64,
        description="Id of a liveness pack, such as `minifasnet`; none: there is no liveness stage.",
    )
    default_mode: LivenessMode = Field(
        LivenessMode.off, description="Of events that do not say: off, observe or enforce."
    )
    threshold: float | None = Field(
        None, gt=0, lt=1, description="Score from which a face counts as live; None: the pack's own."
    )

    @model_validator(mode="after")
    def _modes_need_a_model(self) -> LivenessSettings:
        if self.default_mode is not LivenessMode.off and self.model is None:
            raise ValueError(f"default_mode `{self.default_mode.value}` needs liveness.model")
        return self


class EnrolmentSettings(Section):
    """Who may be enrolled."""

    on_duplicate: Literal["refuse", "allow"] = Field(
        "refuse", description="What becomes of a face that matches another person, unless the request says."
    )
    idempotency_s: int = Field(86400, ge=60, le=30 * 86400, description="How long a retry is known as one.")


class RateLimitSettings(Section):
    """How much one identity may ask: `10/minute`, several separated by `;`, empty for no limit."""

    redis_url: SecretStr | None = Field(
        None,
        description="Where the counts live (redis:// or rediss://); none: each ingress replica has its own.",
    )
    recognition: str = Field("", description="Recognise, verify, search, detect, embed, compare.")
    enrolment: str = Field("", description="Enrol and import.")
    management: str = Field("1200/minute", description="All else that needs a token or key.")
    sign_in_per_account: str = Field("10/minute", description="Failed sign-ins, for each account name.")
    sign_in_per_address: str = Field("60/minute", description="Failed sign-ins, for each client address.")
    sign_up_per_address: str = Field("20/hour", description="Sign-ups, for each client address.")
    trusted_proxies: int = Field(
        0,
        ge=0,
        le=10,
        description="Proxies before this service that append to X-Forwarded-For; Serve's own does not. "
        "0: client addresses are not known, and limits for each address do not apply.",
    )

    @field_validator(
        "recognition",
        "enrolment",
        "management",
        "sign_in_per_account",
        "sign_in_per_address",
        "sign_up_per_address",
    )
    @classmethod
    def _are_limits(cls, text: str) -> str:
        parse_limits(text)
        return text

    @field_validator("redis_url")
    @classmethod
    def _is_redis(cls, url: SecretStr | None) -> SecretStr | None:
        if url is not None and not url.get_secret_value().startswith(("redis://", "rediss://")):
            raise ValueError("not a URL that begins with redis:// or rediss://")
        return url


def parse_limits(text: str) -> list[RateLimitItem]:
    """The limits in `text`, such as `10/minute;100/hour`; none when it is empty.

    Raises:
        ValueError: it is not of that form.
    """
    from limits import parse_many  # most replicas have settings and no limits

    if not text.strip():
        return []
    try:
        items = parse_many(text)
    except ValueError:
        raise ValueError(f"{text!r} is not of the form `10/minute` or `10/minute;100/hour`") from None
    if any(item.amount < 1 or item.get_expiry() < 1 for item in items):
        raise ValueError(f"{text!r} allows nothing; leave it empty for no limit")
    return items


class AuditSettings(Section):
    """What is remembered of who did what."""

    recognitions: bool = Field(True, description="Whether recognitions are in the audit trail too.")
    retention_days: int = Field(365, ge=1, le=3660)


class JobSettings(Section):
    """Imports and exports in the background."""

    max_upload_bytes: int = Field(
        2 * 2**30, ge=2**20, description="Largest upload, and all that its archive unpacks to."
    )
    max_items: int = Field(200_000, ge=1, description="Most pictures or people in one import.")
    max_unfinished: int = Field(10, ge=1, le=1000, description="Jobs of one event that wait or run.")
    parallel_pictures: int = Field(4, ge=1, le=256, description="Pictures one running job has in flight.")
    keep_result_s: int = Field(86400, ge=60, description="How long an export may be fetched.")


class MetricsSettings(Section):
    """What Prometheus is told; docs/metrics.md says how to scrape."""

    enabled: bool = True
    token: SecretStr | None = Field(
        None,
        min_length=1,
        description="What a scrape carries as bearer token; none: `/metrics` asks for an administrator.",
    )
    host: str = Field("127.0.0.1", min_length=1, description="Where the exporter of each node listens.")
    port: int | None = Field(
        None,
        ge=1,
        le=65535,
        description="Its port, which asks for `token` if there is one; none: no exporter.",
    )
    event_label: bool = Field(
        False, description="Whether recognitions are counted by event, under the event's id."
    )
    max_event_labels: int = Field(50, ge=1, le=1000, description="Events with a label; others are `other`.")

    @model_validator(mode="after")
    def _asks_for_a_token_beyond_loopback(self) -> MetricsSettings:
        if self.port is not None and self.token is None and not _is_loopback(self.host):
            raise ValueError(f"host is {self.host!r}: beyond loopback the exporter needs metrics.token")
        return self


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


class RetentionSettings(Section):
    """When what has expired is erased."""

    period_s: float = Field(3600.0, ge=1, le=86400, description="Between two looks for what has expired.")
