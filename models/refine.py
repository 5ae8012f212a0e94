"""The last step: mini's bridge goes on from where train.py left it, on more things.

Validation's things, which have chosen the settings and choose nothing any more, and those of extra.py. Three short runs
from the same weights are averaged (Wortsman et al. 2022, *Model soups*): so nothing hangs on one seed, and what the
bridge knew stays near. The test split takes no part.

    python models/refine.py --cache /var/tmp/mini
"""

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import bank as banks
import compose
import dataset
import extra
import numpy as np
import sources
import torch
from compose import Plan
from dataset import NOTHING, Builder, Library, Samples
from pictures import Place, Thing
from safetensors.torch import load_file
from tower import Towers
from train import HERE, Bridge, Settings, log, named, train, write

PLAN = Plan(0, 0, 0, 2, crops_only=False)
N_EXTRA, N_VALIDATION = 12, 24  # events of a thing: one of the label's few counts for more than one of 88
N_EMPTY = 240
EMPTY_WORTH = 4  # a new place is drawn as often as so many known ones for a picture of nothing
SEEDS = (11, 12, 13)
SETTINGS = Settings(n_steps=300, rate=5e-4)


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Go on from mini's bridge on more things.",
        epilog="example: python models/refine.py --cache /var/tmp/mini",
    )
    parser.add_argument("--cache", type=Path, required=True, help="the folder that models/train.py used")
    parser.add_argument(
        "--start", type=Path, default=HERE / "mini", help="folder of the bridge to go on from"
    )
    parser.add_argument("--out", type=Path, default=HERE / "mini")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sources.fetch(args.cache, extra.PACKAGES)
    towers = Towers(args.cache)
    library = Library(args.cache, log)
    known = dataset.load(args.cache, "train", towers, lambda: library, log)
    samples = dataset.joined([known, *more(args.cache, library, towers)])
    bank = banks.build(towers, named(samples))
    log(f"{len(samples.concept)} pictures, {len(bank.texts)} captions")
    start = load_file(args.start / "bridge.safetensors")
    runs = [train(replace(SETTINGS, seed=seed), samples, towers, bank, start=start) for seed in SEEDS]
    temperature = json.loads((args.start / "settings.json").read_text(encoding="utf-8"))["temperature"]
    write(args.out, averaged(runs), temperature, towers)
    return 0


def more(cache: Path, library: Library, towers: Towers) -> list[Samples]:
    """Compose pictures of extra.py's things and of validation's, as many of each thing; the former with nothing too."""
    new = list(extra.places(cache))
    places = library.places["train"] + new
    things = list(extra.things(cache))
    rng = np.random.default_rng(31)
    builder = composed(things, N_EXTRA, places, towers, rng)
    for _ in range(N_EMPTY):
        pictures, kind = compose.empty_event(places + new * (EMPTY_WORTH - 1), PLAN, rng)
        builder.add(pictures, NOTHING, (), kind, NOTHING)
    held = library.things["validation"]
    of_validation = composed(held, N_VALIDATION, places, towers, np.random.default_rng(33))
    return [
        made.samples(dataset.teachers({thing.identity for thing in shown}, shown, towers))
        for made, shown in ((builder, things), (of_validation, held))
    ]


def composed(
    things: Sequence[Thing], n_events: int, places: list[Place], towers: Towers, rng: np.random.Generator
) -> Builder:
    """Compose `n_events` of each thing."""
    builder = Builder(towers, log)
    for thing in things:
        for _ in range(n_events):
            builder.add(
                compose.event(thing, places, PLAN, rng), thing.concept, thing.names, None, thing.identity
            )
    return builder


def averaged(bridges: Sequence[Bridge]) -> Bridge:
    """Return a bridge with the mean of the weights of bridges that began alike, on the same pictures."""
    mean = {
        name: torch.stack([bridge.state_dict()[name] for bridge in bridges]).mean(0)
        for name in bridges[0].state_dict()
    }
    made = Bridge(bridges[0].settings, bridges[0].mean, bridges[0].deviation)
    made.load_state_dict(mean)
    return made.eval()


if __name__ == "__main__":
    sys.exit(main())
