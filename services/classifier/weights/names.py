"""Names of models: what a name stands for, and what to say when it stands for nothing. Never imports torch.

mini                     a model folder of that name in the models directory
ViT-B-32-256/TAG         an architecture of open_clip and its pretrained weights
hf-hub:OWNER/NAME        open_clip weights on the Hugging Face hub; NAME@REVISION for a branch, tag or commit
local-dir:FOLDER, FOLDER a folder in open_clip's local-dir format
"""

from __future__ import annotations

import ast
import contextlib
import difflib
import importlib.util
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

from services.classifier.missing_packages import has_command_line
from services.classifier.weights.tower_pairs import has_towers, tower_files
from shared.errors import ConfigError

CONFIG_FILE = "open_clip_config.json"
OURS_FILE = "clipwatch.json"
_HUB_NAME = re.compile(r"hf-hub:(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", re.ASCII)
# What open_clip looks for in a local-dir folder, and towers as files of their own (tower_pairs.py)
WEIGHT_SUFFIXES = (".safetensors", ".bin", ".pth", ".xml", ".onnx", ".onnx_data", ".data")


@dataclass(frozen=True, slots=True)
class ModelReference:
    """A name that stands for a model. `folder` is set for local ones, `architecture` and `tag` for open_clip's own."""

    name: str
    kind: Literal["folder", "open_clip", "hub"]
    folder: Path | None = None
    architecture: str = ""
    tag: str = ""
    revision: str = ""


def resolve_model(name: str, models_dir: Path) -> ModelReference:
    """Return what `name` stands for, without loading it; raise ConfigError (one line) when it stands for nothing."""
    name = name.strip()
    if name.startswith("hf-hub:"):
        found = _HUB_NAME.fullmatch(name)
        if found is None or ".." in name or "//" in name:
            raise ConfigError(f"MODEL={name}: wanted hf-hub:OWNER/NAME or hf-hub:OWNER/NAME@REVISION")
        return ModelReference(name, "hub", revision=found["revision"] or "")
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
    return tuple(
        sorted(
            path.name
            for path in models_dir.iterdir()
            if not path.name.startswith(".") and ((path / CONFIG_FILE).is_file() or has_towers(path))
        )
    )


@cache
def architectures() -> tuple[str, ...]:
    """Return open_clip's architecture names, read from the installed package's files."""
    folder = open_clip_folder() / "model_configs"
    return tuple(sorted(path.stem for path in folder.glob("*.json")))


def architecture_config(architecture: str) -> dict[str, Any]:  # Any: JSON
    """Return open_clip's `model_cfg` of one of its architectures."""
    return read_json(open_clip_folder() / "model_configs" / f"{architecture}.json")


def repository(reference: ModelReference) -> tuple[str, str]:
    """Return the hub's OWNER/NAME that holds a model's weights, and their file's name, '' where it is the usual one."""
    if reference.kind == "hub":
        found = _HUB_NAME.fullmatch(reference.name)
        return (found["repository"], "") if found else ("", "")
    entry = _by_name().get((reference.architecture, reference.tag))
    owner, _, rest = (entry.hf_hub if entry else "").partition("/")
    name, _, file = rest.partition("/")
    return f"{owner}/{name}", file


def names_of(repository_name: str) -> tuple[str, ...]:
    """Return the NAME/TAGs whose weights are in a repository of the hub."""
    return tuple(
        f"{architecture}/{tag}"
        for architecture, tags in _listed().items()
        for tag, entry in tags.items()
        if entry.hf_hub.startswith(f"{repository_name}/")
    )


@cache
def pretrained_tags() -> Mapping[str, tuple[str, ...]]:
    """Return the pretrained tags of each architecture, read from open_clip's source without running it."""
    table: dict[str, tuple[str, ...]] = {}
    for architecture, tags in _listed().items():
        table[architecture] = tuple(tags)
        if quick := tuple(tag for tag, entry in tags.items() if entry.is_quick):
            table[f"{architecture}-quickgelu"] = quick
    return table


@dataclass(frozen=True, slots=True)
class PretrainedTag:
    """What open_clip's table says of one tag. `mean` and `std` are of RGB in 0..1."""

    hf_hub: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    interpolation: str
    is_quick: bool  # trained with QuickGELU, and listed as a -quickgelu variant as well


def listed_tags(reference: ModelReference) -> list[PretrainedTag]:
    """Return what open_clip's table says of the weights: of a tag, or of every tag with the same repository."""
    if reference.kind == "open_clip":
        return [_by_name()[reference.architecture, reference.tag]]
    if reference.kind == "folder":
        return []  # without reading the table, which takes a tenth of a second
    name = repository(reference)[0]
    return [entry for entry in _by_name().values() if entry.hf_hub.startswith(f"{name}/")]


@cache
def _by_name() -> Mapping[tuple[str, str], PretrainedTag]:
    found = {}
    for architecture, tags in _listed().items():
        for tag, entry in tags.items():
            found[architecture, tag] = entry
            if entry.is_quick:
                found[f"{architecture}-quickgelu", tag] = entry
    return found


