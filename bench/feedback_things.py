"""The things and places of the feedback bench: those that no training of `mini` saw, in two sides that share nothing.

Pictures come from Debian packages, fetched by their own client and read as data; which of them trained the model, and
which never did, is written in models/sources.py and models/dataset.py. Of the latter, the *tuning* side may be looked
at while a rule is made, the *judged* side is measured once. Needs models/ on the path, as in `make bench-feedback`.
"""

from __future__ import annotations

import itertools
import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import models_3d
import numpy as np
import pictures
import places
import sources
import words
from pictures import Array, Place, Thing

Side = Literal["tuning", "judged"]
PACKAGES = (
    "darknet",
    "gcompris-qt-data",
    "lomiri-wallpapers-16.04",
    "mate-backgrounds",
    "opencv-doc",
    "palapeli-data",
    "plasma-workspace-wallpapers",
    "sweethome3d-furniture",
    "tuxpaint-stamps-default",
)
N_VIEWS = 8  # of a 3D model, from all around
# What bears a frequent label is dealt out by hand, so that both sides have each label; the rest goes by a hash.
BY_HAND: dict[Side, tuple[str, ...]] = {
    "tuning": (
        "sh3d/Reallusion/female01",
        "darknet/dog/dog",
        "darknet/person/dog",
        "gcompris/erase/horse",
        "darknet/horses/white",
        "darknet/horses/brown",
        "darknet/horses/gray",
        "sh3d/Scopia/smart-car",
        "darknet/dog/truck",
        "darknet/dog/bicycle",
        "gcompris/erase/heron",
        "gcompris/erase/northern_harrier",
        "tuxpaint/animals/birds/crow",
        "tuxpaint/animals/birds/seagull",
    ),
    "judged": (
        "sh3d/Reallusion/male03",
        "darknet/person/person",
        "gcompris/explore_farm_animals/dog",
        "gcompris/erase/kitten",
        "sh3d/BlendSwap-CC-0/horse2",
        "darknet/person/horse",
        "sh3d/BlendSwap-CC-BY/fordFocus",
        "tuxpaint/vehicles/auto/beetle",
        "tuxpaint/vehicles/garbagetruck",
        "sh3d/BlendSwap-CC-BY/bike",
        "gcompris/erase/kingfisher",
        "tuxpaint/animals/birds/pigeon",
        "tuxpaint/animals/birds/duck",
        "darknet/eagle/bird",
    ),
}


@dataclass(frozen=True, slots=True)
class HeldOut:
    """What the cameras of one side may show."""

    things: tuple[Thing, ...]  # cut-outs with alpha only
    places: tuple[Place, ...]

    def of(self, is_wanted: Callable[[Thing], bool]) -> list[Thing]:
        return [thing for thing in self.things if is_wanted(thing)]


def fetch(cache: Path) -> None:
    """Download and unpack what is needed, unless it is there; raises CalledProcessError."""
    (cache / "packages").mkdir(parents=True, exist_ok=True)
    for name in PACKAGES:
        if not (cache / name).is_dir():
            if not list((cache / "packages").glob(f"{name}_*.deb")):
                sources.run(["apt-get", "download", "-qq", name], cache / "packages")
            deb = next((cache / "packages").glob(f"{name}_*.deb"))
            sources.run(["dpkg-deb", "-x", str(deb.resolve()), str((cache / name).resolve())], cache)
    for archive_path in sorted((cache / "sweethome3d-furniture").rglob("*.sh3f")):
        folder = cache / "sweethome3d" / archive_path.stem
        if not folder.is_dir():
            with zipfile.ZipFile(archive_path) as archive:
                archive.extractall(folder)


def family(concept: str) -> set[str]:
    """Return a concept and all that it is a kind of."""
    return {concept, *(words.ancestors(concept) if concept in words.CONCEPTS else ())}


def side_of(identity: str) -> Side:
    """Name the side of a thing or place."""
    for side, identities in BY_HAND.items():
        if identity in identities:
            return side
    return "judged" if zlib.crc32(f"feedback {identity}".encode()) % 2 else "tuning"


