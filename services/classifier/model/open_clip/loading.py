"""The adapter to open_clip: only this, int8.py, lanes.py and proofs.py import torch. Import it late; it costs seconds.

Loads a ModelReference, and embeds pictures and texts. Knows no message, label rule or Redis.
"""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import os
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as functional
import torch.nn.utils.fusion
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from services.classifier.devices import nvidia
from services.classifier.devices.choice import (
    Choice,
    CudaFacts,
    Dtype,
    Gpu,
    Hardware,
    Trial,
    choose,
    cpu_has_bf16,
    cpu_name,
    gpu_id,
    host_id,
    omp_threads,
    physical_cores,
    usable_cores,
    why_no_gpu,
)
from services.classifier.model.memory_batches import Parts
from services.classifier.model.model_settings import calibrated_temperature
from services.classifier.model.open_clip.cpu_streams import Lanes
from services.classifier.model.open_clip.int8 import NO_PRODUCTS, Labels, Proof, can_int8, prove
from services.classifier.model.open_clip.int8_cache import KeptProof, Question
from services.classifier.model.preprocess import Refused, load_picture, stack
from services.classifier.model.speed_trial import Found, Kept, Machine, fastest, measured, trials_of
from services.classifier.port import DeviceLost, ModelFacts
from services.classifier.weights import hub, integrity
from services.classifier.weights.families import PIXELS_ARE_MEANT, Pixels, names_pixels, settle_pixels
from services.classifier.weights.integrity import GOLDEN_PICTURE, GOLDEN_TEXT, Checked, Golden, Record
from services.classifier.weights.names import CONFIG_FILE, OURS_FILE, ModelReference, read_json, repository
from services.classifier.words.prompts import SCENES, THINGS, templates_for
from shared.errors import ConfigError, Transient, redact
from shared.logs import get_logger

log = get_logger(__name__)
TEXTS_AT_ONCE = 64
# of a forward in _measured: 0.4 s for ViT-B-32 on two old cores; too few for lanes, which help all number formats
TRIED_PICTURES = 4
# Golden embeddings are written with 5 digits in float32; another build of the same weights differs by rounding only.
GOLDEN_TOLERANCE = 0.01
FOLDED_COSINE = (
    0.9999  # of a tower's answer with its batch norms folded to the one before; rounding alone is nearer
)
NVML = "libnvidia-ml.so.1"
# int8: of the matrix products alone, the rest of the tower and its input are float32
_DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,
}


def probe_hardware() -> Hardware:
    """Return what this machine offers."""
    gpus = _gpus()
    return Hardware(
        usable_cores(),
        cpu_has_bf16(),
        gpus,
        "" if gpus else _why_none(),
        physical_cores(),
        omp_threads(os.environ),
    )


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
    free = nvidia.free_bytes(nvidia.open_library(NVML), [gpu.id for gpu in found])
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


