"""From what the services said to figures, thresholds, a temperature and a page; without services and model."""

from __future__ import annotations

import html.parser
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from services.classifier.embed_labels import EmbeddedTexts
from services.classifier.port import ModelFacts
from services.local.evaluation.classification import ClassifiedClip, ClassifiedClips
from services.local.evaluation.decisions import decide_clips, threshold_curve
from services.local.evaluation.labelled_clips import LabelledClip
from services.local.evaluation.page import html_of, write_page
from services.local.evaluation.plan import EvaluateOptions, check_evaluation
from services.local.evaluation.results import Evaluation, as_document, warnings_of
from services.local.evaluation.temperature_fit import TemperatureFit, calibrate_temperature, examples_of
from shared.contract import (
    Column,
    DecisionSettings,
    LabelSet,
    LabelsMessage,
    PictureInfo,
    SnippetHeader,
    SnippetMessage,
)
from shared.decisions.label_texts import LabelTexts
from shared.decisions.labeller import EmbeddedSnippet, label
from shared.errors import ConfigError
from tests.e2e.conftest import SAMPLES

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)
LABELS = ("a dog", "a <b>cat</b>")
FACTS = ModelFacts("toy", 32, 4, 20.0)
# four directions: dog, cat, the background, a thing nobody asked for
TEXTS = LabelTexts(
    columns=(
        Column(text=LABELS[0], kind="target"),
        Column(text=LABELS[1], kind="target"),
        Column(text="a lawn", kind="background"),
        Column(text="other", kind="other"),
    ),
    embeddings=np.eye(4, dtype=np.float32),
    n_targets=2,
    n_background=1,
    rivals=np.array([[False, True], [True, False]]),
    against=np.array([[True], [True]]),
    shown=np.array([True]),
)


def said(name: str, direction: int, strength: float, n_moments: int = 4) -> LabelsMessage:
    """What the classifier says of a clip whose pictures lean towards one direction."""
    infos = tuple(
        PictureInfo(moment=n, kind="crop", captured_at=NOON + timedelta(seconds=n), width=32, height=32)
        for n in range(n_moments)
    )
    header = SnippetHeader(
        event_id="0197a3b0-0000-7000-8000-000000000000",
        snippet=0,
        is_last=True,
        camera=name,
        event_started_at=NOON,
        started_at=NOON,
        ended_at=NOON + timedelta(seconds=n_moments),
        label_set=LabelSet(labels=LABELS, background=("a lawn",)),
        pictures=infos,
    )
    vector = np.full(4, 0.1, dtype=np.float32)
    vector[direction] = strength
    rows = np.tile(vector / np.linalg.norm(vector), (n_moments, 1)).astype(np.float32)
    looked = EmbeddedSnippet(
        SnippetMessage(header, (b"",) * n_moments), rows, np.ones(n_moments, dtype=np.bool_)
    )
    return label(looked, TEXTS, FACTS, NOON)


def clip(name: str, *truth: str) -> LabelledClip:
    return LabelledClip(Path(f"/clips/{name}"), name, frozenset(truth))


CLASSIFIED = ClassifiedClips(
    (
        ClassifiedClip(clip("1.mp4", "a dog"), [said("c", 0, 0.9)], b"\xff\xd8picture"),
        ClassifiedClip(clip("2.mp4", "a dog"), [said("c", 1, 0.8)]),
        ClassifiedClip(clip("3.mp4", LABELS[1]), [said("c", 2, 0.5), said("c", 1, 0.9)]),
        ClassifiedClip(clip("4.mp4"), [said("c", 2, 0.9)]),
        ClassifiedClip(clip("5 & 6.mp4", "a dog")),
    ),
    FACTS,
    TEXTS,
    (),
)


def evaluation(calibration: TemperatureFit | None = None) -> Evaluation:
    decision = DecisionSettings()
    return Evaluation(
        model="toy",
        temperature=20.0,
        threshold=0.5,
        labels=LABELS,
        background=("a lawn",),
        wanted_precision=0.95,
        clips=decide_clips(CLASSIFIED, decision),
        curves=threshold_curve(CLASSIFIED, decision, LABELS),
        calibration=calibration,
        ece_before=0.5 if calibration else None,
        notes=("a note",),
    )


def test_clips_are_answers_as_the_service_said_it() -> None:
    answers = decide_clips(CLASSIFIED, DecisionSettings())
    assert [one.accepted for one in answers] == [("a dog",), (LABELS[1],), (LABELS[1],), (), ()]
    assert [one.has_motion for one in answers] == [True, True, True, True, False]
    first = CLASSIFIED.clips[0].messages[0].header
    # the messages carry float16
    assert answers[0].peaks["a dog"] == pytest.approx(first.peaks["a dog"], abs=2e-3)
    assert answers[0].peaks["a lawn"] == pytest.approx(first.peaks["a lawn"], abs=2e-3)


def test_a_higher_threshold_never_finds_more() -> None:
    curve = threshold_curve(CLASSIFIED, DecisionSettings(), LABELS)
    said_n = [at.counts.hits + at.counts.false_alarms for at in curve[""]]
    assert said_n == sorted(said_n, reverse=True)
    assert said_n[0] >= 3
    assert [at.threshold for at in curve["a dog"]] == sorted({at.threshold for at in curve["a dog"]})


