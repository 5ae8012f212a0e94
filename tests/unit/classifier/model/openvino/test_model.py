"""The OpenVINO adapter against open_clip in float32: small random models, and `mini` where it is installed."""

from __future__ import annotations

import io
import json
import shutil
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.classifier.devices.choice import DeviceChoice
from services.classifier.model.open_clip.loading import load_model as load_with_torch
from services.classifier.model.openvino.loading import load_model
from services.classifier.model.openvino.model import OpenVinoModel
from services.classifier.model.preprocess import decode, stack
from services.classifier.port import Model
from services.classifier.weights.names import resolve_model
from tests.unit.classifier.makers import ColourModel, assert_keeps_the_port, photo

SAMPLES = Path(__file__).resolve().parents[5] / "samples"
MODELS = Path(sys.prefix) / "share" / "clipwatch" / "models"
FLOAT32 = DeviceChoice("cpu", "float32", 2, "test")
TEXTS = ["a person", "a dog", "an empty street", "", "ein Hund läuft", "a very long text, " * 40]


def loaded(folder: Path, choice: DeviceChoice = FLOAT32) -> OpenVinoModel:
    return load_model(resolve_model(str(folder), folder.parent), choice)


@pytest.fixture(scope="module")
def tiny(tiny_folder: Path) -> OpenVinoModel:
    return loaded(tiny_folder)


@pytest.fixture(params=["openvino", "colours"])
def model(request: pytest.FixtureRequest, tiny: OpenVinoModel) -> Model:
    made: dict[str, Callable[[], Model]] = {"openvino": lambda: tiny, "colours": ColourModel}
    return made[request.param]()


def test_a_model_keeps_the_port(model: Model) -> None:
    assert_keeps_the_port(model)


def frames() -> list[bytes]:
    """Return JPEGs of the samples as motion sends them: whole frames, 384 px wide, and crops."""
    found = []
    for sample in ("street.mp4", "people-walking.mp4"):
        film = cv2.VideoCapture(str(SAMPLES / sample))
        for at in (10, 60, 90):
            film.set(cv2.CAP_PROP_POS_FRAMES, at)
            taken, bgr = film.read()
            assert taken
            frame = Image.fromarray(bgr[..., ::-1])
            for picture in (
                frame.resize((384, 216)),
                frame.crop((100, 40, 340, 280)),
                frame.crop((0, 0, 90, 140)),
            ):
                buffer = io.BytesIO()
                picture.save(buffer, "JPEG", quality=88)
                found.append(buffer.getvalue())
        film.release()
    return found


def embedded(model: Model, jpegs: list[bytes]) -> NDArray[np.float32]:
    size = model.facts.image_size
    return model.embed_pictures(stack([model.resize(decode(jpeg, size)) for jpeg in jpegs]))


def lowest_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    return float((one * other).sum(axis=1).min())


@pytest.fixture(params=["tiny", pytest.param("mini", marks=pytest.mark.model)])
def folder(request: pytest.FixtureRequest, tiny_folder: Path) -> Path:
    if request.param == "tiny":
        return tiny_folder
    assert (MODELS / "mini").is_dir(), f"{MODELS}: the offline model is not there: make install"
    return MODELS / "mini"


def test_embeddings_and_facts_are_those_of_open_clip(folder: Path) -> None:
    theirs = load_with_torch(resolve_model(str(folder), folder.parent), FLOAT32)
    ours = loaded(folder)
    assert ours.facts == theirs.facts
    assert lowest_cosine(ours.embed_texts(TEXTS), theirs.embed_texts(TEXTS)) >= 0.99999
    found = embedded(ours, frames())
    assert lowest_cosine(found, embedded(theirs, frames())) >= 0.9999
    assert (found @ found.T).min() < 0.98  # the embeddings do tell pictures apart


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("pixels", [{}, {"mean": [0.5] * 3, "std": [0.5] * 3}], ids=["CLIP", "SigLIP"])
def test_the_models_own_preprocessing_is_met(
    tiny_folder: Path, tmp_path: Path, interpolation: str, pixels: dict[str, list[float]]
) -> None:
    folder = shutil.copytree(tiny_folder, tmp_path / "x")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["preprocess_cfg"] = {"interpolation": interpolation, **pixels}
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    theirs = load_with_torch(resolve_model(str(folder), tmp_path), FLOAT32)
    assert lowest_cosine(embedded(loaded(folder), frames()), embedded(theirs, frames())) >= 0.9999


@pytest.mark.parametrize("threads", [1, 2, 3, 6])
def test_batches_of_all_sizes_and_any_threads_give_the_same_embeddings(
    tiny: OpenVinoModel, tiny_folder: Path, threads: int
) -> None:
    model = loaded(tiny_folder, replace(FLOAT32, threads=threads))
    pictures = stack([model.resize(photo(40, 40, seed)) for seed in range(37)])
    wanted = np.concatenate([tiny.embed_pictures(pictures[at : at + 1]) for at in range(37)])
    for n in range(1, 38):
        assert np.allclose(model.embed_pictures(pictures[:n]), wanted[:n], atol=1e-5)


def test_texts_of_all_numbers_give_the_same_embeddings(tiny: OpenVinoModel) -> None:
    texts = [f"{'a ' * (number % 30)}thing number {number}" for number in range(130)]
    wanted = np.concatenate([tiny.embed_texts([text]) for text in texts])
    for n in (1, 2, 63, 64, 65, 130):
        assert np.allclose(tiny.embed_texts(texts[:n]), wanted[:n], atol=1e-5)


def test_pictures_need_not_be_channels_last(tiny: OpenVinoModel) -> None:
    pictures = stack([tiny.resize(photo(40, 40, seed)) for seed in range(3)])
    assert np.array_equal(tiny.embed_pictures(np.ascontiguousarray(pictures)), tiny.embed_pictures(pictures))


@pytest.mark.parametrize("size", [(384, 216), (40, 300), (32, 32), (7, 5)])
def test_a_resized_picture_is_pillows_on_any_thread(tiny: OpenVinoModel, size: tuple[int, int]) -> None:
    pictures = [photo(*size, seed) for seed in range(8)]
    side = tiny.facts.image_size
    together = threading.Barrier(4, timeout=60)

    def resize(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        together.wait()
        return tiny.resize(picture)

    with ThreadPoolExecutor(4) as pool:
        for picture, found in zip(pictures, pool.map(resize, pictures), strict=True):
            wanted = Image.fromarray(picture).resize((side, side), Image.Resampling.BICUBIC)
            assert np.abs(found.astype(int) - np.asarray(wanted)).max() <= 1
