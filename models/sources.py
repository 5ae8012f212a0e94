"""Where the training pictures come from: Debian and Python packages, fetched by their own clients, read as data.

Gives things (cut-outs with alpha, renders of 3D models, photographs with a box), each with what it shows and the
object's identity, by which they are split into training, validation and test. places.py has photographs with nothing in
them. Licences of all sources: docs/design/mini.md.
"""

import re
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import cv2
import numpy as np
from models_3d import flightgear, sweethome
from pictures import Array, Thing, compiled_pictures, square_crop, trim
from PIL import Image

DEBIAN = (
    "darknet",
    "flightgear-data-base",
    "gcompris-qt-data",
    "lomiri-wallpapers-16.04",
    "mate-backgrounds",
    "openclipart-png",
    "opencv-doc",
    "palapeli-data",
    "plasma-workspace-wallpapers",
    "sweethome3d-furniture",
    "tuxpaint-stamps-default",
)

PYTHON = ("scikit-image==0.25.2", "scikit-learn==1.7.2")

FETCH_LIMIT_S = 1800

# Kept out of training, chosen before the first run: by identity, some of every source for each of the eight labels.
TEST = {
    "dog": ("gcompris/explore_farm_animals/dog", "darknet/dog/dog", "darknet/person/dog"),
    "cat": ("skimage/chelsea", "gcompris/erase/kitten"),
    "bird": (
        "gcompris/erase/kingfisher",
        "gcompris/erase/northern_harrier",
        "gcompris/erase/heron",
        "darknet/eagle/bird",
        "tuxpaint/animals/birds/pigeon",
        "tuxpaint/animals/birds/seagull",
        "tuxpaint/animals/birds/crow",
        "tuxpaint/animals/birds/duck",
    ),
    "horse": (
        "gcompris/erase/horse",
        "darknet/person/horse",
        "darknet/horses/white",
        "darknet/horses/brown",
        "darknet/horses/gray",
        "sh3d/BlendSwap-CC-0/horse2",
    ),
    "car": (
        "fg/Transport/volvoxc90s",
        "fg/Transport/vwgolf",
        "fg/Transport/camaro",
        "sh3d/BlendSwap-CC-BY/fordFocus",
        "sh3d/Scopia/smart-car",
        "tuxpaint/vehicles/auto/beetle",
    ),
    "truck": (
        "fg/Transport/DPostTruck",
        "fg/Transport/truck",
        "fg/Transport/Norberttruck",
        "darknet/dog/truck",
        "tuxpaint/vehicles/garbagetruck",
    ),
    "bicycle": ("darknet/dog/bicycle", "sh3d/BlendSwap-CC-BY/bike"),
    "person": (
        "sh3d/Reallusion/female01",
        "sh3d/Reallusion/male03",
        "fg/Misc/woman3",
        "fg/Misc/manshirt1",
        "darknet/person/person",
        "darknet/kite/person1",
        "darknet/kite/person2",
    ),
}

VALIDATION = {
    "dog": ("tuxpaint/animals/mammals/dogs/dingo",),
    "cat": ("sh3d/BlendSwap-CC-BY/siameseCat",),
    "bird": (
        "tuxpaint/animals/birds/magpie",
        "gcompris/erase/gosling",
        "tuxpaint/animals/birds/owl",
        "fg/Fauna/Swan",
    ),
    "horse": ("gcompris/explore_farm_animals/horse", "sh3d/BlendSwap-CC-BY/horse"),
    "car": ("fg/Transport/bmw3", "fg/Transport/hatchback", "tuxpaint/vehicles/auto/sedan"),
    "truck": ("fg/Transport/comtruck", "fg/Vehicle/fedextruck-ba", "tuxpaint/vehicles/emergency/firetruck"),
    "bicycle": ("openclipart/transportation/vehicles/bicycle_01",),
    "person": ("sh3d/Reallusion/female02", "fg/Misc/woman2", "fg/Misc/manjacket1", "skimage/astronaut"),
}


def split_of(identity: str, concept: str) -> str:
    """Name the split of an object: test, validation or train."""
    for name, table in (("test", TEST), ("validation", VALIDATION)):
        if any(identity in identities for identities in table.values()):
            return name
    # other things are kept out too, one in nine by a hash, so that open-vocabulary figures are honest
    return "other" if zlib.crc32(identity.encode()) % 9 == 0 and concept not in TEST else "train"


