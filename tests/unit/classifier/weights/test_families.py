"""What families of models want, and what is said of a config that contradicts them."""

from __future__ import annotations

from typing import Any

import pytest

from services.classifier.weights.families import Pixels, family_of, licence_of, settle_pixels
from services.classifier.weights.names import ModelReference, architecture_config
from shared.errors import ConfigError

HALF = [0.5, 0.5, 0.5]
CLIP_MEAN, CLIP_STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
REFERENCE = ModelReference("x", "folder")


def siglip(**preprocess: Any) -> dict[str, Any]:
    return {"model_cfg": architecture_config("ViT-B-16-SigLIP2-256"), "preprocess_cfg": preprocess}


def test_the_table_is_what_open_clip_lists_for_these_towers() -> None:
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained

    n_known = 0
    for architecture, tag in list_pretrained():
        known = family_of(architecture_config(architecture))
        if known is not None:
            entry = get_pretrained_cfg(architecture, tag)
            assert known[1] == Pixels(tuple(entry["mean"]), tuple(entry["std"])), architecture
            n_known += 1
    assert n_known > 40


def test_a_siglip_model_without_mean_and_std_gets_its_own() -> None:
    assert settle_pixels(REFERENCE, siglip()) == Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
    assert settle_pixels(REFERENCE, siglip(mean=HALF, std=HALF)) is None


def test_a_siglip_model_with_clips_mean_and_std_is_an_error() -> None:
    with pytest.raises(ConfigError) as caught:
        settle_pixels(REFERENCE, siglip(mean=CLIP_MEAN, std=CLIP_STD))
    assert len(caught.value.faults) == 2
    assert "preprocess_cfg.mean=[0.48145466, 0.4578275, 0.40821073]: wanted [0.5, 0.5, 0.5] (SigLIP)" in str(
        caught.value
    )


def test_a_siglip_model_with_clips_tokenizer_or_context_is_an_error() -> None:
    config = siglip(mean=HALF, std=HALF)
    for key in ("hf_tokenizer_name", "context_length"):
        del config["model_cfg"]["text_cfg"][key]
    with pytest.raises(ConfigError) as caught:
        settle_pixels(REFERENCE, config)
    assert ["hf_tokenizer_name is missing" in fault for fault in caught.value.faults] == [True, False]
    assert "context_length is missing" in caught.value.faults[1]


def test_open_clips_table_decides_for_a_listed_repository() -> None:
    clip = {"model_cfg": architecture_config("ViT-B-32"), "preprocess_cfg": {"mean": HALF, "std": HALF}}
    assert settle_pixels(REFERENCE, clip) is None  # anyone may train a plain tower with what they like
    with pytest.raises(ConfigError, match="open_clip's table"):
        settle_pixels(REFERENCE, clip, Pixels((0.48, 0.46, 0.41), (0.27, 0.26, 0.28)))


@pytest.mark.parametrize(
    ("repository", "restricted"),
    [
        ("laion/CLIP-ViT-B-32-256x256-DataComp-s34B-b86K", False),
        ("timm/ViT-B-16-SigLIP2-256", False),
        ("timm/vit_base_patch32_clip_224.metaclip_400m", True),
        ("apple/MobileCLIP-S1-OpenCLIP", True),
    ],
)
def test_licences_that_forbid_commercial_use_are_known(repository: str, restricted: bool) -> None:
    licence = licence_of(repository)
    assert licence is not None
    assert licence.is_restricted is restricted
    assert licence_of("somebody/else") is None