def gpu_busy(gpu_id: str) -> float | None:
    """Return the share of time in which a GPU computed for whomever; None without an id, or when it is not told."""
    return nvidia.busy_share(nvidia.open_library(NVML), gpu_id) if gpu_id else None


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
        self.lanes = Lanes(facts.threads if self._device.type == "cpu" else 1)
        self._encode: Callable[[torch.Tensor], torch.Tensor] = network.encode_image
        self._is_compiled = False

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
        # what is compiled is so at the first call, which is no work for two threads
        return _unit(self._features(pixels) if self._is_compiled else self.lanes.run(self._features, pixels))

    def _features(self, pixels: torch.Tensor) -> torch.Tensor:
        # one pass over the pixels: 0.45 ms a picture where float(), mul_() and add_() took 1.10 (one thread, 224 px)
        batch = torch.addcmul(self._shift, pixels, self._scale).to(self._dtype)
        batch = batch.contiguous(memory_format=torch.channels_last)
        return self._encoded(batch)

    def compile_tower(self, backend: str | Callable[..., Any] = "inductor") -> None:
        """Have the image tower compiled when it is first asked, which takes a minute or more; see _encoded()."""
        self._encode = torch.compile(self.network.encode_image, dynamic=True, backend=backend)
        self._is_compiled = True

    def _encoded(self, batch: torch.Tensor) -> torch.Tensor:
        """Run the image tower; when what was compiled fails where the plain one works, go on with that for good."""
        if not self._is_compiled:
            return self._encode(batch)
        try:
            return self._encode(batch)
        except Exception as exc:  # noqa: BLE001 - a compiler raises whatever its backend, C++ compiler or driver leads to
            features: torch.Tensor = self.network.encode_image(
                batch
            )  # what is not the compiler's fault raises here
            self._encode, self._is_compiled = self.network.encode_image, False
            said = " ".join(str(exc).split())[:200]
            log.warning(
                "COMPILE=on does not work here, going on without", error=f"{type(exc).__name__}: {said}"
            )
            return features

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
    record = Record(cache_dir)
    checked = _verified(reference, cache_dir, record)
    network, tokenizer = _create(reference, choice, cache_dir)
    golden = _golden(network, tokenizer, reference, checked, record)
    temperature = temperature or float(ours.get("temperature") or network.logit_scale.detach().exp())
    machine = _machine(reference)
    kept = Kept(cache_dir, machine) if cache_dir else None
    made_by = (checked.weights, machine.cpu, machine.torch)
    kept_proof = KeptProof(kept.path.with_suffix(".int8.npz"), made_by) if kept else None
    proved = cache(partial(prove_int8, network, tokenizer, temperature, kept_proof))
    choice = tried(network, choice, kept, proved)
    if choice.dtype == "int8":
        choice = with_int8(network, choice, proved())
    settle(network, choice.dtype)
    size = network.visual.preprocess_cfg["size"]
    facts = ModelFacts(
        name=str(ours.get("name") or reference.name),
        image_size=int(size[0] if isinstance(size, tuple | list) else size),
        embedding_dim=0,
        temperature=temperature,
        templates=tuple(ours.get("templates") or templates_for(reference)),
        distractors=tuple(ours["distractors"]) if "distractors" in ours else None,
        device=choice.device,
        dtype=choice.dtype,
        threads=choice.threads,
        why=choice.why,
    )
    model = OpenClipModel(network, tokenizer, facts)
    try:
        dim = model.embed_texts(["a dog"]).shape[1]
    except (IndexError, ValueError) as exc:  # a token that the text tower has no vector for
        raise ConfigError(
            f"MODEL={reference.name}: its text tower does not know the tokenizer's words ({_line(exc)}): the tokenizer "
            f"is another model's; {integrity.remedy(reference.name)}"
        ) from exc
    model = OpenClipModel(network, tokenizer, replace(facts, embedding_dim=dim))
    _check(model, reference, ours)
    if golden is not None:
        integrity.compare(reference.name, choice.dtype, golden, embed_golden(model, checked.weights))
    record.save()
    return model


def load(
    reference: ModelReference,
    wanted: tuple[str, str, int],
    cache_dir: Path | None = None,
    temperature: float | None = None,
) -> OpenClipModel:
    """Choose device, number format and threads (`wanted`: DEVICE, DTYPE, THREADS), load, and say what was chosen."""
    hardware = probe_hardware()
    choice = choose(*wanted, hardware)
    choice = replace(choice, trials=trials_of(choice, *wanted[1:], hardware))
    return load_chosen(reference, choice, cache_dir, temperature)


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
    if choice.is_compiled:
        model.compile_tower()
    log.info(
        "model is loaded",
        model=model.facts.name,
        device=choice.device,
        dtype=model.facts.dtype,
        threads=model.facts.threads,
        why=model.facts.why,
        is_compiled=choice.is_compiled,
        image_size=model.facts.image_size,
        temperature=round(model.facts.temperature, 2),
    )
    return model


def _machine(reference: ModelReference) -> Machine:
    return Machine(cpu_name(), usable_cores(), str(torch.__version__), reference.name)


