"""The detector on small scenes whose truth is known: what moves is found where it is, what only shines is not."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from services.motion.detection.baseline import start_from
from services.motion.detection.detector import step
from services.motion.detection.values import DetectorSettings, Motion
from services.motion.events.segmenter import BACKDATED_S
from shared.cameras import MotionSettings
from tests.unit.motion.videos import Plane

WIDTH, HEIGHT = 320, 180
FPS = 10
RANDOM = np.random.default_rng(11)


def ground() -> Plane:
    """Return a still scene with texture at several scales."""
    random = np.random.default_rng(5)
    layers = [
        np.kron(random.normal(0, 12, (HEIGHT // size, WIDTH // size)), np.ones((size, size)))
        for size in (4, 10, 20)
    ]
    return to_plane(110 + np.sum(layers, axis=0))


def to_plane(values: npt.NDArray[np.floating]) -> Plane:
    plane: Plane = np.clip(values, 0, 255).astype(np.uint8)
    return plane


GROUND = ground()


def noisy(plane: Plane, level: float = 2.0) -> Plane:
    noise = np.random.default_rng(int(plane[0, 0]) + RANDOM.integers(1 << 30)).normal(0, level, plane.shape)
    return to_plane(plane + noise)


def with_square(plane: Plane, x: float, y: float = 70, side: int = 30, level: int = 220) -> Plane:
    out = plane.copy()
    left, top = max(0, round(x)), round(y)
    out[top : top + side, left : max(0, round(x + side))] = level
    return out


def look(frames: list[Plane], warm_up_s: float = 0.0, **changes: object) -> list[Motion]:
    camera = MotionSettings.model_validate(changes)
    options = DetectorSettings.of(camera, WIDTH, 2 * WIDTH, 2 * HEIGHT, warm_up_s)
    state = None
    motions = []
    for index, frame in enumerate(frames):
        state, motion = step(state, frame, 1000 + index / FPS, options)
        motions.append(motion)
    return motions


def quiet(n_frames: int) -> list[Plane]:
    return [noisy(GROUND) for _ in range(n_frames)]


def n_active(motions: list[Motion]) -> int:
    return sum(motion.is_active for motion in motions)


def n_dated(motions: list[Motion], first: int, last: int | None = None) -> int:
    """Count the looks from `first` to before `last` that are motion, belief dated back as the segmenter dates it."""
    moving: set[int] = set()
    for index, motion in enumerate(motions):
        if motion.is_active:
            began = max((motion.since_s - 1000) * FPS, index - BACKDATED_S * FPS)
            moving |= set(range(min(round(began), index), index + 1))
    return len(moving & set(range(first, len(motions) if last is None else last)))


def test_nothing_fires_and_no_event_begins_while_the_baseline_warms_up() -> None:
    frames = [noisy(with_square(GROUND, 4 * i)) for i in range(50)]
    eager, warming = look(frames), look(frames, warm_up_s=2.0)
    first = next(motion for motion in warming if motion.is_active)
    assert next(motion for motion in eager if motion.is_active).since_s < 1001.0
    assert not any(motion.is_active for motion in warming[:20])
    assert first.since_s == 1002.0  # the way that made it believed began before


def test_a_moving_square_is_found_where_it_is() -> None:
    frames = quiet(20) + [noisy(with_square(GROUND, 4 * i)) for i in range(60)]
    motions = look(frames)
    assert n_active(motions[:20]) == 0
    assert n_dated(motions, 20) >= 58
    first = next(motion for motion in motions if motion.is_active)
    assert first.since_s == pytest.approx(1002.0, abs=0.11)
    for i in range(10, 60):
        (box, *others) = motions[20 + i].boxes
        assert not others
        assert abs(box.x - 8 * i) <= 16
        assert abs(box.y - 140) <= 10
        assert abs(box.w - 60) <= 24
        assert abs(box.h - 60) <= 16


def test_a_slow_small_thing_is_found() -> None:
    frames = quiet(20) + [noisy(with_square(GROUND, 100 + i, side=10, level=180)) for i in range(60)]
    assert n_dated(look(frames), 20) >= 50  # believed once it has gone 10 px


def far_at_night(i: int) -> Plane:
    """A thing of 7x14 px whose head and legs stand out by 14 levels, its middle by 5, in noise of 1.5."""
    thing = np.zeros((HEIGHT, WIDTH))
    x, y = round(20 + 1.6 * i), 90
    thing[y : y + 14, x : x + 7] = 5
    thing[y : y + 4, x + 1 : x + 6] = thing[y + 10 : y + 14, x + 1 : x + 6] = 14
    return noisy(to_plane(GROUND * 0.2 + 8 + cv2.GaussianBlur(thing, (0, 0), 0.8)), 1.5)


def test_a_far_pale_thing_is_found_by_what_differs_around_the_little_that_stands_out() -> None:
    frames = [noisy(to_plane(GROUND * 0.2 + 8), 1.5) for _ in range(20)]
    motions = look(frames + [far_at_night(i) for i in range(80)])
    assert n_active(motions[:20]) == 0
    assert n_active(motions[20:]) >= 30


def test_two_separate_things_are_two_boxes() -> None:
    frames = quiet(10) + [
        noisy(with_square(with_square(GROUND, 5 * i, y=20), 303 - 5 * i, y=124, side=20)) for i in range(40)
    ]
    motions = look(frames)
    assert all(len(motion.boxes) == 2 for motion in motions[15:45])
    assert motions[25].boxes[0].area > motions[25].boxes[1].area
    assert {tuple(box.track for box in motion.boxes) for motion in motions[15:45]} == {
        tuple(box.track for box in motions[15].boxes)
    }
    assert motions[15].boxes[0].track != motions[15].boxes[1].track


def lamp(i: int) -> Plane:
    return GROUND if i < 40 else to_plane(GROUND.astype(np.float64) + 60)


def slow_light(i: int) -> Plane:
    return to_plane(GROUND * (1 + 0.3 * np.sin(i / 40)))


def pumping_exposure(i: int) -> Plane:
    return to_plane(GROUND * (1 + 0.12 * np.sin(i / 4)))


def infrared(i: int) -> Plane:
    return GROUND if i < 40 else to_plane(255 - GROUND * 0.8)


def shaking(i: int) -> Plane:
    return to_plane(np.roll(GROUND, (round(1.5 * np.sin(i)), round(2 * np.cos(i * 1.3))), (0, 1)))


def spot_of_light(i: int) -> Plane:
    yy, xx = np.mgrid[0:HEIGHT, 0:WIDTH]
    cone = np.exp(-(((xx - 3 * i) / 50) ** 2 + ((yy - 90) / 50) ** 2))
    return to_plane(GROUND * (1 + 0.5 * cone))


def broken_decoder(i: int) -> Plane:
    """A third of the picture turns gray for a second and a half, its border moving: packets were lost."""
    out = GROUND.copy()
    if 40 <= i < 55:
        out[HEIGHT // 3 + 2 * (i - 40) :] = 128
    return out


def rain(i: int) -> Plane:
    random = np.random.default_rng(i)
    fine = np.zeros((2 * HEIGHT, 2 * WIDTH))
    for x, y in zip(
        random.integers(0, 2 * WIDTH, 150), random.integers(0, 2 * HEIGHT - 20, 150), strict=True
    ):
        fine[y : y + 18, x] = 50
    return to_plane(GROUND + fine.reshape(HEIGHT, 2, WIDTH, 2).mean((1, 3)))


def flicker(i: int) -> Plane:
    return to_plane(GROUND * (1 + 0.15 * ((i % 3) - 1)))


NUISANCES = [
    lamp,
    slow_light,
    pumping_exposure,
    infrared,
    shaking,
    spot_of_light,
    rain,
    flicker,
]


@pytest.mark.parametrize("nuisance", NUISANCES, ids=lambda f: f.__name__)
def test_light_noise_and_shaking_open_no_event(nuisance: Callable[[int], Plane]) -> None:
    motions = look([noisy(nuisance(i)) for i in range(150)])
    run = longest = 0
    for motion in motions:
        run = run + 1 if motion.is_active else 0
        longest = max(longest, run)
    assert longest < MotionSettings().min_frames


def test_a_decoders_gray_is_blind_and_teaches_nothing() -> None:
    motions = look([broken_decoder(i) for i in range(100)])  # a decoder's gray has no noise
    assert n_active(motions) == 0
    assert all(motion.is_blind for motion in motions[40:54])
    moving = look([with_square(broken_decoder(i), 3 * i, y=20) for i in range(100)])
    assert (
        n_active(moving[57:]) >= 40
    )  # the baseline is that from before: no ghosts, and nothing to learn again


def test_the_baseline_from_before_a_lamp_is_taken_up_again_when_it_goes_out() -> None:
    options = DetectorSettings.of(MotionSettings(), WIDTH, WIDTH, HEIGHT)
    lit = to_plane(GROUND.astype(np.float64) + 60)
    state = None
    for index in range(90):
        state, _ = step(state, noisy(lit if 40 <= index < 80 else GROUND), 1000 + index / FPS, options)
    assert state is not None
    assert not state.is_guess  # so what stands there is no ghost that must fade
    blurred = cv2.GaussianBlur(GROUND, (5, 5), 0)
    assert float(np.abs(state.mean - blurred).mean()) < 2


@pytest.mark.parametrize("level", [0.0, 1.0, 4.0, 8.0])
def test_noise_alone_opens_no_event(level: float) -> None:
    assert n_active(look([noisy(GROUND, level) for _ in range(100)])) <= 1


@pytest.mark.parametrize("nuisance", [lamp, infrared], ids=lambda f: f.__name__)
def test_a_lamp_does_not_hide_what_moves(nuisance: Callable[[int], Plane]) -> None:
    motions = look(
        [noisy(with_square(nuisance(i), 3 * i, level=255 if nuisance is lamp else 20)) for i in range(90)]
    )
    assert any(motion.is_blind for motion in motions[38:42])
    assert n_dated(motions, 0, 40) >= 36
    assert n_active(motions[43:88]) >= 40


def test_what_moves_is_seen_through_rain_and_flicker() -> None:
    for nuisance in (rain, flicker):
        motions = look([noisy(with_square(nuisance(i), 3 * i, level=240)) for i in range(90)])
        assert n_active(motions[30:88]) >= 45


def test_what_sways_is_learned() -> None:
    def bush(i: int) -> Plane:
        out = GROUND.copy()
        out[40:80, 200:240] = np.roll(GROUND[40:80, 200:240], round(4 * np.sin(i * 0.9)), 1)
        return out

    motions = look([noisy(bush(i)) for i in range(600)])
    assert n_active(motions[300:]) <= 0.1 * 300


ROWS, COLUMNS = np.mgrid[0:HEIGHT, 0:WIDTH].astype(np.float32)


def with_bush(i: int, hz: float, reach_px: float = 4.0) -> Plane:
    """Return the ground at look `i`; 80x80 px of it are bent to and fro, less towards their border."""
    t_s = i / FPS
    place = np.s_[60:140, 180:260]
    inward = np.minimum(np.arange(80), np.arange(80)[::-1]) / 40
    swing = (0.6 + 0.4 * np.sin(0.5 * t_s)) * np.sin(2 * np.pi * hz * t_s + np.arange(80)[:, None] / 15)
    bent = reach_px * swing * np.minimum(1, 2 * inward * inward[:, None])
    out = GROUND.copy()
    columns = (COLUMNS[place] + bent).astype(np.float32)
    out[place] = cv2.remap(GROUND, columns, ROWS[place], cv2.INTER_LINEAR)
    return out


@pytest.mark.parametrize("hz", [0.3, 0.5, 0.8])
def test_what_sways_is_no_event_from_the_first_look_on(hz: float) -> None:
    assert n_active(look([noisy(with_bush(i, hz)) for i in range(120)])) == 0


def test_a_bush_neither_hides_who_passes_nor_holds_his_event_open() -> None:
    def frame(i: int) -> Plane:
        plane = with_bush(i, 0.3)
        return with_square(plane, 4 * (i - 30)) if 30 <= i < 110 else plane

    motions = look([noisy(frame(i)) for i in range(150)])
    assert n_dated(motions, 30, 108) >= 75
    assert n_dated(motions, 0, 29) == n_active(motions[115:]) == 0


@pytest.mark.parametrize("px_a_look", [3.0, 5.0])
@pytest.mark.parametrize("relief", [0.0, 6.0])
def test_a_clouds_shadow_on_flat_ground_opens_no_event(px_a_look: float, relief: float) -> None:
    flat = 120 + 25 * np.sin(COLUMNS / 40) * np.cos(ROWS / 30) + relief * np.sin(COLUMNS / 9)

    def shaded(i: int, plane: Plane) -> Plane:
        edge = (COLUMNS + 0.4 * ROWS - px_a_look * (i - 30)) / 30
        return to_plane(plane * (1 - 0.4 / (1 + np.exp(edge)) / (1 + np.exp(-edge - 9))))

    assert n_active(look([noisy(shaded(i, to_plane(flat))) for i in range(150)])) == 0
    walked = [shaded(i, with_square(to_plane(flat), 4 * i - 40, level=40)) for i in range(90)]
    assert n_active(look([noisy(plane) for plane in walked])[20:88]) >= 55


def test_a_ghost_and_a_thing_that_stopped_are_left_alone() -> None:
    stopped = with_square(GROUND, 120)
    frames = (
        quiet(20)
        + [noisy(with_square(GROUND, 4 * i)) for i in range(30)]
        + [noisy(stopped) for _ in range(120)]
    )
    motions = look(frames)
    assert n_dated(motions, 20, 50) >= 28
    assert n_active(motions[70:]) == 0
    left = [noisy(stopped) for _ in range(60)] + [noisy(GROUND) for _ in range(100)]
    assert n_active(look(left)[80:]) == 0


def test_masked_places_are_ignored() -> None:
    frames = quiet(10) + [noisy(with_square(GROUND, 4 * i)) for i in range(60)]
    assert n_active(look(frames, masks=(((0, 0.3), (1, 0.3), (1, 0.8), (0, 0.8)),))) == 0
    assert n_active(look(frames, masks=(((0, 0.7), (1, 0.7), (1, 1), (0, 1)),))) > 50


def test_smaller_than_the_smallest_area_is_nothing() -> None:
    frames = quiet(10) + [noisy(with_square(GROUND, 4 * i, side=12)) for i in range(60)]
    assert n_active(look(frames, min_contour_area=3000)) == 0
    assert n_active(look(frames)) > 50


def test_a_number_as_threshold_is_taken_as_it_is() -> None:
    faint = quiet(10) + [noisy(with_square(GROUND, 4 * i, level=150)) for i in range(60)]
    assert n_active(look(faint, threshold=150)) == 0
    assert n_active(look(faint, threshold=10)) > 50


def test_motion_in_the_first_frame_of_a_recording_is_seen_and_leaves_no_ghost() -> None:
    frames = [noisy(with_square(GROUND, 20 + 4 * i)) for i in range(60)]
    state = start_from(frames[0:40:2], 1000.0, 5)
    assert state is not None
    options = DetectorSettings.of(MotionSettings(), WIDTH, WIDTH, HEIGHT)
    motions = []
    for index, frame in enumerate(frames):
        state, motion = step(state, frame, 1000 + index / FPS, options)
        motions.append(motion)
        if motion.is_active:
            assert len(motion.boxes) == 1
            assert abs(motion.boxes[0].x - (20 + 4 * index)) <= 12
    assert n_dated(motions, 2) == len(frames) - 2
    assert n_active(motions[7:]) == len(frames) - 7  # dated back to the start, but believed after seven looks


def test_no_baseline_is_made_of_several_scenes() -> None:
    other = (255 - GROUND).astype(np.uint8)
    assert start_from([GROUND] * 6 + [other] * 7, 0.0, 5) is None
    assert start_from([GROUND] * 3, 0.0, 5) is None


def test_a_change_of_size_begins_anew() -> None:
    options = DetectorSettings.of(MotionSettings(), WIDTH, WIDTH, HEIGHT)
    state, _ = step(None, GROUND, 0.0, options)
    state, motion = step(state, GROUND[:100, :100].copy(), 0.1, options)
    assert state.mean.shape == (100, 100)
    assert not motion.is_active


def test_the_state_that_went_in_is_not_changed() -> None:
    options = DetectorSettings.of(MotionSettings(), WIDTH, WIDTH, HEIGHT)
    state, _ = step(None, GROUND, 0.0, options)
    state, _ = step(state, noisy(GROUND), 0.1, options)
    before = {
        name: np.copy(getattr(state, name))
        for name in ("mean", "variance", "onsets_hz", "heat", "foreground")
    }
    step(state, with_square(GROUND, 50), 0.2, options)
    assert all((np.asarray(getattr(state, name)) == value).all() for name, value in before.items())


def test_a_look_is_sure_once_two_in_a_row_showed_what_is_on_its_way() -> None:
    options = DetectorSettings.of(MotionSettings(), WIDTH, 2 * WIDTH, 2 * HEIGHT)
    frames = [*quiet(30), *(noisy(with_square(GROUND, 6 * index)) for index in range(30)), *quiet(10)]
    state, looks = None, []
    for index, frame in enumerate(frames):
        state, motion = step(state, frame, 1000 + index / FPS, options)
        looks.append((state.is_on_way, motion.is_sure))
    on_way = [index for index, (is_on_way, _) in enumerate(looks) if is_on_way]
    assert on_way[0] >= 30 + FPS  # not before it has been on its way for a second
    assert [index for index, (_, is_sure) in enumerate(looks) if is_sure] == [
        index for index in on_way if index - 1 in on_way
    ]
    assert not looks[-1][1]


def test_a_sure_look_stays_sure_over_half_a_second_in_which_nobody_looked() -> None:
    options = DetectorSettings.of(MotionSettings(), WIDTH, 2 * WIDTH, 2 * HEIGHT)
    looks = [(index / FPS, GROUND) for index in range(30)]
    looks += [
        (3 + index / FPS, with_square(GROUND, 9 * index)) for index in range(25) if not 18 <= index < 22
    ]
    state, sure = None, []
    for t_s, frame in looks:
        state, motion = step(state, noisy(frame), 1000 + t_s, options)
        sure.append((t_s, motion.is_active, motion.is_sure))
    after = [(is_active, is_sure) for t_s, is_active, is_sure in sure if t_s >= 3 + 22 / FPS]
    assert after[0] == (True, True)
    assert all(is_active for is_active, _ in after)
