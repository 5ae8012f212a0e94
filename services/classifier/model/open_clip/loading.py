"""Loads an open_clip model: verifies its files, makes the network, compares embeddings. For GPUs; tests use a CPU."""

from __future__ import annotations

import logging
import os
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from PIL import Image

from services.classifier.devices.choice import DeviceChoice
from services.classifier.model.facts import facts_of
from services.classifier.model.golden import check_model, embed_golden, golden_of
from services.classifier.model.open_clip.config import forced_preprocessing, moved_text_config, source_of
from services.classifier.model.open_clip.model import OpenClipModel, unit_vectors
from services.classifier.model.open_clip.tower import prepare_network
from services.classifier.port import ModelFacts
from services.classifier.weights import integrity
from services.classifier.weights.files import offline, one_line, verify_files
from services.classifier.weights.integrity import (
    GOLDEN_PICTURE,
    GOLDEN_TEXT,
    ChecksumRecord,
    GoldenEmbeddings,
)
from services.classifier.weights.names import ModelReference, how_to_get, own_settings
from services.classifier.weights.preprocessing import is_listed_quick
from shared.errors import ConfigError


def load_model(
    reference: ModelReference,
    choice: DeviceChoice,
    cache_dir: Path | None = None,
    temperature: float | None = None,
) -> OpenClipModel:
    """Load weights and tokenizer; raise ConfigError, one line, when they are missing or broken."""
    if reference.kind == "folder":
        os.environ.setdefault("HF_HUB_OFFLINE", "1")  # a local model never asks the hub
        os.environ.setdefault("TRANSFORMERS_OFFLINE", "1")
    torch.set_num_threads(choice.threads)
    if choice.device != "cpu":  # for this thread: else what names no device goes to GPU 0, context and all
        torch.cuda.set_device(choice.device)
    record = ChecksumRecord(cache_dir)
    checked = verify_files(reference, cache_dir, record)
    network, tokenizer = create_network(reference, choice, cache_dir)
    golden = golden_of(
        reference, checked, record, partial(reference_golden, network, tokenizer, checked.weights)
    )
    temperature = temperature or float(
        own_settings(reference).get("temperature") or network.logit_scale.detach().exp()
    )
    size = network.visual.preprocess_cfg["size"]
    image_size = int(size[0] if isinstance(size, tuple | list) else size)
    prepare_network(network, choice.dtype)
    facts = facts_of(reference, choice, image_size, temperature)
    model = _with_dimension(network, tokenizer, facts, reference)
    check_model(model, reference, own_settings(reference))
    if golden is not None:
        integrity.compare(reference.name, choice.dtype, golden, embed_golden(model, checked.weights))
    record.save()
    return model


def _with_dimension(
    network: Any, tokenizer: Any, facts: ModelFacts, reference: ModelReference
) -> OpenClipModel:  # Any: open_clip has no types
    """Return the model with the length of its vectors, which a first text tells."""
    try:
        dim = OpenClipModel(network, tokenizer, facts).embed_texts(["a dog"]).shape[1]
    except (IndexError, ValueError) as exc:  # a token that the text tower has no vector for
        raise ConfigError(
            f"MODEL={reference.name}: its text tower does not know the tokenizer's words ({one_line(exc)}): "
            f"the tokenizer is another model's; {how_to_get(reference.name)}"
        ) from exc
    return OpenClipModel(network, tokenizer, replace(facts, embedding_dim=dim))


def create_network(
    reference: ModelReference, choice: DeviceChoice, cache_dir: Path | None
) -> tuple[Any, Any]:
    """Return network and tokenizer; raise ConfigError, one line, where open_clip cannot load them."""
    # Any: open_clip has no types
    logging.getLogger().addFilter(_is_worth_a_line)
    import open_clip

    source, tag = source_of(reference, cache_dir)
    cache = str(cache_dir) if cache_dir and reference.kind != "folder" else None
    forced = forced_preprocessing(reference, cache_dir)
    # OpenAI's weights and others were trained with QuickGELU; with the plain one nothing fails, labels are only worse
    is_quick = is_listed_quick(reference)
    try:
        # all files are here by now; online, each start would ask the hub whether they are still the newest
        with offline():
            tokenizer = open_clip.get_tokenizer(source, cache_dir=cache)
            network = open_clip.create_model(
                source,
                pretrained=tag,
                device=choice.device,
                cache_dir=cache,
                require_pretrained=True,
                force_quick_gelu=is_quick,
                force_preprocess_cfg=forced,
                **moved_text_config(reference),
            )
    except torch.OutOfMemoryError:
        raise
    except Exception as exc:  # noqa: BLE001 - loaders raise whatever a broken file or an absent one leads to
        raise ConfigError(_why_not(reference, exc)) from exc
    network.eval()
    return network, tokenizer


def _is_worth_a_line(record: logging.LogRecord) -> bool:
    """Drop the dozen INFO lines that open_clip writes straight to the root logger; other loggers' lines pass."""
    return record.levelno >= logging.WARNING


def _why_not(reference: ModelReference, exc: Exception) -> str:
    said = one_line(exc)
    if reference.kind == "folder":
        return f"MODEL={reference.name}: {reference.folder} cannot be loaded: {said}; make the folder anew"
    return f"MODEL={reference.name}: cannot be loaded: {said}; {how_to_get(reference.name)}"


@torch.inference_mode()
def reference_golden(
    network: Any, tokenizer: Any, weights: str
) -> GoldenEmbeddings:  # Any: open_clip has no types
    """Embed the golden picture and text in float32, with Pillow and open_clip's transform."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    transform = image_transform_v2(PreprocessCfg(**network.visual.preprocess_cfg), is_train=False)
    device = network.logit_scale.device
    with Image.open(GOLDEN_PICTURE) as picture:
        pixels = transform(picture.convert("RGB")).unsqueeze(0).to(device)
    text = tokenizer([GOLDEN_TEXT]).to(device)
    return GoldenEmbeddings(
        weights, unit_vectors(network.encode_image(pixels))[0], unit_vectors(network.encode_text(text))[0]
    )
