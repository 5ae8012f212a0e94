"""The adapter to open_clip: the only file that imports torch. Import it late; it costs seconds.

Loads a ModelReference, and embeds pictures and texts. Knows no message, label rule or Redis.
"""

from __future__ import annotations

import contextlib
import logging
import math
import os
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
from numpy.typing import NDArray

from services.classifier import nvidia
from services.classifier.devices import (
    Choice,
    CudaFacts,
    Dtype,
    Gpu,
    Hardware,
    choose,
    cpu_has_bf16,
    gpu_id,
    host_id,
    usable_cores,
    why_no_gpu,
)
from services.classifier.model import DeviceLost, ModelFacts
from services.classifier.model_settings import calibrated_temperature
from services.classifier.parts import Parts
from services.classifier.prompts import templates_for
from services.classifier.references import CONFIG_FILE, OURS_FILE, ModelReference, read_json
from shared.errors import ConfigError, Transient, redact
from shared.logs import get_logger

log = get_logger(__name__)
TEXTS_AT_ONCE = 64
# Golden embeddings are written with 5 digits in float32; another build of the same weights differs by rounding only.
GOLDEN_TOLERANCE = 0.01
_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def probe_hardware() -> Hardware:
    """Return what this machine offers."""
    gpus = _gpus()
    return Hardware(usable_cores(), cpu_has_bf16(), gpus, "" if gpus else _why_none())


def _gpus() -> tuple[Gpu, ...]:
    """Return the visible GPUs. Nothing here makes a CUDA context: see nvidia.py."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # why there is none is said by why_no_gpu
        if not torch.cuda.is_available():
            return ()
    host = host_id()
    found = []
    for index in range(torch.cuda.device_count()):
        facts = torch.cuda.get_device_properties(index)
        uuid = getattr(facts, "uuid", None)  # torch builds differ in what they tell
        pci = [getattr(facts, f"pci_{part}_id", None) for part in ("domain", "bus", "device")]
        known = [number for number in pci if number is not None]
        name = gpu_id(host, None if uuid is None else str(uuid), known, index)
        found.append(Gpu(index, facts.name, facts.major >= 8, name, facts.total_memory))  # 8.0: Ampere
    free = nvidia.free_bytes(nvidia.open_library("libnvidia-ml.so.1"), [gpu.id for gpu in found])
    return tuple(replace(gpu, free_bytes=n_bytes) for gpu, n_bytes in zip(found, free, strict=True))


def _why_none() -> str:
    if torch.version.hip is not None:
        return "this torch is built for ROCm, and sees no GPU of its kind"
    said = ""
    try:
        torch.cuda.init()  # type: ignore[no-untyped-call]  # torch's gap
    except (AssertionError, RuntimeError) as exc:
        said = redact(" ".join(str(exc).split()))[:200]
    facts = CudaFacts(
        torch_cuda=torch.version.cuda,
        driver_cuda=nvidia.driver_cuda(nvidia.open_library("libcuda.so.1")),
        cuda_visible_devices=os.environ.get("CUDA_VISIBLE_DEVICES"),
        nvidia_visible_devices=os.environ.get("NVIDIA_VISIBLE_DEVICES"),
        said=said,
    )
    return why_no_gpu(facts)


def gpu_memory(device: str) -> tuple[int, int] | None:
    """Return the bytes that are free on a GPU in use, and that it has; None on a CPU, or when the GPU fails.

    Any thread may ask. On a GPU that is not in use it would make a CUDA context.
    """
    if device == "cpu":
        return None
    try:
        free, total = torch.cuda.mem_get_info(device)
    except RuntimeError:  # the next forward says what is wrong
        return None
    return int(free), int(total)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Raise faults of the device as the port does: they are no item's, which else would go to the dead letters."""
    try:
        yield
    except RuntimeError as exc:
        said = " ".join(str(exc).split())[:200]
        if isinstance(exc, torch.OutOfMemoryError) or "out of memory" in said:
            raise Transient(f"the device is out of memory: {said}") from exc
        # cuBLAS' and cuDNN's errors are plain RuntimeErrors
        if isinstance(exc, torch.AcceleratorError) or said.startswith("CUDA error"):
            raise DeviceLost(said) from exc
        raise


