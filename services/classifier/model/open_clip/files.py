"""Fetches a model's files into the hub's cache, and compares their checksums before anything is read from them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from services.classifier.weights import hub, integrity
from services.classifier.weights.integrity import ChecksumRecord, ChecksumResult
from services.classifier.weights.names import CONFIG_FILE, ModelReference, repository
from shared.errors import ConfigError, redact
from shared.logs import get_logger

log = get_logger(__name__)


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
    try:
        with offline():
            _download(reference, cache_dir)
            return
    except Exception as exc:  # noqa: BLE001 - open_clip and transformers raise anything for a file that is not there
        why_absent = exc
    if why := hub.why_unreachable():
        raise ConfigError(hub.not_here(reference, why)) from why_absent
    try:
        _download(reference, cache_dir)
    except Exception as exc:  # noqa: BLE001 - as above
        raise ConfigError(hub.not_here(reference, one_line(exc))) from exc


def _download(reference: ModelReference, cache_dir: Path | None) -> None:
    import huggingface_hub
    import open_clip
    from open_clip.pretrained import download_pretrained_from_hf

    cache = str(cache_dir) if cache_dir else None
    name, file = repository(reference)
    revision = reference.revision or None
    if reference.kind == "hub":
        huggingface_hub.hf_hub_download(name, CONFIG_FILE, revision=revision, cache_dir=cache)
    download_pretrained_from_hf(name, filename=file or None, revision=revision, cache_dir=cache)
    if reference.revision:  # the small files of the same commit: it is read as a folder then
        small = ["*.json", "*.txt", "*.model"]
        huggingface_hub.snapshot_download(name, revision=revision, cache_dir=cache, allow_patterns=small)
    source, _ = source_of(reference, cache_dir)
    open_clip.get_tokenizer(source, cache_dir=cache)
    text = hub.model_config(hub.cache_of(cache_dir), reference).get("model_cfg", {}).get("text_cfg", {})
    if tower := text.get("hf_model_name"):
        import transformers

        transformers.AutoConfig.from_pretrained(tower)  # open_clip looks it up in the library's own cache


def source_of(reference: ModelReference, cache_dir: Path | None) -> tuple[str, str | None]:
    """Return the name that open_clip knows a model by, and its tag."""
    if reference.folder:
        return f"local-dir:{reference.folder}", None
    if reference.revision:  # open_clip has no revisions, but reads the cache's folder of one
        files = hub.snapshot(hub.cache_of(cache_dir), reference)
        return f"local-dir:{files[0].parent if files else ''}", None
    return reference.architecture or reference.name, reference.tag or None


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
    return redact(" ".join(str(exc).split()))[:200] or type(exc).__name__
