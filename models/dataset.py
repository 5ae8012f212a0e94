"""The pictures of each split as features: composed, degraded, passed through the frozen tower once, kept in the cache.

Events are drawn from things of one split only, on places of the same side: every third place is kept for evaluation.
"""

import ast
import hashlib
import multiprocessing
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import compose
import cv2
import numpy as np
import places
import recording
import sources
import torch
import words
from compose import Plan
from pictures import Place, Thing
from tower import Towers

Array = np.ndarray[Any, np.dtype[Any]]
Log = Callable[[str], None]
NOTHING = "nothing"
# the eight labels of the bar and the concepts that stand for them
LABELS = ("dog", "cat", "bird", "horse", "car", "truck", "bicycle", "person")
N_PER_EVENT = 5
N_TIMES_RECORDED = 2  # each crop of the recording: once as it is, once degraded
N_WORKERS = 4
_shared: dict[str, Any] = {}  # handed to forked workers, who only read it


@dataclass(frozen=True, slots=True)
class Samples:
    """Features float16[N,1280] of pictures, and for each: concept, extra names, kind of place, event number."""

    features: torch.Tensor
    concept: list[str]
    names: list[tuple[str, ...]]
    place: list[str | None]
    event: list[int]
    teacher: (
        torch.Tensor
    )  # float16[N,1000]: ImageNet's softmax on clean pictures of the thing; zeros where unknown


PLANS = {
    "train": Plan(400, 1400, 1400, 2, crops_only=False),
    "validation": Plan(24, 0, 80, N_PER_EVENT, crops_only=True),
    "test": Plan(40, 0, 160, N_PER_EVENT, crops_only=True),
    "other": Plan(0, 80, 0, N_PER_EVENT, crops_only=True),
}


def label_of(concept: str) -> str | None:
    """Name the label of the bar that a concept falls under."""
    family = words.ancestors(concept) if concept in words.CONCEPTS else set()
    if concept in ("dingo", "cyclist", "motorcycle", "tricycle"):
        return {"dingo": "dog", "cyclist": "bicycle", "tricycle": "bicycle"}.get(concept)
    return next((label for label in LABELS if label in family), None)


class Library:
    """Everything that can be seen, by split."""

    def __init__(self, cache: Path, log: Log) -> None:
        """Read all sources."""
        self.things: dict[str, list[Thing]] = {name: [] for name in PLANS}
        for thing in sources.things(cache, log):
            self.things[sources.split_of(thing.identity, thing.concept)].append(thing)
        self.first, self.second = recording.halves(cache)
        walkers = Thing("vtest/first", "person", (), tuple(self.first.cutouts[::3]))
        self.things["train"].append(walkers)
        all_places = list(places.places(cache))
        held = [zlib.crc32(p.identity.encode()) % 3 == 0 for p in all_places]
        self.places = {
            "train": [p for p, out in zip(all_places, held, strict=True) if not out],
            "validation": [p for p, out in zip(all_places, held, strict=True) if out],
        }
        self.places["train"].append(Place("vtest/first", "street", self.first.ground))
        self.places["test"] = self.places["other"] = self.places["validation"]
        rng = np.random.default_rng(3)
        for split in PLANS:
            self.things[split] += list(cyclists(self.things[split], split, rng))
        log(f"places: {len(all_places)}; vtest: {len(self.first.people)} + {len(self.second.people)} people")


def cyclists(things: list[Thing], split: str, rng: np.random.Generator) -> list[Thing]:
    """Seat people of a split on bicycles of the same split."""
    bicycles = [p for t in things if t.concept == "bicycle" for p in t.pictures if p.shape[2] == 4]
    riders = [p for t in things if t.concept == "person" for p in t.pictures if p.shape[2] == 4]
    if not bicycles or not riders:
        return []
    wide = [b for b in bicycles if b.shape[1] > b.shape[0] * 1.1] or bicycles
    pairs = [(wide[int(rng.integers(len(wide)))], riders[int(rng.integers(len(riders)))]) for _ in range(24)]
    pictures = tuple(compose.ridden(bicycle, rider, rng) for bicycle, rider in pairs)
    return [Thing(f"{split}/cyclist", "cyclist", (), pictures)]


