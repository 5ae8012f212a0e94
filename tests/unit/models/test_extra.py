"""models/extra.py on an archive of our own: no package of pictures, no network."""

import importlib
import io
import struct
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image

MODELS = Path(__file__).resolve().parents[3] / "models"
CORNERS = ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 2.0, 0.0))
TEXTURE = ((0.25, 0.75), (1.0, 0.0), (0.0, 0.5))


@pytest.fixture(scope="module")
def extra() -> Iterator[ModuleType]:
    """The script, which imports its neighbours by their bare names."""
    sys.path.insert(0, str(MODELS))
    yield importlib.import_module("extra")
    sys.path.remove(str(MODELS))


def pmd(version: int, n_layers: int = 1, magic: bytes = b"PSMD") -> bytes:
    """A triangle as 0 A.D. keeps it: place, normal, texture coordinates a layer, bones; then the faces."""
    data = struct.pack("<4sIII", magic, version, 0, len(CORNERS))
    if version == 4:
        data += struct.pack("<I", n_layers)
    for place, uv in zip(CORNERS, TEXTURE, strict=True):
        data += struct.pack("<3f3f", *place, 0, 0, 1)
        data += struct.pack("<2f", *uv) + b"\xff" * (8 * (n_layers - 1))
        data += struct.pack("<4B4f", 0, 0, 0, 0, 1, 0, 0, 0)
    return data + struct.pack("<I3H", 1, 0, 1, 2)


def archive(mesh: bytes, actor: str = "", variant: str = "") -> zipfile.ZipFile:
    coat = io.BytesIO()
    Image.fromarray(np.full((8, 8, 4), (200, 100, 50, 0), np.uint8)).save(coat, "DDS")
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as public:
        public.writestr("art/meshes/skeletal/ox.dae.cached.pmd", mesh)
        public.writestr("art/textures/skins/skeletal/ox.png.cached.dds", coat.getvalue())
        public.writestr("art/actors/fauna/ox.xml", actor)
        public.writestr("art/variants/coats/red.xml", variant)
    return zipfile.ZipFile(file)


@pytest.mark.parametrize(("version", "n_layers"), [(3, 1), (4, 1), (4, 2)])
def test_a_mesh_becomes_an_obj_that_the_renderer_reads(
    extra: ModuleType, tmp_path: Path, version: int, n_layers: int
) -> None:
    public = archive(pmd(version, n_layers))
    path = extra.as_obj(public, "skeletal/ox.dae", "skeletal/ox.png", tmp_path / "ox")
    read = extra.models_3d.render.read_obj(path)
    np.testing.assert_allclose(read.corners[0], CORNERS)
    np.testing.assert_allclose(read.uv[0], TEXTURE)
    _, coat = read.material[0]
    with Image.open(coat) as picture:
        assert picture.mode == "RGB"  # see-through would leave holes
        assert picture.getpixel((3, 3)) == (200, 100, 50)


@pytest.mark.parametrize("data", [pmd(3, magic=b"JUNK"), pmd(2)])
def test_what_is_no_such_mesh_is_refused_by_name(extra: ModuleType, tmp_path: Path, data: bytes) -> None:
    with pytest.raises(ValueError, match=r"ox\.dae: not a PMD"):
        extra.as_obj(archive(data), "skeletal/ox.dae", "skeletal/ox.png", tmp_path / "ox")
    assert not (tmp_path / "ox").exists()


def test_an_actor_has_the_coats_of_its_variants_files_too_but_not_those_of_the_dead(
    extra: ModuleType,
) -> None:
    actor = """<variant frequency="1"><mesh>skeletal/ox.dae</mesh>
        <textures><texture file="skeletal/ox.png" name="baseTex"/><texture file="n.png" name="normTex"/>
        </textures></variant>
        <variant file="coats/red.xml" name="red"/><variant><textures>
        <texture file="skeletal/ox_dead.png" name="baseTex"/></textures></variant>"""
    variant = '<variant><textures><texture file="skeletal/red.png" name="baseTex"/></textures></variant>'
    meshes, coats = extra.actor(archive(pmd(3), actor, variant), "ox")
    assert meshes == ["skeletal/ox.dae"]
    assert coats == ["skeletal/ox.png", "skeletal/red.png"]
