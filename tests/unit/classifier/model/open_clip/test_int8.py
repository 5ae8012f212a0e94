"""Matrix products in int8: exact where nothing is rounded, proved near or refused, and chosen only then."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from structlog.testing import capture_logs

from services.classifier.devices.choice import DeviceChoice, SpeedTrial
from services.classifier.model.open_clip.int8 import (
    INPUT_LEVELS,
    LEAST_COSINE,
    MOST_SHIFT,
    PAIR_LEVELS,
    Int8Linear,
    LabelEmbeddings,
    LayerInputs,
    SplitAttention,
    can_quantize,
    distance,
    is_exact,
    quantize,
)
from services.classifier.model.open_clip.loading import load_model
from services.classifier.model.open_clip.model import OpenClipModel
from services.classifier.model.preprocess import stack
from services.classifier.weights.names import ModelReference
from tests.unit.classifier.makers import make_tiny_model, photo

FLOAT32 = DeviceChoice("cpu", "float32", 2, "test")
INT8 = replace(FLOAT32, dtype="int8")
N_PRODUCTS = 8  # of the tiny model: two of attention and two of the MLP, in two blocks


def loaded(folder: Path, choice: DeviceChoice = FLOAT32, cache_dir: Path | None = None) -> OpenClipModel:
    return load_model(ModelReference("tiny", "folder", folder=folder), choice, cache_dir)


def layer(weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.nn.Linear:
    made = torch.nn.Linear(weight.shape[1], weight.shape[0], bias=bias is not None)
    made.weight = torch.nn.Parameter(weight, requires_grad=False)
    if bias is not None:
        made.bias = torch.nn.Parameter(bias, requires_grad=False)
    return made


@pytest.mark.parametrize("has_bias", [True, False])
@pytest.mark.parametrize("is_skewed", [True, False])
def test_products_of_whole_steps_are_exact_at_the_ends_of_the_range(is_skewed: bool, has_bias: bool) -> None:
    torch.manual_seed(0)
    first = torch.randint(-PAIR_LEVELS, PAIR_LEVELS + 1, (40, 384))
    second = (PAIR_LEVELS - first.abs()) * torch.randint(0, 2, (40, 384)).mul(2).sub(1)
    first[:2], second[:2] = 64, 63  # sums of pairs that int16 would not hold with a bit more
    weight = torch.stack([first, second], dim=2).flatten(1).float()
    low, high = (0, INPUT_LEVELS) if is_skewed else (-(INPUT_LEVELS // 2), INPUT_LEVELS // 2)
    inputs = torch.randint(low, high + 1, (5, 20, 768)).float()
    inputs[0], inputs[1] = high, low
    inputs[..., 0], inputs[..., 1] = high, low  # so that each token's step is 1
    bias = torch.arange(40.0) if has_bias else None
    seen = LayerInputs(
        weight.abs().amax(0), is_skewed
    )  # columns as large as their weights: nothing to smooth
    coded = Int8Linear(layer(weight, bias), seen)
    wanted = inputs.double() @ weight.double().T + (0 if bias is None else bias.double())
    assert torch.equal(coded(inputs).double(), wanted)
    inputs[..., 2:] += torch.rand(5, 20, 766) * 0.8 - 0.4  # to the nearest step, not to the one below
    assert torch.equal(coded(inputs.clamp(low, high)).double(), wanted)


def test_this_machine_multiplies_as_it_should() -> None:
    assert is_exact()


@pytest.mark.parametrize("is_skewed", [True, False])
def test_a_huge_token_takes_no_digit_from_the_others(is_skewed: bool) -> None:
    torch.manual_seed(0)
    inputs, plain = torch.randn(64, 128), layer(torch.randn(96, 128), torch.randn(96))
    if is_skewed:
        inputs = torch.nn.functional.gelu(inputs)
    coded = Int8Linear(plain, LayerInputs(inputs.abs().amax(0), is_skewed))
    beside = torch.cat([inputs, 1000 * inputs[:1]])
    assert torch.equal(coded(beside)[:-1], coded(inputs))
    error = (coded(inputs) - plain(inputs)).norm() / plain(inputs).norm()
    assert float(error) < 0.02


def test_a_huge_column_is_shared_with_the_weights() -> None:
    torch.manual_seed(0)
    inputs, plain = torch.randn(64, 128), layer(torch.randn(96, 128), torch.randn(96))
    inputs[:, 7] *= 60
    plain.weight[:, 7] /= 60  # as a trained network has it: what is large is weighed lightly
    error = [
        float(
            (Int8Linear(plain, LayerInputs(columns, False))(inputs) - plain(inputs)).norm()
            / plain(inputs).norm()
        )
        for columns in (inputs.abs().amax(0), plain.weight.abs().amax(0))  # the latter smooths nothing
    ]
    assert error[0] < 0.02
    assert error[1] > 4 * error[0]


def test_what_is_no_number_stays_none() -> None:
    for is_skewed in (True, False):
        coded = Int8Linear(layer(torch.randn(4, 16)), LayerInputs(torch.ones(16), is_skewed))
        inputs = torch.ones(2, 16)
        inputs[1, 3] = math.nan
        assert coded(inputs).isnan().tolist() == [[False] * 4, [True] * 4]
        assert not coded(torch.zeros(3, 16)).any()


@torch.inference_mode()
def test_an_opened_attention_answers_as_torchs_own() -> None:
    torch.manual_seed(0)
    closed = torch.nn.MultiheadAttention(64, 4, batch_first=True).eval()
    torch.nn.init.normal_(closed.in_proj_bias)
    tokens, mask = torch.randn(3, 9, 64), torch.full((9, 9), -math.inf).triu(1)
    for attn_mask in (None, mask):
        wanted, _ = closed(tokens, tokens, tokens, need_weights=False, attn_mask=attn_mask)
        found, _ = SplitAttention(closed)(tokens, tokens, tokens, need_weights=False, attn_mask=attn_mask)
        assert torch.allclose(found, wanted, atol=1e-5)


def case(folder: Path) -> tuple[Any, torch.Tensor, LabelEmbeddings]:
    """Return the tiny model's image tower, pictures and labels."""
    torch.manual_seed(1)
    texts = torch.nn.functional.normalize(torch.randn(12, 32), dim=-1)
    return loaded(folder).network.visual, torch.randn(8, 3, 32, 32), LabelEmbeddings(texts, 20.0)


