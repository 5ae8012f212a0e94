"""What the classifier reads from its environment. Imports nothing heavy: `--check` has to be quick."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from shared.settings import ServiceSettings


class ClassifierSettings(ServiceSettings):
    """Names are the environment's, in capitals: MODEL, DEVICE, BATCH_PICTURES, …"""

    serves_metrics_only: ClassVar[bool] = True

    model: Annotated[
        str,
        Field(
            min_length=1,
            max_length=1000,
            description="mini, NAME/TAG of open_clip, hf-hub:OWNER/NAME, local-dir:FOLDER or a model folder",
        ),
    ] = "ViT-B-32-256/datacomp_s34b_b86k"
    models_dir: Annotated[
        Path, Field(description="folder of model folders, and cache of fetched weights")
    ] = Path(sys.prefix) / "share" / "clipwatch" / "models"
    device: Annotated[
        str,
        Field(
            pattern=r"^(auto|cpu|cuda(:[0-9]{1,3})?)$",
            description="auto, cpu, cuda or cuda:N; auto takes a GPU when there is one, and replicas spread over all",
        ),
    ] = "auto"
    gpu_lease_s: Annotated[
        float,
        Field(ge=3, le=3600, description="after that long a killed replica's GPU counts as free again"),
    ] = 30
    dtype: Annotated[
        Literal["auto", "float32", "bfloat16", "float16", "int8"],
        Field(
            description="auto: on a CPU int8 where the converted model has it proved, else bfloat16 where the chip "
            "computes it natively, else float32; float16 on a GPU"
        ),
    ] = "auto"
    compile: Annotated[
        Literal["off", "on"],
        Field(
            description="on a GPU: torch.compile the image tower at the start, minutes; where that fails, go on without"
        ),
    ] = "off"
    threads: Annotated[
        int,
        Field(
            ge=0,
            le=1024,
            description="threads of the model's forward; 0: the cores that this process may use",
        ),
    ] = 0
    decode_threads: Annotated[
        int, Field(ge=0, le=256, description="threads that decode pictures; 0: as many as cores, at most 8")
    ] = 0
    batch_pictures: Annotated[int, Field(ge=1, le=1024, description="pictures of one forward, at most")] = 32
    batch_snippets: Annotated[int, Field(ge=1, le=512, description="snippets taken together, at most")] = 16
    max_picture_pixels: Annotated[
        int, Field(ge=1, le=100_000_000, description="a picture with more is refused before it is decoded")
    ] = 4_000_000
    max_snippet_pixels: Annotated[
        int, Field(ge=1, le=2_000_000_000, description="pixels of all pictures of a snippet together")
    ] = 64_000_000
    temperature: Annotated[
        float | None, Field(gt=0, le=1000, description="of the softmax; unset: the model's calibrated one")
    ] = None
    distractors: Annotated[
        bool, Field(description="let things that nobody asked for compete with the labels")
    ] = True
    label_sets: Annotated[
        int, Field(ge=1, le=10_000, description="label sets whose texts are kept embedded")
    ] = 64
