"""Which models serve, and what runs them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator, model_validator

from serving.settings.section import Section
from serving.vision.execution import Execution, parse_providers


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
