"""How well a search's relevance floor tells what a record has from what it has not, JSON.

    PYTHONPATH=.:models python bench/search_floor.py [--cache FOLDER] [--model MODEL]

Needs Debian (apt-get download). Records are drawn of events: three pictures each of one thing as a camera sees it
(models/compose.py), or of nothing. Words and pictures are sought that are there (of pictures: another event of the same
thing), and such as are not; what is merely related to something that is there is not asked. A search has a match when
its best event passes the floor. Things are split into halves by a hash of what they are. One half chooses each floor:
where `kept` (matches of what is there) and `refused` (no match of what is not) have the largest sum, since what is
called no match is shown all the same. The other half is told; `unseen` are those of its things that mini was not
trained on. On the samples nothing is chosen.
Pictures are drawn and embedded once, and kept in the cache (search_floor.npz).
"""

from __future__ import annotations

import argparse
import json
import sys
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import compose
import numpy as np
import sources
import words
from numpy.typing import NDArray
from pictures import Place, shrink

from bench.classifier_decisions import SAMPLES, cut, look
from bench.scenes_pictures import backgrounds, fetch
from services.classifier.model.preprocess import stack
from services.classifier.model.runtimes import load_on_cpu
from services.classifier.port import Model
from services.classifier.settings import ClassifierSettings
from services.classifier.weights.names import resolve_model
from services.classifier.words.prompts import embed_labels
from services.recorder.search.common_words import COMMON_WORDS
from services.recorder.search.floor import deviations, distances
from services.recorder.search.likeness import COHORT
from shared.logs import configure_logs

Floats = NDArray[np.float32]
Score = Callable[[Floats], Floats]  # of each of the pictures float32[N,D]: the more, the better it fits
NOTHING = "nothing"
ANYTHING = {"object", "animal", "mammal"}  # is not asked for: what is it not?
N_RECORDS, N_PICTURE_QUERIES = 60, 40
N_SEEN, N_UNSEEN, N_NOTHING = 1, 4, 120  # events a thing
# What the samples show (samples/README.md), and what they do not; written down before anything was measured.
SAMPLES_HAVE = ("a person", "people walking", "a pedestrian", "a car", "a bicycle", "a taxi", "a van")
SAMPLES_LACK = (
    *(
        "a horse",
        "an elephant",
        "a fish",
        "a penguin",
        "a cow",
        "a cat",
        "a boat",
        "an airplane",
        "a tractor",
    ),
    *("a flower", "a banana", "a plate of food", "a swimming pool", "a mountain with snow", "a piano"),
)


@dataclass(frozen=True, slots=True)
class DrawnEvent:
    """Pictures of one thing; `is_unseen`: mini was not trained on the thing."""

    thing: str
    concept: str
    is_unseen: bool
    vectors: Floats  # float32[N,D]


@dataclass(frozen=True, slots=True)
class Trial:
    """One search: whether what is sought is there, whether the best event shows it, and how well that fits."""

    is_there: bool
    is_right: bool
    score: float


def main() -> int:
    """Run the command line."""
    configure_logs("bench", "WARNING", "json")
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, default=Path("data/bench"))
    parser.add_argument("--model", default="mini")
    wanted = parser.parse_args()
    settings = ClassifierSettings()
    model = load_on_cpu(resolve_model(wanted.model, settings.models_dir), settings)
    drawn = drawn_events(wanted.cache.resolve(), model)
    bank = embed_labels(model, COMMON_WORDS)
    print(json.dumps(measured(drawn, model, bank), indent=1))
    return 0


