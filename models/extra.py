"""Things and places for the last step of training alone (refine.py): Scratch's photographs of people, vehicles and
places, 0 A.D.'s models of animals. Licences: NOTICE, section 3.
"""

import re
import struct
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import models_3d
import numpy as np
import pictures
from pictures import Place, Thing
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]
PACKAGES = ("0ad-data", "scratch")
MEDIA = "scratch/usr/share/scratch/Media"

PEOPLE = (
    "amon",
    "anjuli",
    "anna",
    "breakdancer1",
    "breakdancer2",
    "breakdancer3",
    "calvrett",
    "cassy",
    "chamak1",
    "chamak2",
    "dan",
    "ed",
    "jay",
    "jodi",
    "lee-fan",
    "mako",
    "marissa",
    "nathan",
    "nina",
    "paul",
    "referee",
    "ribbon-dancer",
    "thai-dancer",
)
# Scratch's costumes that are photographs: what a file's stem begins with, and what it shows; a person is one thing.
COSTUMES: tuple[tuple[str, str, str], ...] = (
    *(("People", name, "person") for name in PEOPLE),
    ("People", "football", "athlete"),
    ("People", "sam", "child"),
    ("Animals", "bird-flying", "pigeon"),
    ("Animals", "buffalo1", "cow"),
    ("Animals", "cow1", "cow"),
    ("Animals", "elephant.", "elephant"),
    ("Animals", "grasshopper2", "insect"),
    ("Animals", "insect", "insect"),
    ("Transportation", "airplane.", "airplane"),
    ("Transportation", "bike", "bicycle"),
    ("Transportation", "bus", "bus"),
    ("Transportation", "car-blue", "car"),
    ("Transportation", "car-bug", "car"),
    ("Transportation", "car-cow", "car"),
    ("Transportation", "sail-boat", "boat"),
    ("Transportation", "train.", "train"),
    ("Transportation", "tug-boat", "boat"),
    ("Transportation", "yacht", "boat"),
)
# Scratch's backgrounds that are photographs, and the kind of words.PLACES
BACKGROUNDS: tuple[tuple[str, str | None], ...] = (
    ("Indoors/clothing-store", None),
    ("Indoors/hall", None),
    ("Indoors/kitchen", None),
    ("Nature/beach-malibu", "ground"),
    ("Nature/canyon", "ground"),
    ("Nature/flower-bed", "grass"),
    ("Nature/forest", "forest"),
    ("Nature/garden-rock", "grass"),
    ("Nature/grand-canyon", "ground"),
    ("Nature/gravel-desert", "ground"),
    ("Nature/hill", "ground"),
    ("Nature/lake", "water"),
    ("Nature/pathway", "forest"),
    ("Nature/tree", "forest"),
    ("Nature/water-and-rocks", "water"),
    ("Nature/wave", "water"),
    ("Outdoors/all-sports-mural", "grass"),
    ("Outdoors/atom-playground", None),
    ("Outdoors/bench-with-view", "grass"),
    ("Outdoors/berkeley-mural", "building"),
    ("Outdoors/boardwalk", "water"),
    ("Outdoors/brick-wall-and-stairs", "building"),
    ("Outdoors/brick-wall1", "building"),
    ("Outdoors/brick-wall2", "building"),
    ("Outdoors/building-at-mit", "building"),
    ("Outdoors/building-fireproof", "building"),
    ("Outdoors/castle", "building"),
    ("Outdoors/city-with-water", "water"),
    ("Outdoors/city-with-water2", "water"),
    ("Outdoors/driveway", "grass"),
    ("Outdoors/graffiti", "building"),
    ("Outdoors/hallway_outdoors", "building"),
    ("Outdoors/hay_field", "grass"),
    ("Outdoors/houses", "building"),
    ("Outdoors/mansion", "building"),
    ("Outdoors/mural-faro", "building"),
    ("Outdoors/parking-ramp", "street"),
    ("Outdoors/route66", "street"),
    ("Outdoors/silos", "grass"),
    ("Outdoors/the-movies", "building"),
    ("Outdoors/train-tracks1", "railway"),
    ("Outdoors/train-tracks2", "railway"),
    ("Outdoors/village", "ground"),
    ("Outdoors/wooden-house", "building"),
    ("Sports/basketball-court1-a", "building"),
    ("Sports/playing-field", "grass"),
    ("Sports/tennis-backboard", "grass"),
)
# 0 A.D.'s actors, and what they show
ACTORS: tuple[tuple[str, str], ...] = (
    ("arctic_wolf", "wolf"),
    ("bear_black", "bear"),
    ("bear_brown", "bear"),
    ("bear_white", "bear"),
    ("boar", "wild boar"),
    ("bull", "cow"),
    ("camel", "mammal"),
    ("chicken", "chicken"),
    ("cow", "cow"),
    ("crocodile", "reptile"),
    ("crow", "crow"),
    ("deer", "deer"),
    ("donkey", "donkey"),
    ("elephant_african_bush", "elephant"),
    ("elephant_asian", "elephant"),
    ("fox_arctic", "fox"),
    ("fox_red", "fox"),
    ("gazelle", "deer"),
    ("giraffe_adult", "mammal"),
    ("goat", "goat"),
    ("hawk", "bird of prey"),
    ("hippopotamus", "mammal"),
    ("horse_breed", "horse"),
    ("horse_celtic", "horse"),
    ("horse_lusitano", "horse"),
    ("horse_marwari", "horse"),
    ("horse_persian", "horse"),
    ("horse_tessalian", "horse"),
    ("lion", "big cat"),
    ("lioness", "big cat"),
    ("mastiff", "dog"),
    ("muskox", "cow"),
    ("peacock", "bird"),
    ("pig1", "pig"),
    ("piglet", "pig"),
    ("pony", "horse"),
    ("rabbit1", "rabbit"),
    ("rhino", "mammal"),
    ("sanga_cattle", "cow"),
    ("seagull", "seagull"),
    ("sheep3", "sheep"),
    ("tiger", "big cat"),
    ("walrus", "mammal"),
    ("wildebeest", "mammal"),
    ("wolf", "wolf"),
    ("zebra", "zebra"),
    ("zebu", "cow"),
)
N_VIEWS = 24  # of an animal, shared out among its coats


