"""Measures once which number format and threads a model runs fastest with on this CPU. Knows no torch.

A rule (choice.choose_format) says what should be fastest; where more than one pair may win, each runs some forwards of
the loaded model at the start. The winner is written beside the models, per CPU, torch and model: a later start
measures nothing.
"""

from __future__ import annotations

import contextlib
import json
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from services.classifier.devices.choice import DeviceChoice, Dtype, Hardware, SpeedTrial
from services.classifier.weights.names import read_json
from shared.errors import ConfigError
from shared.files import write_durably

FOLDER = "speed"
BUDGET_S = 2.0  # no forward begins later than that
MOST_TURNS = 4  # of each trial, the first one being for warming up
# Forwards beside other work scatter by several percent: the rule stays until something is clearly faster.
CLEARLY = {"float32": 0.9, "bfloat16": 0.9, "float16": 0.9, "int8": 0.85}  # of the rule's time, at most


@dataclass(frozen=True, slots=True)
class TrialSetup:
    """What a measurement holds for: another CPU, core count, torch or model needs a new one."""

    cpu: str
    cores: int
    torch: str
    model: str


@dataclass(frozen=True, slots=True)
class TrialResult:
    """The pair to use, and why, for the log."""

    trial: SpeedTrial
    why: str


def speed_trials(
    choice: DeviceChoice, dtype: str, threads: int, hardware: Hardware
) -> tuple[SpeedTrial, ...]:
    """Return the pairs that may be fastest under DTYPE and THREADS, the rule's choice first; one alone needs no trial.

    bfloat16 without the instructions for it is emulated and cannot win (135 ms against 68 ms in float32 for ViT-B-32).
    Threads: every core that may be used, or one for each physical core, whose two halves share its multipliers.
    """
    if choice.device != "cpu":
        return ()
    dtypes: list[Dtype] = [choice.dtype]
    if dtype == "auto" and choice.dtype == "bfloat16":
        dtypes.append("float32")
    elif dtype == "auto":
        dtypes.append("int8")
    counts = [choice.threads]
    if not threads and not hardware.omp_threads and 0 < hardware.physical_cores < choice.threads:
        counts.append(hardware.physical_cores)
    return tuple(SpeedTrial(one, count) for one in dtypes for count in counts)


def measure(
    trials: Sequence[SpeedTrial], forward: Callable[[SpeedTrial], None], clock: Callable[[], float]
) -> dict[SpeedTrial, float]:
    """Return the shortest forward of each trial in seconds, without those that BUDGET_S left no time for.

    They take turns, so that other work on the machine slows them alike; `clock` gives seconds.
    """
    ends_at = clock() + BUDGET_S
    first: dict[SpeedTrial, float] = {}
    later: dict[SpeedTrial, float] = {}
    for turn in range(MOST_TURNS):
        for trial in trials:
            started = clock()
            if started >= ends_at:
                return {one: later.get(one, first[one]) for one in trials if one in first}
            forward(trial)
            spent = clock() - started
            if turn == 0:
                first[trial] = spent
            else:
                later[trial] = min(spent, later.get(trial, spent))
    return later


def fastest(trials: Sequence[SpeedTrial], seconds: dict[SpeedTrial, float]) -> TrialResult:
    """Return the winner: the first trial, unless another one was clearly faster."""
    rule = trials[0]
    if missing := [trial for trial in trials if trial not in seconds]:
        return TrialResult(rule, f"by the rule: measuring {missing[0]} had no time within {BUDGET_S:g} s")
    faster = [trial for trial in trials if seconds[trial] < CLEARLY[trial.dtype] * seconds[rule]]
    winner = min(faster, key=lambda trial: seconds[trial], default=rule)
    figures = ", ".join(f"{trial} {1000 * seconds[trial]:.0f} ms" for trial in trials)
    return TrialResult(winner, f"measured, a forward: {figures}")


class SpeedCache:
    """The file with one model's result on one machine. In a folder that cannot be written nothing is remembered."""

    def __init__(self, models_dir: Path, machine: TrialSetup) -> None:
        plain = re.sub(r"[^A-Za-z0-9._-]+", "-", machine.model).strip("-.") or "model"
        self.path = models_dir / FOLDER / f"{plain}.json"
        self._machine = machine

    def read(self, trials: Sequence[SpeedTrial]) -> TrialResult | None:
        """Return what was found for exactly these trials; None where there is nothing, or it cannot be read."""
        try:
            found = read_json(self.path)
        except ConfigError:  # absent or broken: it is measured again, and written anew
            return None
        if found.get("for") != self._for(trials):
            return None
        known = {str(trial): trial for trial in trials}
        trial = known.get(str(found.get("chosen")))
        return TrialResult(trial, f"{found.get('why')} (kept in {self.path})") if trial else None

    def write(self, trials: Sequence[SpeedTrial], found: TrialResult) -> None:
        """Write the file."""
        value = {"for": self._for(trials), "chosen": str(found.trial), "why": found.why}
        with contextlib.suppress(OSError):  # measuring again at the next start is all it costs
            write_durably(self.path, json.dumps(value, indent=2).encode())

    def _for(self, trials: Iterable[SpeedTrial]) -> dict[str, object]:
        machine = self._machine
        return {
            "cpu": machine.cpu,
            "cores": machine.cores,
            "torch": machine.torch,
            "model": machine.model,
            "trials": [str(trial) for trial in trials],
        }
