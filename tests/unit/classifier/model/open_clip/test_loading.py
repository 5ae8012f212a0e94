"""The open_clip adapter, with small random models; and the colour model of the tests, held to the same port."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import open_clip
import pytest
import torch
from open_clip.constants import OPENAI_DATASET_MEAN, OPENAI_DATASET_STD
from PIL import Image
from structlog.testing import capture_logs

from services.classifier.devices.choice import Choice, Dtype, Trial
from services.classifier.model.open_clip.cpu_streams import LEAST_PICTURES
from services.classifier.model.open_clip.loading import (
    OpenClipModel,
    fold_norms,
    gpu_busy,
    gpu_memory,
    load_model,
    probe_hardware,
    translated,
)
from services.classifier.model.preprocess import decode, stack
from services.classifier.port import DeviceLost, Model
from services.classifier.weights.integrity import RECORD_FILE, write_sums
from services.classifier.weights.names import ModelReference, resolve_model
from shared.errors import ConfigError, Transient
from tests.unit.classifier.makers import ColourModel, make_tiny_model, photo

SAMPLES = Path(__file__).resolve().parents[5] / "samples"
FLOAT32 = Choice("cpu", "float32", 2, "test")
BFLOAT16 = Choice("cpu", "bfloat16", 2, "test")
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def loaded(folder: Path, choice: Choice = FLOAT32) -> OpenClipModel:
    return load_model(resolve_model(str(folder), folder.parent), choice)


def copied(folder: Path, to: Path, **ours: object) -> Path:
    shutil.copytree(folder, to)
    (to / "clipwatch.json").write_text(json.dumps(ours))
    return to


@pytest.fixture(params=["open_clip", "colours"])
def model(request: pytest.FixtureRequest, tiny_folder: Path) -> Model:
    made: dict[str, Callable[[], Model]] = {"open_clip": lambda: loaded(tiny_folder), "colours": ColourModel}
    return made[request.param]()


def test_a_model_keeps_the_port(model: Model) -> None:
    facts = model.facts
    small = model.resize(photo(50, 30))
    assert small.shape == (facts.image_size, facts.image_size, 3)
    assert small.dtype == np.uint8
    pictures = stack([small, model.resize(photo(20, 90, seed=1))])
    for vectors in (model.embed_pictures(pictures), model.embed_texts(["a person", "a dog"])):
        assert vectors.shape == (2, facts.embedding_dim)
        assert vectors.dtype == np.float32
        assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1], abs=1e-4)
    assert np.array_equal(model.embed_texts(["a dog"]), model.embed_texts(["a dog"]))
    assert np.allclose(model.embed_pictures(pictures)[:1], model.embed_pictures(pictures[:1]), atol=1e-5)


@pytest.mark.parametrize("size", [(384, 216), (384, 384), (90, 60), (32, 32)])
@pytest.mark.parametrize("choice", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
def test_embeddings_are_those_of_open_clips_own_transform(
    tiny_folder: Path, size: tuple[int, int], choice: Choice
) -> None:
    ours = loaded(tiny_folder, choice)
    picture = photo(*size)
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{tiny_folder}")
    network.eval()
    with torch.inference_mode():
        theirs = network.encode_image(transform(Image.fromarray(picture)).unsqueeze(0), normalize=True)[
            0
        ].numpy()
    found = ours.embed_pictures(stack([ours.resize(picture)]))[0]
    assert float(found @ theirs) > (0.9995 if choice is FLOAT32 else 0.998)


@pytest.fixture(scope="module")
def frames() -> list[bytes]:
    """JPEGs of real frames as motion sends them: two whole frames of each sample (384x216), and a crop of each."""
    found = []
    for sample in ("street.mp4", "people-walking.mp4"):
        film = cv2.VideoCapture(str(SAMPLES / sample))
        for at in (10, 60):
            film.set(cv2.CAP_PROP_POS_FRAMES, at)
            taken, bgr = film.read()
            assert taken
            frame = Image.fromarray(bgr[..., ::-1])
            for picture in (frame.resize((384, 216)), frame.crop((100, 40, 340, 280))):
                buffer = io.BytesIO()
                picture.save(buffer, "JPEG", quality=88)
                found.append(buffer.getvalue())
        film.release()
    return found


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize(
    ("mean", "std"),
    [(OPENAI_DATASET_MEAN, OPENAI_DATASET_STD), ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))],
    ids=["CLIP", "SigLIP"],
)
def test_real_frames_get_the_embeddings_of_open_clips_own_transform(
    tiny_folder: Path,
    tmp_path: Path,
    frames: list[bytes],
    interpolation: str,
    mean: tuple[float, ...],
    std: tuple[float, ...],
) -> None:
    """Decode, reduced where we do so, resize and normalise; in float32, so that nothing else differs."""
    folder = copied(tiny_folder, tmp_path / "x")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"] |= {"mean": mean, "std": std, "interpolation": interpolation}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    ours = loaded(folder)
    network, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    network.eval()
    with torch.inference_mode():
        pictures = torch.stack([transform(Image.open(io.BytesIO(frame))) for frame in frames])
        theirs = network.encode_image(pictures, normalize=True).numpy()
    size = ours.facts.image_size
    found = ours.embed_pictures(stack([ours.resize(decode(frame, size)) for frame in frames]))
    assert (found * theirs).sum(axis=1).min() >= 0.999
    others = (found @ theirs.T)[~np.eye(len(frames), dtype=bool)]
    assert others.min() < 0.99  # the embeddings do tell pictures apart


def test_a_conv_tower_works_in_bfloat16(tmp_path: Path) -> None:
    model = loaded(make_tiny_model(tmp_path / "conv", "conv"), BFLOAT16)
    vectors = model.embed_pictures(stack([model.resize(photo(60, 60))] * 3))
    assert np.isfinite(vectors).all()
    assert vectors.shape == (3, 32)


def test_batch_norms_are_folded_and_the_embeddings_stay(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "conv", "conv")
    ours = loaded(folder)
    theirs = open_clip.create_model(f"local-dir:{folder}").eval()
    assert any(isinstance(module, torch.nn.BatchNorm2d) for module in theirs.visual.modules())
    assert not any(isinstance(module, torch.nn.BatchNorm2d) for module in ours.network.visual.modules())
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        wanted, found = theirs.encode_image(batch), ours.network.encode_image(batch)
    assert torch.allclose(found, wanted, rtol=1e-3, atol=1e-4 * float(wanted.abs().max()))


class _Twice(torch.nn.Module):
    """Uses a convolution's output before its norm as well: nothing may be folded into it."""

    image_size = 8

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm = torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4)
        self.norm.running_mean = torch.tensor([1.0, -2.0, 3.0, -4.0])

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        seen: torch.Tensor = self.conv(pictures)
        answer: torch.Tensor = (seen.relu() + self.norm(seen)).flatten(1)
        return answer


