"""Explains the decisions of an event: what was recorded, and what its pictures say under the words of then.

The words are embedded by the classifier. Where it is away, or has another model, what is recorded is explained alone,
and the answer says what is missing. Knows no HTTP.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import select

from services.recorder.record.camera_filter import CameraIds, of_cameras
from services.recorder.record.database import Database
from services.recorder.record.schema import events
from services.recorder.record.values import Event, Snippet
from services.recorder.search.camera_examples import ExamplesNow
from services.recorder.search.explanation_rows import (
    ExplainedEvent,
    ExplainedSnippet,
    read_explained,
)
from services.recorder.search.recorded_snippets import recorded_snippet
from services.recorder.search.snippet_decisions import KnownExamples
from services.recorder.search.text_requests import NoClassifier, TextEmbedder, TextsRefused
from shared.contract import LabelSet, PictureInfo
from shared.decisions.evidence import Evidence, evidence_of
from shared.decisions.explaining import (
    LabelExplanation,
    SnippetExplanation,
    explain,
    is_same_decision,
)
from shared.decisions.explanation_words import NOTHING_SEEN, event_sentence, sentence
from shared.decisions.label_texts import EmbeddedLabelSet

OTHER_MODEL = (
    "The scores of single pictures are not known: they were looked at by the model '{}', "
    "and the classifier has '{}' now."
)
OTHERWISE = (
    "The scores of single pictures are left out: computed again, they do not lead to what was recorded. "
    "The verdicts on similar pictures have changed since, or what the model makes of the words."
)
AGAIN_S = 10.0
EMBEDDED_MAX = 32  # label sets whose embeddings are kept: those of the events that are looked at


@dataclass(frozen=True, slots=True)
class LabelReason:
    """Why one label was accepted or not, in the snippet in which it came nearest to it."""

    snippet: Snippet
    limits: SnippetExplanation
    label: LabelExplanation

    @property
    def sentence(self) -> str:
        return sentence(self.label, self.limits)


@dataclass(frozen=True, slots=True)
class SeenPicture:
    """A picture that was looked at, by its number; `decides`: it had a say.

    `label`: what it shows best, with its score; None: not known.
    """

    number: int
    info: PictureInfo
    decides: bool
    label: str | None
    score: float | None


@dataclass(frozen=True, slots=True)
class EventExplanation:
    """An event's labels, accepted ones first; all pictures that were looked at, by snippet; and what is not known."""

    event: Event
    sentence: str
    reasons: tuple[LabelReason, ...]
    pictures: Mapping[int, tuple[SeenPicture, ...]]
    missing: tuple[str, ...]


@dataclass(slots=True)
class Explainer:
    """Explains events of one record. Keeps the embeddings of EMBEDDED_MAX label sets.

    A classifier that did not answer is asked again after AGAIN_S: who looks at one event after the other need not wait.
    """

    texts: TextEmbedder
    database: Database
    examples: ExamplesNow
    _silent_since: float | None = None
    _embedded: OrderedDict[LabelSet, EmbeddedLabelSet] = field(default_factory=OrderedDict)

    async def explain(self, event_id: str, cameras: CameraIds) -> EventExplanation | None:
        """Return the explanation of an event of these cameras; None when there is none."""
        async with self.database.reading() as connection:
            found = await read_explained(connection, event_id, cameras)
        if found is None:
            return None
        missing: dict[str, None] = {}  # in the order in which they are found
        words = await self._embed(found.snippets, missing)
        examples = {
            model: await self._examples(found.event.camera, model)
            for model in {one.name for one in words.values()}
        }
        explained = await asyncio.to_thread(_explained, found, words, examples, missing)
        return explained if cameras is None else await self._seen_by(explained, cameras)

    async def _seen_by(self, explained: EventExplanation, cameras: CameraIds) -> EventExplanation:
        """Leave out examples of cameras that are not seen: those of a group come from all of its cameras."""
        ids = {one.event for reason in explained.reasons for one in reason.label.examples}
        async with self.database.reading() as connection:
            mine = select(events.c.id).where(events.c.id.in_(ids), *of_cameras(events.c.camera, cameras))
            seen = set((await connection.scalars(mine)).all()) if ids else set()
        reasons = (
            replace(
                one,
                label=replace(
                    one.label, examples=tuple(said for said in one.label.examples if said.event in seen)
                ),
            )
            for one in explained.reasons
        )
        return replace(explained, reasons=tuple(reasons))

    async def _embed(
        self, snippets: Sequence[ExplainedSnippet], missing: dict[str, None]
    ) -> dict[int, EmbeddedLabelSet]:
        """Return the words of each snippet as the classifier embeds them now, where it does."""
        found: dict[int, EmbeddedLabelSet] = {}
        asked: dict[LabelSet, EmbeddedLabelSet | None] = {}  # once for each; None: refused
        for one in snippets:
            if not one.recorded.pictures:
                continue
            try:
                if one.label_set not in asked:
                    asked[one.label_set] = None
                    asked[one.label_set] = await self._ask(one.label_set, one.snippet.model)
                if (words := asked[one.label_set]) is not None:
                    found[one.snippet.snippet] = words
            except (NoClassifier, TextsRefused) as exc:
                missing[f"The scores of single pictures are not known: {exc}."] = None
                if isinstance(exc, NoClassifier):
                    break
        return found

    async def _ask(self, label_set: LabelSet, model: str) -> EmbeddedLabelSet:
        known = self._embedded.get(label_set)
        if known is None or known.name != model:  # the classifier may have the model of then again
            if self._silent_since is not None and time.monotonic() - self._silent_since < AGAIN_S:
                raise NoClassifier("no classifier answered a moment ago")
            try:
                known = await self.texts.ask(label_set, with_others=True)
            except NoClassifier:
                self._silent_since = time.monotonic()
                raise
            self._silent_since = None
            self._embedded[label_set] = known
        self._embedded.move_to_end(label_set)
        while len(self._embedded) > EMBEDDED_MAX:
            self._embedded.popitem(last=False)
        return known

    async def _examples(self, camera: str, model: str) -> KnownExamples:
        """Return the camera's examples as the classifier knows them now."""
        try:
            return await self.examples(camera, model)
        except NoClassifier:
            return KnownExamples()  # what they changed does not fit what is computed then, and is left out


