"""Figures of a bridge on events of things that it was not trained on. Knows nothing of how it was trained."""

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from dataset import LABELS, NOTHING, Samples, label_of
from torch.nn import functional

Embed = Callable[[list[str]], torch.Tensor]

# Ways to say the eight labels and the background; the figures are means over them.
WORDINGS: tuple[tuple[tuple[str, ...], tuple[str, ...]], ...] = (
    (
        ("a dog", "a cat", "a bird", "a horse", "a car", "a truck", "a bicycle", "a pedestrian"),
        ("an empty street",),
    ),
    (("dog", "cat", "bird", "horse", "car", "truck", "bicycle", "pedestrian"), ("background",)),
    (("a dog", "a cat", "a bird", "a horse", "a car", "a lorry", "a bike", "a person"), ("grass",)),
    (
        (
            "a pet dog",
            "a house cat",
            "a wild bird",
            "a pony",
            "an automobile",
            "a delivery truck",
            "a pushbike",
            "people walking",
        ),
        ("an empty road", "an empty lawn"),
    ),
)


@dataclass(slots=True)
class Figures:
    """Shares, 0..1."""

    events: float = 0.0  # top-1 over an event's pictures, eight labels and background
    crops: float = 0.0  # the same, one picture at a time
    events_lost: float = 0.0  # events of things that went to background
    empty_crops: float = 0.0  # crops of nothing that went to background
    by_label: dict[str, float] = field(default_factory=dict)

    def line(self) -> str:
        """Write one line."""
        labels = " ".join(f"{k}={v:.2f}" for k, v in self.by_label.items())
        return (
            f"events {self.events:.3f} crops {self.crops:.3f} lost {self.events_lost:.3f} "
            f"empty {self.empty_crops:.3f} | {labels}"
        )


def probabilities(
    images: torch.Tensor, labels: tuple[str, ...], background: tuple[str, ...], embed: Embed, scale: float
) -> torch.Tensor:
    """Softmax over labels and background prompts, the latter pooled into the last column: float32[N,K+1]."""
    texts = embed([*labels, *background])
    softmax = (scale * functional.normalize(images, dim=-1) @ texts.T).softmax(-1)
    return torch.cat([softmax[:, : len(labels)], softmax[:, len(labels) :].sum(1, keepdim=True)], 1)


def figures(images: torch.Tensor, samples: Samples, embed: Embed, scale: float) -> Figures:
    """Measure the bar: mean over the wordings."""
    found = [_one(images, samples, *wording, embed, scale) for wording in WORDINGS]

    def mean(name: str) -> float:
        return float(sum(getattr(f, name) for f in found) / len(found))

    by_label = {k: sum(f.by_label[k] for f in found) / len(found) for k in found[0].by_label}
    return Figures(mean("events"), mean("crops"), mean("events_lost"), mean("empty_crops"), by_label)


def _one(
    images: torch.Tensor,
    samples: Samples,
    labels: tuple[str, ...],
    background: tuple[str, ...],
    embed: Embed,
    scale: float,
) -> Figures:
    truth = truths(samples)
    keep = truth >= 0
    crop = probabilities(images[keep], labels, background, embed, scale)
    wanted = truth[keep]
    events, event_truth = by_event(crop, wanted, torch.tensor(samples.event)[keep])
    hit = events.argmax(1) == event_truth
    thing = event_truth < len(labels)
    empty = wanted == len(labels)
    by_label = {
        label: float(hit[event_truth == k].float().mean())
        for k, label in enumerate([*LABELS, NOTHING])
        if (event_truth == k).any()
    }
    return Figures(
        events=sum(by_label.values()) / len(by_label),
        crops=float((crop.argmax(1) == wanted)[~empty].float().mean()),
        events_lost=float((events.argmax(1) == len(labels))[thing].float().mean()),
        empty_crops=float((crop.argmax(1) == len(labels))[empty].float().mean()),
        by_label=by_label,
    )


def truths(samples: Samples) -> torch.Tensor:
    """Give each picture's column: label, len(LABELS) for nothing, -1 for anything else."""
    column = {label: k for k, label in enumerate(LABELS)}
    return torch.tensor(
        [len(LABELS) if c == NOTHING else column.get(label_of(c) or "", -1) for c in samples.concept]
    )


def by_event(
    crop: torch.Tensor, wanted: torch.Tensor, event: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Average the pictures of each event; return probabilities and truth by event."""
    numbers, index = torch.unique(event, return_inverse=True)
    total = torch.zeros(len(numbers), crop.shape[1]).index_add_(0, index, crop)
    count = torch.zeros(len(numbers)).index_add_(0, index, torch.ones(len(index)))
    truth = torch.zeros(len(numbers), dtype=torch.long)
    truth[index] = wanted
    return total / count[:, None], truth


def best_scale(images: torch.Tensor, samples: Samples, embed: Embed) -> float:
    """Find the logit scale with the lowest negative log-likelihood over single pictures and all wordings."""
    truth = truths(samples)
    keep = truth >= 0
    # as many empty pictures as of one label and a half: what cameras see is not known, so labels weigh alike
    weight = 1 / torch.bincount(truth[keep]).float()[truth[keep]]
    best, best_loss = 1.0, float("inf")
    for scale in torch.linspace(5, 80, 76).tolist():
        loss = 0.0
        for labels, background in WORDINGS:
            p = probabilities(images[keep], labels, background, embed, scale)
            nll = -p.gather(1, truth[keep][:, None]).squeeze(1).clamp_min(1e-6).log()
            loss += float((nll * weight).sum() / weight.sum())
        if loss < best_loss:
            best, best_loss = scale, loss
    return best


def open_vocabulary(
    images: torch.Tensor, samples: Samples, names: list[str], embed: Embed
) -> tuple[float, float]:
    """Top-1 and top-5 of kept-out things among all concepts' plain names."""
    from words import ancestors, undecided

    texts = embed([f"a {name}" for name in names])
    ranked = (functional.normalize(images, dim=-1) @ texts.T).argsort(1, descending=True)[:, :5]
    hits = []
    for row, concept in zip(ranked.tolist(), samples.concept, strict=True):
        right = (ancestors(concept) | undecided(concept)) - {"object", "animal", "mammal", "vehicle"} | {
            concept
        }
        good = [names[k] in right for k in row]
        hits.append((good[0], any(good)))
    return sum(h[0] for h in hits) / len(hits), sum(h[1] for h in hits) / len(hits)
