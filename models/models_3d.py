"""Renders of 3D models, as things: Sweet Home 3D's furniture and FlightGear's scenery."""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import render
from pictures import Array, Thing, trim

# Sweet Home 3D: what a catalogue name makes a model; everything else is an object that goes by its name.
FURNITURE: tuple[tuple[str, str], ...] = (
    (r"^(female|male|holding|sitting|lying|mannequin)", "person"),
    (r"^(boy|girl)|boy$|girl$", "child"),
    (r"bulldog", "bulldog"),
    (r"^dog$", "dog"),
    (r"siamese", "siamese cat"),
    (r"^cat$", "cat"),
    (r"^horse$", "horse"),
    (r"^chicken$", "chicken"),
    (r"^rabbit$", "rabbit"),
    (r"^deer$", "deer"),
    (r"sedan|beetle|leon|peugeot|scenic|ford|chevrolet|smart", "car"),
    (r"^suv$", "suv"),
    (r"^van$", "van"),
    (r"^(city )?bus$", "bus"),
    (r"^truck$", "truck"),
    (r"fork lift", "forklift"),
    (r"^(bicycle|bike)$", "bicycle"),
    (r"tricycle", "tricycle"),
    (r"yamaha|motorbike", "motorcycle"),
    (r"scooter", "scooter"),
    (r"stroller", "stroller"),
    (r"skateboard", "skateboard"),
    (r"wheelchair", "wheelchair"),
    (r"biplane", "airplane"),
    (r"rowboat", "boat"),
    (r"shipping container", "container"),
    (r"umbrella", "umbrella"),
    (r"suitcase|backpack|handbag|briefcase", "bag"),
    (r"^(cardboard )?box$|crate", "parcel"),
    (r"trash|dustbin|recycling", "trash can"),
    (r"ball$", "ball"),
    (r"plant|bush|bamboo|yucca|cactus", "plant"),
    (r"flower|tulip|lily|orchid", "flower"),
    (
        r"chair|table|sofa|bed$|couch|bench|desk|armchair|wardrobe|cupboard|shelves|stool|cabinet|bookcase",
        "furniture",
    ),
)

WANTED_OBJECTS = {"Exterior", "Miscellaneous", "Vehicles", "Characters"}


def sweethome(cache: Path) -> Iterator[Thing]:
    """Renders of Sweet Home 3D's models."""
    for folder in sorted((cache / "sweethome3d").iterdir()):
        catalogue: dict[str, dict[str, str]] = {}
        text = (folder / "PluginFurnitureCatalog.properties").read_text(encoding="latin-1")
        for match in re.finditer(r"^(\w+)#(\d+)=(.*)$", text, re.MULTILINE):
            catalogue.setdefault(match[2], {})[match[1]] = match[3].strip()
        for entry in catalogue.values():
            name = entry["name"].lower()
            concept = next((c for pattern, c in FURNITURE if re.search(pattern, name)), "object")
            if entry.get("category") not in WANTED_OBJECTS and concept in (
                "object",
                "furniture",
                "plant",
                "flower",
                "child",
            ):
                continue
            path = folder / entry["model"].lstrip("/")
            n_views = 4 if concept in ("object", "furniture", "plant", "flower", "parcel") else 16
            identity = f"sh3d/{folder.name}/{path.stem}"
            names = () if concept in ("person", "car") else (name,)
            if path.suffix == ".obj" and (views := rendered(cache, identity, path, n_views)):
                yield Thing(identity, concept, names, views)


