"""Quantizes a loaded network by pictures and words that ship, or as the cache of an earlier start says."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as functional

from services.classifier.devices.choice import DeviceChoice
from services.classifier.model.open_clip.int8 import (
    NO_PRODUCTS,
    LabelEmbeddings,
    Quantization,
    can_quantize,
    quantize,
)
from services.classifier.model.open_clip.int8_cache import QuantizationCache, QuantizationSamples
from services.classifier.model.sample_pictures import sample_pictures
from services.classifier.words.prompts import SCENES, THINGS
from shared.logs import get_logger

log = get_logger(__name__)


def with_int8_tower(
    network: Any, choice: DeviceChoice, quantization: Quantization
) -> DeviceChoice:  # Any: open_clip has no types
    """Put the int8 tower into the network; if it is not near enough, stay in float32, which is slower and right."""
    if quantization.tower is None:
        log.warning(
            "int8 is not near enough to float32 for this model, going on in float32", found=str(quantization)
        )
        return replace(
            choice, dtype="float32", why=f"{choice.why}; but float32, since int8 is {quantization}"
        )
    network.visual = quantization.tower
    text = str(quantization)
    return choice if text in choice.why else replace(choice, why=f"{choice.why}; int8 {text}")


def quantize_network(
    network: Any,  # Any: open_clip has no types
    tokenizer: Any,
    temperature: float,
    cache: QuantizationCache | None = None,
) -> Quantization:
    """Quantize the image tower, in float32 on a CPU, and measure how near it stays to itself."""
    from open_clip.transform import PreprocessCfg, image_transform_v2

    if not can_quantize(network.visual):
        return NO_PRODUCTS
    transform = image_transform_v2(PreprocessCfg(**network.visual.preprocess_cfg), is_train=False)
    pictures = torch.stack([transform(picture) for picture in sample_pictures()])
    words = [*THINGS, *SCENES]
    samples = QuantizationSamples(pictures, words, temperature)
    quantization = cache.read(network.visual, samples) if cache else None
    if quantization is None:
        with torch.inference_mode():
            texts = functional.normalize(network.encode_text(tokenizer(words)), dim=-1)
        quantization = quantize(network.visual, pictures, LabelEmbeddings(texts, temperature))
        if cache:
            cache.write(samples, quantization)
    return quantization
