"""Loading for OpenVINO: what is refused by one line, what DTYPE=int8 means, the hub's cache, golden embeddings."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import openvino as ov
import pytest
from structlog.testing import capture_logs

from services.classifier.devices.choice import DeviceChoice, lacks
from services.classifier.model.int8_proof import NO_PRODUCTS
from services.classifier.model.openvino import converted, loading
from services.classifier.model.openvino.engine import OpenVinoEngine
from services.classifier.model.openvino.loading import load_model
from services.classifier.weights.integrity import RECORD_FILE, write_sums
from services.classifier.weights.names import ModelReference, resolve_model
from shared.errors import ConfigError
from tests.unit.classifier.model.open_clip.test_loading import hub_cache

FLOAT32 = DeviceChoice("cpu", "float32", 2, "test")
INT8 = DeviceChoice("cpu", "int8", 2, "as DTYPE says", takes_int8=True)


@pytest.fixture
def folder(tiny_folder: Path, tmp_path: Path) -> Path:
    return shutil.copytree(tiny_folder, tmp_path / "x")


def reference(folder: Path) -> ModelReference:
    return ModelReference("tiny", "folder", folder=folder)


def test_a_cpu_without_avx2_is_a_warning(folder: Path) -> None:
    with capture_logs() as logs:
        OpenVinoEngine(lacks=lambda flag: flag == "avx2").load_chosen(reference(folder), FLOAT32)
    assert any("this CPU has no AVX2" in line["event"] for line in logs)


WITHOUT_AVX = """
import sys
from pathlib import Path
import numpy as np
from services.classifier.model.openvino import loading
from services.classifier.weights.names import ModelReference
from services.classifier.devices.choice import DeviceChoice

if sys.argv[3] == "known":
    loading.lacks = lambda flag: "avx" in flag
folder = Path(sys.argv[1])
model = loading.load_model(ModelReference("tiny", "folder", folder=folder), DeviceChoice("cpu", "float32", 1, ""))
size = model.facts.image_size
pictures = np.random.default_rng(0).integers(0, 256, (3, 3, size, size), dtype=np.uint8)
np.save(sys.argv[2], np.concatenate([model.embed_pictures(pictures), model.embed_texts(["a dog", "a red car"])]))
"""


def embed_with(
    instructions: str, is_known: bool, folder: Path, out: Path
) -> subprocess.CompletedProcess[str]:
    """Embed pictures and texts in a process of its own, in which OpenVINO uses no newer instructions than those."""
    return subprocess.run(
        [sys.executable, "-c", WITHOUT_AVX, str(folder), str(out), "known" if is_known else ""],
        env={**os.environ, "ONEDNN_MAX_CPU_ISA": instructions},
        capture_output=True,
        text=True,
    )


@pytest.mark.skipif(lacks("avx2"), reason="compares with what only a CPU with AVX2 computes")
def test_a_cpu_without_avx_gives_the_same_embeddings(folder: Path, tmp_path: Path) -> None:
    assert embed_with("SSE41", False, folder, tmp_path / "none.npy").returncode, (
        "the rewrite is no longer needed"
    )
    for instructions, is_known in (("DEFAULT", False), ("SSE41", True)):
        done = embed_with(instructions, is_known, folder, tmp_path / f"{instructions}.npy")
        assert done.returncode == 0, done.stderr
    new, old = (np.load(tmp_path / f"{name}.npy") for name in ("DEFAULT", "SSE41"))
    assert (new * old).sum(1).min() > 0.99999


def test_int8_without_a_proved_tower_is_float32_with_a_warning_that_names_the_command(folder: Path) -> None:
    with capture_logs() as logs:
        facts = load_model(reference(folder), INT8).facts
    assert facts.dtype == "float32"
    assert [line["log_level"] for line in logs if "`clipwatch models convert tiny`" in line["event"]] == [
        "warning"
    ]


def test_weights_that_torch_alone_can_read_name_the_command(folder: Path) -> None:
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_pytorch_model.bin")
    with pytest.raises(
        ConfigError, match="wanted safetensors; where torch is, `clipwatch models convert tiny`"
    ):
        load_model(reference(folder), FLOAT32)


def test_broken_weights_are_one_line(folder: Path) -> None:
    weights = folder / "open_clip_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:10_000])
    with pytest.raises(ConfigError) as caught:
        load_model(reference(folder), FLOAT32)
    assert "\n" not in str(caught.value)


def test_golden_embeddings_are_made_of_verified_weights_and_met_by_the_other_runtime(
    folder: Path, tmp_path: Path
) -> None:
    from services.classifier.model.open_clip.loading import load_model as load_with_torch

    write_sums(folder)
    load_model(reference(folder), FLOAT32, tmp_path)
    made = json.loads((tmp_path / RECORD_FILE).read_text())["golden"]["tiny"]
    assert (len(made["picture"]), len(made["text"])) == (32, 32)
    load_with_torch(reference(folder), FLOAT32, tmp_path)
    load_model(reference(folder), FLOAT32, tmp_path)


def test_a_changed_mean_is_an_error_and_not_worse_labels(folder: Path, tmp_path: Path) -> None:
    write_sums(folder)
    load_model(reference(folder), FLOAT32, tmp_path)
    path = folder / "open_clip_config.json"
    changed = json.loads(path.read_text()) | {"preprocess_cfg": {"mean": [0, 0, 0], "std": [1, 1, 1]}}
    path.write_text(json.dumps(changed))
    write_sums(folder)
    with pytest.raises(ConfigError, match="golden picture has cosine"):
        load_model(reference(folder), FLOAT32, tmp_path)


def test_a_model_in_the_hubs_cache_loads_without_a_network(tiny_folder: Path, tmp_path: Path) -> None:
    hub_cache(tmp_path, tiny_folder, "o/tiny")
    model = load_model(resolve_model("hf-hub:o/tiny", tmp_path), FLOAT32, tmp_path)
    assert model.facts.embedding_dim == 32
    pinned = resolve_model(f"hf-hub:o/tiny@{'0123456789' * 4}", tmp_path)
    again = load_model(pinned, FLOAT32, tmp_path)
    assert np.allclose(again.embed_texts(["a dog"]), model.embed_texts(["a dog"]))


@pytest.mark.parametrize(("flags", "n_rewritten"), [({"sse2", "avx2"}, 1), ({"sse2", "avx2", "avx_vnni"}, 0)])
def test_int8_is_rewritten_where_the_chip_has_no_vnni(
    monkeypatch: pytest.MonkeyPatch, flags: set[str], n_rewritten: int
) -> None:
    """A conversion is one file for all chips: which form is fastest is known where it is loaded."""
    tower = ov.Model([], [], "int8")
    rewritten: list[ov.Model] = []
    monkeypatch.setattr(converted, "load_int8", lambda _folder: (tower, NO_PRODUCTS))
    monkeypatch.setattr(loading, "lacks", lambda flag: flag not in flags)
    monkeypatch.setattr(loading, "as_convolutions", rewritten.append)
    assert loading._int8_tower(Path()) == (tower, NO_PRODUCTS)
    assert rewritten == [tower] * n_rewritten
