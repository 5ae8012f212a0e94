"""Which number format and thread count are tried on a CPU, what wins, and that it is measured once."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from services.classifier.devices.choice import Gpu, Hardware, SpeedTrial, choose_format
from services.classifier.model.speed_trial import (
    BUDGET_S,
    MOST_TURNS,
    SpeedCache,
    TrialResult,
    TrialSetup,
    fastest,
    measure,
    speed_trials,
)

OLD = Hardware(cores=2, has_bf16=False, physical_cores=2)
SHARED_CORES = Hardware(cores=8, has_bf16=False, physical_cores=4)
NEW = Hardware(cores=8, has_bf16=True, physical_cores=4)
HALF, PLAIN = SpeedTrial("bfloat16", 8), SpeedTrial("float32", 8)
MACHINE = TrialSetup("EPYC", 8, "2.14.0", "ViT-B-32/some tag")


def with_fastest_trial(
    hardware: Hardware, dtype: str = "auto", threads: int = 0, gpu: Gpu | None = None
) -> tuple[str, ...]:
    choice = choose_format(gpu, dtype, threads, hardware)
    return tuple(str(trial) for trial in speed_trials(choice, dtype, threads, hardware))


def test_only_what_can_win_is_tried_and_the_rules_choice_comes_first() -> None:
    assert with_fastest_trial(OLD) == ("float32 x 2", "int8 x 2")
    assert with_fastest_trial(SHARED_CORES) == ("float32 x 8", "float32 x 4", "int8 x 8", "int8 x 4")
    assert with_fastest_trial(NEW) == ("bfloat16 x 8", "bfloat16 x 4", "float32 x 8", "float32 x 4")
    assert with_fastest_trial(replace(NEW, physical_cores=0)) == ("bfloat16 x 8", "float32 x 8")


def test_what_the_user_settled_is_not_tried() -> None:
    assert with_fastest_trial(NEW, dtype="float32", threads=3) == ("float32 x 3",)
    assert with_fastest_trial(NEW, dtype="bfloat16") == ("bfloat16 x 8", "bfloat16 x 4")
    assert with_fastest_trial(NEW, threads=5) == ("bfloat16 x 5", "float32 x 5")
    assert with_fastest_trial(replace(NEW, omp_threads=6), dtype="float32") == ("float32 x 6",)
    assert with_fastest_trial(OLD, dtype="float32") == ("float32 x 2",)
    assert with_fastest_trial(OLD, dtype="int8") == ("int8 x 2",)
    assert with_fastest_trial(NEW, gpu=Gpu(0, "large", True, "GPU-a")) == ()


class Clock:
    """Seconds that pass only while forwards run."""

    def __init__(self, *forwards: tuple[SpeedTrial, float]) -> None:
        self.now_s = 0.0
        self.costs_s = dict(forwards)
        self.ran: list[SpeedTrial] = []

    def forward(self, trial: SpeedTrial) -> None:
        self.ran.append(trial)
        self.now_s += self.costs_s[trial] * (5 if self.ran.count(trial) == 1 else 1)

    def read(self) -> float:
        return self.now_s


def test_trials_take_turns_and_their_first_one_does_not_count() -> None:
    clock = Clock((HALF, 0.02), (PLAIN, 0.05))
    assert measure((HALF, PLAIN), clock.forward, clock.read) == pytest.approx({HALF: 0.02, PLAIN: 0.05})
    assert clock.ran == [HALF, PLAIN] * MOST_TURNS


def test_no_forward_begins_after_the_budget() -> None:
    clock = Clock((HALF, 0.3), (PLAIN, 0.5))
    found = measure((HALF, PLAIN), clock.forward, clock.read)
    assert clock.ran == [HALF, PLAIN]
    assert found == pytest.approx({HALF: 1.5, PLAIN: 2.5})
    slow = Clock((HALF, BUDGET_S), (PLAIN, 0.1))
    assert measure((HALF, PLAIN), slow.forward, slow.read) == {HALF: 5 * BUDGET_S}


def test_the_rule_stays_until_something_is_clearly_faster() -> None:
    assert fastest((HALF, PLAIN), {HALF: 0.100, PLAIN: 0.095}).trial == HALF
    found = fastest((HALF, PLAIN), {HALF: 0.100, PLAIN: 0.060})
    assert found == TrialResult(PLAIN, "measured, a forward: bfloat16 x 8 100 ms, float32 x 8 60 ms")
    coded = SpeedTrial("int8", 8)  # its answers are not quite the same, so it has to be worth it
    assert fastest((PLAIN, coded), {PLAIN: 0.100, coded: 0.087}).trial == PLAIN
    assert fastest((PLAIN, coded), {PLAIN: 0.100, coded: 0.084}).trial == coded
    unfinished = fastest((HALF, PLAIN), {HALF: 9.0})
    assert unfinished.trial == HALF
    assert "float32 x 8 had no time" in unfinished.why


def test_what_was_found_is_kept_for_that_machine_and_model(tmp_path: Path) -> None:
    kept = SpeedCache(tmp_path, MACHINE)
    assert kept.read((HALF, PLAIN)) is None
    kept.write((HALF, PLAIN), TrialResult(PLAIN, "measured"))
    again = SpeedCache(tmp_path, MACHINE).read((HALF, PLAIN))
    assert again is not None
    assert (again.trial, again.why) == (PLAIN, f"measured (kept in {kept.path})")
    for other in (
        replace(MACHINE, cpu="Xeon"),
        replace(MACHINE, torch="2.15.0"),
        replace(MACHINE, cores=4),
        replace(MACHINE, model="ViT-B-32-some tag"),
    ):
        assert SpeedCache(tmp_path, other).read((HALF, PLAIN)) is None
    assert kept.read((PLAIN, HALF)) is None


@pytest.mark.parametrize("content", ["", "[]", '{"for": 1}', "\x00"])
def test_a_broken_file_is_measured_again(tmp_path: Path, content: str) -> None:
    kept = SpeedCache(tmp_path, MACHINE)
    kept.path.parent.mkdir()
    kept.path.write_text(content)
    assert kept.read((HALF, PLAIN)) is None


def test_a_folder_that_cannot_be_written_keeps_nothing_and_fails_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    kept = SpeedCache(tmp_path / "file", MACHINE)
    kept.write((HALF, PLAIN), TrialResult(PLAIN, "measured"))
    assert kept.read((HALF, PLAIN)) is None
