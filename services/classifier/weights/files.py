"""Fetches a model's files into the hub's cache, and compares their checksums before anything is read from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from services.classifier.weights import hub, integrity
from services.classifier.weights.integrity import ChecksumRecord, ChecksumResult
from services.classifier.weights.names import CONFIG_FILE, ModelReference, repository
from services.classifier.weights.tower_pairs import has_towers, wanted_files
from shared.errors import ConfigError, shortened
from shared.logs import get_logger

log = get_logger(__name__)
_SMALL = ("*.json", "*.txt", "*.model")  # what tokenizers and configurations are made of


def verify_files(reference: ModelReference, cache_dir: Path | None, record: ChecksumRecord) -> ChecksumResult:
    """Fetch the files if need be, and compare their checksums before anything is read from them."""
    if reference.folder is not None:
        checked = integrity.check_folder(reference.name, reference.folder, record)
    else:
        bring(reference, cache_dir)
        checked = integrity.check_cache(
            reference.name, hub.cached_files(hub.cache_of(cache_dir), reference), record
        )
    if not checked.is_verified:
        log.warning(
            "nothing says what the checksums of these weights should be; SHA256SUMS in the model's folder would",
            model=reference.name,
        )
    return checked


def bring(reference: ModelReference, cache_dir: Path | None) -> None:
    """Get a hub model's files into the cache, asking the hub only if they are not there; else raise ConfigError."""
    if _is_whole(reference, hub.cache_of(cache_dir)):
        return
    if why := hub.why_unreachable():
        raise ConfigError(hub.not_here(reference, why))
    try:
        _download(reference, cache_dir)
    except Exception as exc:  # noqa: BLE001 - the hub's library raises its HTTP client's errors, and its own
        raise ConfigError(hub.not_here(reference, one_line(exc))) from exc


def tokenizer_files(reference: ModelReference, models_dir: Path) -> tuple[str, tuple[Path, ...]]:
    """Return the repository that a model's tokenizer comes from, '' for CLIP's own, and its files in the cache."""
    name = str(_text_config(reference, models_dir).get("hf_tokenizer_name") or "")
    if name.count("/") != 1:
        return "", ()
    revision = reference.revision if name == repository(reference)[0] else ""
    return name, hub.snapshot_files(models_dir, name, revision)


def _text_config(reference: ModelReference, models_dir: Path) -> dict[str, object]:
    found: dict[str, object] = (
        hub.model_config(models_dir, reference).get("model_cfg", {}).get("text_cfg", {})
    )
    return found


def _is_whole(reference: ModelReference, models_dir: Path) -> bool:
    """Tell whether the cache has weights, configuration and tokenizer; what they hold is not looked at."""
    names = {path.name for path in hub.snapshot(models_dir, reference)}
    if not hub.is_here(reference, models_dir):
        return False
    folder = hub.snapshot_folder(models_dir, reference)
    if folder is not None and has_towers(folder):
        return True
    if reference.kind == "hub" and CONFIG_FILE not in names:
        return False
    tokenizer, files = tokenizer_files(reference, models_dir)
    if tokenizer and not any("token" in path.name or "vocab" in path.name for path in files):
        return False
    tower = str(_text_config(reference, models_dir).get("hf_model_name") or "")
    own = hub.snapshot_files(hub.cache_of(None), tower) if tower.count("/") == 1 else ()
    return tower.count("/") != 1 or any(path.name == "config.json" for path in own)


def _download(reference: ModelReference, cache_dir: Path | None) -> None:
    import huggingface_hub
    from huggingface_hub.errors import RemoteEntryNotFoundError

    cache = str(cache_dir) if cache_dir else None
    name, _ = repository(reference)
    revision = reference.revision or None
    try:
        if reference.kind == "hub":
            huggingface_hub.hf_hub_download(name, CONFIG_FILE, revision=revision, cache_dir=cache)
        _download_weights(reference, cache)
    except RemoteEntryNotFoundError:  # no open_clip repository, or one without weights: it may hold towers
        towers = wanted_files(huggingface_hub.list_repo_files(name, revision=revision))
        if not towers:
            raise
        huggingface_hub.snapshot_download(
            name, revision=revision, cache_dir=cache, allow_patterns=list(towers)
        )
    if reference.revision:  # the small files of the same commit: open_clip reads it as a folder
        huggingface_hub.snapshot_download(
            name, revision=revision, cache_dir=cache, allow_patterns=list(_SMALL)
        )
    models_dir = hub.cache_of(cache_dir)
    tokenizer, _ = tokenizer_files(reference, models_dir)
    if tokenizer and not (tokenizer == name and revision):
        huggingface_hub.snapshot_download(tokenizer, cache_dir=cache, allow_patterns=list(_SMALL))
    tower = str(_text_config(reference, models_dir).get("hf_model_name") or "")
    if tower.count("/") == 1:  # open_clip has it looked up in the library's own cache
        huggingface_hub.hf_hub_download(tower, "config.json")


def _download_weights(reference: ModelReference, cache: str | None) -> None:
    """Download the best of the files that may hold the weights; raise the last one's error when there is none."""
    import huggingface_hub
    from huggingface_hub.errors import RemoteEntryNotFoundError

    name, _ = repository(reference)
    *better, last = hub.weight_names(reference)
    for file in better:
        with contextlib.suppress(RemoteEntryNotFoundError):  # its base is raised when a hub fails, too
            huggingface_hub.hf_hub_download(name, file, revision=reference.revision or None, cache_dir=cache)
            return
    huggingface_hub.hf_hub_download(name, last, revision=reference.revision or None, cache_dir=cache)


@contextlib.contextmanager
def offline() -> Iterator[None]:
    """Keep the hub's library off the network for the block: it needs none when the files are in the cache."""
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = True
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before


def one_line(exc: Exception) -> str:
    """Return an exception's text in one line, without passwords."""
    return shortened(str(exc), 200) or type(exc).__name__
