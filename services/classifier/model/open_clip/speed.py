"""Finds the number format and threads that an image tower runs fastest with, by trial or from the cache."""

from __future__ import annotations

import copy
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch

from services.classifier.devices.choice import DeviceChoice, SpeedTrial
from services.classifier.model.open_clip.int8 import Quantization, can_quantize
from services.classifier.model.open_clip.model import DTYPES
from services.classifier.model.open_clip.tower import image_sides, prepare_network
from services.classifier.model.speed_trial import SpeedCache, TrialResult, fastest, measure

# of a forward in _measured: 0.4 s for ViT-B-32 on two old cores; too few for CPU streams, which help all formats alike
TRIED_PICTURES = 4


def with_fastest_trial(
    network: Any,  # Any: open_clip has no types
    choice: DeviceChoice,
    cache: SpeedCache | None,
    quantized: Callable[[], Quantization],
) -> DeviceChoice:
    """Return the choice with the format and threads that run this image tower fastest: from the cache, or measured."""
    trials = choice.trials
    if not can_quantize(network.visual):
        trials = tuple(trial for trial in trials if trial.dtype != "int8")
    if len(trials) < 2:
        return choice
    result = cache.read(trials) if cache else None
    if result is None:
        result = _fastest(network, trials, quantized)
        if cache:
            cache.write(trials, result)
    torch.set_num_threads(result.trial.threads)
    return replace(
        choice, dtype=result.trial.dtype, threads=result.trial.threads, why=f"{choice.why}; {result.why}"
    )


def _fastest(
    network: Any, trials: Sequence[SpeedTrial], quantized: Callable[[], Quantization]
) -> TrialResult:
    # Any: open_clip has no types
    if not any(trial.dtype == "int8" for trial in trials):
        return fastest(trials, _measured(network, trials))
    quantization = quantized()
    if quantization.tower is None:
        trials = [trial for trial in trials if trial.dtype != "int8"]
    result = fastest(trials, _measured(network, trials, quantization.tower))
    return replace(result, why=f"{result.why}; int8 {quantization}")


def _measured(network: Any, trials: Sequence[SpeedTrial], int8_tower: Any = None) -> dict[SpeedTrial, float]:
    # Any: open_clip has no types
    towers: dict[str, Any] = {}
    batches: dict[str, torch.Tensor] = {}
    for name in {trial.dtype for trial in trials}:
        # copies: what is measured must not change the weights that are used, and float32 does not come back
        stand_in = torch.nn.Module()
        stand_in.visual = int8_tower if name == "int8" else copy.deepcopy(network.visual)
        prepare_network(stand_in, name)
        towers[name] = stand_in.visual
        batch = torch.zeros(TRIED_PICTURES, 3, *image_sides(network.visual), dtype=DTYPES[name])
        batches[name] = batch.contiguous(memory_format=torch.channels_last)

    def forward(trial: SpeedTrial) -> None:
        torch.set_num_threads(trial.threads)
        with torch.inference_mode():
            towers[trial.dtype](batches[trial.dtype])

    return measure(trials, forward, time.perf_counter)
