"""Quantizes an image tower: matrix products in int8 where its answers hardly move. Knows torch, no model.

Replaced are products with fixed weights: linear layers, attention's own included. Norms, softmax, GELU and convolutions
stay in float32. Trained transformers have a few large channels and a few large tokens (Dettmers et al. 2022, LLM.int8;
Xiao et al. 2023, SmoothQuant), which a single scale would pay for with everybody else's digits. Hence:

- a scale for each token, found at each call, and one for each output of the weights;
- columns are smoothed: half of what is large in the inputs is multiplied into the weights;
- products that lose most stay in float32, as many as it takes, or nothing is replaced at all: see quantize().
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
import torch.nn.functional as functional

# AVX2 adds neighbouring products of uint8 and int8 in int16, and saturates: 2 x 255 x 127 is 64,770 (seen: 41 % off).
# So the weights of two neighbouring columns share this much; rounded, they add up to 128 at most: 255 x 128 is 32,640.
# Halving every weight's range instead would be as safe, with larger steps: two neighbours are seldom both large.
PAIR_LEVELS = 127
INPUT_LEVELS = 255
# Of twice the largest magnitude in a token: with a smaller range (GELU's outputs) zero is put at the lower end, else in
# the middle, which saves a pass over the outputs.
SKEWED = 0.75
LEAST_ROWS = 8  # of a picture: a pooled vector's product costs nothing worth saving
# Two pictures at this cosine have unit vectors 0.032 apart. In a direction of no importance that is 0.1 of a logit at a
# temperature of 100, 512 numbers and texts 0.7 apart; in the worst one it is 2.2, so probabilities are looked at too.
LEAST_COSINE = 0.9995
MOST_SHIFT = 0.05  # the margin by which a label has to beat the background, unless it is set
SHARES = (1.0, 0.85, 0.7, 0.5)  # of the products: with less in int8 there is no gain worth an error
CHECKED_EVERY = 6  # pictures that a tower made from a recipe is checked on: 4 of the 23 that ship
# Of a column's largest input against the mean of all: what was still while it was looked at may move later.
_STILLEST = 0.1
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class LayerInputs:
    """The inputs that a layer got: the largest magnitude of each column, float32[K], and whether they are skewed."""

    largest: torch.Tensor
    is_skewed: bool


class Int8Linear(torch.nn.Module):
    """A linear layer, float32[…,K] to float32[…,N], whose product is uint8 x int8 in int32, exactly."""

    def __init__(self, layer: torch.nn.Linear, seen: LayerInputs) -> None:
        super().__init__()
        weight = layer.weight.detach()
        largest = seen.largest.clamp_min(max(_STILLEST * float(seen.largest.mean()), _TINY))
        smooth = (largest / weight.abs().amax(0).clamp_min(_TINY)).sqrt()
        weight = weight * smooth
        pairs = functional.pad(weight.abs(), (0, weight.shape[1] % 2)).reshape(len(weight), -1, 2).sum(2)
        scale = (pairs.amax(1) / PAIR_LEVELS).clamp_min(_TINY)
        codes = (weight / scale.unsqueeze(1)).round().to(torch.int8)
        self._packed = torch.ops.onednn.qlinear_prepack(codes, None)
        self._zeros = torch.zeros(len(scale), dtype=torch.int32)
        self._scale = scale
        self.is_skewed = seen.is_skewed
        self._sums = codes.sum(1) * scale
        self._zero = 0 if seen.is_skewed else INPUT_LEVELS // 2 + 1
        self._middle = torch.tensor(self._zero + 0.5)  # conversion cuts: with a half it rounds
        self._shrink = 1 / smooth
        self._bias = torch.zeros(len(scale)) if layer.bias is None else layer.bias.detach()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Multiply; numbers that are not finite stay so."""
        rows = inputs.reshape(-1, inputs.shape[-1]) * self._shrink
        # two plain passes: the infinity norm took 16 ms where they took 4 (1600 x 3072, one thread)
        low, high = rows.amin(1, keepdim=True), rows.amax(1, keepdim=True)
        if self.is_skewed:
            step = (high - low).clamp_min_(_TINY) / INPUT_LEVELS
            rows -= low
        else:
            step = torch.maximum(high, -low).clamp_min_(_TINY) / (INPUT_LEVELS // 2)
        codes = torch.addcmul(self._middle, rows, 1 / step).to(torch.uint8)
        product = torch.ops.onednn.qlinear_pointwise(
            *(codes, 1.0, self._zero, self._packed, self._scale, self._zeros, None),
            *(1.0, 0, torch.float32, "none", [], ""),
        )
        out = torch.addcmul(self._bias, product, step)
        if self.is_skewed:
            out.addcmul_(low, self._sums)
        return out.reshape(*inputs.shape[:-1], -1)


class SplitAttention(torch.nn.Module):
    """torch's MultiheadAttention of a sequence with itself, with its two products as layers of their own."""

    def __init__(self, attention: torch.nn.MultiheadAttention) -> None:
        super().__init__()
        dim = attention.embed_dim
        self._n_heads = attention.num_heads
        self.in_proj = torch.nn.Linear(dim, 3 * dim, device="meta")
        self.in_proj.weight = torch.nn.Parameter(attention.in_proj_weight.detach(), requires_grad=False)
        self.in_proj.bias = attention.in_proj_bias
        self.out_proj = torch.nn.Linear(dim, dim, device="meta")
        self.out_proj.weight, self.out_proj.bias = attention.out_proj.weight, attention.out_proj.bias

    def forward(
        self,
        query: torch.Tensor,
        _key: torch.Tensor,
        _value: torch.Tensor,
        need_weights: bool = False,  # noqa: ARG002 - torch's name for it
        attn_mask: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, None]:
        """Return float32[N,T,D] for the same, as MultiheadAttention does with batch_first and no weights needed."""
        n, length, dim = query.shape
        heads = self.in_proj(query).reshape(n, length, 3, self._n_heads, -1).permute(2, 0, 3, 1, 4)
        mixed = functional.scaled_dot_product_attention(heads[0], heads[1], heads[2], attn_mask=attn_mask)
        out: torch.Tensor = self.out_proj(mixed.transpose(1, 2).reshape(n, length, dim))
        return out, None


@dataclass(frozen=True, slots=True)
class LabelEmbeddings:
    """Embedded labels, float32[K,D] of unit length, and the temperature that multiplies cosines before the softmax."""

    texts: torch.Tensor
    temperature: float


@dataclass(frozen=True, slots=True)
class QuantizationRecipe:
    """What a later start needs to make the same int8 tower again, and to check it.

    `inputs` are those of the layers in int8, by name; `features` what float32 gave for every CHECKED_EVERY-th picture,
    float32[n,D].
    """

    inputs: Mapping[str, LayerInputs]
    features: torch.Tensor


@dataclass(frozen=True, slots=True)
class Quantization:
    """The result of quantize(). `tower` is None if its answers moved too far."""

    tower: Any  # Any: open_clip has no types
    cosine: float  # the lowest of a picture
    shift: float  # the largest of a probability
    n_int8: int
    n_products: int
    n_pictures: int
    recipe: QuantizationRecipe | None = None  # None as well where there is nothing to replace

    def __str__(self) -> str:
        """Say it for the log."""
        if not self.n_products:
            return "no matrix products to replace"
        return (
            f"{self.n_int8} of {self.n_products} products, {self.n_pictures} pictures: lowest cosine to float32 "
            f"{self.cosine:.5f}, largest change of a probability {self.shift:.4f}"
        )


NO_PRODUCTS = Quantization(None, math.nan, math.nan, 0, 0, 0)


@torch.inference_mode()
def quantize(
    tower: Any, pictures: torch.Tensor, labels: LabelEmbeddings
) -> Quantization:  # Any: open_clip has no types
    """Return a copy of a float32 tower with as many int8 products as keep its answers near enough on real pictures.

    `pictures` is float32[N,3,S,S], normalised. Columns are measured on every second one; all are judged. First all
    products are replaced, then without those that lose most: SHARES.
    """
    before = tower(pictures)
    tower = _with_split_attention(tower, pictures)
    seen = _seen_inputs(tower, pictures[::2])
    layers = {name: Int8Linear(tower.get_submodule(name), inputs) for name, inputs in seen.items()}
    by_loss: list[str] = []
    quantization = NO_PRODUCTS
    originals = {name: tower.get_submodule(name) for name in layers}
    for share in SHARES if layers else ():
        if share < 1 and not by_loss:
            by_loss = sorted(layers, key=_losses(tower, layers, pictures[::2]).__getitem__)
        chosen = (by_loss or list(layers))[: round(share * len(layers))]
        for name in chosen:
            tower.set_submodule(name, layers[name])
        cosine, shift = distance(before, tower(pictures), labels)
        is_near = cosine >= LEAST_COSINE and shift <= MOST_SHIFT  # of what is no number neither is true
        recipe = QuantizationRecipe({name: seen[name] for name in chosen}, before[::CHECKED_EVERY].clone())
        quantization = Quantization(
            tower if is_near else None, cosine, shift, len(chosen), len(layers), len(pictures), recipe
        )
        if is_near:
            break
        for name in chosen:
            tower.set_submodule(name, originals[name])
    return quantization


@torch.inference_mode()
def requantize(
    tower: Any, pictures: torch.Tensor, recipe: QuantizationRecipe
) -> Any:  # Any: open_clip has no types
    """Return the tower that quantize() once made for these pictures; None if the recipe does not fit them."""
    tower = _with_split_attention(tower, pictures)
    originals = _linear_layers(tower)
    for name, inputs in recipe.inputs.items():
        original = originals.get(name)
        if original is None or inputs.largest.shape != (original.in_features,):
            return None
        tower.set_submodule(name, Int8Linear(original, inputs))
    found = tower(pictures[::CHECKED_EVERY])
    if found.shape != recipe.features.shape:
        return None
    cosine = float(functional.cosine_similarity(found, recipe.features).min())
    return tower if cosine >= LEAST_COSINE else None


def distance(before: torch.Tensor, after: torch.Tensor, labels: LabelEmbeddings) -> tuple[float, float]:
    """Return the lowest cosine of a picture, and the largest change of a probability."""
    shares = [
        (labels.temperature * functional.normalize(features, dim=-1) @ labels.texts.T).softmax(dim=-1)
        for features in (before, after)
    ]
    cosine = functional.cosine_similarity(before, after).min()
    return float(cosine), float((shares[0] - shares[1]).abs().max())


def can_quantize(tower: Any) -> bool:
    """Tell whether this machine multiplies int8 exactly and the tower has a product to replace."""
    has_products = any(
        isinstance(module, torch.nn.MultiheadAttention)
        or (isinstance(module, torch.nn.Linear) and ".attn" in name)
        for name, module in tower.named_modules()
    )
    return has_products and is_exact()


@cache
@torch.inference_mode()
def is_exact() -> bool:
    """Tell whether this chip and this torch multiply int8 exactly: some saturate."""
    layer = torch.nn.Linear(256, 32, bias=False)
    weight = torch.tensor([[127.0, 0.0], [64.0, 63.0], [1.0, -126.0], [-63.0, -64.0]]).repeat(8, 128)
    layer.weight = torch.nn.Parameter(weight, requires_grad=False)
    inputs = torch.full((16, 256), float(INPUT_LEVELS))
    inputs[:8, 1::3] = 0
    inputs[:, 0] = 0
    try:
        # columns as large as their weights, so that nothing is smoothed and each step is 1
        return torch.equal(Int8Linear(layer, LayerInputs(weight.abs().amax(0), True))(inputs), layer(inputs))
    except (AttributeError, RuntimeError):  # a torch without oneDNN, or another one's
        return False


def _seen_inputs(tower: Any, pictures: torch.Tensor) -> dict[str, LayerInputs]:  # Any: open_clip has no types
    """Run a tower; return the inputs of each linear layer that is worth an int8 twin, by its name."""
    found: dict[str, LayerInputs] = {}

    def see(name: str, _layer: Any, inputs: torch.Tensor, _output: torch.Tensor) -> None:
        rows = inputs.reshape(-1, inputs.shape[-1])
        if len(rows) < LEAST_ROWS * len(pictures):
            return
        spread = (rows.amax(1) - rows.amin(1)) / (2 * rows.abs().amax(1)).clamp_min(_TINY)
        found[name] = LayerInputs(rows.abs().amax(0), float(spread.mean()) < SKEWED)

    with _hooked(_linear_layers(tower), see):
        tower(pictures)
    return found


def _losses(tower: Any, layers: Mapping[str, Int8Linear], pictures: torch.Tensor) -> dict[str, float]:
    """Return how much each twin's output differs from its layer's, relative to that, in the float32 tower."""
    losses: dict[str, float] = {}

    def see(name: str, _layer: Any, inputs: torch.Tensor, output: torch.Tensor) -> None:
        losses[name] = float((layers[name](inputs) - output).norm() / output.norm())

    with _hooked({name: tower.get_submodule(name) for name in layers}, see):
        tower(pictures)
    return losses


def _linear_layers(tower: Any) -> dict[str, torch.nn.Linear]:
    """Return the linear layers that are called as such; those inside of torch's own attention are not."""
    closed = {
        part
        for module in tower.modules()
        if isinstance(module, torch.nn.MultiheadAttention)
        for part in module.modules()
    }
    return {
        name: module
        for name, module in tower.named_modules()
        if isinstance(module, torch.nn.Linear) and module not in closed
    }


def _with_split_attention(tower: Any, pictures: torch.Tensor) -> Any:  # Any: open_clip has no types
    """Return a copy without torch's attentions of a sequence with itself, which are seen by running it."""
    tower = copy.deepcopy(tower)
    seen: dict[str, bool] = {}

    def before(name: str) -> Callable[..., None]:
        def note(attention: torch.nn.MultiheadAttention, inputs: tuple[Any, ...]) -> None:
            is_plain = attention.bias_k is None and not attention.add_zero_attn and attention.batch_first
            is_same = len(inputs) == 3 and inputs[0] is inputs[1] is inputs[2]
            seen[name] = is_plain and is_same and attention.in_proj_weight is not None

        return note

    hooks = [
        module.register_forward_pre_hook(before(name))
        for name, module in tower.named_modules()
        if isinstance(module, torch.nn.MultiheadAttention)
    ]
    tower(pictures[:1])
    for hook in hooks:
        hook.remove()
    for name, is_open in seen.items():
        if is_open:
            tower.set_submodule(name, SplitAttention(tower.get_submodule(name)))
    return tower


@contextmanager
def _hooked(
    layers: Mapping[str, torch.nn.Module], see: Callable[[str, Any, torch.Tensor, torch.Tensor], None]
) -> Iterator[None]:
    """Call `see` with name, layer, input and output whenever one of the layers has run."""

    def after(name: str) -> Callable[..., None]:
        return lambda layer, inputs, output: see(name, layer, inputs[0], output)

    hooks = [layer.register_forward_hook(after(name)) for name, layer in layers.items()]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()
