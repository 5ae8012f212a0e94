"""Twelve judged cameras and eight to tune by: who passes before each on every day, drawn and embedded once.

Each camera has labels in the words of its owner, things that bear them truly (real events), nuisances that come again
and again and are accepted as one of the labels, and a visitor that is taken for something else and has a name of its
own. Whether a nuisance is accepted is found on trial events of its own, which are no part of the record.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pictures import Array, Thing

from bench import feedback_pictures as drawing
from bench.feedback_pictures import Camera, Look, Whereabouts
from bench.feedback_record import REAL, VISITOR, CameraRecord, SeenEvent, in_order, load, save, snippet_of
from bench.feedback_things import HeldOut, Side, family, held_out
from services.classifier.model.preprocess import stack
from services.classifier.port import Model
from services.classifier.words.prompts import LabelBank
from shared.contract import LabelSet
from shared.decisions.labeller import decision_of

VERSION = 1  # of what is drawn; records of another version are drawn again
N_DAYS = 6
N_A_DAY = 2  # of each nuisance, of the visitor, and of each label's real events
N_TRIALS = 6  # events by which it is known what a nuisance is taken for
N_CANDIDATES = 20
USUALLY = 0.5  # share of trials in which a nuisance has to be accepted as some label

# what a label's real events show; the owners of the two sides use other words
CONCEPTS = {
    "a person": "person",
    "a pedestrian": "person",
    "someone": "person",
    "a dog": "dog",
    "a cat": "cat",
    "a bird": "bird",
    "a horse": "horse",
    "a car": "car",
    "a vehicle": "vehicle",
    "a truck": "truck",
    "a bicycle": "bicycle",
}
CAMERAS: dict[Side, tuple[tuple[tuple[str, ...], str], ...]] = {
    "tuning": (
        (("a person", "a dog", "a car"), "an empty yard"),
        (("a person", "a horse", "a bird"), "an empty garden"),
        (("a person", "a horse", "a truck"), "a meadow"),
        (("a person", "a dog", "a bicycle"), "an empty street"),
        (("a dog", "a bird", "a car"), "a driveway"),
        (("a person", "a bird", "a dog", "a car"), "a lawn"),
        (("a bird", "a horse"), "a field"),
        (("a person", "a truck"), "a car park"),
    ),
    "judged": (
        (("a pedestrian", "a dog", "a vehicle"), "an empty courtyard"),
        (("someone", "a cat", "a bird"), "a terrace"),
        (("a pedestrian", "a horse", "a truck"), "a paddock"),
        (("a pedestrian", "a dog", "a bicycle"), "an empty path"),
        (("a dog", "a bird", "a vehicle"), "an entrance"),
        (("someone", "a cat", "a dog", "a vehicle"), "a backyard"),
        (("a bird", "a horse"), "grass"),
        (("a pedestrian", "a truck"), "an empty road"),
        (("a bird", "a cat"), "a wall"),
        (("someone", "a vehicle"), "a gate"),
        (("a dog", "a horse", "a pedestrian"), "a stable yard"),
        (("a bicycle", "a bird", "a vehicle"), "trees"),
    ),
}
ANIMAL = "animal"
PLANTS = ("plant", "flower", "fruit", "vegetable", "food", "mushroom", "insect", "butterfly", "furniture")
SEEN_ANYWHERE = ("flag", "shadow")  # kinds that are drawn, each time another one


@dataclass(frozen=True, slots=True)
class Mover:
    """Something that shows up before a camera: how it looks, where, and what is true of it."""

    kind: str
    look: Look
    where: Whereabouts
    said: str  # what it is, in words
    shown: frozenset[str] = frozenset()
    name: str = ""


@dataclass(frozen=True, slots=True)
class EmbeddingModel:
    """A model, and the words of one camera."""

    model: Model
    bank: LabelBank

    def embedded(self, seen: Sequence[Array]) -> Array:
        found: Array = self.model.embed_pictures(stack(list(seen)))
        return found.astype(np.float16).astype(np.float32)  # as it is kept

    def accepted(self, event: SeenEvent, label_set: LabelSet) -> set[str]:
        texts = self.bank.get(label_set)
        decision = decision_of(snippet_of(event, label_set), texts, self.model.facts.temperature).decision
        return {label_set.labels[run.target] for run in decision.accepted}


def records(
    cache: Path, side: Side, embedding: EmbeddingModel, log: Callable[[str], None], n: int = 99
) -> Iterator[CameraRecord]:
    """Give a side's cameras, `n` at most; what the cache lacks is drawn and embedded."""
    shown: HeldOut | None = None
    for number, words in enumerate(CAMERAS[side][:n]):
        path = cache / f"feedback-{VERSION}" / side / f"{number:02d}.npz"
        if not path.is_file():
            shown = shown or held_out(cache, side)
            rng = np.random.default_rng([zlib.crc32(side.encode()), number])
            record = _recorded(f"{side}-{number:02d}", words, shown, embedding, rng)
            log(f"{record.name}: {len(record.events)} events, {record.movers}")
            save(record, path)
        yield load(path)