def fetch(cache: Path, more: Sequence[str] = ()) -> None:
    """Download and unpack every package, and `more` of Debian's, into the cache, unless it is there."""
    (cache / "packages").mkdir(parents=True, exist_ok=True)
    for name in (*DEBIAN, *more):
        if not (cache / name).is_dir():
            if not list((cache / "packages").glob(f"{name}_*.deb")):
                run(["apt-get", "download", "-qq", name], cache / "packages")
            deb = next((cache / "packages").glob(f"{name}_*.deb"))
            run(["dpkg-deb", "-x", str(deb.resolve()), str((cache / name).resolve())], cache)
    for pin in PYTHON:
        name = pin.partition("==")[0]
        if not (cache / name).is_dir():
            pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--only-binary", ":all:"]
            run([*pip, "--python-version", "3.11", "-d", "packages", pin], cache)
            wheel = next((cache / "packages").glob(name.replace("-", "_") + "-*.whl"))
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(cache / name)
    for archive_path in sorted((cache / "sweethome3d-furniture").rglob("*.sh3f")):
        folder = cache / "sweethome3d" / archive_path.stem
        if not folder.is_dir():
            with zipfile.ZipFile(archive_path) as archive:
                archive.extractall(folder)


def run(command: list[str], folder: Path) -> None:
    """Run a client; raises when it fails."""
    subprocess.run(command, cwd=folder, check=True, timeout=FETCH_LIMIT_S, stderr=subprocess.DEVNULL)


def things(cache: Path, log: Callable[[str], None]) -> Iterator[Thing]:
    """Give every object."""
    for source in (stamps, photographs, drawings, darknet, sweethome, flightgear):
        count = 0
        for thing in source(cache):
            count += 1
            yield thing
        log(f"{source.__name__}: {count} objects")


# What a stamp's or photograph's name makes it, first match wins; names go in as further captions.
KINDS: tuple[tuple[str, str], ...] = (
    (r"dingo", "dingo"),
    (r"/dogs/fox|/fox\b", "fox"),
    (r"/dogs/|/dog\b", "dog"),
    (r"kitten", "kitten"),
    (r"/cats/|cheetah|jaguar|/lion\b", "big cat"),
    (r"/cat\b|chelsea", "cat"),
    (r"donkey", "donkey"),
    (r"zebra", "zebra"),
    (r"(?<!sea)horse", "horse"),
    (r"/cow|/bull|calf|yak|zebu|bison", "cow"),
    (r"sheep|/ram\b", "sheep"),
    (r"goat|ibex", "goat"),
    (r"wildboar", "wild boar"),
    (r"/pig(_|\b)", "pig"),
    (r"moose", "moose"),
    (r"/deer/", "deer"),
    (r"teddy|edward", "object"),
    (r"/bears/|polar_bear|panda", "bear"),
    (r"rabbit|bunny", "rabbit"),
    (r"squirrel", "squirrel"),
    (r"hedgehog|echidna", "hedgehog"),
    (r"badger", "badger"),
    (r"ferret|otter", "marten"),
    (r"/apes/|gorilla|gibbon|monkey|macaque|lemur", "monkey"),
    (r"elephant", "elephant"),
    (r"mouse|/rat\b|/rodents/|pika", "rodent"),
    (r"swan", "swan"),
    (r"/duck|drake|gander|gosling|goose", "duck"),
    (r"chicken|/hen\b|rooster|turkey|guineafowl", "chicken"),
    (r"pigeon", "pigeon"),
    (r"gull", "seagull"),
    (r"crow\b|blackbird|magpie", "crow"),
    (r"owl\b", "owl"),
    (r"heron|crane|spoonbill|flamingo", "heron"),
    (r"harrier|vulture|eagle|kestrel", "bird of prey"),
    (r"parrot|rosella|lorikeet|macaw|toucan|tucan|quetzal", "parrot"),
    (r"penguin", "penguin"),
    (r"/birds/|kingfisher|nandou|ostrich", "bird"),
    (r"butterfly$", "butterfly"),
    (r"spider", "spider"),
    (r"bee\b|wasp", "bee"),
    (r"/insects/|caterpillar", "insect"),
    (r"/fish/", "fish"),
    (r"snake", "snake"),
    (r"turtle|tortoise", "turtle"),
    (r"frog|toad", "frog"),
    (r"/lizards/|/dinosaur/|chamaeleon|chameleon|crocodile|dragon", "reptile"),
    (r"/mammals/|/marsupials/", "mammal"),
    (r"/animals/", "animal"),
    (r"police", "police car"),
    (r"indycar|sportscar", "sports car"),
    (r"firetruck", "fire engine"),
    (r"garbagetruck", "garbage truck"),
    (r"dumper", "dump truck"),
    (r"auto/truck", "truck"),
    (r"/auto/", "car"),
    (r"bus\b", "bus"),
    (r"tractor", "tractor"),
    (r"tricycle", "tricycle"),
    (r"balloon", "balloon"),
    (r"/planes/", "airplane"),
    (r"/ship/", "boat"),
    (r"fireman", "fireman"),
    (r"mushroom|/cep", "mushroom"),
    (r"/flowers/", "flower"),
    (r"/plants/", "plant"),
    (r"/fruit/", "fruit"),
    (r"/vegetables/", "vegetable"),
    (r"/food/", "food"),
    (r"wheelie_bin|garbagecan|bucket", "trash can"),
    (r"ball\b", "ball"),
)


