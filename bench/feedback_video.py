"""Real recordings through the real motion code, as records of cameras: a label that never shows is a false alarm."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from bench.classifier_decisions import SAMPLES, cut, look
from bench.feedback_cameras import EmbeddingModel
from bench.feedback_record import REAL, CameraRecord, SeenEvent, load, save
from shared.contract import SnippetMessage
from shared.decisions.labeller import deciding_pictures

# label sets of which only the person is there; what street.mp4 also shows (bicycles, cars) is not asked for
LABEL_SETS = (
    ("a person", "a dog", "a horse"),
    ("a person", "a bear", "a fox", "a deer"),
    ("a pedestrian", "a cat", "a bird"),
    ("a pedestrian", "a boat", "a bag"),
)
BACKGROUND = {"people-walking": "an empty path", "street": "an empty street", "vtest": "an empty street"}
VTEST = "opencv-doc/usr/share/doc/opencv-doc/examples/data/vtest.avi"
# of simulated days: the first half of a recording is one, the second half the other
SECONDS_A_DAY = 86400


def videos(cache: Path, embedding: EmbeddingModel) -> list[CameraRecord]:
    """Return a record for each recording and label set; motion runs once and embeddings are kept."""
    paths = [*SAMPLES, (cache / VTEST).resolve()]
    folder = cache / "feedback-video"
    if not all((folder / f"{path.stem}.npz").is_file() for path in paths):
        snippets = cut(paths)
        for path in paths:
            own = [one for one in snippets if one.header.camera == path.stem]
            events = tuple(_event(snippet, number, len(own), embedding) for number, snippet in enumerate(own))
            background = (BACKGROUND[path.stem],)
            save(CameraRecord(path.stem, ("a person",), background, {}, events), folder / f"{path.stem}.npz")
    records = []
    for path in paths:
        filmed = load(folder / f"{path.stem}.npz")
        for labels in LABEL_SETS:
            events = tuple(
                SeenEvent(REAL, e.at_s, frozenset(labels[:1]), "", e.offsets_s, e.embeddings)
                for e in filmed.events
            )
            records.append(CameraRecord(f"{path.stem} {labels}", labels, filmed.background, {}, events))
    return records


def _event(snippet: SnippetMessage, number: int, of: int, embedding: EmbeddingModel) -> SeenEvent:
    """Keep the pictures that decide: crops, and the frames of moments without one."""
    looked = look(embedding.model, snippet)
    infos = snippet.header.pictures
    chosen = [index for indices in deciding_pictures(infos, looked.seen) for index in indices]
    begins = min(infos[index].captured_at for index in chosen)
    offsets = tuple((infos[index].captured_at - begins).total_seconds() for index in chosen)
    at_s = (0 if number < of / 2 else SECONDS_A_DAY) + number
    kept = looked.embeddings[chosen].astype(np.float16).astype(np.float32)
    return SeenEvent(REAL, float(at_s), frozenset({"a person"}), "", offsets, kept)