def with_outliers(tower: Any, gain: float) -> Any:
    """Return a copy some of whose norms' channels are `gain` times what they were."""
    tower = copy.deepcopy(tower)
    for block in tower.transformer.resblocks:
        for norm in (block.ln_1, block.ln_2):
            norm.weight[[3, 30]] *= gain
    return tower


def test_all_products_are_replaced_in_a_copy_where_that_is_near_enough(tiny_folder: Path) -> None:
    tower, pictures, labels = case(tiny_folder)
    before = tower(pictures)
    proof = quantize(tower, pictures, labels)
    assert (proof.n_int8, proof.n_products, proof.n_pictures) == (N_PRODUCTS, N_PRODUCTS, len(pictures))
    assert proof.cosine >= LEAST_COSINE
    assert proof.shift <= MOST_SHIFT
    assert (proof.cosine, proof.shift) == distance(before, proof.tower(pictures), labels)
    assert not any(isinstance(module, torch.nn.Linear) for module in proof.tower.modules())
    assert torch.equal(tower(pictures), before)


def test_outputs_of_gelu_are_seen_to_be_skewed(tiny_folder: Path) -> None:
    named = quantize(*case(tiny_folder)).tower.named_modules()
    skewed = {name for name, module in named if isinstance(module, Int8Linear) and module.is_skewed}
    assert skewed == {f"transformer.resblocks.{block}.mlp.c_proj" for block in (0, 1)}


def test_with_outliers_fewer_products_are_replaced_or_none(tiny_folder: Path) -> None:
    tower, pictures, labels = case(tiny_folder)
    found = [quantize(with_outliers(tower, gain), pictures, labels) for gain in (1, 24, 30, 36, 60)]
    for proof in found:
        assert (proof.tower is not None) == (proof.cosine >= LEAST_COSINE and proof.shift <= MOST_SHIFT)
        if proof.tower is not None:
            replaced = [m for m in proof.tower.modules() if isinstance(m, Int8Linear)]
            assert len(replaced) == proof.n_int8
    assert found[0].n_int8 == N_PRODUCTS
    assert any(proof.tower is not None and proof.n_int8 < N_PRODUCTS for proof in found)
    assert found[-1].tower is None


def test_numbers_that_are_none_prove_nothing(tiny_folder: Path) -> None:
    tower, pictures, labels = case(tiny_folder)
    tower.proj[:] = math.nan
    assert quantize(tower, pictures, labels).tower is None


