"""What the classifier's tests are made of: pictures, a model that sees colours, messages, a tiny open_clip model."""

from __future__ import annotations

import io
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from services.classifier.model.preprocess import stack
from services.classifier.port import Model, ModelFacts
from shared.clock import uuid7
from shared.contract import DecisionSettings, LabelSet, PictureInfo, SnippetHeader, SnippetMessage

NOON = datetime(2026, 6, 1, 12, 0, tzinfo=UTC)
RED, GREEN, BLUE, GRAY = (220, 20, 20), (20, 220, 20), (20, 20, 220), (120, 120, 120)
Colour = tuple[int, int, int]
# the colour model's whole vocabulary; every other text looks like nothing
WORDS: dict[str, Colour] = {
    "a person": RED,
    "a pedestrian": RED,
    "a dog": GREEN,
    "an empty street": BLUE,
    "a blue wall": BLUE,
}


class ColourModel:
    """A model whose pictures are their mean colour and whose texts are the colours of WORDS."""

    def __init__(self, temperature: float = 20.0, size: int = 16) -> None:
        self.facts = ModelFacts("colours", size, 4, temperature, distractors=())
        self.n_texts = 0
        self.n_pictures = 0

    def resize(self, picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
        size = self.facts.image_size
        return np.asarray(Image.fromarray(picture).resize((size, size)))

    def embed_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.n_pictures += len(pictures)
        return np.stack([_vector(picture.mean(axis=(1, 2))) for picture in pictures])

    def embed_texts(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.n_texts += len(texts)
        nothing = np.array([0, 0, 0, 1], dtype=np.float32)
        return np.stack([_vector(np.array(WORDS[text])) if text in WORDS else nothing for text in texts])


def _vector(rgb: NDArray[np.floating] | NDArray[np.integer]) -> NDArray[np.float32]:
    spread = rgb.astype(np.float32) - float(rgb.min()) * 0.999
    vector = np.concatenate([spread, np.array([1e-3])]).astype(np.float32)
    unit: NDArray[np.float32] = vector / np.linalg.norm(vector)
    return unit


def jpeg(
    colour: Colour = GRAY, width: int = 48, height: int = 48, mode: str = "RGB", **options: Any
) -> bytes:
    """Return a JPEG of one colour; `options` are those of Pillow's encoder."""
    buffer = io.BytesIO()
    Image.new("RGB", (width, height), colour).convert(mode).save(buffer, "JPEG", **options)
    return buffer.getvalue()


def photo(width: int, height: int, seed: int = 0) -> NDArray[np.uint8]:
    """Return uint8[height,width,3] with soft shapes and fine detail, as photographs have both."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    noise = rng.normal(0, 12, (height, width, 1))
    return np.clip(np.asarray(soft) + noise, 0, 255).astype(np.uint8)


def message(
    moments: Sequence[Sequence[tuple[Literal["frame", "crop"], bytes]]],
    labels: tuple[str, ...] = ("a person", "a dog"),
    background: tuple[str, ...] = ("an empty street",),
    decision: DecisionSettings | None = None,
    every_s: float = 0.5,
    key: str = "event",
) -> SnippetMessage:
    """Return a snippet whose moments, half a second apart, have the given pictures."""
    infos, pictures = [], []
    for number, moment in enumerate(moments):
        for kind, data in moment:
            at = NOON + timedelta(seconds=number * every_s)
            infos.append(PictureInfo(moment=number, kind=kind, captured_at=at, width=48, height=48))
            pictures.append(data)
    header = SnippetHeader(
        event_id=uuid7(NOON, seed=key),
        snippet=0,
        is_last=True,
        camera="gate",
        event_started_at=NOON,
        started_at=NOON,
        ended_at=NOON + timedelta(seconds=10),
        label_set=LabelSet(labels=labels, background=background),
        decision=decision or DecisionSettings(),
        pictures=tuple(infos),
    )
    return SnippetMessage(header, tuple(pictures), "1-1")


def make_tiny_model(folder: Path, tower: Literal["vit", "conv"] = "vit", **ours: object) -> Path:
    """Write an open_clip local-dir model with random weights; `ours` goes to clipwatch.json."""
    import open_clip
    import torch
    from safetensors.torch import save_file

    folder.mkdir(parents=True, exist_ok=True)
    vision: dict[str, object] = {
        "image_size": 32,
        "layers": 2,
        "width": 64,
        "head_width": 32,
        "patch_size": 8,
    }
    if tower == "conv":
        vision = {
            "timm_model_name": "test_efficientnet",
            "timm_pool": "avg",
            "timm_proj": "linear",
            "image_size": 64,
        }
    config = {
        "model_cfg": {
            "embed_dim": 32,
            "vision_cfg": vision,
            "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
        },
        "preprocess_cfg": {"mean": [0.5, 0.4, 0.3], "std": [0.2, 0.25, 0.3], "resize_mode": "squash"},
    }
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    torch.manual_seed(0)
    network = open_clip.create_model(f"local-dir:{folder}", load_weights=False)
    weights = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, str(folder / "open_clip_model.safetensors"))
    if ours:
        (folder / "clipwatch.json").write_text(json.dumps(ours))
    return folder


def assert_keeps_the_port(model: Model) -> None:
    """Check shapes, types, unit length, and that a picture's vector does not depend on its batch."""
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