def tried(
    network: Any,  # Any: open_clip has no types
    choice: Choice,
    kept: Kept | None,
    proved: Callable[[], Proof],
) -> Choice:
    """Return what runs this model's image tower fastest, as it was kept or is measured now; see trials.py."""
    trials = choice.trials
    if not can_int8(network.visual):
        trials = tuple(trial for trial in trials if trial.dtype != "int8")
    if len(trials) < 2:
        return choice
    found = kept.read(trials) if kept else None
    if found is None:
        found = _fastest(network, trials, proved)
        if kept:
            kept.write(trials, found)
    torch.set_num_threads(found.trial.threads)
    return replace(
        choice, dtype=found.trial.dtype, threads=found.trial.threads, why=f"{choice.why}; {found.why}"
    )


def _fastest(network: Any, trials: Sequence[Trial], proved: Callable[[], Proof]) -> Found:
    # Any: open_clip has no types
    if not any(trial.dtype == "int8" for trial in trials):
        return fastest(trials, _measured(network, trials))
    proof = proved()
    if proof.tower is None:
        trials = [trial for trial in trials if trial.dtype != "int8"]
    found = fastest(trials, _measured(network, trials, proof.tower))
    return replace(found, why=f"{found.why}; int8 {proof}")


def with_int8(network: Any, choice: Choice, proof: Proof) -> Choice:  # Any: open_clip has no types
    """Put int8 products into the image tower; without a proof it stays in float32, which is slower and right."""
    if proof.tower is None:
        log.warning(
            "int8 is not near enough to float32 for this model, going on in float32", found=str(proof)
        )
        return replace(choice, dtype="float32", why=f"{choice.why}; but float32, since int8 is {proof}")
    network.visual = proof.tower
    said = str(proof)
    return choice if said in choice.why else replace(choice, why=f"{choice.why}; int8 {said}")


