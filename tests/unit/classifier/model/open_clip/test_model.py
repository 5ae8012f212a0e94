"""The open_clip adapter, with small random models; and the colour model of the tests, held to the same port."""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Callable
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

from services.classifier.devices.choice import DeviceChoice
from services.classifier.model.open_clip.loading import load_model
from services.classifier.model.open_clip.model import OpenClipModel
from services.classifier.model.preprocess import decode, stack
from services.classifier.port import Model
from services.classifier.weights.names import resolve_model
from tests.unit.classifier.makers import ColourModel, assert_keeps_the_port, make_tiny_model, photo

SAMPLES = Path(__file__).resolve().parents[5] / "samples"
FLOAT32 = DeviceChoice("cpu", "float32", 2, "test")
BFLOAT16 = DeviceChoice("cpu", "bfloat16", 2, "test")


def loaded(folder: Path, choice: DeviceChoice = FLOAT32) -> OpenClipModel:
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
    assert_keeps_the_port(model)


@pytest.mark.parametrize("size", [(384, 216), (384, 384), (90, 60), (32, 32)])
@pytest.mark.parametrize("choice", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
def test_embeddings_are_those_of_open_clips_own_transform(
    tiny_folder: Path, size: tuple[int, int], choice: DeviceChoice
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


@pytest.mark.slow  # shorter: a compiler that fails is done without
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