class Builder:
    """Collects pictures and turns them into features in blocks."""

    def __init__(self, towers: Towers, log: Log) -> None:
        """Begin empty."""
        self.towers, self.log = towers, log
        self.pictures: list[Array] = []
        self.blocks: list[torch.Tensor] = []
        self.rows: list[tuple[str, tuple[str, ...], str | None, int, str]] = []
        self.n_events = 0

    def add(
        self, pictures: list[Array], concept: str, names: tuple[str, ...], place: str | None, identity: str
    ) -> None:
        """Add one event."""
        self.pictures += pictures
        self.rows += [(concept, names, place, self.n_events, identity)] * len(pictures)
        self.n_events += 1
        if len(self.pictures) >= 256:
            self.flush()

    def flush(self) -> None:
        """Run the tower over what was collected."""
        if self.pictures:
            self.blocks.append(self.towers.features(np.stack(self.pictures)).half())
            self.pictures = []
            self.log(f"features: {sum(map(len, self.blocks))}")

    def samples(self, teachers: dict[str, torch.Tensor]) -> Samples:
        """Give everything."""
        self.flush()
        blank = torch.zeros(1000, dtype=torch.float16)
        return Samples(
            torch.cat(self.blocks),
            [r[0] for r in self.rows],
            [r[1] for r in self.rows],
            [r[2] for r in self.rows],
            [r[3] for r in self.rows],
            torch.stack([teachers.get(r[4], blank) for r in self.rows]),
        )


def load(cache: Path, split: str, towers: Towers, library: Callable[[], Library], log: Log) -> Samples:
    """Give a split's samples, from the cache when the code and the plan are the same."""
    kept = cache / "features" / f"{split}-{code_digest()}-{towers.digest()}.pt"
    if kept.is_file():
        found = torch.load(kept, weights_only=True)
        return Samples(*found)
    towers.model.share_memory()
    _shared.update(split=split, towers=towers, library=library(), log=log)
    # forked before the tower ran: a thread pool of torch's would not survive it
    with multiprocessing.get_context("fork").Pool(N_WORKERS) as pool:
        samples = joined(pool.map(build_shard, range(N_WORKERS)))
    kept.parent.mkdir(exist_ok=True)
    fields = [samples.features, samples.concept, samples.names, samples.place, samples.event, samples.teacher]
    torch.save(fields, kept)
    return samples


def code_digest() -> str:
    """Name the code that decides what the pictures are; comments and layout do not count."""
    modules = ("dataset", "compose", "sources", "pictures", "models_3d", "places", "recording", "render")
    trees = [ast.parse((Path(__file__).parent / f"{name}.py").read_bytes()) for name in modules]
    for tree in trees:
        for node in ast.walk(tree):
            # docstrings and other lone strings
            if isinstance(body := getattr(node, "body", None), list):
                body[:] = [
                    n for n in body if not (isinstance(n, ast.Expr) and isinstance(n.value, ast.Constant))
                ]
    return hashlib.sha256("".join(ast.dump(tree) for tree in trees).encode()).hexdigest()[:12]


def build_shard(shard: int) -> Samples:
    """Build one worker's part of what `_shared` says."""
    torch.set_num_threads(1)
    return build(_shared["split"], _shared["towers"], _shared["library"], _shared["log"], shard)


def joined(parts: list[Samples]) -> Samples:
    """Put the workers' parts together, events numbered anew."""
    offsets = [sum(max(p.event) + 1 for p in parts[:k]) for k in range(len(parts))]
    return Samples(
        torch.cat([p.features for p in parts]),
        [c for p in parts for c in p.concept],
        [n for p in parts for n in p.names],
        [k for p in parts for k in p.place],
        [e + offset for p, offset in zip(parts, offsets, strict=True) for e in p.event],
        torch.cat([p.teacher for p in parts]),
    )


def build(split: str, towers: Towers, library: Library, log: Log, shard: int) -> Samples:
    """Compose a worker's part of a split and run the tower over it."""
    builder = Builder(towers, log)
    composed(split, library, shard, builder, is_clean=False)
    log(f"{split}: {builder.n_events} events of {len(library.things[split])} things")
    identities = {r[4] for r in builder.rows}
    return builder.samples(teachers(identities, library.things[split], towers) if split == "train" else {})


