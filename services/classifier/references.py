"""Names of models: what a name stands for, and what to say when it stands for nothing. Never imports torch.

mini                     a model folder of that name in the models directory
ViT-B-32-256/TAG         an architecture of open_clip and its pretrained weights
hf-hub:OWNER/NAME        open_clip weights on the Hugging Face hub
local-dir:FOLDER, FOLDER a folder in open_clip's local-dir format
"""

from __future__ import annotations

import ast
import difflib
import importlib.util
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from shared.errors import ConfigError

CONFIG_FILE = "open_clip_config.json"
OURS_FILE = "clipwatch.json"
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth")  # what open_clip looks for in a local-dir folder


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A name that stands for a model. `folder` is set for local ones, `architecture` and `tag` for open_clip's own."""

    name: str
    kind: Literal["folder", "open_clip", "hub"]
    folder: Path | None = None
    architecture: str = ""
    tag: str = ""


def resolve_model(name: str, models_dir: Path) -> ModelReference:
    """Return what `name` stands for, without loading it; raise ConfigError (one line) when it stands for nothing."""
    name = name.strip()
    if name.startswith("hf-hub:"):
        if name.count("/") != 1 or name.endswith(("/", ":")):
            raise ConfigError(f"MODEL={name}: wanted hf-hub:OWNER/NAME")
        return ModelReference(name, "hub")
    if name.startswith("local-dir:"):
        return _folder(name, Path(name.removeprefix("local-dir:")).expanduser())
    if is_plain(name) and (models_dir / name).is_dir():
        return _folder(name, models_dir / name)
    architecture, _, tag = name.partition("/")
    if architecture in architectures():
        return _open_clip(name, architecture, tag)
    if name and (Path(name).expanduser().is_dir() or name.startswith((".", "/", "~"))):
        return _folder(name, Path(name).expanduser())
    raise ConfigError(_unknown(name, models_dir))


def is_plain(name: str) -> bool:
    """Tell whether `name` can be a folder's own name, not a path."""
    return bool(name) and "/" not in name and os.sep not in name and name not in (".", "..")


def local_models(models_dir: Path) -> tuple[str, ...]:
    """Return the names of the model folders in `models_dir`."""
    if not models_dir.is_dir():
        return ()
    return tuple(sorted(path.parent.name for path in models_dir.glob(f"*/{CONFIG_FILE}")))


@cache
def architectures() -> tuple[str, ...]:
    """Return open_clip's architecture names, read from the installed package's files."""
    folder = _package() / "model_configs"
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


@cache
def pretrained_tags() -> Mapping[str, tuple[str, ...]]:
    """Return the pretrained tags of each architecture, read from open_clip's source without running it."""
    tree = ast.parse((_package() / "pretrained.py").read_text(encoding="utf-8"))
    groups: dict[str, dict[str, bool]] = {}
    table: dict[str, tuple[str, ...]] = {}
    for node in tree.body:
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        if isinstance(node.value, ast.Call):
            groups[node.targets[0].id] = _tags(node.value)
        elif isinstance(node.value, ast.Dict) and node.targets[0].id == "_PRETRAINED":
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    named = groups.get(value.id, {}) if isinstance(value, ast.Name) else {}
                    tags = _tags(value) if isinstance(value, ast.Call) else named
                    table[key.value] = tuple(tags)
                    if quick := tuple(tag for tag, is_quick in tags.items() if is_quick):
                        table[f"{key.value}-quickgelu"] = quick
    return table


def read_json(path: Path) -> dict[str, Any]:  # Any: what a JSON file can hold
    """Return the object in a JSON file; raise ConfigError when it holds none."""
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as exc:
        raise ConfigError(f"{path}: cannot be read: {exc}; make the model folder anew") from exc
    if not isinstance(value, dict):
        raise ConfigError(f"{path}: holds no JSON object; make the model folder anew")
    return value


def _folder(name: str, folder: Path) -> ModelReference:
    if not folder.is_dir():
        raise ConfigError(f"MODEL={name}: no such folder")
    if not (folder / CONFIG_FILE).is_file():
        raise ConfigError(
            f"MODEL={name}: no {CONFIG_FILE} in {folder}, wanted a folder in open_clip's format"
        )
    if not any(path.suffix in WEIGHT_SUFFIXES for path in folder.iterdir()):
        raise ConfigError(
            f"MODEL={name}: no weights in {folder}, wanted open_clip_model.safetensors; "
            f"{_how_to_get(folder.name)}"
        )
    return ModelReference(name, "folder", folder=folder.resolve())


def _open_clip(name: str, architecture: str, tag: str) -> ModelReference:
    tags = pretrained_tags().get(architecture, ())
    if tag in tags:
        return ModelReference(name, "open_clip", architecture=architecture, tag=tag)
    known = (
        ", ".join(f"{architecture}/{known}" for known in tags[:8]) or "no pretrained weights are known for it"
    )
    found = f"tag '{tag}' is not known" if tag else "the weights' tag is missing"
    raise ConfigError(f"MODEL={name}: {found}, wanted one of: {known}{', …' if len(tags) > 8 else ''}")


def _unknown(name: str, models_dir: Path) -> str:
    local = local_models(models_dir)
    tagged = [f"{model}/{tag}" for model, tags in pretrained_tags().items() for tag in tags]
    known = sorted({*local, *tagged, *architectures(), "mini"})
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if name == "mini":
        return f"MODEL=mini: not in {models_dir}; {_how_to_get('mini')}"
    have = ", ".join(local) or "none"
    guess = f"; near: {', '.join(near)}" if near else ""
    return (
        f"MODEL={name}: not known, wanted a model folder (in {models_dir}: {have}), "
        f"NAME/TAG of open_clip, hf-hub:OWNER/NAME or local-dir:FOLDER{guess}"
    )


def _how_to_get(name: str) -> str:
    return (
        "make it with `make install`" if name == "mini" else f"fetch it with `clipwatch models fetch {name}`"
    )


def _tags(call: ast.Call) -> dict[str, bool]:
    """Return the tags in `dict(tag=_pcfg(...), ...)`, and whether each is listed as a -quickgelu variant as well."""
    return {
        keyword.arg: isinstance(keyword.value, ast.Call)
        and any(option.arg == "quick_gelu" for option in keyword.value.keywords)
        for keyword in call.keywords
        if keyword.arg
    }


@cache
def _package() -> Path:
    found = importlib.util.find_spec("open_clip")  # finds the folder; imports nothing
    if found is None or not found.submodule_search_locations:
        raise ConfigError("open_clip is not installed: pip install -r requirements/classifier.txt")
    return Path(found.submodule_search_locations[0])
