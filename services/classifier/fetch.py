"""`python -m services.classifier.fetch NAME`: bring a model's weights onto this machine, and load them once."""

from __future__ import annotations

import logging
import sys

from services.classifier.references import resolve_model
from services.classifier.settings import ClassifierSettings
from shared.errors import ConfigError, redact
from shared.settings import load_settings


def main(arguments: list[str]) -> int:
    """Fetch the model that is named; return the exit code."""
    logging.disable(
        logging.ERROR
    )  # the hub's own retries, twice each; what matters is told in one line below
    try:
        if len(arguments) != 1:
            raise ConfigError("wanted one name, such as ViT-B-32-256/datacomp_s34b_b86k")
        settings = load_settings(ClassifierSettings)
        reference = resolve_model(arguments[0], settings.models_dir)
        from services.classifier.openclip import load  # late: it imports torch

        facts = load(reference, ("cpu", "float32", settings.threads), settings.models_dir).facts
    except ConfigError as exc:
        for fault in exc.faults:
            print(f"clipwatch: {redact(fault)}", file=sys.stderr)
        return 2
    print(f"{facts.name}: there, {facts.image_size} px, {facts.embedding_dim} numbers a picture")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
