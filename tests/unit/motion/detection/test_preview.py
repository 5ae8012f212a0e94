"""Settings on trial answer at once, each for itself; what is drawn is in shares and in the settings' own px."""

from __future__ import annotations

import numpy as np

from services.motion.detection import detector
from services.motion.detection.preview import CONTOURS_MAX, PreviewPlane, SettingsPreview, as_json, step
from services.motion.detection.values import DetectorSettings, DetectorState, Motion
from shared.cameras import MotionSettings
from tests.unit.motion.videos import Plane as Gray

WIDTH, HEIGHT = 320, 240
FPS = 10
OWN = MotionSettings()
STILL = Motion(0.0, is_active=False)
NOT_ON_TRIAL = SettingsPreview(MotionSettings(threshold=33), None, STILL)


def frame(x: int | None, level: int) -> Gray:
    plane = np.full((HEIGHT, WIDTH), 100, np.uint8)
    plane[::2, ::3] += 30  # structure
    if x is not None:
        plane[100:150, x : x + 40] = level
    return plane


def learned() -> DetectorState:
    state = None
    for index in range(20):
        state, _ = detector.step(
            state, frame(None, 0), index / FPS, DetectorSettings.of(OWN, WIDTH, 640, 480)
        )
    assert state is not None
    return state


def after_crossing(
    level: int, *wanted: MotionSettings
) -> tuple[tuple[SettingsPreview, ...], list[tuple[bool, ...]]]:
    scene = learned()
    previews = tuple(SettingsPreview(settings, scene, STILL) for settings in wanted)
    active = []
    for index in range(15):
        plane = PreviewPlane(frame(20 + 10 * index, level), 2 + index / FPS, 640, 480)
        previews = step(previews, plane, NOT_ON_TRIAL)
        active.append(tuple(one.motion.is_active for one in previews))
    return previews, active


def test_a_faint_thing_is_found_at_10_and_not_at_75() -> None:
    previews, active = after_crossing(160, MotionSettings(threshold=10), MotionSettings(threshold=75))
    assert any(low for low, _ in active)
    assert not any(high for _, high in active)
    low, high = (as_json(one.motion, one.scene, one.settings, 640, 480) for one in previews)
    assert low["area"] > 4 * 0.7 * 40 * 50  # 40 x 50 px of a plane half as wide as 640
    assert high["area"] == 0
    assert (high["contours"], high["boxes"]) == ([], [])


def test_boxes_and_contours_lie_where_the_thing_is() -> None:
    previews, _ = after_crossing(230, OWN)
    said = as_json(previews[0].motion, previews[0].scene, OWN, 640, 480)
    x, y, w, h = said["boxes"][0]
    assert abs(x + w / 2 - 180 / WIDTH) < 0.06
    assert abs(y + h / 2 - 125 / HEIGHT) < 0.06
    corners = np.array(said["contours"][0])
    assert corners.min() >= 0
    assert corners.max() <= 1
    assert abs(corners[:, 1].mean() - 125 / HEIGHT) < 0.1


def test_a_zone_on_trial_limits_the_lane_that_has_it() -> None:
    corner = ((0.0, 0.0), (0.1, 0.0), (0.0, 0.1))
    _, active = after_crossing(230, OWN, MotionSettings(zones=(corner,)))
    assert any(free for free, _ in active)
    assert not any(limited for _, limited in active)


def test_a_lane_with_the_settings_in_force_says_what_the_camera_says() -> None:
    own = SettingsPreview(OWN, learned(), Motion(0.7, is_active=True))
    previews = (
        SettingsPreview(OWN, learned(), STILL),
        SettingsPreview(MotionSettings(threshold=75), learned(), STILL),
    )
    in_force, other = step(previews, PreviewPlane(frame(None, 0), 2.0, 640, 480), own)
    assert in_force is own
    assert not other.motion.is_active


def test_before_the_first_look_there_is_nothing_to_draw() -> None:
    said = as_json(STILL, None, OWN, 640, 480)
    assert (said["contours"], said["area"], said["noise"]) == ([], 0, None)


def test_a_picture_full_of_specks_draws_no_more_contours_than_the_bound() -> None:
    scene = learned()
    specks = np.zeros((HEIGHT, WIDTH), np.bool_)
    specks[::10, ::10] = True
    object.__setattr__(scene, "foreground", specks)
    said = as_json(STILL, scene, MotionSettings(dilate_iterations=0), 640, 480)
    assert len(said["contours"]) == CONTOURS_MAX