def kind_of(path: str, default: str) -> str:
    """Name the concept that a path stands for."""
    return next((concept for pattern, concept in KINDS if re.search(pattern, path)), default)


def stamps(cache: Path) -> Iterator[Thing]:
    """Tux Paint's stamps that are photographs: cut-outs with a sentence each."""
    root = cache / "tuxpaint-stamps-default/usr/share/tuxpaint/stamps"
    unwanted = (
        r"cartoon|symbols|/toys/|mirror|flags|body_parts|/space/|outline|roadsigns|seasonal|medical|"
        r"naturalforces|wheel_tractor"
    )
    for path in sorted(root.rglob("*.png")):
        name = path.relative_to(root).with_suffix("").as_posix()
        text = path.with_suffix(".txt")
        if re.search(unwanted, "/" + name) or not text.is_file():
            continue
        said = text.read_text(encoding="utf-8", errors="replace").splitlines()[0].strip(" .").lower()
        picture = np.asarray(Image.open(path).convert("RGBA"))
        if (picture[..., 3] > 128).mean() > 0.03 and len(said.split()) <= 6:
            yield Thing(f"tuxpaint/{name}", kind_of(f"/{name}", "object"), (said,), (trim(picture),))


def photographs(cache: Path) -> Iterator[Thing]:
    """Photographs of one thing: GCompris' animals and objects, and some that Python packages and OpenCV carry."""
    for activity in ("erase", "explore_farm_animals", "explore_world_animals"):
        for name, picture in compiled_pictures(cache, activity):
            stem = name.rsplit("/", 1)[-1].partition(".")[0]
            if re.search(r"star|arrow|erasers|giraffe", stem):
                continue
            pictures = (picture, *without_ground(picture))
            yield Thing(
                f"gcompris/{activity}/{stem}",
                kind_of(f"/{stem}", "animal"),
                (stem.replace("_", " "),),
                pictures,
            )
    opencv = cache / "opencv-doc/usr/share/doc/opencv-doc/examples"
    found = (
        ("skimage/chelsea", "tabby", cache / "scikit-image/skimage/data/chelsea.png"),
        ("skimage/astronaut", "person", cache / "scikit-image/skimage/data/astronaut.png"),
        ("skimage/cup", "object", cache / "scikit-image/skimage/data/coffee.png"),
        ("skimage/motorcycle", "motorcycle", cache / "scikit-image/skimage/data/motorcycle_left.png"),
        ("opencv/squirrel", "squirrel", opencv / "data/squirrel_cls.jpg"),
        ("opencv/butterfly", "butterfly", opencv / "data/butterfly.jpg"),
        ("opencv/car-rear", "car", opencv / "data/licenseplate_motion.jpg"),
    )
    for identity, concept, path in found:
        if path.is_file():
            picture = np.asarray(Image.open(path).convert("RGB"))
            yield Thing(identity, concept, (), (picture, *without_ground(picture)))