@dataclass(frozen=True, slots=True)
class _Site:
    """A camera at its place, and who looks at its pictures."""

    camera: Camera
    label_set: LabelSet
    embedding: EmbeddingModel
    rng: np.random.Generator

    def event(self, mover: Mover, day: int, weather: float) -> SeenEvent:
        hour = float(self.rng.uniform(5, 22.5))
        light = drawing.light_at(self.camera, hour, weather, self.rng)
        made = drawing.event_pictures(self.camera, mover.look, mover.where, light, self.rng)
        embedded = self.embedding.embedded([seen for _, seen in made])
        offsets = tuple(t_s for t_s, _ in made)
        return SeenEvent(mover.kind, day * 86400 + hour * 3600, mover.shown, mover.name, offsets, embedded)

    def is_usually_accepted(self, mover: Mover) -> bool:
        """Try single events until it is known whether half of N_TRIALS are accepted as any label."""
        n_accepted = 0
        for n in range(N_TRIALS):
            trial = self.event(mover, 0, float(self.rng.random()))
            n_accepted += bool(self.embedding.accepted(trial, self.label_set))
            if n_accepted + N_TRIALS - n - 1 < USUALLY * N_TRIALS:
                return False
        return True


def _recorded(
    name: str,
    words: tuple[tuple[str, ...], str],
    shown: HeldOut,
    embedding: EmbeddingModel,
    rng: np.random.Generator,
) -> CameraRecord:
    label_set = LabelSet(labels=words[0], background=(words[1],))
    place = shown.places[int(rng.integers(len(shown.places)))]
    site = _Site(drawing.camera_at(place, rng), label_set, embedding, rng)
    movers = [_real(label, shown, rng) for label in label_set.labels]
    for candidates in _candidates(label_set, shown, rng):
        known = {mover.said for mover in movers}
        fresh = (one for one in candidates if one.kind in SEEN_ANYWHERE or one.said not in known)
        movers += itertools.islice(filter(site.is_usually_accepted, fresh), 1)
    events = [
        site.event(mover, day, float(weather))
        for day, weather in enumerate(rng.uniform(0, 1, N_DAYS))
        for mover in movers
        for _ in range(N_A_DAY)
    ]
    said = {"place": place.identity}
    for mover in movers:
        said[f"{mover.kind} {mover.name}{''.join(sorted(mover.shown))}".strip()] = mover.said
    return CameraRecord(name, label_set.labels, label_set.background, said, in_order(events))


def _real(label: str, shown: HeldOut, rng: np.random.Generator) -> Mover:
    things = [thing for thing in shown.things if CONCEPTS[label] in family(thing.concept)]
    if not things:
        raise ValueError(f"{label!r}: no thing that shows it is held out; name others in CAMERAS")
    chosen = [things[int(index)] for index in rng.permutation(len(things))[:3]]
    looks = [drawing.thing_look(thing, _hues(thing)) for thing in chosen]
    said = " ".join(thing.identity for thing in chosen)
    return Mover(REAL, _one_of(looks), _path(rng), said, frozenset({label}))


def _one_of(looks: Sequence[Look]) -> Look:
    return lambda rng: looks[int(rng.integers(len(looks)))](rng)


def _hues(thing: Thing) -> float:
    return 0.2 if family(thing.concept) & {"person", "vehicle", "bicycle"} else 0.06


def _path(rng: np.random.Generator) -> Whereabouts:
    near = float(rng.uniform(70, 150))
    return Whereabouts(
        float(rng.uniform(220, 420)),
        float(rng.uniform(200, 380)),
        spread_px=60,
        side_px=(0.7 * near, 1.3 * near),
        px_s=float(rng.uniform(20, 90)),
    )


def _spot(rng: np.random.Generator, spread_px: float) -> Whereabouts:
    near = float(rng.uniform(60, 140))
    return Whereabouts(
        float(rng.uniform(100, 540)),
        float(rng.uniform(100, 380)),
        spread_px=spread_px,
        side_px=(0.92 * near, 1.08 * near),
        px_s=0.0,
    )


def _candidates(label_set: LabelSet, shown: HeldOut, rng: np.random.Generator) -> Iterator[Iterator[Mover]]:
    """Give, for each kind of nuisance and for the visitor, what it may be: nothing that bears a label truly."""
    named = {CONCEPTS[label] for label in label_set.labels}
    strangers = [thing for thing in shown.things if not family(thing.concept) & named]
    strangers = [strangers[int(index)] for index in rng.permutation(len(strangers))]
    animals = [thing for thing in strangers if ANIMAL in family(thing.concept)]
    machines = [thing for thing in strangers if not family(thing.concept) & {ANIMAL, "person", *PLANTS}]

    def thing(kind: str, thing: Thing, name: str = "") -> Mover:
        return Mover(kind, drawing.thing_look(thing, _hues(thing)), _path(rng), thing.identity, name=name)

    n = range(N_CANDIDATES)
    yield (Mover("flag", drawing.any_flag(rng), _spot(rng, 1), "drawn") for _ in n)
    yield (Mover("shadow", drawing.any_shadow(rng), _spot(rng, 12), "drawn") for _ in n)
    yield (thing("machine", one) for one in machines[:N_CANDIDATES])
    yield (thing("animal", one) for one in animals[:N_CANDIDATES])
    yield (thing(VISITOR, one, _name(one)) for one in reversed(animals))


def _name(thing: Thing) -> str:
    word = thing.concept
    if thing.names and len(thing.names[0].split()) <= 3:
        word = thing.names[0].removeprefix("a ").removeprefix("an ").removeprefix("the ")
    return f"{'an' if word[0] in 'aeiou' else 'a'} {word}"