def test_a_clip_with_nothing_in_it_is_true_of_all_that_was_not_asked_for() -> None:
    examples = examples_of(CLASSIFIED)
    assert [example.group for example in examples] == ["a dog", "a dog", LABELS[1], ""]
    assert examples[-1].is_true.tolist() == [False, False, True, True]
    assert examples[2].cosines.shape == (8, 4)


def test_too_few_clips_calibrate_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MODELS_DIR", str(tmp_path))
    with pytest.raises(ConfigError, match="4 clips with motion and one truth"):
        calibrate_temperature(CLASSIFIED, "mini", Path("clips"))
    assert list(tmp_path.iterdir()) == []


def test_the_document_is_json_and_adds_up() -> None:
    document = json.loads(json.dumps(as_document(evaluation())))
    assert document["clips"] == 5
    assert document["clips_without_motion"] == 1
    assert document["exactly_right"] == pytest.approx(3 / 5)
    assert document["labels"]["a dog"]["hits"] == 1
    assert document["labels"]["a dog"]["misses"] == 2
    assert document["labels"][LABELS[1]]["false_alarms"] == 1
    assert sum(bin_["answers"] for bin_ in document["reliability"]) == 5 * 2
    assert sum(sum(row.values()) for row in document["confusion"].values()) == 5


def test_few_clips_are_said_to_be_few() -> None:
    notes = " ".join(warnings_of(evaluation()))
    assert "'a dog' 3" in notes
    assert "a note" in notes


def test_a_calibration_that_makes_the_peaks_less_true_is_told() -> None:
    found = evaluation(TemperatureFit(20.0, 31.0, 0.9, 0.7, 12, Path("x.json")))
    error = found.reliability[1]
    assert error > 0
    worse = warnings_of(replace(found, ece_before=error / 2))
    assert any(f"calibration error of the peaks ({error / 2:.3f} -> {error:.3f})" in said for said in worse)
    for before in (error, 1.0, None):
        assert not any("calibration error" in said for said in warnings_of(replace(found, ece_before=before)))


class _Reader(html.parser.HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("href", "src") and value]
        self.ids += [value for name, value in attrs if name == "id" and value]


def test_the_page_holds_what_was_found_and_nothing_of_others(tmp_path: Path) -> None:
    calibration = TemperatureFit(20.0, 31.0, 0.9, 0.7, 12, Path("x.json"))
    page = write_page(tmp_path / "out", evaluation(calibration), CLASSIFIED.clips)
    text = page.read_text(encoding="utf-8")
    reader = _Reader()
    reader.feed(text)
    assert not [address for address in reader.addresses if "//" in address]
    assert "script" not in reader.tags
    assert "b>cat" not in text.replace("&lt;b&gt;cat", "")
    assert "31.00" in text
    pictures = [address for address in reader.addresses if address.startswith("pictures/")]
    assert [(tmp_path / "out" / name).read_bytes() for name in pictures] == [b"\xff\xd8picture"]
    inside = [address[1:] for address in reader.addresses if address.startswith("#")]
    assert inside
    assert set(inside) <= set(reader.ids)
    assert len(set(reader.ids)) == len(reader.ids)
    assert text.index(">2.mp4<") < text.index(">1.mp4<"), "wrong answers come first"


def test_a_page_without_pictures_says_so() -> None:
    assert "no picture" in html_of(evaluation(), {}, {}, {})


def test_embedded_texts_survive_their_file(tmp_path: Path) -> None:
    EmbeddedTexts(FACTS, TEXTS).write(tmp_path / "t.npz")
    found = EmbeddedTexts.read(tmp_path / "t.npz")
    assert found.facts == FACTS
    assert found.texts.columns == TEXTS.columns
    for name in ("embeddings", "rivals", "against", "shown"):
        np.testing.assert_array_equal(getattr(found.texts, name), getattr(TEXTS, name))


def options(folder: Path, *labels: str, model: str = "mini", out: Path = Path("/nowhere")) -> EvaluateOptions:
    return EvaluateOptions(folder, labels, (), DecisionSettings(), model, out)


def test_all_faults_of_the_options_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "a dog").mkdir()
    (tmp_path / "a dog" / "1.mp4").write_bytes(b"no video")
    (tmp_path / "out").write_text("a file")
    with pytest.raises(ConfigError) as caught:
        check_evaluation(options(tmp_path, "a cat", model="vit-none", out=tmp_path / "out"))
    text = "\n".join(caught.value.faults)
    assert [part in text for part in ("1.mp4", "no clip shows 'a cat'", "--model vit-none", "--out")] == [
        True
    ] * 4


def test_labels_that_were_not_asked_for_are_ignored_and_told(tmp_path: Path) -> None:
    for name in ("a bicycle", "a car"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "1.mp4").symlink_to(SAMPLES / "street.mp4")
    plan = check_evaluation(options(tmp_path, "a car"))
    assert plan.ignored == ("a bicycle",)
    assert [set(clip.truth) for clip in plan.clips] == [set(), {"a car"}]
