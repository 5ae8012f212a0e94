"""What is known of a model before it is run: its own settings, and what was chosen for it. Any runtime."""

from __future__ import annotations

from services.classifier.devices.choice import DeviceChoice
from services.classifier.port import ModelFacts
from services.classifier.weights.names import ModelReference, own_settings
from services.classifier.words.prompts import templates_for


def facts_of(
    reference: ModelReference, choice: DeviceChoice, image_size: int, temperature: float
) -> ModelFacts:
    """Return the facts, without the length of its vectors; `temperature` counts where its own settings name none."""
    ours = own_settings(reference)
    return ModelFacts(
        name=str(ours.get("name") or reference.name),
        image_size=image_size,
        embedding_dim=0,
        temperature=temperature,
        templates=tuple(ours.get("templates") or templates_for(reference)),
        distractors=tuple(ours["distractors"]) if "distractors" in ours else None,
        device=choice.device,
        dtype=choice.dtype,
        threads=choice.threads,
        why=choice.why,
    )
