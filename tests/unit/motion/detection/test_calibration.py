"""A minute of a scene becomes settings: masks for what never stops, and none for what travels."""

from __future__ import annotations

import numpy as np

from services.motion.detection.calibration import Survey, observe, propose, still_levels
from services.motion.detection.zones import raster_of
from shared.cameras import MotionSettings
from tests.unit.motion.videos import Plane

WIDTH, HEIGHT, FPS, LENGTH_S = 320, 240, 10, 24.0


def ground() -> Plane:
    random = np.random.default_rng(3)
    return np.kron(random.integers(80, 150, (HEIGHT // 8, WIDTH // 8)), np.ones((8, 8))).astype(np.uint8)


def surveyed(with_flag: bool = False, with_walker: bool = False, **own: object) -> Survey:
    survey = Survey(MotionSettings.model_validate(own), 0.0, LENGTH_S)
    random = np.random.default_rng(4)
    scene = ground().astype(np.int16)
    for index in range(int(LENGTH_S * FPS)):
        plane = scene + random.normal(0, 1.5, scene.shape).astype(np.int16)
        if with_flag:
            plane[40:80, 220:270] = random.integers(0, 255, (5, 50)).repeat(8, axis=0)
        if with_walker and index >= 80:
            x = (index - 80) * 4 % (WIDTH - 24)
            plane[150:200, x : x + 24] = 235
        survey = observe(survey, np.clip(plane, 0, 255).astype(np.uint8), index / FPS, (640, 480))
    return survey


def test_a_still_scene_needs_no_mask_and_no_number() -> None:
    survey = surveyed()
    found = propose(survey)
    assert (found.threshold, found.masks, found.min_contour_area) == ("auto", (), 200)
    assert max(still_levels(survey)) < found.auto_levels * 2
    assert any("nothing moves all the time" in reason for reason in found.reasons)


def test_a_flag_gets_a_mask_that_covers_it_and_little_else() -> None:
    masks = propose(surveyed(with_flag=True)).masks
    covered = raster_of(masks, WIDTH, HEIGHT)
    assert covered[42:78, 224:266].mean() > 0.9
    assert covered.mean() < 3 * (40 * 50) / (WIDTH * HEIGHT)


def test_a_flag_that_is_masked_already_is_not_proposed_again() -> None:
    mask = [[0.6, 0.1], [0.95, 0.1], [0.95, 0.45], [0.6, 0.45]]
    assert propose(surveyed(with_flag=True, masks=[mask])).masks == ()


def test_a_walker_is_no_nuisance_and_tells_the_smallest_area() -> None:
    survey = surveyed(with_walker=True)
    found = propose(survey)
    assert found.masks == ()
    assert sum(reach.is_moving for reach in survey.reaches) > 50
    assert 1000 <= found.min_contour_area <= 2000  # half of 24 x 50 px, four times as many at 640 px
    assert any(
        reason.startswith("min_contour_area") and "smallest tenth" in reason for reason in found.reasons
    )


def test_without_a_look_the_settings_stay() -> None:
    found = propose(Survey(MotionSettings(threshold=30, min_contour_area=450), 0.0, 60.0))
    assert (found.threshold, found.min_contour_area, found.masks) == (30, 450, ())


def test_only_what_changed_within_a_look_counts_for_it() -> None:
    survey = Survey(MotionSettings(), 0.0, LENGTH_S)
    for index in range(60):
        plane = ground().copy()
        if index == 45:
            plane[100:140, 100:140] = 250
        survey = observe(survey, plane, index / FPS, (640, 480))
    n_changed = np.sum(survey.changed, axis=0)[105:135, 105:135]
    assert n_changed.min() >= 1
    assert n_changed.max() <= 3  # the look itself, and the one that is compared with it