def prove_int8(
    network: Any,  # Any: open_clip has no types
    tokenizer: Any,
    temperature: float,
    kept: KeptProof | None = None,
) -> Proof:
    """Look how near an image tower, in float32 on a CPU, stays to itself in int8: on pictures and words that ship."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    if not can_int8(network.visual):
        return NO_PRODUCTS
    transform = image_transform_v2(PreprocessCfg(**network.visual.preprocess_cfg), is_train=False)
    pictures = torch.stack([transform(picture) for picture in proof_pictures()])
    words = [*THINGS, *SCENES]
    question = Question(pictures, words, temperature)
    proof = kept.read(network.visual, question) if kept else None
    if proof is None:
        with torch.inference_mode():
            texts = functional.normalize(network.encode_text(tokenizer(words)), dim=-1)
        proof = prove(network.visual, pictures, Labels(texts, temperature))
        if kept:
            kept.write(question, proof)
    return proof


def proof_pictures() -> list[Image.Image]:
    """Return what int8 is judged on: the golden picture, its parts plain, blurred, dark and tiny, and plain gray."""
    with Image.open(GOLDEN_PICTURE) as opened:
        whole = opened.convert("RGB")
    width, side = whole.size
    squares = [whole.crop((x, 0, x + side, side)) for x in range(0, width - side + 1, (width - side) // 3)]
    small = [whole.crop((x, side // 3, x + side // 3, 2 * side // 3)) for x in range(0, width, width // 5)]
    blurred = [square.filter(ImageFilter.GaussianBlur(4)) for square in squares]
    dark = [square.point(lambda level: level // 5) for square in squares]
    tiny = [square.resize((20, 20)) for square in squares]
    return [whole, *squares, *small, *blurred, *dark, *tiny, Image.new("RGB", (side, side), (127, 127, 127))]


def _measured(network: Any, trials: Sequence[Trial], int8_tower: Any = None) -> dict[Trial, float]:
    # Any: open_clip has no types
    towers: dict[str, Any] = {}
    batches: dict[str, torch.Tensor] = {}
    size = network.visual.image_size
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    for name in {trial.dtype for trial in trials}:
        # copies: what is measured must not change the weights that are used, and float32 does not come back
        stand_in = torch.nn.Module()
        stand_in.visual = int8_tower if name == "int8" else copy.deepcopy(network.visual)
        settle(stand_in, name)
        towers[name] = stand_in.visual
        batch = torch.zeros(TRIED_PICTURES, 3, *sides, dtype=_DTYPES[name])
        batches[name] = batch.contiguous(memory_format=torch.channels_last)

    def forward(trial: Trial) -> None:
        torch.set_num_threads(trial.threads)
        with torch.inference_mode():
            towers[trial.dtype](batches[trial.dtype])

    return measured(trials, forward, time.perf_counter)


def _create(reference: ModelReference, choice: Choice, cache_dir: Path | None) -> tuple[Any, Any]:
    # Any: open_clip has no types
    logging.getLogger().addFilter(_is_worth_a_line)
    import open_clip

    source, tag = _source(reference, cache_dir)
    cache = str(cache_dir) if cache_dir and reference.kind != "folder" else None
    pixels = _pixels(reference, cache_dir)
    # OpenAI's weights and others were trained with QuickGELU; with the plain one nothing fails, labels are only worse
    is_quick = _is_listed_quick(reference)
    try:
        with (
            _offline()
        ):  # all is here by now; else each start would ask the hub whether it is still the newest
            tokenizer = open_clip.get_tokenizer(source, cache_dir=cache)
            network = open_clip.create_model(
                source,
                pretrained=tag,
                device=choice.device,
                cache_dir=cache,
                require_pretrained=True,
                force_quick_gelu=is_quick,
                # never a centre crop: of a 16:9 frame it drops 44 % of the width
                force_preprocess_cfg={"resize_mode": "squash"} | pixels,
                **_moved_text_config(reference),
            )
    except torch.OutOfMemoryError:
        raise
    except Exception as exc:  # noqa: BLE001 - loaders raise whatever a broken file or an absent one leads to
        raise ConfigError(_why_not(reference, exc)) from exc
    network.eval()
    return network, tokenizer


def _verified(reference: ModelReference, cache_dir: Path | None, record: Record) -> Checked:
    """Bring the files here if need be, and compare their checksums before anything is read from them."""
    if reference.folder is not None:
        checked = integrity.check_folder(reference.name, reference.folder, record)
    else:
        bring(reference, cache_dir)
        checked = integrity.check_cache(
            reference.name, hub.cached_files(hub.cache_of(cache_dir), reference), record
        )
    if not checked.is_verified:
        log.warning(
            "nothing says what the checksums of these weights should be; SHA256SUMS in the model's folder would",
            model=reference.name,
        )
    return checked


def bring(reference: ModelReference, cache_dir: Path | None) -> None:
    """Have a hub model's files in the cache: without a question to the hub when they are; else ConfigError, soon."""
    try:
        with _offline():
            _download(reference, cache_dir)
            return
    except Exception as exc:  # noqa: BLE001 - open_clip and transformers raise anything for a file that is not there
        why_absent = exc
    if why := hub.why_unreachable():
        raise ConfigError(hub.not_here(reference, why)) from why_absent
    try:
        _download(reference, cache_dir)
    except Exception as exc:  # noqa: BLE001 - as above
        raise ConfigError(hub.not_here(reference, _line(exc))) from exc


def _download(reference: ModelReference, cache_dir: Path | None) -> None:
    import huggingface_hub
    import open_clip
    from open_clip.pretrained import download_pretrained_from_hf

    cache = str(cache_dir) if cache_dir else None
    name, file = repository(reference)
    revision = reference.revision or None
    if reference.kind == "hub":
        huggingface_hub.hf_hub_download(name, CONFIG_FILE, revision=revision, cache_dir=cache)
    download_pretrained_from_hf(name, filename=file or None, revision=revision, cache_dir=cache)
    if reference.revision:  # the small files of the same commit: it is read as a folder then
        small = ["*.json", "*.txt", "*.model"]
        huggingface_hub.snapshot_download(name, revision=revision, cache_dir=cache, allow_patterns=small)
    source, _ = _source(reference, cache_dir)
    open_clip.get_tokenizer(source, cache_dir=cache)
    text = hub.model_config(hub.cache_of(cache_dir), reference).get("model_cfg", {}).get("text_cfg", {})
    if tower := text.get("hf_model_name"):
        import transformers

        transformers.AutoConfig.from_pretrained(tower)  # open_clip looks it up in the library's own cache


