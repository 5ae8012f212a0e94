"""How a model wants its pictures, and which activation its layers have."""

from __future__ import annotations

from pathlib import Path

from services.classifier.weights.families import Pixels
from services.classifier.weights.names import ModelReference, architecture_config, listed_tags, resolve_model
from services.classifier.weights.preprocessing import (
    CLIP_PIXELS,
    Preprocessing,
    is_listed_quick,
    preprocessing_of,
)

HALF = Pixels((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))


def test_the_table_read_from_source_is_open_clips_own() -> None:
    from open_clip.pretrained import get_pretrained_cfg, list_pretrained

    for architecture, tag in list_pretrained():
        theirs = get_pretrained_cfg(architecture, tag)
        (ours,) = listed_tags(ModelReference("", "open_clip", architecture=architecture, tag=tag))
        assert (ours.hf_hub, ours.is_quick) == (theirs["hf_hub"], theirs.get("quick_gelu", False))
        assert (ours.mean, ours.std) == (theirs["mean"], theirs["std"])
        assert ours.interpolation == theirs["interpolation"]


def test_a_tag_has_its_preprocessing_from_the_table(tmp_path: Path) -> None:
    found = preprocessing_of(resolve_model("ViT-B-16-SigLIP2-256/webli", tmp_path), {})
    assert found == Preprocessing(HALF, "bicubic")
    found = preprocessing_of(resolve_model("MobileCLIP-S1/datacompdr", tmp_path), {})
    assert found == Preprocessing(Pixels((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)), "bilinear")


def test_a_folder_has_it_from_its_config_and_else_clips_or_its_familys(tmp_path: Path) -> None:
    folder = ModelReference("x", "folder", folder=tmp_path)
    own = {"mean": 0.1, "std": [0.2, 0.3, 0.4], "interpolation": "bilinear"}
    found = preprocessing_of(folder, {"preprocess_cfg": own})
    assert found == Preprocessing(Pixels((0.1, 0.1, 0.1), (0.2, 0.3, 0.4)), "bilinear")
    assert preprocessing_of(folder, {}) == Preprocessing(CLIP_PIXELS, "bicubic")
    siglip = {"model_cfg": architecture_config("ViT-B-16-SigLIP2-256")}
    assert preprocessing_of(folder, siglip).pixels == HALF


def test_weights_trained_with_quickgelu_get_it_under_either_name(tmp_path: Path) -> None:
    quick = ("ViT-B-32/openai", "ViT-B-32-quickgelu/openai", "hf-hub:timm/vit_base_patch32_clip_224.openai")
    plain = ("ViT-B-32/laion2b_s34b_b79k", "hf-hub:laion/CLIP-ViT-B-32-laion2B-s34B-b79K", "hf-hub:o/n")
    found = [is_listed_quick(resolve_model(name, tmp_path)) for name in (*quick, *plain)]
    assert found == [True] * 3 + [False] * 3
