"""`python -m services.classifier.fetch NAME`: bring a model's weights here, verify them, and load them once.

`--verify [NAME …]` hashes every file of the models that are here again; `--list` says which they are.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from services.classifier.model.int8_proof import proof_of, verdict
from services.classifier.model.runtimes import load_on_cpu
from services.classifier.settings import ClassifierSettings
from services.classifier.weights import hub, integrity
from services.classifier.weights.conversions import converted_folder, converted_models
from services.classifier.weights.families import Licence, licence_of
from services.classifier.weights.integrity import ChecksumRecord, ChecksumResult
from services.classifier.weights.names import (
    OURS_FILE,
    ModelReference,
    local_models,
    pretrained_tags,
    read_json,
    repository,
    resolve_model,
)
from shared.errors import ConfigError
from shared.settings import load_settings
from shared.terminal_text import say


def main(arguments: list[str]) -> int:
    """Fetch, verify or list; return the exit code."""
    # the hub's own retries, twice each; what matters is told in one line below
    logging.disable(logging.ERROR)
    try:
        settings = load_settings(ClassifierSettings)
        if arguments[:1] == ["--verify"]:
            verify(arguments[1:], settings.models_dir)
        elif arguments == ["--list"]:
            for line in listed(settings.models_dir):
                say(line)
        elif len(arguments) == 1 and not arguments[0].startswith("-"):
            fetch(arguments[0], settings)
        else:
            raise ConfigError("wanted one name, such as ViT-B-32-256/datacomp_s34b_b86k")
    except ConfigError as exc:
        for fault in exc.faults:
            say(f"clipwatch: {fault}", is_error=True)
        return 2
    return 0


def fetch(name: str, settings: ClassifierSettings) -> None:
    """Fetch a model and print what was verified; write the list of checksums for a folder that has none."""
    reference = resolve_model(name, settings.models_dir)
    warn_of_licence(reference)
    if reference.folder is not None and integrity.read_sums(reference.folder) is None:
        say(f"{integrity.write_sums(reference.folder)}: written; what changes from now on is noticed")
    hub.require(reference, settings.models_dir)
    facts = load_on_cpu(reference, settings.model_copy(update={"dtype": "float32"})).facts
    record = ChecksumRecord(settings.models_dir)
    say(f"{name}: {describe(check(reference, settings.models_dir, record))}")
    golden = "compared" if record.has_golden(name) else "not made: the weights are not verified"
    say(f"{name}: golden embeddings are {golden}")
    say(f"{facts.name}: there, {facts.image_size} px, {facts.embedding_dim} numbers a picture")


def verify(names: Sequence[str], models_dir: Path) -> None:
    """Hash all files again and print the result; raise ConfigError with every fault of every model."""
    faults: list[str] = []
    record = ChecksumRecord(models_dir)
    present = (*local_models(models_dir), *hub.present(models_dir))
    converted = converted_models(models_dir)
    for name in names or (*present, *(name for name in converted if name not in present)):
        try:
            if name in converted:
                found = integrity.check_folder(name, converted_folder(models_dir, name), record, again=True)
                say(f"{name}: converted: {describe(found)}")
                if name not in present:
                    continue
            reference = resolve_model(name, models_dir)
            if reference.folder is None and not hub.is_here(reference, models_dir):
                raise ConfigError(hub.not_here(reference, "nothing was tried"))
            say(f"{name}: {describe(check(reference, models_dir, record, again=True))}")
        except ConfigError as exc:
            faults.extend(exc.faults)
    record.save()
    if faults:
        raise ConfigError(faults)


def check(
    reference: ModelReference, models_dir: Path, record: ChecksumRecord, again: bool = False
) -> ChecksumResult:
    """Compare a model's files with their checksums."""
    if reference.folder is not None:
        return integrity.check_folder(reference.name, reference.folder, record, again)
    files = hub.cached_files(models_dir, reference)
    return integrity.check_cache(reference.name, files, record, again)


def describe(checked: ChecksumResult) -> str:
    """Return what was compared, in words."""
    size = f"{checked.n_files} files, {checked.n_bytes / 1e6:.1f} MB"
    if checked.is_verified:
        return f"{size}: every checksum is right"
    return f"{size}: unchanged since the first look; nothing says what the checksums should be"


def listed(models_dir: Path) -> list[str]:
    """Return a line for each model that can be named: name, where, size, verified, licence; those here come first."""
    record = ChecksumRecord(models_dir)
    default = ClassifierSettings.model_fields["model"].default
    present = (*local_models(models_dir), *hub.present(models_dir))
    converted = converted_models(models_dir)
    here = (*present, *(name for name in converted if name not in present))
    others = [f"{model}/{tag}" for model, tags in sorted(pretrained_tags().items()) for tag in tags]
    lines = []
    for name in (*here, *(name for name in others if name not in here)):
        parts = []
        if name in present:
            reference = resolve_model(name, models_dir)
            files = (
                sorted(reference.folder.iterdir())
                if reference.folder
                else hub.cached_files(models_dir, reference)
            )
            where = reference.folder or models_dir / f"models--{repository(reference)[0].replace('/', '--')}"
            parts = [str(where), _megabytes(files)]
            parts.append("verified" if record.has_golden(name) else "not verified yet")
            parts += _int8(reference.folder) if reference.folder else []
        if name in converted:
            folder = converted_folder(models_dir, name)
            parts += [f"converted: {folder}", _megabytes(folder.iterdir()), *_int8(folder)]
        licence = licence_for(name, models_dir)
        if licence is not None:
            parts.append(licence.name)
        if name == default:
            parts.append("default")
        lines.append(f"{name}  {', '.join(parts)}".rstrip())
    return lines


def _megabytes(files: Iterable[Path]) -> str:
    return f"{sum(path.stat().st_size for path in files if path.is_file()) / 1e6:.0f} MB"


def _int8(folder: Path) -> list[str]:
    """Return what a conversion found out about int8."""
    path = folder / OURS_FILE
    proof = proof_of(read_json(path).get("int8")) if path.is_file() else None
    return [verdict(proof)] if proof else []


def licence_for(name: str, models_dir: Path) -> Licence | None:
    """Return what is known of the licence of the weights behind a name; a folder that is gone has none."""
    try:
        reference = resolve_model(name, models_dir)
    except ConfigError:  # converted, and its source was deleted
        return None
    return None if reference.folder else licence_of(repository(reference)[0])


def warn_of_licence(reference: ModelReference) -> None:
    """Warn if the weights may not be used commercially."""
    licence = None if reference.folder else licence_of(repository(reference)[0])
    if licence is not None and licence.is_restricted:
        say(
            f"clipwatch: WARNING: {reference.name}: its weights' licence is {licence.name}: NOT FOR COMMERCIAL USE",
            is_error=True,
        )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
