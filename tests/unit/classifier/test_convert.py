"""`clipwatch models convert`: a model through its conversion and back, and what may go wrong on the way."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from services.classifier.convert import convert
from services.classifier.devices.choice import DeviceChoice
from services.classifier.fetch import listed, verify
from services.classifier.model.int8_proof import proof_of
from services.classifier.model.openvino import converted
from services.classifier.model.openvino.conversion import convert as write
from services.classifier.model.openvino.engine import OpenVinoEngine
from services.classifier.model.sample_pictures import sample_pictures
from services.classifier.weights.conversions import converted_folder, converted_models
from services.classifier.weights.integrity import write_sums
from services.classifier.weights.names import resolve_model
from shared.errors import ConfigError
from tests.unit.classifier.makers import make_tiny_model

REPOSITORY = Path(__file__).parents[3]
TEXTS = ["a person", "a red car at night", ""]


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models of which `tiny` is converted."""
    made = tmp_path_factory.mktemp("models")
    make_tiny_model(made / "tiny", name="tiny", temperature=20.0)
    convert("tiny", made)
    return made


def embeddings(name: str, models_dir: Path, dtype: Any = "float32") -> list[NDArray[np.float32]]:
    """Return what a model gives for pictures and texts; with int8 where `dtype` is that."""
    choice = DeviceChoice("cpu", dtype, 1, "", takes_int8=dtype == "int8")
    model = OpenVinoEngine().load_chosen(resolve_model(name, models_dir), choice, models_dir)
    resized = [model.resize(np.asarray(picture)) for picture in sample_pictures()]
    pictures = np.stack(resized).transpose(0, 3, 1, 2)
    return [model.embed_pictures(pictures), model.embed_texts(TEXTS)]


