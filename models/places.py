"""Photographs with nothing of interest in them: wallpapers, monuments, textures of the ground."""

import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from pictures import Place, compiled_pictures, shrink
from PIL import Image

WALLPAPERS: tuple[tuple[str, str, str | None], ...] = (
    ("mate-backgrounds", "Garden", "forest"),
    ("mate-backgrounds", "Dune", "ground"),
    ("mate-backgrounds", "Wood", None),
    ("mate-backgrounds", "Aqua", "water"),
    ("mate-backgrounds", "Storm", "sky"),
    ("mate-backgrounds", "GreenMeadow", "grass"),
    ("mate-backgrounds", "Blinds", None),
    ("lomiri-wallpapers-16.04", "aitzgorri*", "ground"),
    ("lomiri-wallpapers-16.04", "sunset*", "sky"),
    ("lomiri-wallpapers-16.04", "picos*", "ground"),
    ("lomiri-wallpapers-16.04", "life*", "water"),
    ("lomiri-wallpapers-16.04", "Bridge*", None),
    ("palapeli-data", "castle*", "building"),
    ("palapeli-data", "cincinnati*", "building"),
)
PLASMA: tuple[tuple[str, str], ...] = (
    ("Autumn", "forest"),
    ("FallenLeaf", "forest"),
    ("EveningGlow", "water"),
    ("BytheWater", "water"),
    ("summer_1am", "sky"),
    ("DarkestHour", "dark"),
    ("Grey", "water"),
    ("Path", "forest"),
    ("OneStandsOut", "forest"),
    ("Kite", "sky"),
    ("PastelHills", "sky"),
)


def places(cache: Path) -> Iterator[Place]:
    """Photographs with nothing of interest: wallpapers, monuments, textures."""
    for name, picture in compiled_pictures(cache, "explore_monuments"):
        yield Place(f"gcompris/{name.rsplit('/', 1)[-1]}", "building", picture)
    for name, picture in compiled_pictures(cache, "geo-country"):
        if "/" in name and "webp" in name:
            yield Place(f"gcompris/{name.rsplit('/', 1)[-1]}", "building", picture)
    for name, picture in compiled_pictures(cache, "details"):
        if (
            name.endswith("_background.webp")
            and "Gogh" not in name
            and "gogh" not in name
            and "Portrait" not in name
        ):
            yield Place(f"gcompris/{name.rsplit('/', 1)[-1]}", "building", picture)
    for package, stem, kind in WALLPAPERS:
        for path in sorted((cache / package).rglob(stem + ".jpg"))[:1]:
            yield Place(f"{package}/{path.stem}", kind, shrink(path))
    for stem, kind in PLASMA:
        for path in sorted((cache / "plasma-workspace-wallpapers").rglob(f"{stem}/contents/images/*.jpg"))[
            :1
        ]:
            yield Place(f"plasma/{stem}", kind, shrink(path))
    data = cache / "scikit-image/skimage/data"
    others = [
        (data / "grass.png", "grass"),
        (data / "gravel.png", "ground"),
        (data / "brick.png", "building"),
    ]
    others += [(cache / "scikit-learn/sklearn/datasets/images/china.jpg", "building")]
    opencv = cache / "opencv-doc/usr/share/doc/opencv-doc/examples/data"
    others += [(opencv / n, "building") for n in ("home.jpg", "leuvenA.jpg", "building.jpg")]
    for path, kind in others:
        if path.is_file():
            yield Place(f"package/{path.stem}", kind, shrink(path))
    yield from textures(cache)


TEXTURES: tuple[tuple[str, str], ...] = (
    (r"asphalt|carpark|airport$", "street"),
    (r"grass|pasture|golf|meadow|greenspace|crop|park\b", "grass"),
    (r"forest|bush|shrub|heath|scrub", "forest"),
    (r"sand|rock|dirt|cliff|desert|gravel|lava|snow|ice|tundra", "ground"),
    (r"rail", "railway"),
    (r"water|sea|lake|river|marsh", "water"),
)


def textures(cache: Path) -> Iterator[Place]:
    """Ground as FlightGear paints it."""
    root = cache / "flightgear-data-base/usr/share/games/flightgear/Textures/Terrain"
    for path in sorted(root.glob("*.png")):
        if re.search(r"mask|overlay|light|normal|relief|winter", path.stem):
            continue
        kind = next((k for pattern, k in TEXTURES if re.search(pattern, path.stem)), None)
        if kind and zlib.crc32(path.stem.encode()) % 2 and min(Image.open(path).size) >= 64:
            yield Place(f"texture/{path.stem}", kind, shrink(path))