def test_int8_by_name_is_used_and_says_how_near_it_is(tiny_folder: Path) -> None:
    model = loaded(tiny_folder, INT8)
    assert model.facts.dtype == "int8"
    assert f"int8 {N_PRODUCTS} of {N_PRODUCTS} products, " in model.facts.why
    assert "lowest cosine to float32 0.99" in model.facts.why
    assert any(isinstance(module, Int8Linear) for module in model.network.visual.modules())
    pictures = stack([model.resize(photo(60, 40, seed)) for seed in range(4)])
    cosines = (model.embed_pictures(pictures) * loaded(tiny_folder).embed_pictures(pictures)).sum(axis=1)
    assert cosines.min() > 0.999
    assert cosines.min() < 1 - 1e-6  # it is another computation
    assert model.embed_texts(["a dog"]) == pytest.approx(loaded(tiny_folder).embed_texts(["a dog"]))


def test_int8_by_name_gives_way_to_float32_where_it_is_not_near_enough(
    tiny_folder: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file, save_file

    folder = make_tiny_model(tmp_path / "outliers", name="outliers", temperature=20.0)
    weights = load_file(str(folder / "open_clip_model.safetensors"))
    for name, tensor in weights.items():
        if ".ln_" in name and name.startswith("visual.transformer") and name.endswith(".weight"):
            tensor[[3, 30]] *= 60
    save_file(weights, str(folder / "open_clip_model.safetensors"))
    with capture_logs() as logs:
        model = loaded(folder, INT8)
    assert model.facts.dtype == "float32"
    assert "but float32, since int8 is" in model.facts.why
    (warning,) = [entry for entry in logs if entry["log_level"] == "warning" and "int8" in entry["event"]]
    assert "lowest cosine to float32" in warning["found"]
    assert not any(isinstance(module, Int8Linear) for module in model.network.visual.modules())


def test_a_tower_of_convolutions_has_no_products_and_measures_nothing(tmp_path: Path) -> None:
    folder = make_tiny_model(tmp_path / "conv", "conv")
    assert not can_quantize(loaded(folder).network.visual)
    trials = (SpeedTrial("float32", 2), SpeedTrial("int8", 2))
    facts = loaded(folder, replace(FLOAT32, trials=trials), tmp_path).facts
    assert (facts.dtype, facts.why) == ("float32", "test")
    assert not (tmp_path / "speed").exists()
    assert "no matrix products" in loaded(folder, INT8).facts.why


def test_a_trial_proves_int8_first_and_later_starts_have_what_was_chosen(
    tiny_folder: Path, tmp_path: Path
) -> None:
    trials = (SpeedTrial("float32", 2), SpeedTrial("int8", 2))
    choice = replace(FLOAT32, trials=trials)
    first = loaded(tiny_folder, choice, tmp_path)
    assert first.facts.dtype in ("float32", "int8")
    assert "measured, a forward: float32 x 2 " in first.facts.why
    assert f"int8 {N_PRODUCTS} of {N_PRODUCTS} products, " in first.facts.why
    kept = tmp_path / "speed" / "tiny.json"
    value = json.loads(kept.read_text())
    for trial in trials:
        kept.write_text(json.dumps(value | {"chosen": str(trial)}))
        again = loaded(tiny_folder, choice, tmp_path)
        assert again.facts.dtype == trial.dtype
        has_int8 = any(isinstance(module, Int8Linear) for module in again.network.visual.modules())
        assert has_int8 == (trial.dtype == "int8")


def test_a_later_start_takes_the_proof_that_was_kept(tiny_folder: Path, tmp_path: Path) -> None:
    first, kept = loaded(tiny_folder, INT8, tmp_path), tmp_path / "speed" / "tiny.int8.npz"
    written = kept.stat().st_mtime_ns
    again = loaded(tiny_folder, INT8, tmp_path)
    assert kept.stat().st_mtime_ns == written  # what is proved is written
    assert (again.facts.dtype, again.facts.why) == ("int8", first.facts.why)
    pictures = stack([again.resize(photo(60, 40, seed)) for seed in range(4)])
    assert (again.embed_pictures(pictures) == first.embed_pictures(pictures)).all()
    kept.write_bytes(kept.read_bytes()[:1000])
    assert loaded(tiny_folder, INT8, tmp_path).facts.why == first.facts.why
    assert kept.stat().st_size > 1000