def is_held_out(identity: str, concept: str) -> bool:
    """Whether no picture of a thing ever trained the model."""
    return sources.split_of(identity, concept) in ("test", "other")


def held_out(cache: Path, side: Side) -> HeldOut:
    """Return a side's things and places; the first call reads all packages and keeps what it found."""
    kept = cache / "feedback-held-out.npz"
    if not kept.is_file():
        np.savez(kept, allow_pickle=False, **_as_arrays(list(_things(cache)), list(_held_places(cache))))
    things: dict[str, Thing] = {}
    grounds: list[Place] = []
    with np.load(kept) as data:
        for key in data.files:
            sort, identity, concept, name, _ = key.split("|")
            if side_of(identity) != side:
                continue
            if sort == "place":
                grounds.append(Place(identity, concept or None, data[key]))
            else:
                before = things[identity].pictures if identity in things else ()
                said = (name,) if name else ()
                things[identity] = Thing(identity, concept, said, (*before, data[key]))
    return HeldOut(tuple(things.values()), tuple(grounds))


def _as_arrays(things: list[Thing], grounds: list[Place]) -> dict[str, Array]:
    found: dict[str, Array] = {}
    for thing in things:
        for number, picture in enumerate(thing.pictures):
            name = thing.names[0] if thing.names else ""
            found[f"thing|{thing.identity}|{thing.concept}|{name}|{number}"] = picture
    for place in grounds:
        found[f"place|{place.identity}|{place.kind or ''}||0"] = place.picture
    return found


def _things(cache: Path) -> Iterator[Thing]:
    for thing in itertools.chain(
        sources.stamps(cache), sources.darknet(cache), _photographs(cache), _sweethome(cache)
    ):
        if not is_held_out(thing.identity, thing.concept):
            continue
        photographs = [one for one in thing.pictures if one.shape[2] == 3]
        cut = [cut for one in photographs for cut in sources.without_ground(one)]
        shown = tuple(one for one in (*thing.pictures, *cut) if one.shape[2] == 4)
        if shown:
            yield Thing(thing.identity, thing.concept, thing.names, shown)


def _photographs(cache: Path) -> Iterator[Thing]:
    """GCompris' photographs of animals, not cut out: GrabCut takes a second each, and most are of training."""
    for activity in ("erase", "explore_farm_animals"):
        for name, picture in pictures.compiled_pictures(cache, activity):
            stem = name.rsplit("/", 1)[-1].partition(".")[0]
            said = (stem.replace("_", " "),)
            yield Thing(
                f"gcompris/{activity}/{stem}", sources.kind_of(f"/{stem}", "animal"), said, (picture,)
            )


def _sweethome(cache: Path) -> Iterator[Thing]:
    """Sweet Home 3D's models as models_3d.py reads them, but only those that are held out: a view takes 0.1 s."""
    for folder in sorted((cache / "sweethome3d").iterdir()):
        text = (folder / "PluginFurnitureCatalog.properties").read_text(encoding="latin-1")
        catalogue: dict[str, dict[str, str]] = {}
        for match in re.finditer(r"^(\w+)#(\d+)=(.*)$", text, re.MULTILINE):
            catalogue.setdefault(match[2], {})[match[1]] = match[3].strip()
        for entry in catalogue.values():
            name = entry["name"].lower()
            concept = next((c for pattern, c in models_3d.FURNITURE if re.search(pattern, name)), "object")
            path = folder / entry["model"].lstrip("/")
            identity = f"sh3d/{folder.name}/{path.stem}"
            is_outdoors = entry.get("category") in models_3d.WANTED_OBJECTS or concept not in (
                "object",
                "furniture",
                "plant",
                "flower",
                "child",
            )
            if not is_outdoors or path.suffix != ".obj" or not is_held_out(identity, concept):
                continue
            if views := models_3d.rendered(cache, identity, path, N_VIEWS):
                yield Thing(identity, concept, (name,), views)


def _held_places(cache: Path) -> Iterator[Place]:
    """Places that training left out (models/dataset.py: every third)."""
    for place in places.places(cache):
        if zlib.crc32(place.identity.encode()) % 3 == 0 and min(place.picture.shape[:2]) >= 240:
            yield place