def measured(drawn: Sequence[DrawnEvent], model: Model, bank: Floats) -> dict[str, object]:
    """Return the figures of all floors, words and pictures."""
    halves = [[event for event in drawn if half_of(event) == half] for half in (0, 1)]
    unseen = [event for event in halves[1] if event.is_unseen or event.concept == NOTHING]
    said: dict[str, object] = {"events": [len(half) for half in halves], "events_unseen": len(unseen)}
    concepts = sorted({event.concept for event in drawn} - ANYTHING - {NOTHING})
    texts = dict(
        zip(concepts, embed_labels(model, tuple(words.with_article(f"a {c}") for c in concepts)), strict=True)
    )
    floors: dict[str, float] = {}
    for name, search in searches(texts, bank).items():
        choosing, told, new = (list(search(half)) for half in (*halves, unseen))
        floors[name] = chosen(choosing)
        said[name] = {
            "floor": round(abs(floors[name]), 3),
            "chosen_on": shares(choosing, floors[name]),
            "told": shares(told, floors[name]),
            "unseen": shares(new, floors[name]),
        }
    absent = [
        event
        for event in halves[1]
        if event.concept in {"fish", "fruit", "flower", "parrot", "insect", "frog"}
    ]
    said["samples"] = on_samples(model, bank, floors, absent)
    return said


Search = Callable[[Sequence[DrawnEvent]], Iterator[Trial]]


def searches(texts: dict[str, Floats], bank: Floats) -> dict[str, Search]:
    """Return what is tried: words and pictures, each by the best picture and by the mean over the object's."""
    found: dict[str, Search] = {}
    for name, is_mean in (("best", False), ("mean", True)):
        found[f"words_{name}"] = partial(by_words, texts=texts, bank=bank, is_mean=is_mean)
        found[f"picture_{name}"] = partial(by_pictures, is_mean=is_mean)
    return found


def half_of(event: DrawnEvent) -> int:
    """Return 0 for the half that chooses, 1 for the one that is told."""
    name = event.vectors[0].tobytes() if event.concept == NOTHING else event.concept.encode()
    return zlib.crc32(name) % 2


def chosen(trials: Sequence[Trial]) -> float:
    """Return the floor with the largest sum of both shares (Youden 1950)."""
    there = np.array([one.score for one in trials if one.is_there])
    absent = np.array([one.score for one in trials if not one.is_there])
    candidates = np.concatenate([there, absent])
    sums = [float((there >= floor).mean() + (absent < floor).mean()) for floor in candidates]
    return float(candidates[int(np.argmax(sums))])


def shares(trials: Sequence[Trial], floor: float) -> dict[str, float]:
    """Return both shares, and of how many searches."""
    there = [one for one in trials if one.is_there]
    absent = [one for one in trials if not one.is_there]
    return {
        "kept": round(float(np.mean([one.score >= floor for one in there])), 3),
        "refused": round(float(np.mean([one.score < floor for one in absent])), 3),
        "best_event_is_right": round(float(np.mean([one.is_right for one in there])), 3),
        "searches_there": len(there),
        "searches_absent": len(absent),
    }


# -- searches


def records(half: Sequence[DrawnEvent]) -> Iterator[tuple[np.random.Generator, list[DrawnEvent]]]:
    """Yield records: some events of three to twelve concepts, and 10 to 60 of nothing."""
    by_concept: dict[str, list[DrawnEvent]] = {}
    for event in half:
        by_concept.setdefault(event.concept, []).append(event)
    nothing = by_concept.pop(NOTHING)
    for number in range(N_RECORDS):
        rng = np.random.default_rng([17, number])
        present = rng.permutation(sorted(by_concept))[: int(rng.integers(3, 13))]
        chosen = [
            event
            for concept in present
            for event in some(
                rng, by_concept[concept], max(1, round(len(by_concept[concept]) * rng.uniform(0.15, 1)))
            )
        ]
        yield rng, chosen + some(rng, nothing, int(rng.integers(10, 61)))


def some(rng: np.random.Generator, events: Sequence[DrawnEvent], n: int) -> list[DrawnEvent]:
    return [events[int(at)] for at in rng.permutation(len(events))[:n]]