def _source(reference: ModelReference, cache_dir: Path | None) -> tuple[str, str | None]:
    """Return the name that open_clip knows a model by, and its tag."""
    if reference.folder:
        return f"local-dir:{reference.folder}", None
    if reference.revision:  # open_clip has no revisions, but reads the cache's folder of one
        files = hub.snapshot(hub.cache_of(cache_dir), reference)
        return f"local-dir:{files[0].parent if files else ''}", None
    return reference.architecture or reference.name, reference.tag or None


def _pixels(
    reference: ModelReference, cache_dir: Path | None
) -> dict[str, Any]:  # Any: open_clip's own settings
    """Return mean and std to force; raise ConfigError where a model's own file names wrong ones."""
    if reference.kind == "open_clip":
        return {}  # open_clip's table has them beside the tag
    folder = reference.folder
    config = (
        read_json(folder / CONFIG_FILE) if folder else hub.model_config(hub.cache_of(cache_dir), reference)
    )
    if _ours(reference).get(PIXELS_ARE_MEANT) is True and names_pixels(config):
        return {}
    forced = settle_pixels(reference, config, _listed_pixels(reference))
    if forced is not None:
        log.warning(
            "the model's config names no mean and std: those of its family are taken",
            model=reference.name,
            mean=forced.mean,
            std=forced.std,
        )
        return {"mean": forced.mean, "std": forced.std}
    if not names_pixels(config):
        log.warning("the model's config names no mean and std: CLIP's are taken", model=reference.name)
    return {}


def _listed(reference: ModelReference) -> list[dict[str, Any]]:  # Any: open_clip's own table
    """Return what open_clip's table says of the weights: of a tag, or of every tag with the same repository."""
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained

    if reference.kind == "open_clip":
        return [get_pretrained_cfg(reference.architecture, reference.tag)]
    name = repository(reference)[0] if reference.kind == "hub" else ""
    every = [get_pretrained_cfg(*listed) for listed in list_pretrained()] if name else []
    return [entry for entry in every if entry.get("hf_hub", "").startswith(f"{name}/")]


def _is_listed_quick(reference: ModelReference) -> bool:
    return any(entry.get("quick_gelu", False) for entry in _listed(reference))


def _listed_pixels(reference: ModelReference) -> Pixels | None:
    found = {(tuple(entry["mean"]), tuple(entry["std"])) for entry in _listed(reference)}
    return Pixels(*found.pop()) if len(found) == 1 else None


@contextlib.contextmanager
def _offline() -> Iterator[None]:
    """Keep the hub's library from the network meanwhile: with files in the cache it needs none."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def _golden(
    network: Any,  # Any: open_clip has no types
    tokenizer: Any,
    reference: ModelReference,
    checked: Checked,
    record: Record,
) -> Golden | None:
    """Return the golden embeddings of these weights; make them, by open_clip's own transform, the first time."""
    kept = record.golden(reference.name, checked.weights)
    if kept is not None or not checked.is_verified:
        return kept
    made = reference_golden(network, tokenizer, checked.weights)
    record.keep_golden(reference.name, made)
    log.info("golden embeddings are made", model=reference.name)
    return made