@cache
def _listed() -> Mapping[str, Mapping[str, PretrainedTag]]:
    constants = _constants()
    kinds: dict[str, dict[str, Any]] = {}  # Any: literals of any type
    groups: dict[str, dict[str, PretrainedTag]] = {}
    table: dict[str, dict[str, PretrainedTag]] = {}
    for node in _parsed("pretrained").body:
        if isinstance(node, ast.FunctionDef) and isinstance(node.body[-1], ast.Return):
            defaults = node.body[-1].value
            if isinstance(defaults, ast.Dict):
                kinds[node.name] = _literals(zip(defaults.keys, defaults.values, strict=True), constants)
        if not isinstance(node, ast.Assign) or not isinstance(node.targets[0], ast.Name):
            continue
        if isinstance(node.value, ast.Call):
            groups[node.targets[0].id] = _tags(node.value, kinds)
        elif isinstance(node.value, ast.Dict) and node.targets[0].id == "_PRETRAINED":
            for key, value in zip(node.value.keys, node.value.values, strict=True):
                if isinstance(key, ast.Constant) and isinstance(key.value, str):
                    named = groups.get(value.id, {}) if isinstance(value, ast.Name) else {}
                    table[key.value] = _tags(value, kinds) if isinstance(value, ast.Call) else named
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


def own_settings(reference: ModelReference) -> dict[str, Any]:  # Any: a JSON file's values
    """Return what a model folder's clipwatch.json says; nothing for other models."""
    if reference.folder is None or not (reference.folder / OURS_FILE).is_file():
        return {}
    return read_json(reference.folder / OURS_FILE)


def _folder(name: str, folder: Path) -> ModelReference:
    if not folder.is_dir():
        raise ConfigError(f"MODEL={name}: no such folder")
    try:
        if tower_files(folder) is not None:
            return ModelReference(name, "folder", folder=folder.resolve())
    except ConfigError as exc:
        raise ConfigError(f"MODEL={name}: {exc}") from exc
    if not (folder / CONFIG_FILE).is_file():
        raise ConfigError(
            f"MODEL={name}: no {CONFIG_FILE} in {folder}, wanted a folder in open_clip's format, or one with towers "
            "(image.xml and text.xml)"
        )
    if not any(path.suffix in WEIGHT_SUFFIXES for path in folder.iterdir()):
        raise ConfigError(
            f"MODEL={name}: no weights in {folder}, wanted open_clip_model.safetensors; "
            f"{how_to_get(folder.name)}"
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
        return f"MODEL=mini: not in {models_dir}; {how_to_get('mini')}"
    have = ", ".join(local) or "none"
    guess = f"; near: {', '.join(near)}" if near else ""
    return (
        f"MODEL={name}: not known, wanted a model folder (in {models_dir}: {have}), "
        f"NAME/TAG of open_clip, hf-hub:OWNER/NAME or local-dir:FOLDER{guess}"
    )


def how_to_get(name: str, programs: Path | None = None) -> str:
    """Say how to get a model's files: by the command line if it is installed here; a container has none."""
    has_command = has_command_line(programs)
    if name == "mini":
        return "make it with `make install`" if has_command else "build the image with WITH_MINI=1"
    if has_command:
        return f"run `clipwatch models fetch {name}`"
    return "restart the classifier, which fetches it (docs/guide/compose.md: Without internet for the model)"


def _tags(
    call: ast.Call, kinds: Mapping[str, Mapping[str, Any]]
) -> dict[str, PretrainedTag]:  # Any: literals
    """Return the entries of `dict(tag=_pcfg(hf_hub='…', …), …)`; `kinds` has the defaults of _pcfg and its like."""
    found = {}
    for keyword in call.keywords:
        if keyword.arg and isinstance(keyword.value, ast.Call) and isinstance(keyword.value.func, ast.Name):
            own = _literals(
                ((ast.Constant(one.arg), one.value) for one in keyword.value.keywords), _constants()
            )
            entry = {**kinds.get(keyword.value.func.id, {}), **own}
            found[keyword.arg] = PretrainedTag(
                str(entry.get("hf_hub", "")),
                tuple(entry.get("mean", ())),
                tuple(entry.get("std", ())),
                str(entry.get("interpolation", "")),
                bool(entry.get("quick_gelu", False)),
            )
    return found


@cache
def _constants() -> Mapping[str, Any]:  # Any: literals of any type
    """Return the constants that open_clip's table names, such as OPENAI_DATASET_MEAN."""
    found = [node for node in _parsed("constants").body if isinstance(node, ast.Assign)]
    return _literals(((ast.Constant(ast.unparse(node.targets[0])), node.value) for node in found), {})


def _literals(
    items: Iterable[tuple[ast.expr | None, ast.expr]], constants: Mapping[str, Any]
) -> dict[str, Any]:  # Any: literals of any type
    """Return the values of names that are literals or constants; those of others are computed and left out."""
    found: dict[str, Any] = {}
    for key, value in items:
        if not isinstance(key, ast.Constant):
            continue
        if isinstance(value, ast.Name) and value.id in constants:
            found[str(key.value)] = constants[value.id]
        else:
            with contextlib.suppress(ValueError):
                found[str(key.value)] = ast.literal_eval(value)
    return found


def _parsed(module: str) -> ast.Module:
    return ast.parse((open_clip_folder() / f"{module}.py").read_text(encoding="utf-8"))


@cache
def open_clip_folder() -> Path:
    """Return the folder of the installed package, whose files are read; it is never imported."""
    found = importlib.util.find_spec("open_clip")  # finds the folder; imports nothing
    if found is None or not found.submodule_search_locations:
        again = "run `make install`" if has_command_line() else "build the image again"
        raise ConfigError(f"open_clip's tables are not installed (requirements/open_clip.txt): {again}")
    return Path(found.submodule_search_locations[0])