def test_a_conversion_gives_what_its_source_gives(models_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(models_dir / "tiny", tmp_path / "tiny")  # alone: without its conversion
    shutil.copytree(converted_folder(models_dir, "tiny"), tmp_path / "copy")
    assert converted.find(resolve_model("tiny", models_dir), models_dir) == converted_folder(
        models_dir, "tiny"
    )
    source = embeddings("tiny", tmp_path)
    for name, where in (("tiny", models_dir), (str(tmp_path / "copy"), tmp_path)):
        for before, after in zip(source, embeddings(name, where), strict=True):
            assert (before * after).sum(1).min() >= 0.9999
    picture, _ = embeddings("tiny", models_dir, "int8")
    assert 0.9995 <= (source[0] * picture).sum(1).min() < 0.999999


def test_a_conversion_keeps_its_proof_and_says_where_it_came_from(models_dir: Path) -> None:
    folder = converted_folder(models_dir, "tiny")
    ours = json.loads((folder / "clipwatch.json").read_text())
    assert (ours["name"], ours["temperature"], ours["source"]) == ("tiny", 20.0, "tiny")
    assert ours["formats"] == {"image": "float16", "text": "float16"}
    proof = proof_of(ours["int8"])
    assert proof is not None
    assert proof.is_near
    line = next(line for line in listed(models_dir) if line.startswith("tiny  "))
    assert f"converted: {folder}" in line
    assert f"int8 is used: {proof}" in line
    assert not list(folder.parent.glob(".*"))


def test_a_conversion_alone_is_listed_and_verified(
    models_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(models_dir / "converted", tmp_path / "converted")
    assert listed(tmp_path)[0].startswith(f"tiny  converted: {tmp_path}")
    verify([], tmp_path)
    assert "tiny: converted: " in capsys.readouterr().out
    path = tmp_path / "converted" / "tiny" / "text.bin"
    data = bytearray(path.read_bytes())
    data[50] ^= 1
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=r"text\.bin: sha256 .* the file is corrupt"):
        verify([], tmp_path)


def test_what_cannot_be_built_is_read_by_torch(tmp_path: Path) -> None:
    make_tiny_model(tmp_path / "conv", tower="conv", temperature=20.0)
    reference = resolve_model("conv", tmp_path)
    folder = tmp_path / "made"
    folder.mkdir()
    lines: list[str] = []
    write(reference, tmp_path, folder, with_int8=True, tell=lines.append)
    assert lines[0] == "conv: read by torch"
    assert lines[-1] == "conv: int8: no matrix products to replace"
    assert not (folder / "image-int8.xml").exists()

    from services.classifier.model.open_clip.export import torch_towers
    from services.classifier.model.openvino.sources import runner

    write_sums(folder)
    pictures = np.random.default_rng(0).normal(size=(2, 3, 64, 64)).astype(np.float32)
    before = torch_towers(reference, tmp_path).image.run(pictures)
    after = runner(converted.load_pair(folder).image)(pictures)
    np.testing.assert_allclose(after, before, atol=2e-3 * float(np.abs(before).max()))


def test_without_torch_the_command_that_brings_it_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_tiny_model(tmp_path / "conv", tower="conv")
    hide(monkeypatch, "torch")
    with pytest.raises(
        ConfigError, match=r"torch is not installed: .*(make install GPU=1|docker-compose\.gpu\.yml)"
    ):
        write(resolve_model("conv", tmp_path), tmp_path, tmp_path, with_int8=False, tell=print)


def test_without_nncf_the_command_that_brings_it_is_named(
    models_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hide(monkeypatch, "nncf")
    with pytest.raises(ConfigError, match=r"nncf, which makes int8, is not installed: .*, or add --no-int8"):
        convert("tiny", models_dir)


def hide(monkeypatch: pytest.MonkeyPatch, hidden: str) -> None:
    """Let a package look as if it were not installed."""
    find_spec: Callable[..., Any] = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: None if name == hidden else find_spec(name, *rest)
    )


def test_too_full_a_disk_is_one_line(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(models_dir / "tiny", tmp_path / "tiny")

    class Usage(NamedTuple):
        free: int = 1000

    monkeypatch.setattr(shutil, "disk_usage", lambda _path: Usage())
    with pytest.raises(ConfigError, match=r"0 MB are free, wanted \d+ MB for the conversion: make room"):
        convert("tiny", tmp_path)
    assert_nothing_is_left(tmp_path)


@pytest.mark.parametrize(
    ("ending", "said"),
    [
        ("kill -9 $$", "was killed, most likely for want of memory"),
        ("echo 'clipwatch: MODEL=tiny: out of memory: stop' >&2; exit 2", "MODEL=tiny: out of memory: stop"),
        ("echo 'Segmentation fault' >&2; exit 139", "not converted: Segmentation fault"),
    ],
)
def test_a_process_that_ends_half_way_is_one_line_and_leaves_nothing(
    models_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str, said: str
) -> None:
    shutil.copytree(models_dir / "tiny", tmp_path / "tiny")
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\n{ending}\n")
    program.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(program))
    with pytest.raises(ConfigError, match=said):
        convert("tiny", tmp_path)
    assert_nothing_is_left(tmp_path)


def test_ctrl_c_leaves_nothing_and_a_kill_nothing_that_counts(models_dir: Path, tmp_path: Path) -> None:
    shutil.copytree(models_dir / "tiny", tmp_path / "tiny")
    interrupted = started(tmp_path)
    os.killpg(interrupted.pid, signal.SIGINT)  # as a terminal does
    _, errors = interrupted.communicate(timeout=60)
    assert interrupted.returncode == 130
    assert "interrupted; nothing was left behind" in errors
    assert_nothing_is_left(tmp_path)

    killed = started(tmp_path)
    os.killpg(killed.pid, signal.SIGKILL)
    killed.communicate(timeout=60)
    (half,) = (tmp_path / "converted").iterdir()
    assert half.name.startswith(".tiny.")
    assert converted_models(tmp_path) == ()
    assert converted.find(resolve_model("tiny", tmp_path), tmp_path) is None
    with pytest.raises(ConfigError, match=r"wanted|broken off"):
        converted.find(resolve_model(str(half), tmp_path), tmp_path)
    assert not any(".tmp" in line for line in listed(tmp_path))


def started(models_dir: Path) -> subprocess.Popen[str]:
    """Return a conversion of `tiny` that has begun to write."""
    process = subprocess.Popen(
        [sys.executable, "-m", "services.classifier.convert", "tiny"],
        env=os.environ | {"MODELS_DIR": str(models_dir)},
        cwd=REPOSITORY,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # a shell starts what it puts into the background with SIGINT ignored
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not list((models_dir / "converted").glob(".tiny.*/clipwatch.json")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return process


def assert_nothing_is_left(models_dir: Path) -> None:
    assert not list((models_dir / "converted").iterdir())