def test_a_norm_whose_folding_would_change_the_answer_stays() -> None:
    tower = _Twice().eval()
    weight = tower.conv.weight
    assert fold_norms(tower) == 0
    assert isinstance(tower.norm, torch.nn.BatchNorm2d)
    assert tower.conv.weight is weight


def test_a_compiled_tower_gives_the_same_embeddings(tiny_folder: Path) -> None:
    model = loaded(tiny_folder)
    batches = [stack([model.resize(photo(40, 40, seed)) for seed in range(n)]) for n in (2, 4)]
    plain = [model.embed_pictures(batch) for batch in batches]
    model.compile_tower(backend="aot_eager")  # all of torch.compile but the C++ compiler
    for batch, wanted in zip(batches, plain, strict=True):
        assert np.allclose(model.embed_pictures(batch), wanted, atol=1e-5)


def test_a_compiler_that_fails_is_told_once_and_done_without(tiny_folder: Path) -> None:
    def no_compiler(*_: object) -> object:
        raise RuntimeError("no C++ compiler")

    model = loaded(tiny_folder)
    batch = stack([model.resize(photo(40, 40))] * 2)
    wanted = model.embed_pictures(batch)
    model.compile_tower(backend=no_compiler)
    with capture_logs() as logs:
        assert np.array_equal(model.embed_pictures(batch), wanted)
        assert np.array_equal(model.embed_pictures(batch), wanted)
    (line,) = logs
    assert line["log_level"] == "warning"
    assert "no C++ compiler" in line["error"]


