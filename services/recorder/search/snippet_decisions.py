"""How a recorded snippet is decided anew: by the classifier's own rule, on its recorded embeddings.

    SnippetDecisions   the port: whatever decides snippets, for labels in hindsight and for verdicts
    WordDecisions      decides by words, and by the examples of the cameras where they are given

Recorded embeddings are float16, so a probability may differ in its third digit from what was recorded at the time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Protocol

from pydantic import ValidationError
from sqlalchemy import Row

from services.recorder.record.camera_filter import CameraIds, narrowed
from services.recorder.search.hindsight_rows import EventData
from services.recorder.search.hindsight_values import HindsightRequest
from services.recorder.search.recorded_snippets import recorded_snippet
from services.recorder.search.text_requests import TextEmbedder, TextsRefused
from shared.contract import DecisionSettings, LabelSet, LabelsMessage
from shared.decisions.examples import NO_EXAMPLES, Example, LabelExamples, for_labels
from shared.decisions.label_texts import EmbeddedLabelSet
from shared.decisions.labeller import label

LABEL_SETS_MAX = 32  # different label sets when labels are added to those of then


@dataclass(frozen=True, slots=True)
class KnownExamples:
    """The examples of a camera; `unrelated`: the cosine of two pictures of different things there."""

    examples: tuple[Example, ...] = ()
    unrelated: float = 0.0

    def prepared(self, labels: tuple[str, ...]) -> LabelExamples:
        """Return those that say something of these labels."""
        return for_labels(self.examples, labels, self.unrelated)


# By camera, of the named model and these cameras; a camera without examples may be left out.
ExamplesSource = Callable[[str, CameraIds], Awaitable[Mapping[str, KnownExamples]]]


class SnippetDecisions(Protocol):
    """Decides snippets of the record anew."""

    @property
    def model(self) -> str:
        """The model that decides; empty as long as it is not known."""
        ...

    async def prepare(self, page: Sequence[EventData]) -> None:
        """Get what the next events need. Raises NoClassifier or TextsRefused."""
        ...

    def decide(self, row: Row[Any], data: EventData) -> LabelsMessage | None:  # Any: columns read by name
        """Return the answer to a snippet (a row of `snippets`) of an event; None: it cannot be decided, and keeps its
        own. Runs in a thread, after `prepare`."""
        ...


@dataclass(slots=True)
class WordDecisions:
    """Decides by the words of a request, and the examples of each camera."""

    texts: TextEmbedder
    request: HindsightRequest
    examples: ExamplesSource | None = None
    model: str = ""
    _embedded: dict[LabelSet, EmbeddedLabelSet] = field(default_factory=dict)
    _known: dict[str, Mapping[str, KnownExamples]] = field(default_factory=dict)  # by model
    _prepared: dict[tuple[str, LabelSet], LabelExamples] = field(default_factory=dict)  # by camera

    async def prepare(self, page: Sequence[EventData]) -> None:
        """Have the label sets of these events embedded, as far as they are not yet."""
        request = self.request
        if not request.adds and request.background is not None:
            await self._embed(_limited(request.labels, request.background))
        for label_set in {_label_set(row, request) for data in page for row in data.snippets}:
            await self._embed(label_set)

    async def _embed(self, label_set: LabelSet) -> None:
        if label_set in self._embedded:
            return
        if len(self._embedded) >= LABEL_SETS_MAX:
            raise TextsRefused(
                f"more than {LABEL_SETS_MAX} label sets were in use then; name a camera or a shorter time"
            )
        embedded = await self.texts.ask(label_set, with_others=True)
        self._embedded[label_set] = embedded
        self.model = embedded.name
        if self.examples is not None and embedded.name not in self._known:
            cameras = narrowed(self.request.camera, self.request.cameras)
            self._known[embedded.name] = await self.examples(embedded.name, cameras)

    def decide(self, row: Row[Any], data: EventData) -> LabelsMessage | None:  # Any: columns read by name
        """Return the answer to a snippet; None when its embeddings are not the model's."""
        label_set = _label_set(row, self.request)
        embedded = self._embedded[label_set]
        looked = recorded_snippet(row, data, label_set, _decision(row, self.request), embedded)
        if looked is None:
            return None
        labelled_at = row.labelled_at + timedelta(milliseconds=1)  # the transaction writes the time it has
        examples = self._examples_of(data.event.camera, label_set)
        return label(looked, embedded.texts, embedded, labelled_at, examples)

    def _examples_of(self, camera: str, label_set: LabelSet) -> LabelExamples:
        embedded = self._embedded[label_set]
        known = self._known.get(embedded.name, {}).get(camera)
        if known is None:
            return NO_EXAMPLES
        key = (camera, label_set)
        if key not in self._prepared:
            self._prepared[key] = known.prepared(label_set.labels)
        return self._prepared[key]


def _label_set(row: Row[Any], request: HindsightRequest) -> LabelSet:
    """Return the label set for a snippet: the new labels, beside or in place of those of then."""
    then = LabelSet.model_validate_json(row.label_set)
    labels = (*then.labels, *request.labels) if request.adds else request.labels
    if request.background is None:
        background = then.background
    else:
        background = (*then.background, *request.background) if request.adds else request.background
    return _limited(tuple(dict.fromkeys(labels)), tuple(dict.fromkeys(background)))


def _decision(row: Row[Any], request: HindsightRequest) -> DecisionSettings:
    """Return the settings of the decision for a snippet: those that are asked for, else those of then."""
    if request.decision is not None:
        return request.decision
    then = DecisionSettings.model_validate_json(row.decision)
    return then if request.threshold is None else then.model_copy(update={"threshold": request.threshold})


def _limited(labels: tuple[str, ...], background: tuple[str, ...]) -> LabelSet:
    """Return the label set; raise TextsRefused for one that no snippet may have."""
    try:
        return LabelSet(labels=labels, background=background)
    except ValidationError as exc:
        raise TextsRefused(
            f"{len(labels)} labels and {len(background)} background labels, those of then included; "
            "a snippet is asked for 200 and 50 at most"
        ) from exc
