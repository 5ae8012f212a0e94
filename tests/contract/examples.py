"""One example of every message, as the golden files hold them; any test may use them."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

from shared.contract import (
    EXAMPLES,
    LABELS,
    MEDIA,
    PICTURES,
    RECEIPTS,
    SNIPPETS,
    TEXTS,
    AcceptedLabel,
    Box,
    Column,
    DecisionSettings,
    ExampleSaid,
    ExamplesHeader,
    ExamplesMessage,
    Fields,
    LabelSet,
    LabelsHeader,
    LabelsMessage,
    MediaHeader,
    MediaMessage,
    PictureInfo,
    PicturesAnswer,
    PicturesAnswerHeader,
    PicturesRequest,
    PicturesRequestHeader,
    Receipt,
    SnippetHeader,
    SnippetMessage,
    TextsAnswer,
    TextsAnswerHeader,
    TextsRequest,
)
from shared.streams.dead_letters import dead_letter
from shared.streams.outcomes import Delivery

GOLDEN = Path(__file__).with_name("golden")
START = datetime(2026, 3, 29, 0, 59, 58, 250_000, tzinfo=UTC)
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00\xff\xd9"
MP4 = b"\x00\x00\x00\x18ftypiso5\x00\x00\x02\x00iso5iso6mp41"


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def snippet() -> SnippetMessage:
    pictures = (
        PictureInfo(moment=0, kind="frame", captured_at=at(0.5), width=384, height=216),
        PictureInfo(
            moment=0,
            kind="crop",
            captured_at=at(0.5),
            width=96,
            height=96,
            box=Box(x=0.25, y=0.5, w=0.125, h=0.25),
        ),
        PictureInfo(moment=1, kind="frame", captured_at=at(1), width=384, height=216),
    )
    header = SnippetHeader(
        event_id="019d3727-f93a-7abc-8def-0123456789ab",
        snippet=0,
        is_last=True,
        camera="gate",
        event_started_at=at(0),
        event_ended_at=at(2),
        started_at=at(-3),
        ended_at=at(4),
        motion_peak=0.75,
        latitude=52.52,
        longitude=13.4,
        label_set=LabelSet(labels=("a dog", "ein Fußgänger"), background=("an empty path",)),
        decision=DecisionSettings(threshold=0.6, leave_threshold=0.4, margin=0.1, window_s=1, min_moments=1),
        pictures=pictures,
    )
    return SnippetMessage(header, (JPEG, JPEG + b"1", JPEG + b"2"), "1774745998250-0")


def tracked_snippet() -> SnippetMessage:
    """The same with the number of the object that its crop shows."""
    plain = snippet()
    frame, crop, other = plain.header.pictures
    pictures = (frame, crop.model_copy(update={"track": 3}), other)
    return replace(plain, header=plain.header.model_copy(update={"pictures": pictures}))


def media() -> MediaMessage:
    header = MediaHeader(
        event_id="019d3727-f93a-7abc-8def-0123456789ab",
        snippet=0,
        camera="gate",
        started_at=at(-3),
        ended_at=at(4),
        media_key="00112233445566778899aabbccddeeff",
        width=1920,
        height=1080,
    )
    return MediaMessage(header, MP4, JPEG)


def labels() -> LabelsMessage:
    header = LabelsHeader(
        snippet=snippet().header,
        media_id="1774745998250-0",
        model="local-dir:mini",
        columns=(
            Column(text="a dog", kind="target"),
            Column(text="ein Fußgänger", kind="target"),
            Column(text="an empty path", kind="background"),
            Column(text="other", kind="other"),
        ),
        moments=(at(0.5), at(1)),
        accepted=(AcceptedLabel(label="a dog", probability=0.75, started_at=at(0.5), ended_at=at(1)),),
        peaks={"a dog": 0.75, "ein Fußgänger": 0.125, "an empty path": 0.0625},
        embedding_dim=2,
        labelled_at=at(6),
    )
    probabilities = struct.pack("<8e", 0.75, 0.125, 0.0625, 0.0625, 0.5, 0.25, 0.25, 0)
    return LabelsMessage(header, probabilities, struct.pack("<6e", 1, 0, 0, -1, 0.6, 0.8))


def scored_labels() -> LabelsMessage:
    """The same with what decided: averaged scores and backgrounds of the two targets."""
    scores = struct.pack("<4f", 0.75, 0.125, 0.75, 0.25)
    backgrounds = struct.pack("<4f", 0.0625, 0.25, 0.125, 0.5)
    return replace(labels(), scores=scores, backgrounds=backgrounds)


def tracked_labels() -> LabelsMessage:
    """The same of a snippet whose crop says which object it shows."""
    said = scored_labels()
    return replace(said, header=said.header.model_copy(update={"snippet": tracked_snippet().header}))


def question() -> TextsRequest:
    return TextsRequest(
        request_id="00112233445566778899aabbccddeeff",
        label_set=LabelSet(labels=("a dog", "ein Fußgänger"), background=("an empty path",)),
        with_others=True,
        deadline_s=7.5,
    )


def answer() -> TextsAnswer:
    header = TextsAnswerHeader(
        request_id="00112233445566778899aabbccddeeff",
        model="local-dir:mini",
        temperature=32.5,
        embedding_dim=2,
        columns=labels().header.columns,
        n_targets=2,
        n_background=1,
        n_others=1,
    )
    embeddings = struct.pack("<8f", 1, 0, 0, -1, 0.6, 0.8, -1, 0)
    return TextsAnswer(header, embeddings, bytes((0, 1, 1, 0, 1, 0, 1)))


def picture_question() -> PicturesRequest:
    header = PicturesRequestHeader(
        request_id="00112233445566778899aabbccddeeff", n_pictures=2, deadline_s=7.5
    )
    return PicturesRequest(header, (JPEG, JPEG + b"1"))


def picture_answer() -> PicturesAnswer:
    header = PicturesAnswerHeader(
        request_id="00112233445566778899aabbccddeeff", model="local-dir:mini", embedding_dim=2, n_pictures=2
    )
    return PicturesAnswer(header, struct.pack("<4f", 1, 0, 0.6, 0.8))


def receipt() -> Receipt:
    header = snippet().header
    return Receipt(event_id=header.event_id, snippet=header.snippet)


def judged() -> ExamplesMessage:
    event = snippet().header.event_id
    said = (ExampleSaid(event=event, label="a dog", is_right=True), ExampleSaid(event=event, is_right=False))
    header = ExamplesHeader(
        camera="yard", model="local-dir:mini", embedding_dim=2, unrelated=0.625, said=said
    )
    return ExamplesMessage(header, 12, struct.pack("<4e", 1, 0, 0.6, -0.8))


def dead() -> Fields:
    delivery = Delivery(LABELS, "1774746004250-3", {b"h": b"{not json", b"embeddings": b"\x00\xff"}, 2)
    return dict(dead_letter(delivery, "LabelsHeader: Invalid JSON", at(10)).fields)


def all_encoded() -> dict[str, Fields]:
    """Return what each golden file, by its name, has to hold."""
    return {
        SNIPPETS: snippet().encode(),
        f"{SNIPPETS}.tracked": tracked_snippet().encode(),
        MEDIA: media().encode(),
        LABELS: labels().encode(),
        f"{LABELS}.scored": scored_labels().encode(),
        f"{LABELS}.tracked": tracked_labels().encode(),
        f"{LABELS}.dead": dead(),
        TEXTS: question().encode(),
        f"{TEXTS}.answer": answer().encode(),
        PICTURES: picture_question().encode(),
        f"{PICTURES}.answer": picture_answer().encode(),
        RECEIPTS: receipt().encode(),
        EXAMPLES: judged().encode(),
    }


def read_golden(name: str) -> Fields:
    """Return the fields in a golden file: text as it is, other bytes as {"hex": …}."""
    document = json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))
    return {
        key.encode(): value.encode() if isinstance(value, str) else bytes.fromhex(value["hex"])
        for key, value in document.items()
    }


def golden_text(fields: Fields) -> str:
    """Return what a golden file of `fields` holds."""
    document: dict[str, str | dict[str, str]] = {}
    for key, value in fields.items():
        try:
            text = value.decode()
        except UnicodeDecodeError:
            text = ""
        is_text = text.isprintable() and text.encode() == value
        document[key.decode()] = text if is_text else {"hex": value.hex()}
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"