class OpenClipModel:
    """A loaded open_clip model in evaluation mode; see the port in model.py."""

    def __init__(
        self, network: Any, tokenizer: Any, facts: ModelFacts
    ) -> None:  # Any: open_clip has no types
        self.network = network
        self._tokenizer = tokenizer
        self._facts = facts
        self._device = torch.device(facts.device)
        self._dtype = _DTYPES[facts.dtype]
        preprocess = network.visual.preprocess_cfg
        self._mode = "bilinear" if preprocess["interpolation"] == "bilinear" else "bicubic"
        shape = (1, 3, 1, 1)
        mean = torch.tensor(_triple(preprocess["mean"]), device=self._device).reshape(shape)
        std = torch.tensor(_triple(preprocess["std"]), device=self._device).reshape(shape)
        self._scale = 1 / (255 * std)
        self._shift = -mean / std
        self._parts = Parts(torch.OutOfMemoryError, torch.cuda.empty_cache)

    @property
    def facts(self) -> ModelFacts:
        """What is known of it."""
        return self._facts

    def resize(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Squash uint8[H,W,3] to uint8[S,S,3].

        torch's antialiased uint8 resize gives what Pillow's gives (at most 1 of 255 apart, mean 0.004) in an eighth of
        the time (0.38 against 2.9 ms from 384 to 224 px, one thread).
        """
        size = self._facts.image_size
        if picture.shape[:2] == (size, size):
            return picture
        planes = torch.from_numpy(picture).permute(2, 0, 1).unsqueeze(0)
        with torch.inference_mode():
            small = functional.interpolate(planes, size=(size, size), mode=self._mode, antialias=True)
        return np.ascontiguousarray(small[0].permute(1, 2, 0).numpy())

    @translated()
    def embed_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return float32[N,D] of unit length for uint8[N,3,S,S], RGB."""
        return self._parts.run(self._forward, pictures)

    @torch.inference_mode()
    def _forward(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = torch.from_numpy(pictures)
        if self._device.type == "cuda":
            pixels = pixels.pin_memory().to(self._device, non_blocking=True)
        batch = pixels.to(torch.float32).mul_(self._scale).add_(self._shift).to(self._dtype)
        batch = batch.contiguous(memory_format=torch.channels_last)
        return _unit(self.network.encode_image(batch))

    @translated()
    @torch.inference_mode()
    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Return float32[K,D] of unit length for K texts."""
        parts = [
            _unit(
                self.network.encode_text(
                    self._tokenizer(list(texts[at : at + TEXTS_AT_ONCE])).to(self._device)
                )
            )
            for at in range(0, len(texts), TEXTS_AT_ONCE)
        ]
        return np.concatenate(parts)


def load_model(
    reference: ModelReference, choice: Choice, cache_dir: Path | None = None, temperature: float | None = None
) -> OpenClipModel:
    """Load weights and tokenizer; raise ConfigError, one line, when they are missing or broken."""
    if reference.kind == "folder":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a local model never asks the hub
        os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    torch.set_num_threads(choice.threads)
    if choice.device != "cpu":  # for this thread: else what names no device goes to GPU 0, context and all
        torch.cuda.set_device(choice.device)
    ours = _ours(reference)
    network, tokenizer = _create(reference, choice, cache_dir)
    scale = float(network.logit_scale.detach().exp())
    size = network.visual.preprocess_cfg["size"]
    facts = ModelFacts(
        name=str(ours.get("name") or reference.name),
        image_size=int(size[0] if isinstance(size, tuple | list) else size),
        embedding_dim=0,
        temperature=temperature or float(ours.get("temperature") or scale),
        templates=tuple(ours.get("templates") or templates_for(reference)),
        distractors=tuple(ours["distractors"]) if "distractors" in ours else None,
        device=choice.device,
        dtype=choice.dtype,
        threads=choice.threads,
    )
    model = OpenClipModel(network, tokenizer, facts)
    dim = model.embed_texts(["a dog"]).shape[1]
    model = OpenClipModel(network, tokenizer, replace(facts, embedding_dim=dim))
    _check(model, reference, ours)
    return model


def load(
    reference: ModelReference,
    wanted: tuple[str, str, int],
    cache_dir: Path | None = None,
    temperature: float | None = None,
) -> OpenClipModel:
    """Choose device, number format and threads (`wanted`: DEVICE, DTYPE, THREADS), load, and say what was chosen."""
    return load_chosen(reference, choose(*wanted, probe_hardware()), cache_dir, temperature)


def load_chosen(
    reference: ModelReference, choice: Choice, cache_dir: Path | None = None, temperature: float | None = None
) -> OpenClipModel:
    """Load, and say what was chosen; raise ConfigError also when the GPU has no room for it."""
    if temperature is None and cache_dir is not None:
        temperature = calibrated_temperature(cache_dir, reference.name)
    try:
        model = load_model(reference, choice, cache_dir, temperature)
    except (RuntimeError, Transient) as exc:  # while there is no context it is no OutOfMemoryError
        if "out of memory" not in str(exc):
            raise
        raise ConfigError(
            f"MODEL={reference.name}: {choice.device} has no memory left for it; stop what else uses that GPU, start "
            "fewer replicas, or choose another GPU with DEVICE=cuda:N"
        ) from exc
    log.info(
        "model is loaded",
        model=model.facts.name,
        device=choice.device,
        dtype=choice.dtype,
        threads=choice.threads,
        why=choice.why,
        image_size=model.facts.image_size,
        temperature=round(model.facts.temperature, 2),
    )
    return model


def _create(reference: ModelReference, choice: Choice, cache_dir: Path | None) -> tuple[Any, Any]:
    # Any: open_clip has no types
    logging.getLogger().addFilter(_is_worth_a_line)
    import open_clip

    source = f"local-dir:{reference.folder}" if reference.folder else reference.architecture or reference.name
    cache = str(cache_dir) if cache_dir and reference.kind != "folder" else None
    try:
        network = open_clip.create_model(
            source,
            pretrained=reference.tag or None,
            device=choice.device,
            cache_dir=cache,
            require_pretrained=True,
            # never a centre crop: of a 16:9 frame it drops 44 % of the width
            force_preprocess_cfg={"resize_mode": "squash"},
            **_moved_text_config(reference),
        )
        tokenizer = open_clip.get_tokenizer(source, cache_dir=cache)
    except torch.OutOfMemoryError:
        raise
    except Exception as exc:  # noqa: BLE001 - loaders raise whatever a broken file or an absent network leads to
        raise ConfigError(_why_not(reference, exc)) from exc
    settle(network, choice.dtype)
    return network, tokenizer


def settle(network: Any, dtype: Dtype) -> None:  # Any: open_clip has no types
    """Make a network ready to be asked: no dropout, no gradients, number format and memory order of its image tower."""
    network.eval()
    network.requires_grad_(False)
    # The image tower alone goes to low precision: texts are embedded once, and their error would be in every picture's.
    network.visual.to(dtype=_DTYPES[dtype])
    if any(isinstance(module, torch.nn.Conv2d) for module in network.visual.modules()):
        network.visual.to(memory_format=torch.channels_last)


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Drop the dozen INFO lines that open_clip writes straight to the root logger; other loggers' lines pass."""
    return record.levelno >= logging.WARNING


def _moved_text_config(reference: ModelReference) -> dict[str, Any]:  # Any: open_clip's own settings
    """Point a text tower that was looked up by the folder's old path at where the folder is now."""
    if reference.folder is None:
        return {}
    config = read_json(reference.folder / CONFIG_FILE)
    text = dict(config.get("model_cfg", {}).get("text_cfg", {}))
    named = text.get("hf_model_name")
    if not named or not (reference.folder / "config.json").is_file() or Path(named) == reference.folder:
        return {}
    here = str(reference.folder)
    return {
        "text_cfg": text | {"hf_model_name": here, "hf_tokenizer_name": here, "hf_model_pretrained": False}
    }


def _why_not(reference: ModelReference, exc: Exception) -> str:
    said = redact(" ".join(str(exc).split()))[:200] or type(exc).__name__
    if reference.kind == "folder":
        return f"MODEL={reference.name}: {reference.folder} cannot be loaded: {said}; make the folder anew"
    return (
        f"MODEL={reference.name}: its weights are not on this machine and could not be fetched ({said}); "
        f"with a network, run `clipwatch models fetch {reference.name}`"
    )


def _ours(reference: ModelReference) -> dict[str, Any]:  # Any: a JSON file's values
    if reference.folder is None or not (reference.folder / OURS_FILE).is_file():
        return {}
    return read_json(reference.folder / OURS_FILE)


def _check(model: OpenClipModel, reference: ModelReference, ours: dict[str, Any]) -> None:
    """Compare the golden embedding, and refuse weights that give no usable numbers."""
    golden = ours.get("golden")
    if golden:
        found = model.embed_texts([str(golden["text"])])[0][: len(golden["embedding_first8"])]
        wanted = np.asarray(golden["embedding_first8"], dtype=np.float32)
        apart = float(np.abs(found - wanted).max())
        if not apart <= GOLDEN_TOLERANCE:
            raise ConfigError(
                f"MODEL={reference.name}: the embedding of '{golden['text']}' is {apart:.3f} off its golden value "
                f"(at most {GOLDEN_TOLERANCE}): the weights in {reference.folder} are corrupt; make the folder anew"
            )
    size = model.facts.image_size
    picture = model.embed_pictures(np.full((1, 3, size, size), 127, dtype=np.uint8))
    if not (np.isfinite(picture).all() and math.isfinite(model.facts.temperature)):
        raise ConfigError(
            f"MODEL={reference.name}: gives numbers that are not finite: the weights are corrupt"
        )


def _unit(features: torch.Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = functional.normalize(features.to(torch.float32), dim=-1).cpu().numpy()
    return array


def _triple(value: float | Sequence[float]) -> list[float]:
    return [float(value)] * 3 if isinstance(value, int | float) else [float(part) for part in value]
