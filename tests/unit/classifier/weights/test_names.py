"""What model names stand for."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from services.classifier.weights.names import architectures, how_to_get, pretrained_tags, resolve_model
from shared.errors import ConfigError


def folder(parent: Path, name: str, *files: str) -> Path:
    path = parent / name
    path.mkdir()
    for file in files:
        (path / file).write_text("{}")
    return path


def fault(name: str, models_dir: Path) -> str:
    with pytest.raises(ConfigError) as caught:
        resolve_model(name, models_dir)
    assert len(caught.value.faults) == 1
    assert "\n" not in caught.value.faults[0]
    return caught.value.faults[0]


def test_a_plain_name_is_a_folder_in_the_models_directory(tmp_path: Path) -> None:
    made = folder(tmp_path, "mini", "open_clip_config.json", "open_clip_model.safetensors")
    assert resolve_model("mini", tmp_path).folder == made
    assert resolve_model(f"local-dir:{made}", tmp_path / "no").folder == made
    assert resolve_model(str(made), tmp_path / "no").folder == made


def test_open_clip_names_need_a_tag(tmp_path: Path) -> None:
    found = resolve_model("ViT-B-32-256/datacomp_s34b_b86k", tmp_path)
    assert (found.kind, found.architecture, found.tag) == ("open_clip", "ViT-B-32-256", "datacomp_s34b_b86k")
    assert "ViT-B-32/laion2b_s34b_b79k" in fault("ViT-B-32", tmp_path)
    assert "tag 'nonsense' is not known" in fault("ViT-B-32/nonsense", tmp_path)


def test_the_names_read_from_files_are_open_clips_own() -> None:
    import open_clip

    assert set(open_clip.list_models()) <= set(architectures())
    ours = {(model, tag) for model, tags in pretrained_tags().items() for tag in tags}
    assert ours == set(open_clip.list_pretrained())


def test_hub_names_have_an_owner(tmp_path: Path) -> None:
    assert resolve_model("hf-hub:timm/x", tmp_path).kind == "hub"
    assert "wanted hf-hub:OWNER/NAME" in fault("hf-hub:x", tmp_path)


def test_an_unknown_name_is_told_the_near_ones(tmp_path: Path) -> None:
    folder(tmp_path, "garden", "open_clip_config.json", "open_clip_model.safetensors")
    assert "near: garden" in fault("gardn", tmp_path)
    assert "ViT-B-32-256" in fault("ViT-B32-256/datacomp_s34b_b86k", tmp_path)
    assert "wanted a model folder" in fault("", tmp_path)


def test_a_folder_without_config_or_weights_says_what_it_lacks(tmp_path: Path) -> None:
    assert "no open_clip_config.json" in fault(str(folder(tmp_path, "empty")), tmp_path)
    bare = folder(tmp_path, "bare", "open_clip_config.json")
    assert "no weights" in fault(f"local-dir:{bare}", tmp_path)
    assert "no such folder" in fault("local-dir:/nowhere/at/all", tmp_path)


def test_mini_that_was_never_made_says_how(tmp_path: Path) -> None:
    assert "make install" in fault("mini", tmp_path)


def test_what_is_advised_is_there_in_a_container_too(tmp_path: Path) -> None:
    """Images have neither make nor the command line."""
    assert how_to_get("a/b", tmp_path) == (
        "restart the classifier, which fetches it (docs/guide/compose.md: Without internet for the model)"
    )
    assert how_to_get("mini", tmp_path) == "build the image with WITH_MINI=1"
    (tmp_path / "clipwatch").touch()
    assert how_to_get("a/b", tmp_path) == "run `clipwatch models fetch a/b`"
    assert how_to_get("mini", tmp_path) == "make it with `make install`"


def test_resolving_a_name_does_not_import_torch() -> None:
    code = (
        "import sys; from pathlib import Path; import services.classifier.app;"
        "from services.classifier.weights.names import resolve_model;"
        "resolve_model('ViT-B-32/openai', Path('.'));"
        "sys.exit('torch' in sys.modules or 'open_clip' in sys.modules or 'transformers' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
