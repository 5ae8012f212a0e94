"""The snippets that the classifier's bench sends: synthetic pictures, and what is asked of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import simplejpeg
from PIL import Image

from shared.clock import uuid7
from shared.contract import Box, LabelSet, PictureInfo, SnippetHeader, SnippetMessage

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
MOMENTS = 12
LABELS_ASKED = LabelSet(labels=("a person", "a dog", "a car", "a bicycle"), background=("an empty street",))


@dataclass(frozen=True, slots=True)
class Load:
    """How the snippets look: pictures of the number-th, and its label set."""

    jpegs: list[tuple[bytes, bytes]]
    is_long: bool
    most_pictures: int

    def pictures(self, number: int) -> list[tuple[int, str, bytes]]:
        """Return moment, kind and JPEG of its pictures: a frame and a crop of each moment, or one crop."""
        moments = (1 + (number % 10 == 0) + (number % 50 == 0)) if self.is_long else MOMENTS
        found = []
        for moment in range(moments):
            frame, crop = self.jpegs[(number + moment) % len(self.jpegs)]
            found += [(moment, "crop", crop)]
            if not (self.is_long and number % 10):
                found += [(moment, "frame", frame)]
        return found[: self.most_pictures]

    def labels(self, number: int) -> LabelSet:
        """Return what is asked: in a long run 200 label sets in turn, each for 40 snippets."""
        if not self.is_long:
            return LABELS_ASKED
        return LabelSet(labels=(*LABELS_ASKED.labels, f"thing {number // 40 % 200}"))

    def snippet(self, number: int) -> SnippetMessage:
        """Return the number-th snippet as motion sends it."""
        infos: list[PictureInfo] = []
        pictures: list[bytes] = []
        for moment, kind, jpeg in self.pictures(number):
            height, width = simplejpeg.decode_jpeg_header(jpeg)[:2]
            box = Box(x=0, y=0, w=0.5, h=0.9) if kind == "crop" else None
            infos.append(
                PictureInfo.model_validate(
                    {
                        "moment": moment,
                        "kind": kind,
                        "captured_at": NOON + timedelta(seconds=moment * 0.8),
                        "width": width,
                        "height": height,
                        "box": box,
                    }
                )
            )
            pictures.append(jpeg)
        header = SnippetHeader(
            event_id=uuid7(NOON, seed=str(number)),
            snippet=0,
            is_last=True,
            camera=f"camera-{number % 4}",
            event_started_at=NOON,
            started_at=NOON,
            ended_at=NOON + timedelta(seconds=10),
            label_set=self.labels(number),
            pictures=tuple(infos),
        )
        return SnippetMessage(header, tuple(pictures))


def street(width: int, height: int, seed: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Soft shapes with fine noise: decodes and compresses about as a camera's picture does."""
    rng = np.random.default_rng(seed)
    soft = Image.fromarray(rng.integers(0, 255, (9, 16, 3), dtype=np.uint8)).resize(
        (width, height), Image.Resampling.BICUBIC
    )
    return np.clip(np.asarray(soft) + rng.normal(0, 6, (height, width, 1)), 0, 255).astype(np.uint8)


def encode(picture: np.ndarray[Any, np.dtype[np.uint8]]) -> bytes:
    return bytes(simplejpeg.encode_jpeg(np.ascontiguousarray(picture), 88, "RGB", "420"))