def things(cache: Path) -> Iterator[Thing]:
    """Give every object."""
    yield from costumes(cache)
    yield from animals(cache)


def costumes(cache: Path) -> Iterator[Thing]:
    """Scratch's photographs of people, animals and vehicles, cut out."""
    for folder, stem, concept in COSTUMES:
        files = sorted((cache / MEDIA / "Costumes" / folder).glob("*.gif"))
        found = [path for path in files if path.name.startswith(stem)]
        pictures = [pictures.trim(np.asarray(Image.open(path).convert("RGBA"))) for path in found]
        yield Thing(f"scratch/{stem.rstrip('.')}", concept, (), tuple(pictures))


def places(cache: Path) -> Iterator[Place]:
    """Scratch's photographs of places."""
    for name, kind in BACKGROUNDS:
        yield Place(f"scratch/{name}", kind, pictures.shrink(cache / MEDIA / "Backgrounds" / f"{name}.jpg"))


def animals(cache: Path) -> Iterator[Thing]:
    """Renders of 0 A.D.'s animals, each with all of its coats."""
    archive = cache / "0ad-data/usr/share/games/0ad/mods/public/public.zip"
    with zipfile.ZipFile(archive) as public:
        for name, concept in ACTORS:
            meshes, coats = actor(public, name)
            pairs = [(mesh, coat) for mesh in meshes for coat in coats]
            pictures: list[Array] = []
            for number, (mesh, coat) in enumerate(pairs):
                path = as_obj(public, mesh, coat, cache / "0ad" / f"{name}-{number}")
                n_views = max(4, N_VIEWS // len(pairs))
                pictures += models_3d.rendered(cache, f"0ad/{name}-{number}", path, n_views)
            said = re.sub(r"_.*|\d", "", name)
            yield Thing(
                f"0ad/{name}", concept, () if said in ("bear", "elephant") else (said,), tuple(pictures)
            )


def actor(public: zipfile.ZipFile, name: str) -> tuple[list[str], list[str]]:
    """Name the meshes and coats that an actor's variants list, their own files included."""
    text = public.read(f"art/actors/fauna/{name}.xml").decode()
    for file in re.findall(r'<variant[^>]*file="([^"]+)"', text):
        text += public.read(f"art/variants/{file}").decode()
    meshes = re.findall(r"<mesh>([^<]+)</mesh>", text)
    coats = re.findall(r'<texture file="([^"]+)" name="baseTex"', text)
    return list(dict.fromkeys(meshes)), [c for c in dict.fromkeys(coats) if "dead" not in c]


def as_obj(public: zipfile.ZipFile, mesh: str, coat: str, to: Path) -> Path:
    """Write a mesh as Wavefront OBJ with its coat, once; give the OBJ's path.

    The mesh is 0 A.D.'s PMD, versions 3 and 4: corners with normal and texture coordinates, then triangles.
    """
    path = to / "mesh.obj"
    if path.is_file():
        return path
    data = public.read(f"art/meshes/{mesh}.cached.pmd")
    magic, version, _, n_corners = struct.unpack_from("<4sIII", data)
    if magic != b"PSMD" or version not in (3, 4):
        raise ValueError(f"{mesh}: not a PMD of version 3 or 4")
    n_layers, at = (struct.unpack_from("<I", data, 16)[0], 20) if version == 4 else (1, 16)
    width = 6 * 4 + n_layers * 8 + 20
    corners = np.frombuffer(data, np.uint8, n_corners * width, at).reshape(n_corners, width)
    floats = np.ascontiguousarray(corners[:, : 24 + 8]).view("<f4")
    at += n_corners * width
    n_faces = struct.unpack_from("<I", data, at)[0]
    faces = np.frombuffer(data, "<u2", n_faces * 3, at + 4).reshape(n_faces, 3).astype(int) + 1
    to.mkdir(parents=True, exist_ok=True)
    with public.open(f"art/textures/skins/{coat}.cached.dds") as file:
        Image.open(file).convert("RGB").save(to / "coat.png")  # its alpha is where a player's colour shows
    lines = ["mtllib mesh.mtl", "usemtl coat"]
    lines += [f"v {x} {y} {z}" for x, y, z in floats[:, :3]]
    lines += [f"vt {u} {v}" for u, v in floats[:, 6:8]]
    lines += ["f " + " ".join(f"{k}/{k}" for k in face) for face in faces]
    (to / "mesh.mtl").write_text("newmtl coat\nKd 0.7 0.7 0.7\nmap_Kd coat.png\n", encoding="utf-8")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path