def by_words(
    half: Sequence[DrawnEvent], texts: dict[str, Floats], bank: Floats, is_mean: bool
) -> Iterator[Trial]:
    """Seek every concept of the half by its name."""
    mine = sorted({event.concept for event in half} & set(texts))
    for _, record in records(half):
        for concept in mine:
            are_right = [shows(event, concept) for event in record]
            if any(are_right) or not any(is_related(concept, event.concept) for event in record):
                score: Score = partial(deviations, sought=texts[concept], bank=bank)
                yield trial(record, are_right, texts[concept], score, is_mean)


def by_pictures(half: Sequence[DrawnEvent], is_mean: bool) -> Iterator[Trial]:
    """Seek things that have several events by a picture of one of them."""
    n_events = Counter(event.thing for event in half)
    asked = [
        event for event in half if n_events[event.thing] > 1 and event.concept not in ANYTHING | {NOTHING}
    ]
    for rng, record in records(half):
        for event in some(rng, asked, N_PICTURE_QUERIES):
            rest = [one for one in record if one is not event]
            are_right = [one.thing == event.thing for one in rest]
            if any(are_right) or not any(is_related(event.concept, one.concept) for one in rest):
                cohort = np.concatenate([one.vectors for one in rest])
                score: Score = partial(nearness, sought=event.vectors[0], cohort=sampled(cohort))
                yield trial(rest, are_right, event.vectors[0], score, is_mean)


def trial(
    record: Sequence[DrawnEvent], are_right: Sequence[bool], sought: Floats, score: Score, is_mean: bool
) -> Trial:
    """Return how a search ends."""
    best = int(np.argmax([(event.vectors @ sought).max() for event in record]))
    return Trial(any(are_right), are_right[best], fit(record[best].vectors, sought, score, is_mean))


def fit(vectors: Floats, sought: Floats, score: Score, is_mean: bool) -> float:
    """Return how well an object fits: its pictures on average, or the one with the largest cosine."""
    scores = score(vectors)
    return float(scores.mean() if is_mean else scores[(vectors @ sought).argmax()])


def nearness(pictures: Floats, sought: Floats, cohort: Floats) -> Floats:
    """Return the distances with the other sign, so that more is better."""
    return -distances(pictures, sought, cohort)


def sampled(pictures: Floats) -> Floats:
    """Return up to COHORT of them, evenly spread."""
    return pictures[np.linspace(0, len(pictures) - 1, min(COHORT, len(pictures))).astype(np.int64)]


def shows(event: DrawnEvent, concept: str) -> bool:
    """Tell whether it is what the word says, or a kind of it."""
    return event.concept != NOTHING and concept in words.ancestors(event.concept)


@cache
def is_related(one: str, other: str) -> bool:
    """Tell whether a picture of one may show the other."""
    if other == NOTHING:
        return False
    kinds = {one} | words.undecided(one) | words.ancestors(one)
    return other in kinds or one in words.undecided(other) | words.ancestors(other)


# -- the samples


