"""Adapt mini's image tower to what cameras see: small, blurred, noisy. Needs no labels.

The later stages of the frozen tower learn to give, on a degraded picture, what the frozen tower gives on the same
composition before the camera (feature distillation: Hinton et al. 2015, Romero et al. 2015; on degraded inputs as in
Zhu et al. 2019, *Low-resolution Visual Recognition via Deep Feature Distillation*). Every picture at hand teaches, and
ImageNet's knowledge stays where it was. Writes tower.safetensors; the bridge is trained on it afterwards (train.py).

    python models/adapt.py --cache /var/tmp/mini --parts 2 --minutes 22
    python models/adapt.py --cache /var/tmp/mini --parts 4 --minutes 24 --seed 7 --start models/mini/tower.safetensors
"""

import argparse
import functools
import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import assemble
import compose
import cv2
import dataset
import numpy as np
import sources
import torch
from dataset import Library
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional
from tower import Towers
from train import log, write_sums

HERE = Path(__file__).resolve().parent
Array = np.ndarray[Any, np.dtype[Any]]
FIRST_STAGE = 3  # the stages before it stay: their output, 40 x 28 x 28, is computed once and kept
# Versions of each composition. Of the last, half are sharp, so that the tower stays right on those.
N_CAMERAS = 3
BATCH = 32
SOFTNESS = 2.0  # of ImageNet's softmax in the loss
_shared: dict[str, Any] = {}  # handed to forked workers, who only read it


class Later(nn.Module):
    """The stages that learn: float32[N,40,28,28] to features float32[N,1280]."""

    def __init__(self, trunk: Any) -> None:  # Any: timm has no types
        """Take them from a tower; BatchNorm's statistics stay."""
        super().__init__()
        self.stages = nn.ModuleList([*trunk.blocks[FIRST_STAGE:], trunk.conv_head, trunk.bn2])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool as timm does."""
        for stage in self.stages:
            x = stage(x)
        return x.mean((2, 3))


def earlier(trunk: Any, pictures: Array) -> torch.Tensor:  # Any: timm has no types
    """Give float32[N,40,28,28] for uint8[N,224,224,3] RGB."""
    x = torch.from_numpy(np.ascontiguousarray(pictures)).permute(0, 3, 1, 2).float() / 127.5 - 1
    x = trunk.bn1(trunk.conv_stem(x.to(memory_format=torch.channels_last)))
    for stage in trunk.blocks[:FIRST_STAGE]:
        x = stage(x)
    return torch.as_tensor(x)


def compositions(cache: Path) -> Path:
    """Compose the training pictures without a camera, each once; give the folder with a file a worker."""
    folder = cache / "clean" / dataset.code_digest()
    if not (folder / "done").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        _shared.update(library=Library(cache, log), folder=folder)
        with multiprocessing.get_context("fork").Pool(dataset.N_WORKERS // 2) as pool:
            pool.map(compose_shard, range(dataset.N_WORKERS), chunksize=1)
        (folder / "done").touch()
    return folder


def compose_shard(shard: int) -> None:
    """Compose one worker's part: uint8[N,256,256,3]."""
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    pictures = dataset.clean_pictures("train", _shared["library"], shard)
    np.save(_shared["folder"] / f"{shard}.npy", np.stack(pictures))
    log(f"composed: {len(pictures)} pictures")


def lessons(folder: Path, shard: int) -> None:
    """For one part: what the tower gives on clean pictures, and the kept stages' output on degraded ones."""
    if (folder / f"{shard}-teacher.npy").is_file():
        return
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    towers: Towers = _shared["towers"]
    trunk = towers.trunk
    clean = np.load(folder / f"{shard}.npy", mmap_mode="r")
    rng = np.random.default_rng(1000 + shard)
    shape = (N_CAMERAS, len(clean), 40, 28, 28)
    kept = np.lib.format.open_memmap(folder / f"{shard}-kept.npy", mode="w+", dtype=np.float16, shape=shape)
    taught = np.zeros((len(clean), 1280), np.float16)
    started = time.monotonic()
    with torch.inference_mode():
        for at in range(0, len(clean), BATCH):
            part = np.asarray(clean[at : at + BATCH])
            sharp = np.stack([compose.seen_by(picture, None, rng) for picture in part])
            taught[at : at + BATCH] = towers.features(sharp).numpy()
            for number in range(N_CAMERAS):
                seen = [compose.seen_by(p, camera(number, rng), rng) for p in part]
                kept[number, at : at + BATCH] = earlier(trunk, np.stack(seen)).numpy()
            if at % (BATCH * 20) == 0:
                log(f"part {shard}: {at} of {len(clean)} pictures, {time.monotonic() - started:.0f} s")
    kept.flush()
    np.save(folder / f"{shard}-teacher.npy", taught)


def camera(number: int, rng: np.random.Generator) -> compose.Camera | None:
    """Draw the camera of a version; None: sharp."""
    is_sharp = number == N_CAMERAS - 1 and rng.random() < 0.5
    return None if is_sharp else compose.any_camera(rng, crops_only=True)


