"""What the decision rule makes of videos: the service's own motion and classifier code, many label sets, one table.

    python bench/classifier_decisions.py [--model MODEL] [VIDEO …]        (default: the two samples, model mini)

Motion runs once over the videos and its snippets are embedded once; each label set then costs milliseconds. Prints one
JSON object a label set and window on stdout: per video the number of snippets, and in how many each label was accepted;
`without_tracks` is the same where nobody knows which crops show the same object.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import cast

import numpy as np
from redis import Redis

from bench.measuring import embedded_redis
from services.classifier.model.preprocess import load_picture, stack
from services.classifier.model.runtimes import load_on_cpu
from services.classifier.port import Model
from services.classifier.settings import ClassifierSettings
from services.classifier.weights.names import resolve_model
from services.classifier.words.prompts import LabelBank
from shared.clock import now_utc
from shared.contract import SNIPPETS, DecisionSettings, LabelSet, SnippetMessage
from shared.decisions.labeller import EmbeddedSnippet, label
from shared.logs import configure_logs

ROOT = Path(__file__).resolve().parents[1]
SAMPLES = [ROOT / "samples" / "people-walking.mp4", ROOT / "samples" / "street.mp4"]
LABEL_SETS = (
    LabelSet(labels=("a pedestrian", "a bicycle", "a car", "a dog"), background=("an empty street",)),
    LabelSet(labels=("a person", "a vehicle"), background=("an empty street",)),
    LabelSet(labels=("a person", "a dog"), background=()),
    LabelSet(labels=("people walking", "a taxi", "a horse"), background=("an empty path", "a lawn")),
    LabelSet(labels=("a dog", "a horse"), background=("an empty street",)),
    LabelSet(labels=("a cat", "a bird"), background=("an empty path",)),
    LabelSet(labels=("a bear", "a fox", "a deer"), background=()),
)
MOTION_LIMIT_S = 900


def main() -> int:
    """Run the command line."""
    configure_logs("bench", "WARNING", "json")  # stderr: stdout is for figures
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("videos", nargs="*", type=Path, default=SAMPLES)
    parser.add_argument("--model", default="mini")
    parser.add_argument("--windows", type=float, nargs="*", default=[1.5, 2.0, 3.0])
    parser.add_argument("--min-moments", type=int, default=2)
    parser.add_argument("--threshold", type=float, default=0.5)
    arguments = parser.parse_args()
    snippets = cut(arguments.videos)
    settings = ClassifierSettings()
    model = load_on_cpu(resolve_model(arguments.model, settings.models_dir), settings)
    looked = [look(model, snippet) for snippet in snippets]
    bank = LabelBank(model, len(LABEL_SETS))
    for label_set in LABEL_SETS:
        for window_s in arguments.windows:
            decision = DecisionSettings(
                threshold=arguments.threshold, window_s=window_s, min_moments=arguments.min_moments
            )
            said = {
                **label_set.model_dump(),
                "window_s": window_s,
                "accepted": count(looked, model, bank, (label_set, decision)),
                "without_tracks": count(without_tracks(looked), model, bank, (label_set, decision)),
            }
            print(json.dumps(said), flush=True)
    return 0


def without_tracks(looked: list[EmbeddedSnippet]) -> list[EmbeddedSnippet]:
    """Return the snippets as a motion service sends them that does not number objects."""
    plain = []
    for one in looked:
        header = one.message.header
        pictures = tuple(picture.model_copy(update={"track": None}) for picture in header.pictures)
        message = SnippetMessage(header.model_copy(update={"pictures": pictures}), one.message.pictures)
        plain.append(EmbeddedSnippet(message, one.embeddings, one.seen))
    return plain


def cut(videos: list[Path]) -> list[SnippetMessage]:
    """Return what services.motion makes of the videos."""
    with tempfile.TemporaryDirectory() as folder, embedded_redis() as url:
        cameras = Path(folder) / "cameras.yml"
        entries = [
            {
                "id": path.stem[:60],
                "url": str(path.resolve()),
                "labels": ["a person"],
                "pace": "fast",
                "loop": False,
            }
            | {"starts_at": "2026-01-01T00:00:00Z"}
            for path in videos
        ]
        cameras.write_text(json.dumps({"cameras": entries}))  # JSON is YAML
        environment = {**os.environ, "REDIS_URL": url, "CAMERAS_FILE": str(cameras), "DATA_DIR": folder}
        command = [sys.executable, "-m", "services.motion"]
        subprocess.run(command, cwd=ROOT, env=environment, check=True, timeout=MOTION_LIMIT_S)
        client = Redis.from_url(url)
        entries_read = cast("list[tuple[bytes, dict[bytes, bytes]]]", client.xrange(SNIPPETS))
        client.close()
        return [SnippetMessage.decode(fields) for _, fields in entries_read]


def look(model: Model, snippet: SnippetMessage) -> EmbeddedSnippet:
    """Embed the pictures of a snippet."""
    size = model.facts.image_size
    loaded = [load_picture(jpeg, size, model.resize) for jpeg in snippet.pictures]
    pixels = [picture for picture in loaded if isinstance(picture, np.ndarray)]
    if len(pixels) != len(loaded):
        raise ValueError("motion made a picture that cannot be read")
    return EmbeddedSnippet(snippet, model.embed_pictures(stack(pixels)), np.ones(len(pixels), dtype=np.bool_))


def count(
    looked: list[EmbeddedSnippet],
    model: Model,
    bank: LabelBank,
    wanted: tuple[LabelSet, DecisionSettings],
) -> dict[str, dict[str, int]]:
    """Return for each camera its snippets and in how many of them each label was accepted."""
    label_set, decision = wanted
    table: dict[str, dict[str, int]] = {}
    for one in looked:
        header = one.message.header.model_copy(update={"label_set": label_set, "decision": decision})
        asked = EmbeddedSnippet(SnippetMessage(header, one.message.pictures), one.embeddings, one.seen)
        found = label(asked, bank.get(label_set), model.facts, now_utc()).header
        row = table.setdefault(header.camera, {"snippets": 0, **dict.fromkeys(label_set.labels, 0)})
        row["snippets"] += 1
        for item in found.accepted:
            row[item.label] += 1
    return table


if __name__ == "__main__":
    sys.exit(main())