def test_facts_come_from_the_folders_own_file(tiny_folder: Path, tmp_path: Path) -> None:
    facts = loaded(
        copied(
            tiny_folder,
            tmp_path / "x",
            name="x",
            temperature=31,
            templates=["{}!", "{}?"],
            distractors=["a kite"],
        )
    ).facts
    assert (facts.name, facts.temperature) == ("x", 31)
    assert (facts.templates, facts.distractors) == (("{}!", "{}?"), ("a kite",))


def test_without_such_a_file_the_models_own_scale_counts(tiny_folder: Path, tmp_path: Path) -> None:
    facts = loaded(copied(tiny_folder, tmp_path / "x")).facts
    assert facts.temperature == pytest.approx(1 / 0.07, rel=1e-3)
    assert facts.distractors is None


def test_the_golden_embedding_is_compared(tiny_folder: Path, tmp_path: Path) -> None:
    first8 = loaded(tiny_folder).embed_texts(["a dog"])[0][:8].tolist()
    golden = {"text": "a dog", "embedding_first8": first8}
    loaded(copied(tiny_folder, tmp_path / "right", golden=golden))
    golden["embedding_first8"] = [value + 0.05 for value in first8]
    with pytest.raises(ConfigError, match="corrupt; make the folder anew"):
        loaded(copied(tiny_folder, tmp_path / "wrong", golden=golden))


def test_weights_that_are_no_numbers_are_refused(tiny_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    folder = copied(tiny_folder, tmp_path / "nan")
    weights = load_file(str(folder / "open_clip_model.safetensors"))
    weights["visual.proj"] = torch.full_like(weights["visual.proj"], float("nan"))
    save_file(weights, str(folder / "open_clip_model.safetensors"))
    with pytest.raises(ConfigError, match="not finite"):
        loaded(folder)


def test_broken_weights_are_one_line(tiny_folder: Path, tmp_path: Path) -> None:
    folder = copied(tiny_folder, tmp_path / "cut")
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:10_000])
    with pytest.raises(ConfigError, match="cannot be loaded") as caught:
        loaded(folder)
    assert "\n" not in str(caught.value)


def test_the_fastest_of_the_trials_is_measured_once_and_used(tiny_folder: Path, tmp_path: Path) -> None:
    trials = (Trial("bfloat16", 2), Trial("float32", 1), Trial("float32", 2))
    choice = replace(BFLOAT16, trials=trials)
    reference = ModelReference("tiny", "folder", folder=tiny_folder)
    model = load_model(reference, choice, cache_dir=tmp_path)
    assert Trial(*_pair(model)) in trials
    assert "measured, a forward: bfloat16 x 2 " in model.facts.why
    kept = tmp_path / "speed" / "tiny.json"
    value = json.loads(kept.read_text())
    assert value["chosen"] == str(Trial(*_pair(model)))
    for trial in trials:  # what was kept is believed, whatever this machine would measure now
        kept.write_text(json.dumps(value | {"chosen": str(trial)}))
        again = load_model(reference, choice, cache_dir=tmp_path)
        assert Trial(*_pair(again)) == trial
        assert next(again.network.visual.parameters()).dtype == DTYPES[trial.dtype]
        assert torch.get_num_threads() == trial.threads
        assert "kept in" in again.facts.why
        assert again.embed_pictures(stack([again.resize(photo(40, 40))])) == pytest.approx(
            loaded(tiny_folder).embed_pictures(stack([again.resize(photo(40, 40))])), abs=0.02
        )


def _pair(model: OpenClipModel) -> tuple[Dtype, int]:
    names: dict[str, Dtype] = {"float32": "float32", "bfloat16": "bfloat16"}
    return names[model.facts.dtype], model.facts.threads


@pytest.mark.parametrize("content", ["", "[]", "{not json"])
def test_a_broken_file_of_ours_is_one_line(tiny_folder: Path, tmp_path: Path, content: str) -> None:
    folder = copied(tiny_folder, tmp_path / "x")
    (folder / "clipwatch.json").write_text(content)
    with pytest.raises(ConfigError, match="make the model folder anew"):
        loaded(folder)


def verified(folder: Path, models_dir: Path, choice: Choice = FLOAT32) -> OpenClipModel:
    return load_model(ModelReference("tiny", "folder", folder=folder), choice, cache_dir=models_dir)


def rewritten(folder: Path, **config: object) -> None:
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    write_sums(folder)