def on_samples(
    model: Model, bank: Floats, floors: dict[str, float], absent: Sequence[DrawnEvent]
) -> dict[str, object]:
    """Return what the floors say on the two sample videos: how many events match each search."""
    objects: list[Floats] = []  # crops of one object each, of all events
    events: list[int] = []
    for number, snippet in enumerate(looked := [look(model, one) for one in cut(SAMPLES)]):
        tracks: dict[int, list[int]] = {}
        for index, info in enumerate(snippet.message.header.pictures):
            tracks.setdefault(-1 - index if info.track is None else info.track, []).append(index)
        objects += [snippet.embeddings[rows] for rows in tracks.values()]
        events += [number] * len(tracks)
    said: dict[str, object] = {"events": len(looked), "pictures": sum(len(one) for one in objects)}
    for name, is_mean in (("best", False), ("mean", True)):
        for kind, texts in (("there", SAMPLES_HAVE), ("absent", SAMPLES_LACK)):
            found: dict[str, int] = {}
            for text, sought in zip(texts, embed_labels(model, texts), strict=True):
                score: Score = partial(deviations, sought=sought, bank=bank)
                found[text] = n_matching(objects, events, sought, score, is_mean, floors[f"words_{name}"])
            said[f"words_{name}_{kind}"] = found
        every = np.concatenate(objects)
        cohort = sampled(every)
        n_refused = 0
        for event in absent:
            sought = event.vectors[0]
            like: Score = partial(nearness, sought=sought, cohort=cohort)
            n_refused += n_matching(objects, events, sought, like, is_mean, floors[f"picture_{name}"]) == 0
        n_kept = 0
        for at, number in enumerate(events):
            sought = objects[at][len(objects[at]) // 2]
            others = [index for index, other in enumerate(events) if other != number]
            like = partial(nearness, sought=sought, cohort=cohort)
            rest = ([objects[index] for index in others], [events[index] for index in others])
            n_kept += n_matching(*rest, sought, like, is_mean, floors[f"picture_{name}"]) > 0
        said[f"picture_{name}"] = {
            "own_objects_that_match_another_event": [n_kept, len(events)],
            "other_things_refused": [n_refused, len(absent)],
        }
    return said


def n_matching(
    objects: Sequence[Floats],
    events: Sequence[int],
    sought: Floats,
    score: Score,
    is_mean: bool,
    floor: float,
) -> int:
    """Return how many events match by their nearest object; none where the best one does not."""
    nearest: dict[int, tuple[float, Floats]] = {}
    for number, vectors in zip(events, objects, strict=True):
        cosine = float((vectors @ sought).max())
        if number not in nearest or cosine > nearest[number][0]:
            nearest[number] = (cosine, vectors)
    best_first = sorted(nearest.values(), key=lambda found: -found[0])
    passed = [fit(vectors, sought, score, is_mean) >= floor for _, vectors in best_first]
    return sum(passed) if passed[0] else 0


# -- pictures


def drawn_events(cache: Path, model: Model) -> list[DrawnEvent]:
    """Return all events, drawn and embedded unless the cache has them."""
    path = cache / "search_floor.npz"
    if not path.is_file():
        fetch(cache)
        found = list(_drawn(cache, model))
        np.savez(
            path,
            things=np.array([event.thing for event in found]),
            concepts=np.array([event.concept for event in found]),
            are_unseen=np.array([event.is_unseen for event in found]),
            vectors=np.stack([event.vectors for event in found]),
        )
    kept = np.load(path)
    return [
        DrawnEvent(str(thing), str(concept), bool(is_unseen), vectors)
        for thing, concept, is_unseen, vectors in zip(
            kept["things"], kept["concepts"], kept["are_unseen"], kept["vectors"], strict=True
        )
    ]


def _drawn(cache: Path, model: Model) -> Iterator[DrawnEvent]:
    rng = np.random.default_rng(17)
    plan = compose.Plan(0, 0, 0, 3, crops_only=True)
    photographs = [path for is_held_out in (False, True) for path in backgrounds(cache, is_held_out)]
    places = [Place(path.name, None, shrink(path)) for path in photographs]
    places += [Place(f"texture/{at}", "ground", place.picture) for at, place in enumerate(places)]
    for thing in sources.stamps(cache):
        is_unseen = sources.split_of(thing.identity, thing.concept) in ("test", "other")
        for _ in range(N_UNSEEN if is_unseen else N_SEEN):
            yield DrawnEvent(
                thing.identity,
                thing.concept,
                is_unseen,
                embedded(model, compose.event(thing, places, plan, rng)),
            )
    for _ in range(N_NOTHING):
        yield DrawnEvent(NOTHING, NOTHING, True, embedded(model, compose.empty_event(places, plan, rng)[0]))


def embedded(model: Model, pictures: Sequence[NDArray[np.uint8]]) -> Floats:
    """Return the embeddings, float32[N,D]."""
    return model.embed_pictures(stack([model.resize(picture) for picture in pictures]))


if __name__ == "__main__":
    sys.exit(main())
