"""Pictures of 3D models from any side, with alpha, for training: OBJ (Sweet Home 3D) and AC3D (FlightGear).

A model is turned into a cloud of coloured points, which is drawn far point first: no GPU, no renderer to install, and
0.1 s a view. Knows nothing of labels or training.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from PIL import Image

Array = np.ndarray[Any, np.dtype[Any]]
N_POINTS = 350_000  # at 224 px a view has 50,000 pixels: several points each, so that no holes show


@dataclass(frozen=True, slots=True)
class Cloud:
    """Surface points: xyz float32[N,3] (y up, in the unit sphere), normal float32[N,3], rgb uint8[N,3]."""

    xyz: Array
    normal: Array
    rgb: Array


@dataclass(frozen=True, slots=True)
class View:
    """Where the camera and the sun are; angles in degrees, ambient 0..1."""

    azimuth: float
    elevation: float
    sun: tuple[float, float, float]
    ambient: float
    side_px: int = 224


@dataclass(slots=True)
class Triangles:
    """A model as read: corners float[N,3,3], texture coordinates float[N,3,2], and the material of each triangle."""

    corners: list[Array]
    uv: list[Array]
    material: list[tuple[tuple[float, float, float], Path | None]]


def cloud_of(path: Path, rng: np.random.Generator) -> Cloud:
    """Read a model and sample its surface; raises ValueError when it holds no triangle."""
    triangles = read_ac3d(path) if path.suffix == ".ac" else read_obj(path)
    if not triangles.corners:
        raise ValueError(f"{path.name}: no triangle in it")
    corners = np.stack(triangles.corners).astype(np.float32)
    low, high = corners.reshape(-1, 3).min(0), corners.reshape(-1, 3).max(0)
    corners = (corners - (low + high) / 2) / max(float(np.linalg.norm(high - low)) / 2, 1e-9)
    cross = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(cross, axis=1)
    which = rng.choice(len(area), N_POINTS, p=area / area.sum())
    a, b = rng.random((2, N_POINTS, 1)).astype(np.float32)
    a, b = np.where(a + b > 1, 1 - a, a), np.where(a + b > 1, 1 - b, b)
    weights = np.concatenate([1 - a - b, a, b], axis=1)
    xyz = np.einsum("nk,nkd->nd", weights, corners[which])
    uv = np.einsum("nk,nkd->nd", weights, np.stack(triangles.uv)[which])
    normal = (cross / np.maximum(area, 1e-12)[:, None])[which]
    rgb, keep = colours(triangles.material, which, uv)
    return Cloud(xyz[keep], normal[keep].astype(np.float32), rgb[keep])


def colours(materials: list[Any], which: Array, uv: Array) -> tuple[Array, Array]:
    """Colour points by material and texture; return rgb uint8[N,3] and the mask of points that are not see-through."""
    rgb = np.zeros((len(which), 3), np.uint8)
    keep = np.ones(len(which), bool)
    index: dict[Any, int] = {}
    kind = np.array([index.setdefault(m, len(index)) for m in materials])[which]
    for (diffuse, texture), number in index.items():
        here = np.flatnonzero(kind == number)
        rgb[here] = np.clip(np.array(diffuse) * 255, 0, 255)
        if texture is None or not len(here):
            continue
        try:
            picture = np.asarray(Image.open(texture).convert("RGBA"))
        except OSError:
            continue
        height, width = picture.shape[:2]
        x = ((uv[here, 0] % 1) * (width - 1)).astype(int)
        y = ((1 - uv[here, 1] % 1) * (height - 1)).astype(int)
        rgb[here] = picture[y, x, :3]
        keep[here] = picture[y, x, 3] > 100
    return rgb, keep


def draw(cloud: Cloud, view: View) -> Array:
    """Draw a view: uint8[side,side,4] RGBA, the model filling the square."""
    azimuth, elevation = np.radians(view.azimuth), np.radians(view.elevation)
    turn = np.array(
        [[np.cos(azimuth), 0, np.sin(azimuth)], [0, 1, 0], [-np.sin(azimuth), 0, np.cos(azimuth)]], np.float32
    )
    tilt = np.array(
        [[1, 0, 0], [0, np.cos(elevation), -np.sin(elevation)], [0, np.sin(elevation), np.cos(elevation)]],
        np.float32,
    )
    xyz = cloud.xyz @ (tilt @ turn).T
    scale = 5 / (5 - xyz[:, 2])  # a camera five radii away
    flat = xyz[:, :2] * scale[:, None]
    low, high = flat.min(0), flat.max(0)
    size = float((high - low).max())
    pixel = ((flat - (low + high) / 2) / size * (view.side_px - 4) + view.side_px / 2).astype(int)
    sun = np.array(view.sun) / np.linalg.norm(view.sun)
    light = view.ambient + (1 - view.ambient) * np.abs(cloud.normal @ sun.astype(np.float32))
    shaded = np.clip(cloud.rgb * light[:, None] * 1.15, 0, 255).astype(np.uint8)
    order = np.argsort(xyz[:, 2])
    out = np.zeros((view.side_px, view.side_px, 4), np.uint8)
    x, y = pixel[order, 0], view.side_px - 1 - pixel[order, 1]
    out[y, x, :3] = shaded[order]
    out[y, x, 3] = 255
    closed = cv2.morphologyEx(out, cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8))
    return np.where(out[..., 3:] > 0, out, closed)


def read_obj(path: Path) -> Triangles:
    """Read a Wavefront OBJ with its materials."""
    vertices: list[list[float]] = []
    textures: list[list[float]] = []
    materials: dict[str, Any] = {}
    current: tuple[tuple[float, float, float], Path | None] = ((0.7, 0.7, 0.7), None)
    out = Triangles([], [], [])
    for line in path.read_text(encoding="latin-1").splitlines():
        word, _, rest = line.strip().partition(" ")
        if word == "v":
            vertices.append([float(n) for n in rest.split()[:3]])
        elif word == "vt":
            textures.append([float(n) for n in rest.split()[:2]])
        elif word == "mtllib":
            materials |= read_mtl(path.parent / rest.strip())
        elif word == "usemtl":
            current = materials.get(rest.strip(), current)
        elif word == "f":
            corners = [corner.split("/") for corner in rest.split()]
            spots = [vertices[one_based(c[0], len(vertices))] for c in corners]
            has_uv = all(len(c) > 1 and c[1] for c in corners)
            uv = [textures[one_based(c[1], len(textures))] if has_uv else [0.0, 0.0] for c in corners]
            add_fan(out, spots, uv, current)
    return out


def one_based(text: str, length: int) -> int:
    """Turn OBJ's index (from 1, or negative from the end) into Python's."""
    number = int(text)
    return number - 1 if number > 0 else length + number


def read_mtl(path: Path) -> dict[str, tuple[tuple[float, float, float], Path | None]]:
    """Read the colours and textures of an OBJ; a missing file means default colours."""
    found: dict[str, tuple[tuple[float, float, float], Path | None]] = {}
    name = ""
    lines = path.read_text(encoding="latin-1").splitlines() if path.is_file() else []
    for line in lines:
        word, _, rest = line.strip().partition(" ")
        if word == "newmtl":
            name = rest.strip()
            found[name] = ((0.7, 0.7, 0.7), None)
        elif word == "Kd" and name:
            red, green, blue = (float(n) for n in rest.split()[:3])
            found[name] = ((red, green, blue), found[name][1])
        elif word == "map_Kd" and name:
            found[name] = (found[name][0], path.parent / rest.split(" ")[-1].strip())
    return found


def read_ac3d(path: Path) -> Triangles:
    """Read an AC3D file: nested objects with an offset, a texture, vertices and surfaces."""
    lines = path.read_text(encoding="latin-1").splitlines()
    out = Triangles([], [], [])
    materials: list[tuple[float, float, float]] = []
    offsets: list[Array] = [np.zeros(3)]
    pending = [1]  # children still to come, by depth
    place, texture, vertices = np.zeros(3), None, np.zeros((0, 3))
    row = 1
    while row < len(lines):
        word, _, rest = lines[row].strip().partition(" ")
        row += 1
        if word == "MATERIAL":
            numbers = rest.rpartition(" amb")[0].split("rgb ")[1].split()
            materials.append((float(numbers[0]), float(numbers[1]), float(numbers[2])))
        elif word == "OBJECT":
            place, texture, vertices = np.zeros(3), None, np.zeros((0, 3))
        elif word == "data":
            row += 1
        elif word == "loc":
            place = np.array([float(n) for n in rest.split()])
        elif word == "texture":
            texture = path.parent / rest.strip().strip('"')
        elif word == "numvert":
            count = int(rest)
            vertices = np.array([[float(n) for n in line.split()[:3]] for line in lines[row : row + count]])
            vertices = vertices.reshape(-1, 3) + offsets[-1] + place
            row += count
        elif word == "SURF":
            material = 0
            while not lines[row].startswith("refs"):
                if lines[row].startswith("mat"):
                    material = int(lines[row].split()[1])
                row += 1
            count = int(lines[row].split()[1])
            refs = [line.split() for line in lines[row + 1 : row + 1 + count]]
            row += 1 + count
            if int(rest, 16) & 0xF == 0:  # a polygon, not a line
                spots = [vertices[int(r[0])].tolist() for r in refs]
                add_fan(
                    out, spots, [[float(r[1]), float(r[2])] for r in refs], (materials[material], texture)
                )
        elif word == "kids":
            if int(rest):
                offsets.append(offsets[-1] + place)
                pending.append(int(rest))
            else:
                pending[-1] -= 1
                while len(pending) > 1 and pending[-1] == 0:
                    pending.pop()
                    offsets.pop()
                    pending[-1] -= 1
    return out


def add_fan(out: Triangles, spots: list[list[float]], uv: list[list[float]], material: Any) -> None:
    """Add a polygon as triangles around its first corner."""
    for second in range(1, len(spots) - 1):
        take = (0, second, second + 1)
        out.corners.append(np.array([spots[k] for k in take]))
        out.uv.append(np.array([uv[k] for k in take], dtype=np.float32))
        out.material.append(material)
