"""Loading of open_clip models: files, golden embeddings, the hub's cache; small random models."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from services.classifier.devices.choice import DeviceChoice
from services.classifier.model.open_clip.loading import load_model
from services.classifier.model.open_clip.model import OpenClipModel
from services.classifier.weights.integrity import RECORD_FILE, write_sums
from services.classifier.weights.names import ModelReference, resolve_model
from shared.errors import ConfigError

FLOAT32 = DeviceChoice("cpu", "float32", 2, "test")
BFLOAT16 = DeviceChoice("cpu", "bfloat16", 2, "test")


def loaded(folder: Path, choice: DeviceChoice = FLOAT32) -> OpenClipModel:
    return load_model(resolve_model(str(folder), folder.parent), choice)


def copied(folder: Path, to: Path, **ours: object) -> Path:
    shutil.copytree(folder, to)
    (to / "clipwatch.json").write_text(json.dumps(ours))
    return to


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


@pytest.mark.parametrize("content", ["", "[]", "{not json"])
def test_a_broken_file_of_ours_is_one_line(tiny_folder: Path, tmp_path: Path, content: str) -> None:
    folder = copied(tiny_folder, tmp_path / "x")
    (folder / "clipwatch.json").write_text(content)
    with pytest.raises(ConfigError, match="make the model folder anew"):
        loaded(folder)


def verified(folder: Path, models_dir: Path, choice: DeviceChoice = FLOAT32) -> OpenClipModel:
    return load_model(ModelReference("tiny", "folder", folder=folder), choice, cache_dir=models_dir)


def rewritten(folder: Path, **config: object) -> None:
    path = folder / "open_clip_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | config))
    write_sums(folder)


@pytest.mark.parametrize("choice", [FLOAT32, BFLOAT16], ids=["float32", "bfloat16"])
def test_golden_embeddings_are_made_of_verified_weights_and_met_again(
    tiny_folder: Path, tmp_path: Path, choice: DeviceChoice
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