class Collector:
    """Keeps the pictures themselves."""

    def __init__(self) -> None:
        """Begin empty."""
        self.pictures: list[Array] = []

    def add(
        self,
        pictures: list[Array],
        _concept: str,
        _names: tuple[str, ...],
        _place: str | None,
        _identity: str,
    ) -> None:
        """Add one event."""
        self.pictures += pictures


def clean_pictures(split: str, library: Library, shard: int) -> list[Array]:
    """Compose a worker's part of a split without a camera: uint8[256,256,3] each."""
    collector = Collector()
    composed(split, library, shard, collector, is_clean=True)
    return collector.pictures


def composed(split: str, library: Library, shard: int, into: Builder | Collector, is_clean: bool) -> None:
    """Compose a worker's part of a split, event by event."""
    whole, things, places = PLANS[split], library.things[split], library.places[split]
    plan = Plan(
        whole.n_label // N_WORKERS,
        whole.n_other // N_WORKERS,
        whole.n_nothing // N_WORKERS,
        whole.n_pictures,
        whole.crops_only,
        is_clean,
    )
    rng = np.random.default_rng(zlib.crc32(split.encode()) + shard)
    for label in LABELS:
        family = [t for t in things if label_of(t.concept) == label]
        weights = np.array(
            [1 / len(family) ** 0.5 if label_of(t.concept) == t.concept else 0.5 for t in family]
        )
        weights = np.array([min(len(t.pictures), 12) ** 0.5 for t in family]) * weights
        for k in rng.choice(len(family), plan.n_label, p=weights / weights.sum()) if family else []:
            thing = family[int(k)]
            pictures = compose.event(thing, places, plan, rng)
            into.add(pictures, thing.concept, thing.names, None, thing.identity)
    others = [t for t in things if label_of(t.concept) is None]
    weights = np.array([0.25 if t.concept in ("object", "furniture") else 1.0 for t in others])
    for k in rng.choice(len(others), plan.n_other, p=weights / weights.sum()) if plan.n_other else []:
        thing = others[int(k)]
        pictures = compose.event(thing, places, plan, rng)
        into.add(pictures, thing.concept, thing.names, None, thing.identity)
    for _ in range(plan.n_nothing):
        pictures, kind = compose.empty_event(places, plan, rng)
        into.add(pictures, NOTHING, (), kind, NOTHING)
    if split == "train":
        from_recording(into, library.first, rng, (shard, is_clean))


def from_recording(
    builder: Builder | Collector, half: recording.Half, rng: np.random.Generator, part: tuple[int, bool]
) -> None:
    """Add the recording's own crops, as they are and degraded; `part`: the worker's, and whether without a camera."""
    shard, is_clean = part
    for concept, crops in (("person", half.people), (NOTHING, half.empty)):
        for crop in crops[shard::N_WORKERS]:
            for number in range(N_TIMES_RECORDED):
                if is_clean:
                    size = (compose.CANVAS_PX, compose.CANVAS_PX)
                    picture = cv2.resize(crop, size, interpolation=cv2.INTER_CUBIC)
                elif number:
                    camera = compose.any_camera(rng)
                    picture = compose.seen_by(compose.close_up(crop, rng.random() < 0.5, rng), camera, rng)
                else:
                    picture = cv2.resize(crop, (224, 224), interpolation=cv2.INTER_CUBIC)
                builder.add([picture], concept, (), None, "vtest")


def teachers(wanted: set[str], things: list[Thing], towers: Towers) -> dict[str, torch.Tensor]:
    """Give ImageNet's softmax on clean pictures of the things wanted, averaged over two; it knows no people."""
    found = {}
    for thing in things:
        if thing.identity not in wanted or label_of(thing.concept) == "person":
            continue
        take = thing.pictures[:: max(1, len(thing.pictures) // 2)][:2]
        canvases = []
        for picture in take:
            if picture.shape[2] == 3:
                canvases.append(cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA))
                continue
            ground = np.full((256, 256, 3), 150, np.uint8)
            made = compose.pasted(ground, picture, (128, 128), 215, np.random.default_rng(0))
            canvases.append(cv2.resize(made, (224, 224), interpolation=cv2.INTER_AREA))
        features = towers.features(np.stack(canvases))
        logits = features @ towers.classifier_weight.T + towers.classifier_bias
        found[thing.identity] = logits.softmax(-1).mean(0).half()
    return found