@pytest.mark.parametrize("choice", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
def test_golden_embeddings_are_made_of_verified_weights_and_met_again(
    tiny_folder: Path, tmp_path: Path, choice: Choice
) -> None:
    folder = copied(tiny_folder, tmp_path / "x")
    verified(folder, tmp_path, choice)
    assert json.loads((tmp_path / RECORD_FILE).read_text())["golden"] == {}  # nothing says what is right
    write_sums(folder)
    verified(folder, tmp_path, choice)
    made = json.loads((tmp_path / RECORD_FILE).read_text())["golden"]["tiny"]
    assert (len(made["picture"]), len(made["text"])) == (32, 32)
    verified(folder, tmp_path, choice)


def test_a_changed_mean_is_an_error_and_not_worse_labels(tiny_folder: Path, tmp_path: Path) -> None:
    folder = copied(tiny_folder, tmp_path / "x")
    write_sums(folder)
    verified(folder, tmp_path)
    rewritten(folder, preprocess_cfg={"mean": [0, 0, 0], "std": [1, 1, 1]})
    with pytest.raises(ConfigError, match="golden picture has cosine"):
        verified(folder, tmp_path)


def test_one_wrong_byte_of_the_weights_is_found_before_they_are_read(
    tiny_folder: Path, tmp_path: Path
) -> None:
    folder = copied(tiny_folder, tmp_path / "x")
    write_sums(folder)
    weights = folder / "open_clip_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(ConfigError, match="the file is corrupt: run `clipwatch models fetch tiny`"):
        verified(folder, tmp_path)


def hub_cache(models_dir: Path, folder: Path, name: str) -> Path:
    """Put a folder's files where the hub's library keeps a repository; return the blobs."""
    commit = "0123456789" * 4
    root = models_dir / f"models--{name.replace('/', '--')}"
    (root / "refs").mkdir(parents=True)
    (root / "refs" / "main").write_text(commit)
    (root / "blobs").mkdir()
    (root / "snapshots" / commit).mkdir(parents=True)
    for file in ("open_clip_config.json", "open_clip_model.safetensors"):
        data = (folder / file).read_bytes()
        is_large = file.endswith(".safetensors")
        digest = (
            hashlib.sha256(data).hexdigest()
            if is_large
            else hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()
        )
        (root / "blobs" / digest).write_bytes(data)
        (root / "snapshots" / commit / file).symlink_to(f"../../blobs/{digest}")
    return root / "blobs"


def test_a_model_in_the_hubs_cache_loads_without_a_network(tiny_folder: Path, tmp_path: Path) -> None:
    hub_cache(tmp_path, tiny_folder, "o/tiny")
    model = load_model(resolve_model("hf-hub:o/tiny", tmp_path), FLOAT32, cache_dir=tmp_path)
    assert model.facts.embedding_dim == 32
    assert "hf-hub:o/tiny" in json.loads((tmp_path / RECORD_FILE).read_text())["golden"]
    pinned = resolve_model(f"hf-hub:o/tiny@{'0123456789' * 4}", tmp_path)
    assert np.allclose(
        load_model(pinned, FLOAT32, cache_dir=tmp_path).embed_texts(["a dog"]), model.embed_texts(["a dog"])
    )


def test_a_corrupt_download_in_the_hubs_cache_is_an_error(tiny_folder: Path, tmp_path: Path) -> None:
    blobs = hub_cache(tmp_path, tiny_folder, "o/tiny")
    largest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    largest.write_bytes(largest.read_bytes()[:-100])
    with pytest.raises(ConfigError, match="delete it and run `clipwatch models fetch hf-hub:o/tiny`"):
        load_model(resolve_model("hf-hub:o/tiny", tmp_path), FLOAT32, cache_dir=tmp_path)


def test_a_download_that_was_cut_off_counts_as_none(
    tiny_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    blobs = hub_cache(tmp_path, tiny_folder, "o/tiny")
    largest = max(blobs.iterdir(), key=lambda path: path.stat().st_size)
    largest.rename(largest.with_name(f"{largest.name}.1a2b3c4d.incomplete"))
    with pytest.raises(ConfigError, match=r"HF_HUB_OFFLINE is set.*models fetch hf-hub:o/tiny"):
        load_model(resolve_model("hf-hub:o/tiny", tmp_path), FLOAT32, cache_dir=tmp_path)


def test_weights_trained_with_quickgelu_get_it_under_either_name(
    tmp_path: Path,
) -> None:
    from services.classifier.model.open_clip.loading import _is_listed_quick

    quick = ("ViT-B-32/openai", "ViT-B-32-quickgelu/openai", "hf-hub:timm/vit_base_patch32_clip_224.openai")
    plain = ("ViT-B-32/laion2b_s34b_b79k", "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "hf-hub:o/n")
    found = [_is_listed_quick(resolve_model(name, tmp_path)) for name in (*quick, *plain)]
    assert found == [True] * 3 + [False] * 3


def test_weights_that_cannot_be_fetched_name_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    reference = resolve_model("ViT-B-32/laion2b_s34b_b79k", tmp_path)
    with pytest.raises(
        ConfigError, match="run `clipwatch models fetch ViT-B-32/laion2b_s34b_b79k`"
    ) as caught:
        load_model(reference, FLOAT32, cache_dir=tmp_path)
    assert "\n" not in str(caught.value)


class Crowded:
    """A network whose device has room for three pictures at a time."""

    def __init__(self, network: Any) -> None:  # Any: open_clip has no types
        self._network = network
        self.visual = network.visual
        self.encode_text = network.encode_text

    def encode_image(self, batch: torch.Tensor) -> torch.Tensor:
        if len(batch) > 3:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
        features: torch.Tensor = self._network.encode_image(batch)
        return features


def test_a_batch_that_is_too_large_for_the_device_gives_the_same_embeddings(tiny_folder: Path) -> None:
    model = loaded(tiny_folder)
    pictures = stack([model.resize(photo(40, 40, seed=seed)) for seed in range(8)])
    whole = model.embed_pictures(pictures)
    model.network = Crowded(model.network)
    assert np.allclose(model.embed_pictures(pictures), whole, atol=1e-5)


def test_pictures_are_embedded_on_several_threads_as_on_one(tiny_folder: Path) -> None:
    model = loaded(tiny_folder)
    pictures = stack([model.resize(photo(40, 40, seed=seed)) for seed in range(2 * LEAST_PICTURES + 1)])
    threads: set[str] = set()
    encode = model.network.encode_image
    together = threading.Barrier(2, timeout=60)  # one thread that took both parts would wait in vain

    def seen(batch: torch.Tensor) -> torch.Tensor:
        threads.add(threading.current_thread().name)
        together.wait()
        features: torch.Tensor = encode(batch)
        return features

    on_one = loaded(tiny_folder, replace(FLOAT32, threads=1)).embed_pictures(pictures)
    model.network.encode_image = seen
    again = OpenClipModel(model.network, None, replace(model.facts, threads=2))
    assert np.allclose(again.embed_pictures(pictures), on_one, atol=1e-5)
    assert len(threads) == 2
    assert threading.current_thread().name not in threads


def test_the_hardware_of_this_machine_is_known_or_it_is_said_why_not() -> None:
    hardware = probe_hardware()
    assert hardware.cores >= 1
    assert bool(hardware.gpus) != bool(hardware.why_no_gpu)
    assert len({gpu.id for gpu in hardware.gpus}) == len(hardware.gpus)
    assert not any(" " in gpu.id for gpu in hardware.gpus)


def test_a_cpu_has_no_gpu_memory_and_no_gpu_that_works() -> None:
    assert gpu_memory("cpu") is None
    assert gpu_busy("") is None


@pytest.mark.parametrize(
    ("error", "becomes", "says"),
    [
        (torch.OutOfMemoryError("CUDA out of memory."), Transient, "the device is out of memory"),
        (RuntimeError("CUDA error: out of memory"), Transient, "the device is out of memory"),
        (torch.AcceleratorError("an illegal memory access"), DeviceLost, "an illegal memory access"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_EXECUTION_FAILED"), DeviceLost, "CUDA error: CUBLAS"),
        (RuntimeError("shapes do not fit"), RuntimeError, "shapes do not fit"),
    ],
)
def test_faults_of_the_device_are_told_from_those_of_an_item(
    error: RuntimeError, becomes: type[Exception], says: str
) -> None:
    with pytest.raises(becomes, match=f"^{says}") as caught, translated():
        raise error
    assert type(caught.value) is becomes