# FlightGear's scenery models: what a file name makes it; the rest is left out.
SCENERY: tuple[tuple[str, str], ...] = (
    (r"Fauna/cow", "cow"),
    (r"Fauna/horse", "horse"),
    (r"Fauna/sheep", "sheep"),
    (r"Fauna/elephant", "elephant"),
    (r"Fauna/Swan", "swan"),
    (r"Fauna/Ducks", "duck"),
    (r"Fauna/Seagull_F", "seagull"),
    (r"Misc/(man|woman)\w*\d", "person"),
    (r"Misc/StuntBike", "motorcyclist"),
    (r"Misc/QuadBike", "quad bike"),
    (r"polic", "police car"),
    (r"taxi", "taxi"),
    (r"/(volvoxc90|hondacrv|hummer|rover)", "suv"),
    (r"/(tcamry|hatchback|VWJetta|VWPassat|vwgolf|bmw|honda|EDDT-FollowMe)", "car"),
    (r"/camaro", "sports car"),
    (r"/(pickup|dodgeram|airvehpickup)", "pickup"),
    (r"paramedic|RTW_Sprinter", "ambulance"),
    (r"/minibus", "minibus"),
    (r"/(van|fourgon|boxvan|BFD_Sprinter|gr_van)", "van"),
    (r"/(bus|tourbus|110Bus|lirq_cobus|cobus|Cobus|groundforce)", "bus"),
    (r"/(firetruck|fire-truck|FireTruck|Rosenbauer|crashtender|anac-fire|hoskosh)", "fire engine"),
    (r"consdumptruck", "dump truck"),
    (
        r"/(truck|Yellow|BlueContainer|DPost|comtruck|boxtruck|Norbert|mxvtfedtr\b|mxvtftrbox|fedextruck|CCS_cat)",
        "truck",
    ),
    (
        r"/(medfueltruck|larfueltruck|smfuel|catruck|fueltruck|Fuel_Truck|94-f600|dicingtruck|EDXW_Cater)",
        "truck",
    ),
    (r"/(bulldozer|consdigger|consgrader|consroller|steamroller)", "excavator"),
    (r"forklift", "forklift"),
    (r"/(dc-metro|voyager|ICE3|Hitachi|Class_66|locomotive|LINT|diesel_T|switcher|lner|KSFO)", "train"),
    (r"Tram", "tram"),
    (r"motorhome", "camper"),
    (r"/(tractor\d)", "tractor"),
    (r"Transport/container_|storage_container|containsingle20", "container"),
    (r"Aircraft/(Cessna172_red|DR400-blue|Boeing_737_300|a330-ba|dc3_lowpoly|PiperWarrior)", "airplane"),
    (r"Aircraft/(r44-black|jetranger-ba|EC-135_ADAC)", "helicopter"),
)

FOLDERS = ("Fauna", "Misc", "Transport", "Vehicle", "Aircraft")


def flightgear(cache: Path) -> Iterator[Thing]:
    """Renders of FlightGear's scenery models; those that differ in colour only are one object."""
    root = cache / "flightgear-data-base/usr/share/games/flightgear/Scenery/Models"
    for path in sorted(root.rglob("*.ac")):
        name = path.relative_to(root).with_suffix("").as_posix()
        concept = next((c for pattern, c in SCENERY if re.search(pattern, "/" + name)), None)
        place = name.split("/")[-2]
        if concept is None or place not in FOLDERS or re.search(r"lamp|light|stop|Runway|Cone", path.stem):
            continue
        stem = re.sub(r"(red|blue|black|white|silver|green|yellow|yel|_S)*\d*$", "", path.stem).rstrip("_")
        if place == "Misc":
            stem = path.stem
        n_views = 24 if concept == "person" else 10
        if views := rendered(cache, f"fg/{name}", path, n_views):
            yield Thing(f"fg/{place}/{stem}", concept, (), views)


def rendered(cache: Path, identity: str, path: Path, n_views: int) -> tuple[Array, ...]:
    """Draw a model from all around and from above, once; the views are kept in the cache."""
    kept = cache / "renders" / (identity.replace("/", "__") + ".npz")
    if not kept.is_file():
        rng = np.random.default_rng(zlib.crc32(identity.encode()))
        views = []
        try:
            cloud = render.cloud_of(path, rng)
            for number in range(n_views):
                azimuth = 360 * (number + rng.random()) / n_views
                sun = (float(rng.uniform(-1, 1)), float(rng.uniform(0.3, 1)), float(rng.uniform(-1, 1)))
                view = render.View(
                    azimuth, float(rng.triangular(0, 12, 50)), sun, float(rng.uniform(0.4, 0.8))
                )
                views.append(trim(render.draw(cloud, view)))
        except (ValueError, IndexError, OSError, KeyError):
            views = []  # a model that cannot be read: an empty file keeps it from being tried again
        kept.parent.mkdir(exist_ok=True)
        np.savez_compressed(kept, *views)
    with np.load(kept) as data:
        return tuple(data[key] for key in data.files)