class Lessons:
    """All parts: draws batches of kept outputs with what the tower gave on the clean picture."""

    def __init__(self, folder: Path, towers: Towers, n_parts: int, seed: int = 0) -> None:
        """Open the files; the kept outputs stay on disk."""
        shards = range(n_parts)
        self.kept = [np.load(folder / f"{k}-kept.npy", mmap_mode="r") for k in shards]
        self.taught = torch.from_numpy(
            np.concatenate([np.load(folder / f"{k}-teacher.npy") for k in shards])
        ).float()
        self.where = [(k, i) for k in shards for i in range(self.kept[k].shape[1])]
        self.deviation = self.taught.std(0) + 0.05
        self.weight, self.bias = towers.classifier_weight, towers.classifier_bias
        self._rng = np.random.default_rng(seed)
        self._order: Array = np.empty(0, np.int64)

    def draw(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Give a batch; every picture and camera once before any comes again."""
        if len(self._order) < BATCH:
            self._order = self._rng.permutation(len(self.where) * N_CAMERAS)
            log(f"a pass over {len(self._order)} pictures begins")
        chosen, self._order = self._order[:BATCH], self._order[BATCH:]
        numbers = chosen % len(self.where)
        rows = [
            self.kept[self.where[i][0]][c, self.where[i][1]]
            for i, c in zip(numbers, chosen // len(self.where), strict=True)
        ]
        return torch.from_numpy(np.stack(rows)).float(), self.taught[torch.from_numpy(numbers)]

    def loss(self, found: torch.Tensor, taught: torch.Tensor) -> torch.Tensor:
        """Standardised squared distance of the features, and of ImageNet's softmax over them."""
        distance = ((found - taught) / self.deviation).square().mean()
        ours = ((found @ self.weight.T + self.bias) / SOFTNESS).log_softmax(-1)
        theirs = ((taught @ self.weight.T + self.bias) / SOFTNESS).softmax(-1)
        return distance + 0.5 * functional.kl_div(ours, theirs, reduction="batchmean")


def adapt(trunk: Any, teaching: Lessons, minutes: float, rate: float) -> None:  # Any: timm has no types
    """Train the later stages in place for so long; they end as the exponential average of their steps."""
    torch.manual_seed(0)
    later = Later(trunk).eval()
    for parameter in trunk.parameters():
        parameter.requires_grad_(False)
    learning = [p.requires_grad_(True) for p in later.parameters()]
    average = [p.detach().clone() for p in learning]
    optimiser = torch.optim.AdamW(learning, rate, weight_decay=0)
    started, step, smooth = time.monotonic(), 0, 0.0
    while (passed := (time.monotonic() - started) / (minutes * 60)) < 1:
        kept, taught = teaching.draw()
        for group in optimiser.param_groups:
            group["lr"] = rate * min(1.0, (step + 1) / 40) * (0.5 * (1 + np.cos(np.pi * passed)) + 0.01)
        loss = teaching.loss(later(kept.to(memory_format=torch.channels_last)), taught)
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        nn.utils.clip_grad_norm_(learning, 5.0)
        optimiser.step()
        step += 1
        keep = min(0.99, (1 + step) / (10 + step))
        with torch.no_grad():
            for mean, parameter in zip(average, learning, strict=True):
                mean.lerp_(parameter, 1 - keep)
        smooth += (float(loss) - smooth) * max(0.03, 1 / step)
        if step % 50 == 0:
            log(f"step {step}, {passed:.0%} of the time: loss {smooth:.3f}")
    with torch.no_grad():
        for mean, parameter in zip(average, learning, strict=True):
            parameter.copy_(mean)


def changed(trunk: Any) -> dict[str, torch.Tensor]:  # Any: timm has no types
    """Give the tensors that learned, as float16 under timm's names."""
    parts = (*(f"blocks.{k}." for k in range(FIRST_STAGE, len(trunk.blocks))), "conv_head.", "bn2.")
    return {
        name: tensor.detach().half().contiguous()
        for name, tensor in trunk.named_parameters()
        if name.startswith(parts)
    }


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cache", type=Path, required=True, help="folder for packages and pictures (10 GB)")
    parser.add_argument("--out", type=Path, default=HERE / "mini")
    parser.add_argument("--parts", type=int, default=2, help="of the 4 parts of the training pictures")
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--rate", type=float, default=3e-4)
    parser.add_argument("--start", type=Path, help="a tower.safetensors to go on from, at full rate again")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(1)  # a pool of torch's threads would not survive the forks
    sources.fetch(args.cache)
    folder = compositions(args.cache)
    towers = Towers(args.cache, is_adapted=False)
    towers.model.share_memory()
    _shared.update(towers=towers)
    with multiprocessing.get_context("fork").Pool(2) as pool:
        pool.map(functools.partial(lessons, folder), range(args.parts), chunksize=1)
    torch.set_num_threads(args.threads)
    teaching = Lessons(folder, towers, args.parts, args.seed)  # before the start: the frozen tower teaches
    if args.start is not None:
        learned = {name: tensor.float() for name, tensor in load_file(args.start).items()}
        towers.trunk.load_state_dict({**towers.trunk.state_dict(), **learned})
    adapt(towers.trunk, teaching, args.minutes, args.rate)
    save_file(changed(towers.trunk), args.out / assemble.TOWER)
    write_sums(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
