"""Which words are a kind of which: a small hand-written taxonomy of what cameras see. PURE.

It answers whether a distractor would compete with a user's label for the same thing ('a dog' against 'a puppy'), and
whether one label is true whenever another is ('a vehicle' and 'a red car'). A word that is not listed stands for
itself.
"""

from __future__ import annotations

import re
from functools import lru_cache

# parent: children. A child is always a kind of its parent.
_KINDS: dict[str, str] = {
    "person": "adult man woman child baby boy girl lady guy worker cyclist jogger runner driver rider "
    "officer policeman firefighter soldier postman courier burglar intruder thief hiker skater "
    "skateboarder swimmer tourist gardener farmer athlete visitor customer player biker "
    "motorcyclist",
    "man": "policeman postman gentleman",
    "child": "boy girl toddler kid baby",
    "animal": "dog cat bird horse cow sheep goat pig deer fox rabbit squirrel mouse rat bear boar raccoon "
    "hedgehog badger wolf monkey elephant giraffe zebra insect snake frog fish donkey camel lion "
    "tiger livestock pet wildlife moose elk coyote skunk possum lizard turtle crocodile kangaroo",
    "dog": "puppy labrador retriever corgi poodle husky terrier beagle dachshund bulldog spaniel "
    "shepherd collie chihuahua rottweiler doberman greyhound dalmatian pug",
    "cat": "kitten tabby",
    "bird": "crow pigeon seagull gull duck goose swan chicken hen rooster sparrow blackbird magpie owl "
    "eagle hawk parrot heron stork peacock robin turkey raven finch penguin ostrich flamingo",
    "horse": "pony foal",
    "cow": "bull calf cattle ox",
    "sheep": "lamb",
    "insect": "fly bee wasp moth butterfly spider ant beetle mosquito dragonfly",
    "vehicle": "car truck bus motorcycle bicycle scooter van train tram tractor boat airplane helicopter "
    "ambulance bike firetruck excavator forklift trailer caravan wagon cart aircraft ship drone "
    "snowplow",
    "car": "taxi sedan hatchback suv limousine convertible jeep minivan coupe sportscar",
    "truck": "firetruck pickup lorry tanker tipper",
    "bus": "minibus coach",
    "bicycle": "tricycle ebike",
    "motorcycle": "moped",
    "train": "locomotive",
    "boat": "ship canoe kayak sailboat ferry yacht",
    "airplane": "jet",
    "plant": "tree bush grass flower branch leaf hedge shrub",
    "precipitation": "rain snow hail",
}
# one thing, several words
_SAME: dict[str, str] = {
    "person": "human people persons somebody someone anybody individual figure humans",
    "pedestrian": "walker passerby passer-by",
    "car": "automobile auto motorcar",
    "truck": "lorry",
    "bicycle": "bike pushbike",
    "motorcycle": "motorbike",
    "cyclist": "bicyclist",
    "airplane": "plane aeroplane",
    "dog": "canine doggy hound",
    "cat": "feline kitty",
    "cow": "cattle",
    "child": "kid",
    "animal": "creature beast",
    "train": "railcar",
    "man": "male",
    "woman": "female",
    "mouse": "mice",
    "goose": "geese",
    "leaf": "leaves foliage",
    "taxi": "cab",
    "bus": "omnibus",
    "sheep": "ewe",
}
# Of two kinds at once, or so near that neither should push the other out: pairs, in both directions.
_ALIKE = {("person", "pedestrian"), ("cyclist", "bicycle"), ("motorcyclist", "motorcycle"), ("van", "truck")}
_PLURALS = {
    "men": "man",
    "women": "woman",
    "children": "child",
    "policemen": "policeman",
    "buses": "bus",
    "leaves": "leaf",
}
_FILLING = (
    "a an the of in on at by with and or to from is are some any one two three several many small big large little "
    "photo picture image view seen moving walking running driving riding standing passing going"
)
_EMPTY = frozenset(_FILLING.split())
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*", re.UNICODE)


def _canonical_words() -> dict[str, str]:
    return {word: name for name, words in _SAME.items() for word in words.split()}


def _parents() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for parent, children in _KINDS.items():
        for child in children.split():
            table.setdefault(_CANONICAL.get(child, child), set()).add(parent)
    for child in ("pedestrian",):
        table.setdefault(child, set()).add("person")
    return {child: frozenset(parents - {child}) for child, parents in table.items()}


_CANONICAL = _canonical_words()
_PARENTS = _parents()
_KNOWN = frozenset(_PARENTS) | frozenset(_KINDS) | frozenset(_CANONICAL)


@lru_cache(maxsize=4096)
def concepts(text: str) -> frozenset[str]:
    """Return what the words of `text` stand for, filling words left out: 'two red cars' -> {red, car}."""
    return frozenset(
        _concept(word) for word in _WORD.findall(text.casefold()) if word not in _EMPTY
    ) or frozenset({text.casefold().strip()})


def _concept(word: str) -> str:
    for form in (word, _PLURALS.get(word, ""), word.removesuffix("s"), word.removesuffix("es")):
        if form in _KNOWN:
            return _CANONICAL.get(form, form)
    return word.removesuffix("s") if len(word) > 3 and not word.endswith("ss") else word


def covers(general: str, special: str) -> bool:
    """Tell whether `general` is true of all that `special` is: 'a vehicle' of 'a red car', 'a dog' of 'dogs'."""
    return all(any(_is_a(word, other) for word in concepts(special)) for other in concepts(general))


def are_kin(one: str, other: str) -> bool:
    """Tell whether one of two texts is a kind of the other, or both name the same thing."""
    return covers(one, other) or covers(other, one) or _alike(one, other)


def _alike(one: str, other: str) -> bool:
    return any((a, b) in _ALIKE or (b, a) in _ALIKE for a in concepts(one) for b in concepts(other))


def is_rival(label: str, other: str) -> bool:
    """Tell whether seeing `other` speaks against `label`: not if `label` is true of it as well, or alike."""
    return not (covers(label, other) or _alike(label, other))


def _is_a(word: str, kind: str) -> bool:
    seen: set[str] = set()
    waiting = [word]
    while waiting:
        name = waiting.pop()
        if name == kind:
            return True
        if name not in seen:
            seen.add(name)
            waiting.extend(_PARENTS.get(name, ()))
    return False