def _explained(
    event: ExplainedEvent,
    words: Mapping[int, EmbeddedLabelSet],
    examples: Mapping[str, KnownExamples],
    missing: dict[str, None],
) -> EventExplanation:
    nearest: dict[str, LabelReason] = {}
    pictures: dict[int, tuple[SeenPicture, ...]] = {}
    for one in event.snippets:
        embedded = words.get(one.snippet.snippet)
        evidence = None
        if embedded is not None:
            evidence = _evidence(event, one, embedded, examples[embedded.name])
            if evidence is None:
                is_other = embedded.name != one.snippet.model
                missing[OTHER_MODEL.format(one.snippet.model, embedded.name) if is_other else OTHERWISE] = (
                    None
                )
        found = explain(one.recorded, evidence)
        if (
            found.n_moments
            and evidence is None
            and any(label.scores is None for label in one.recorded.labels)
        ):
            missing["The averaged scores of its moments were not kept by the classifier of then."] = None
        for label in found.labels:
            reason = LabelReason(one.snippet, found, label)
            if label.label not in nearest or _rank(reason) > _rank(nearest[label.label]):
                nearest[label.label] = reason
        pictures[one.snippet.snippet] = _pictures(one, evidence)
    has_moments = any(one.recorded.times for one in event.snippets)
    if has_moments and not any(pictures.values()):
        missing["Which pictures were looked at was not kept."] = None
    reasons = sorted(nearest.values(), key=_rank, reverse=True)
    said = event_sentence([(one.label, one.limits) for one in reasons]) if has_moments else NOTHING_SEEN
    return EventExplanation(event.event, said, tuple(reasons), pictures, tuple(missing))


def _rank(reason: LabelReason) -> tuple[bool, float, float]:
    """Sort what was accepted first, then what came nearest to its threshold."""
    label = reason.label
    if label.is_accepted:
        return True, label.peak, 0.0
    return False, label.peak - reason.limits.threshold, label.peak


def _evidence(
    event: ExplainedEvent, one: ExplainedSnippet, words: EmbeddedLabelSet, examples: KnownExamples
) -> Evidence | None:
    """Return what leads to the recorded decision, with the examples of now or without any; None: nothing does."""
    again = recorded_snippet(one.row, event.data, one.label_set, one.recorded.settings, words)
    if again is None:
        return None
    prepared = examples.prepared(one.label_set.labels)
    if len(prepared):
        found = evidence_of(again, words, prepared)
        if is_same_decision(one.recorded, found):
            return found
    found = evidence_of(again, words)
    return found if is_same_decision(one.recorded, found) else None


def _pictures(one: ExplainedSnippet, evidence: Evidence | None) -> tuple[SeenPicture, ...]:
    deciding = {index for indices in one.recorded.deciding for index in indices}
    found = []
    for number, info in enumerate(one.recorded.pictures):
        label, score = None, None
        if evidence is not None and one.recorded.seen[number]:
            best = int(evidence.shares.scores[number].argmax())
            label, score = evidence.labels[best], float(evidence.shares.scores[number, best])
        found.append(SeenPicture(number, info, number in deciding, label, score))
    return tuple(found)
