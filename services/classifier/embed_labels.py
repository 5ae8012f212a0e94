"""`python -m services.classifier.embed_labels FILE`: embeds one label set (JSON on stdin) as the service would.

Writes an .npz file: the arrays of LabelTexts, and what is known of the model as JSON. For programs that
have the pictures' embeddings from the labels messages and try other temperatures on them.
"""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from services.classifier.model.runtimes import load_on_cpu
from services.classifier.port import ModelFacts
from services.classifier.settings import ClassifierSettings
from services.classifier.weights.names import resolve_model
from services.classifier.words.prompts import LabelBank
from shared.contract import Column, LabelSet
from shared.decisions.label_texts import LabelTexts
from shared.errors import ConfigError
from shared.settings import load_settings
from shared.terminal_text import say

_ARRAYS = ("embeddings", "rivals", "against", "shown")


@dataclass(frozen=True, slots=True)
class EmbeddedTexts:
    """A label set as one model embeds it."""

    facts: ModelFacts
    texts: LabelTexts

    def write(self, path: Path) -> None:
        """Write to an .npz file."""
        texts = self.texts
        about = {
            "facts": asdict(self.facts),
            "columns": [column.model_dump() for column in texts.columns],
            "n_targets": texts.n_targets,
            "n_background": texts.n_background,
        }
        with path.open("wb") as file:
            np.savez(file, about=json.dumps(about), **{name: getattr(texts, name) for name in _ARRAYS})

    @classmethod
    def read(cls, path: Path) -> EmbeddedTexts:
        """Read what write() wrote."""
        with np.load(path, allow_pickle=False) as found:
            about = json.loads(str(found["about"]))
            arrays = {name: found[name] for name in _ARRAYS}
        facts = about["facts"]
        for name in ("templates", "distractors"):
            facts[name] = tuple(facts[name]) if facts[name] is not None else None
        texts = LabelTexts(
            columns=tuple(Column(**column) for column in about["columns"]),
            n_targets=about["n_targets"],
            n_background=about["n_background"],
            **arrays,
        )
        return cls(ModelFacts(**facts), texts)


def main(arguments: list[str]) -> int:
    """Run the command line; return the exit code: 0 done, 2 bad input."""
    try:
        if len(arguments) != 1:
            raise ConfigError("wanted one file to write, such as texts.npz")
        try:
            label_set = LabelSet.model_validate_json(sys.stdin.read())
        except ValidationError as exc:
            raise ConfigError(f"stdin: no label set: {exc.errors()[0]['msg']}") from exc
        settings = load_settings(ClassifierSettings)
        reference = resolve_model(settings.model, settings.models_dir)
        model = load_on_cpu(reference, settings)
        texts = LabelBank(model, 1, settings.distractors).get(label_set)
        EmbeddedTexts(model.facts, texts).write(Path(arguments[0]))
    except ConfigError as exc:
        for fault in exc.faults:
            say(f"classifier: {fault}", is_error=True)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