@torch.inference_mode()
def reference_golden(network: Any, tokenizer: Any, weights: str) -> Golden:  # Any: open_clip has no types
    """Embed the golden picture and text in float32, with Pillow and open_clip's transform."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform = image_transform_v2(PreprocessCfg(**network.visual.preprocess_cfg), is_train=False)
    device = network.logit_scale.device
    with Image.open(GOLDEN_PICTURE) as picture:
        pixels = transform(picture.convert("RGB")).unsqueeze(0).to(device)
    text = tokenizer([GOLDEN_TEXT]).to(device)
    return Golden(weights, _unit(network.encode_image(pixels))[0], _unit(network.encode_text(text))[0])


def embed_golden(model: OpenClipModel, weights: str) -> Golden:
    """Embed the golden picture and text as everything else is embedded."""
    loaded = load_picture(GOLDEN_PICTURE.read_bytes(), model.facts.image_size, model.resize)
    if isinstance(loaded, Refused):
        raise ConfigError(f"{GOLDEN_PICTURE}: {loaded.detail}: install clipwatch again")
    return Golden(weights, model.embed_pictures(stack([loaded]))[0], model.embed_texts([GOLDEN_TEXT])[0])


def settle(network: Any, dtype: Dtype) -> None:  # Any: open_clip has no types
    """Make a network ready to be asked: no dropout, no gradients, number format and memory order of its image tower."""
    network.eval()
    network.requires_grad_(False)
    fold_norms(network.visual)
    # The image tower alone goes to low precision: texts are embedded once, and their error would be in every picture's.
    network.visual.to(dtype=_DTYPES[dtype])
    if any(isinstance(module, torch.nn.Conv2d) for module in network.visual.modules()):
        network.visual.to(memory_format=torch.channels_last)


@torch.no_grad()  # not inference_mode: parameters made there cannot be used outside of it
def fold_norms(tower: Any) -> int:  # Any: open_clip has no types
    """Fold batch norms into the convolutions before them (Jacob et al. 2018, 3.2), and return how many.

    A pass over the feature maps less for each: 31.8 -> 26.2 ms CPU an image for EfficientNet-Lite0 in float32. Which
    norm follows which convolution is seen by running the tower; when the result differs, the tower is left as it was.
    """
    weight = next(tower.parameters())
    size = tower.image_size
    sides = tuple(size) if isinstance(size, tuple | list) else (size, size)
    probe = torch.linspace(-1, 1, 3 * sides[0] * sides[1], device=weight.device, dtype=weight.dtype)
    probe = probe.reshape(1, 3, *sides)
    if not any(isinstance(module, torch.nn.BatchNorm2d) for module in tower.modules()):
        return 0
    before, pairs = _neighbours(tower, probe)
    old = [(conv, conv.weight, conv.bias, name, norm) for conv, name, norm in pairs]
    for conv, name, norm in pairs:
        folded = torch.nn.utils.fusion.fuse_conv_bn_eval(conv, norm)
        conv.weight, conv.bias = folded.weight, folded.bias
        rest = [
            part for part in (getattr(norm, "drop", None), getattr(norm, "act", None)) if part is not None
        ]
        tower.set_submodule(name, torch.nn.Sequential(*rest))
    if float(functional.cosine_similarity(before, tower(probe)).min()) > FOLDED_COSINE:
        return len(pairs)
    for conv, kept_weight, kept_bias, name, norm in old:
        conv.weight, conv.bias = kept_weight, kept_bias
        tower.set_submodule(name, norm)
    return 0


def _neighbours(tower: Any, probe: torch.Tensor) -> tuple[torch.Tensor, list[tuple[Any, str, Any]]]:
    """Run the tower; return its answer, and convolution, name and norm wherever a norm took a convolution's output."""
    # Any: torch's own classes are as good as untyped
    convs: list[tuple[Any, torch.Tensor]] = []
    pairs: list[tuple[Any, str, Any]] = []

    def after(module: Any, _inputs: Any, output: torch.Tensor) -> None:
        convs.append((module, output))  # kept, so that no other tensor takes its place in memory

    def before(module: Any, inputs: Any) -> None:
        pairs.extend((conv, names[module], module) for conv, output in convs if output is inputs[0])

    names = {module: name for name, module in tower.named_modules()}
    hooks = [
        *(m.register_forward_hook(after) for m in names if isinstance(m, torch.nn.Conv2d)),
        *(m.register_forward_pre_hook(before) for m in names if isinstance(m, torch.nn.BatchNorm2d)),
    ]
    try:
        answer = tower(probe)
    finally:
        for hook in hooks:
            hook.remove()
    used = [conv for conv, _ in convs]
    norms = [norm for _, _, norm in pairs]
    once = [(c, n, m) for c, n, m in pairs if used.count(c) == 1 and norms.count(m) == 1]
    return answer, once


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
    said = _line(exc)
    if reference.kind == "folder":
        return f"MODEL={reference.name}: {reference.folder} cannot be loaded: {said}; make the folder anew"
    return f"MODEL={reference.name}: cannot be loaded: {said}; {integrity.remedy(reference.name)}"


def _line(exc: Exception) -> str:
    return redact(" ".join(str(exc).split()))[:200] or type(exc).__name__


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