# Open Clip Art: drawings that keep a real one's shape; small and blurred they teach it.
DRAWINGS: tuple[tuple[str, str], ...] = (
    ("animals/mammals/cartoon_cat_gerald_g._01", "cat"),
    ("animals/mammals/housecats/gattina_cat_architetto_f_01", "cat"),
    ("animals/mammals/housecats/gatto_cat_architetto_fra_01", "cat"),
    ("animals/mammals/housecats/gatto_cat_architetto_fra_02", "cat"),
    ("animals/mammals/housecats/gatto_cat_architetto_fra_03", "cat"),
    ("animals/mammals/housecats/gatto_cat_architetto_fra_04", "cat"),
    ("animals/mammals/housecats/kitten_gerald_g._01", "kitten"),
    ("animals/mammals/dog_01_drawn_with_strai_01", "dog"),
    ("animals/mammals/dog_03_drawn_with_strai_01", "dog"),
    ("animals/mammals/dog_04_drawn_with_strai_01", "dog"),
    ("animals/mammals/dog_05_drawn_with_strai_01", "dog"),
    ("animals/mammals/dog_06_drawn_with_strai_01", "dog"),
    ("animals/mammals/dogs/bulldog_puppy_ganson", "puppy"),
    ("transportation/vehicles/bicycle_01", "bicycle"),
    ("transportation/bicycle_philippe_colin_01", "cyclist"),
    ("transportation/motorcycle_jarno_vasama_", "motorcycle"),
)


def drawings(cache: Path) -> Iterator[Thing]:
    """Open Clip Art's drawings of what has few photographs here."""
    root = cache / "openclipart-png/usr/share/openclipart/png"
    for name, concept in DRAWINGS:
        picture = np.asarray(Image.open(root / f"{name}.png").convert("RGBA"))
        yield Thing(f"openclipart/{name}", concept, (), (trim(picture),))


def without_ground(picture: Array) -> tuple[Array, ...]:
    """Cut the thing in the middle of a photograph out (Rother et al. 2004, GrabCut); nothing when that fails."""
    scale = 300 / max(picture.shape[:2])
    small = cv2.resize(picture, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    height, width = small.shape[:2]
    mask, models = np.zeros((height, width), np.uint8), (np.zeros((1, 65)), np.zeros((1, 65)))
    middle = (int(width * 0.06), int(height * 0.06), int(width * 0.88), int(height * 0.88))
    cv2.setRNGSeed(0)
    cv2.grabCut(small[..., ::-1].copy(), mask, middle, *models, 4, cv2.GC_INIT_WITH_RECT)
    thing = np.isin(mask, (cv2.GC_FGD, cv2.GC_PR_FGD)).astype(np.uint8) * 255
    thing = cv2.morphologyEx(thing, cv2.MORPH_OPEN, np.ones((5, 5), np.uint8))  # type: ignore[assignment]  # its stubs widen uint8
    return (trim(np.dstack([small, thing])),) if 0.08 < (thing > 0).mean() < 0.7 else ()


# Boxes (left, top, right, bottom) drawn by hand on the pictures of Debian's package darknet.
BOXES: tuple[tuple[str, str, str, tuple[int, int, int, int]], ...] = (
    ("dog", "dog", "dog", (130, 195, 315, 545)),
    ("dog", "bicycle", "bicycle", (120, 130, 570, 425)),
    ("dog", "truck", "truck", (470, 75, 700, 175)),
    ("person", "person", "person", (190, 98, 275, 380)),
    ("person", "dog", "dog", (60, 262, 205, 350)),
    ("person", "horse", "horse", (405, 140, 607, 350)),
    ("horses", "white", "horse", (0, 190, 320, 400)),
    ("horses", "brown", "horse", (230, 195, 420, 365)),
    ("horses", "gray", "horse", (445, 205, 600, 345)),
    ("kite", "person1", "person", (110, 610, 165, 770)),
    ("kite", "person2", "person", (210, 690, 275, 860)),
    ("eagle", "bird", "bird of prey", (125, 85, 605, 455)),
)


def darknet(cache: Path) -> Iterator[Thing]:
    """Crops of darknet's photographs: all of them are test pictures."""
    for file, name, concept, box in BOXES:
        path = next((cache / "darknet").rglob(f"{file}.jpg"))
        picture = np.asarray(Image.open(path).convert("RGB"))
        yield Thing(f"darknet/{file}/{name}", concept, (), (square_crop(picture, box, 0.2),))
