"""Weights on the Hugging Face hub: which repositories a model needs, and whether they are on this machine.

Reads the hub's cache as it is laid out on disk; asks the network only whether it is there. No torch.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

from services.classifier.weights.conversions import is_converted
from services.classifier.weights.names import (
    WEIGHT_SUFFIXES,
    ModelReference,
    architecture_config,
    how_to_get,
    names_of,
    repository,
    resolve_model,
)
from services.classifier.weights.tower_configs import config_of
from services.classifier.weights.tower_pairs import has_towers, wanted_files
from shared.errors import ConfigError, shortened

# what open_clip takes from a repository without naming a file, best first
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.bin")
CONNECT_S = 5.0  # to connect, and to answer
LIMIT_S = 8.0  # with the look-up of the name, which has a patience of its own


def require(reference: ModelReference, models_dir: Path) -> None:
    """Raise ConfigError, one line, when the weights are not here and nothing could be fetched; within LIMIT_S."""
    if reference.kind == "folder" or is_here(reference, models_dir):
        return
    if not is_converted(models_dir, reference.name) and (why := why_unreachable()):
        raise ConfigError(not_here(reference, why))


def not_here(reference: ModelReference, why: str) -> str:
    """Say in one line that a model has to be fetched."""
    return (
        f"MODEL={reference.name}: its weights are not on this machine and could not be fetched ({why}); "
        f"with a network, {how_to_get(reference.name)}"
    )


def cache_of(models_dir: Path | None) -> Path:
    """Return the folder of the hub's cache: the models directory, or the library's own."""
    if models_dir is not None:
        return models_dir
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE)


def is_here(reference: ModelReference, models_dir: Path) -> bool:
    """Tell whether the cache has a model's weights, or its towers; integrity.py checks that they are whole."""
    if any(path.name in weight_names(reference) for path in snapshot(models_dir, reference)):
        return True
    folder = snapshot_folder(models_dir, reference)
    return folder is not None and has_towers(folder)


def snapshot(models_dir: Path, reference: ModelReference) -> tuple[Path, ...]:
    """Return the files that the cache has of a model's own repository."""
    return snapshot_files(models_dir, repository(reference)[0], reference.revision)


def snapshot_folder(models_dir: Path, reference: ModelReference) -> Path | None:
    """Return the folder in which the cache has a model's own repository, None where it has none of it."""
    return _snapshot_folder(models_dir, repository(reference)[0], reference.revision)


def snapshot_files(models_dir: Path, name: str, revision: str = "") -> tuple[Path, ...]:
    """Return the files that the cache has of a repository, at a revision (branch, tag or commit)."""
    folder = _snapshot_folder(models_dir, name, revision)
    try:
        return tuple(sorted(path for path in folder.rglob("*") if path.is_file())) if folder else ()
    except OSError:
        return ()


def _snapshot_folder(models_dir: Path, name: str, revision: str) -> Path | None:
    folder = models_dir / f"models--{name.replace('/', '--')}"
    ref = folder / "refs" / (revision or "main")
    try:
        commit = ref.read_text(encoding="utf-8").strip() if ref.is_file() else revision
        found = folder / "snapshots" / commit
        return found if commit and found.is_dir() else None
    except OSError:
        return None


def present(models_dir: Path) -> tuple[str, ...]:
    """Return the names of the models whose weights are in the cache."""
    found = []
    for folder in sorted(models_dir.glob("models--*--*")):
        name = folder.name.removeprefix("models--").replace("--", "/", 1)
        named = names_of(name) or (f"hf-hub:{name}",)
        found += [one for one in named if is_here(resolve_model(one, models_dir), models_dir)]
    return tuple(found)


def cached_files(models_dir: Path, reference: ModelReference) -> tuple[Path, ...]:
    """Return all files of a model in the cache: weights, config, and its tokenizer's, which may be another's."""
    own = snapshot(models_dir, reference)
    folder = snapshot_folder(models_dir, reference)
    if folder is not None and has_towers(folder):
        wanted = wanted_files(path.relative_to(folder).as_posix() for path in own)
        own = tuple(path for path in own if path.relative_to(folder).as_posix() in wanted)
    elif weights := [path for path in own if path.name in weight_names(reference)]:
        best = min(weights, key=lambda path: weight_names(reference).index(path.name))
        own = tuple(path for path in own if path == best or path not in weights)
    config = model_config(models_dir, reference).get("model_cfg", {})
    tokenizer = str(config.get("text_cfg", {}).get("hf_tokenizer_name") or "")
    others: tuple[Path, ...] = ()
    if tokenizer.count("/") == 1 and tokenizer != repository(reference)[0]:
        others = tuple(
            path for path in snapshot_files(models_dir, tokenizer) if path.suffix not in WEIGHT_SUFFIXES
        )
    return (*own, *others)


def model_config(models_dir: Path, reference: ModelReference) -> dict[str, Any]:  # Any: JSON
    """Return what open_clip_config.json says of a model: a repository's own file, or open_clip's of a NAME/TAG."""
    if reference.kind == "open_clip":
        return {"model_cfg": architecture_config(reference.architecture)}
    folder = snapshot_folder(models_dir, reference)
    return config_of(folder) if folder else {}


def why_unreachable() -> str:
    """Return why the hub cannot be asked, '' when it can; at most LIMIT_S."""
    said: list[str] = []
    asking = threading.Thread(target=lambda: said.append(_ask()), daemon=True)
    asking.start()
    asking.join(LIMIT_S)
    return said[0] if said else f"no answer from the hub within {LIMIT_S:.0f} s"


def _ask() -> str:
    from huggingface_hub import constants, get_session

    if constants.HF_HUB_OFFLINE:
        return "HF_HUB_OFFLINE is set"
    try:
        answer = get_session().head(constants.ENDPOINT, timeout=CONNECT_S)
    except Exception as exc:  # noqa: BLE001 - its HTTP client, the proxy's and the resolver's errors share no base
        return f"no network to {constants.ENDPOINT}: {shortened(str(exc), 80) or type(exc).__name__}"
    return f"{constants.ENDPOINT} answers {answer.status_code}" if answer.status_code >= 500 else ""


def weight_names(reference: ModelReference) -> tuple[str, ...]:
    """Return the names that the file with a model's weights may have, best first."""
    named = repository(reference)[1]
    if not named:
        return WEIGHTS
    return (f"{Path(named).stem}.safetensors", named)
