"""Which packets are decoded, when: packets and looks without pictures."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.sources.decode_policy import (
    DISTRUST_S,
    DOZE_S,
    LEARN_S,
    LONGEST_GROUP_S,
    ON_TIME_S,
    DecodeAction,
    DecodePolicy,
)
from services.motion.sources.packet_sizes import PacketSize

FPS = 25


@dataclasses.dataclass
class Camera:
    """Sends groups of packets and looks at what is decoded. `spread`: how its sizes scatter while nothing moves."""

    policy: DecodePolicy
    group: int = 50
    spread: float = 300.0
    n: int = 0
    fps: int = FPS
    is_fresh: bool = False  # its key frames need nothing of what came before, its pictures come in order

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(5)

    def send(self, seconds: float, extra: int = 0, is_busy: bool = False) -> list[DecodeAction]:
        actions = []
        for _ in range(round(seconds * self.fps)):
            place, t_s = self.n % self.group, self.n / self.fps
            n_bytes = (
                200_000 if place == 0 else max(1, round(2000 + self.spread * self._rng.normal())) + extra
            )
            size = PacketSize(n_bytes, is_key=place == 0, place=place, is_fresh=self.is_fresh and place == 0)
            action = self.policy.decide(t_s, size, is_in_order=self.is_fresh)
            actions.append(action)
            if action in (DecodeAction.DECODE, DecodeAction.REPLAY, DecodeAction.REPLAY_BOTH):
                self.policy.note_frame(t_s, is_busy=is_busy)
            self.n += 1
        return actions

    @property
    def t_s(self) -> float:
        return self.n / self.fps


def asleep() -> Camera:
    """Return a camera that has been asleep for a few groups; the next packet is a key frame."""
    camera = Camera(DecodePolicy("cam"))
    camera.send(40)
    while not camera.policy.is_asleep or camera.n % camera.group:
        camera.send(1 / FPS)
        assert camera.t_s < 100
    return camera


def test_everything_is_decoded_at_first_and_little_later() -> None:
    camera = Camera(DecodePolicy("cam"))
    assert set(camera.send(LEARN_S)) == {DecodeAction.DECODE}
    later = camera.send(240)
    assert sum(action is DecodeAction.SKIP for action in later) >= 0.85 * len(later)
    assert DecodeAction.PEEK in later


def test_some_groups_are_decoded_to_see_whether_the_sizes_tell() -> None:
    camera = asleep()
    later = camera.send(240)
    assert 0.02 <= sum(action is DecodeAction.DECODE for action in later) / len(later) <= 0.15


def test_a_hint_has_the_group_so_far_decoded() -> None:
    camera = asleep()
    camera.send(0.4)
    found = [
        action for action in camera.send(1.0, extra=2500, is_busy=True) if action is not DecodeAction.SKIP
    ]
    assert found[0] in (DecodeAction.REPLAY, DecodeAction.DECODE)
    assert set(found[1:]) <= {DecodeAction.DECODE}
    assert not camera.policy.is_asleep


def test_a_key_frame_that_shows_something_has_the_group_before_decoded_too() -> None:
    camera = asleep()
    while camera.send(1 / FPS) != [DecodeAction.PEEK]:
        assert camera.t_s < 100
    camera.policy.note_change()
    assert camera.send(1 / FPS) == [DecodeAction.REPLAY_BOTH]
    assert camera.send(1 / FPS) == [DecodeAction.DECODE]


def test_sizes_that_would_not_tell_keep_the_camera_awake() -> None:
    assert set(Camera(DecodePolicy("cam"), spread=8000.0).send(120)) == {DecodeAction.DECODE}


def test_pictures_that_come_too_rarely_to_tell_in_time_keep_the_camera_awake() -> None:
    assert DecodeAction.SKIP in Camera(DecodePolicy("cam"), group=10, fps=5).send(300)
    assert set(Camera(DecodePolicy("cam"), group=8, fps=4).send(300)) == {DecodeAction.DECODE}


def test_rare_key_frames_keep_the_camera_awake() -> None:
    group = round((LONGEST_GROUP_S + 0.5) * FPS)
    assert set(Camera(DecodePolicy("cam"), group=group).send(200)) == {DecodeAction.DECODE}


def test_switched_off_it_decodes_everything_at_once() -> None:
    camera = asleep()
    camera.send(0.2)
    camera.policy.is_on = False
    actions = camera.send(30)
    assert actions[0] in (DecodeAction.REPLAY, DecodeAction.DECODE)
    assert set(actions[1:]) == {DecodeAction.DECODE}


def test_an_event_that_no_hint_told_of_ends_the_trust_for_a_while() -> None:
    camera = asleep()
    camera.policy.note_event(camera.t_s - 1.0, camera.t_s)
    began_s = camera.t_s
    assert camera.policy.n_missed == 1
    assert set(camera.send(DISTRUST_S - 0.1)) == {DecodeAction.DECODE}
    assert camera.t_s < began_s + DISTRUST_S
    assert any(action is DecodeAction.SKIP for action in camera.send(60))


def test_an_event_that_a_hint_told_of_costs_no_trust() -> None:
    camera = asleep()
    camera.send(0.4)
    began_s = camera.t_s
    camera.send(1.0, extra=2500, is_busy=True)
    camera.policy.note_event(began_s, camera.t_s)
    assert camera.policy.n_missed == 0
    assert any(action is DecodeAction.SKIP for action in camera.send(30))


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["quiet", "moves", "noticed", "missed"]), st.integers(1, 120)), max_size=12
    )
)
def test_what_was_skipped_is_decoded_before_anything_that_needs_it(steps: list[tuple[str, int]]) -> None:
    """After a skipped packet comes a replay or a key frame, never a bare DECODE of a dependent picture."""
    camera = asleep()
    has_gap = True
    for what, n_packets in steps:
        if what == "noticed":
            camera.policy.note_change()
        if what == "missed":
            camera.policy.note_event(camera.t_s - 1, camera.t_s)
        for _ in range(n_packets):
            is_key = camera.n % camera.group == 0
            (action,) = camera.send(1 / FPS, extra=2500 if what == "moves" else 0, is_busy=what == "moves")
            if action is DecodeAction.DECODE:
                assert is_key or not has_gap
                has_gap = False
            elif action in (DecodeAction.REPLAY, DecodeAction.REPLAY_BOTH):
                has_gap = False
            else:
                assert is_key is (action is DecodeAction.PEEK)
                has_gap = True


# by how many pictures each lies after the last key or P picture, in the order they come; True: no other needs it
PATTERNS = {
    "two B in each other": [(4, False), (2, False), (1, True), (3, True)],
    "three B": [(4, False), (1, True), (2, True), (3, True)],
    "one B": [(2, False), (1, True)],
    "two layers of P": [(1, True), (2, False)],
}


def stream(pattern: list[tuple[int, bool]], fps: float) -> list[tuple[float, bool]]:
    """Return time and disposability of ten seconds of packets, the key frame left out."""
    length = max(at for at, _ in pattern)
    n_rounds = round(10 * fps / length)
    return [
        ((number * length + at) / fps, is_disposable)
        for number in range(n_rounds)
        for at, is_disposable in pattern
    ]


@settings(max_examples=80, deadline=None)
@given(st.sampled_from(sorted(PATTERNS)), st.floats(8, 60), st.floats(2, 25))
def test_what_is_left_out_leaves_every_look_its_picture(name: str, fps: float, detect_fps: float) -> None:
    policy = DecodePolicy("cam", period_s=1 / detect_fps)
    packets = stream(PATTERNS[name], fps)
    actions = [
        (t_s, is_disposable, policy.decide(t_s, PacketSize(2000, False, place, is_disposable)))
        for place, (t_s, is_disposable) in enumerate(packets, 1)
    ]
    assert all(action is DecodeAction.DECODE for _, is_disposable, action in actions if not is_disposable)
    decoded_s = sorted(t_s for t_s, _, action in actions if action is DecodeAction.DECODE)
    longest_s = max(later - earlier for earlier, later in itertools.pairwise(decoded_s))
    assert longest_s <= max(1.25 / detect_fps, 1 / fps) + 1e-6


@pytest.mark.parametrize(
    ("name", "share"),
    [("two B in each other", 0.5), ("three B", 0.5), ("one B", 0.5), ("two layers of P", 0.5)],
)
def test_at_25_frames_a_second_half_of_them_are_left_out(name: str, share: float) -> None:
    policy = DecodePolicy("cam", period_s=0.1)
    actions = [
        policy.decide(t_s, PacketSize(2000, False, place, is_disposable))
        for place, (t_s, is_disposable) in enumerate(stream(PATTERNS[name], FPS), 1)
    ]
    assert actions.count(DecodeAction.LEAVE_OUT) / len(actions) == pytest.approx(share, abs=0.02)
    policy = DecodePolicy("cam", period_s=0.1, is_on=False)
    actions = [policy.decide(t_s, PacketSize(2000, False, 1, True)) for t_s, _ in stream(PATTERNS[name], FPS)]
    assert set(actions) == {DecodeAction.DECODE}


PERIOD_S = 0.1


@dataclasses.dataclass
class Busy:
    """A camera whose pictures come in order, looked at as the service does: half as often while an event is sure."""

    policy: DecodePolicy = dataclasses.field(default_factory=lambda: DecodePolicy("cam", period_s=PERIOD_S))
    is_fresh: bool = True
    is_in_order: bool = True
    is_sure: bool = True
    t_s: float = 0.0
    detected_s: list[float] = dataclasses.field(default_factory=list)

    def send_group(self, n_packets: int = 50, from_place: int = 0) -> list[DecodeAction]:
        return [self.send(place) for place in range(from_place, n_packets)]

    def send(self, place: int) -> DecodeAction:
        size = PacketSize(2000, place == 0, place, is_fresh=self.is_fresh and place == 0)
        action = self.policy.decide(self.t_s, size, is_in_order=self.is_in_order)
        period_s = PERIOD_S * (1 + self.is_sure)
        is_due = not self.detected_s or self.t_s >= self.detected_s[-1] + period_s - 1e-6
        if action is not DecodeAction.SKIP and is_due:
            self.policy.note_frame(self.t_s, is_busy=True, is_sure=self.is_sure)
            self.detected_s.append(self.t_s)
        self.t_s += 1 / FPS
        return action


def test_in_a_sure_event_the_rest_of_a_group_is_left() -> None:
    camera = Busy()
    known = [action for _ in range(3) for action in camera.send_group()]
    assert set(known) == {DecodeAction.DECODE}
    for _ in range(20):
        actions = camera.send_group()
        n_decoded = actions.index(DecodeAction.SKIP)
        assert 0.69 <= n_decoded / len(actions) <= 0.84
        assert set(actions[:n_decoded]) == {DecodeAction.DECODE}
        assert set(actions[n_decoded:]) == {DecodeAction.SKIP}
    assert max(later - earlier for earlier, later in itertools.pairwise(camera.detected_s)) <= DOZE_S + 1e-6


def test_without_one_a_group_is_left_only_after_its_last_look() -> None:
    camera = Busy(is_sure=False)
    actions = [action for _ in range(24) for action in camera.send_group()]
    assert 0 < actions.count(DecodeAction.SKIP) / len(actions) <= 0.04
    apart_s = max(later - earlier for earlier, later in itertools.pairwise(camera.detected_s))
    assert apart_s <= PERIOD_S + 1 / FPS + 1e-6


@pytest.mark.parametrize(("n_sure", "n_left"), [(30, 9), (5, 0)])
def test_an_event_counts_as_sure_for_a_second_after_it_was(n_sure: int, n_left: int) -> None:
    camera = Busy()
    for _ in range(6):
        camera.send_group()
    camera.send_group(n_sure)
    camera.is_sure = False
    actions = camera.send_group(from_place=n_sure)
    assert n_left <= actions.count(DecodeAction.SKIP) <= n_left + 5


@pytest.mark.parametrize("n_packets", [51, 60, 100, 500])
def test_what_was_left_is_decoded_when_the_key_frame_is_late(n_packets: int) -> None:
    camera = Busy()
    for _ in range(6):
        camera.send_group()
    ends_s = camera.t_s + 2.0
    actions = camera.send_group(n_packets)
    began = actions.index(DecodeAction.SKIP)
    if DecodeAction.REPLAY in actions:
        caught_up = actions.index(DecodeAction.REPLAY)
        assert set(actions[began:caught_up]) == {DecodeAction.SKIP}
        assert set(actions[caught_up + 1 :]) <= {DecodeAction.DECODE}
        replayed_s = camera.t_s - (n_packets - caught_up) / FPS
        assert ends_s < replayed_s <= ends_s + ON_TIME_S + 1 / FPS + 1e-6
    else:
        assert n_packets / FPS <= 2.0 + ON_TIME_S + 1e-6
    again = camera.send_group()
    assert again.count(DecodeAction.SKIP) == 0 or n_packets == 51


def test_a_key_frame_that_needs_what_came_before_has_it_decoded() -> None:
    camera = Busy()
    for _ in range(6):
        camera.send_group()
    assert camera.policy.is_dozing
    camera.is_fresh = False
    actions = camera.send_group()
    assert actions[0] is DecodeAction.REPLAY
    assert set(actions[1:]) == {DecodeAction.DECODE}
    assert set(camera.send_group()) == {DecodeAction.DECODE}


def test_a_viewer_has_what_was_left_decoded_at_once() -> None:
    camera = Busy()
    for _ in range(6):
        camera.send_group()
    camera.send_group(45)
    assert camera.policy.is_dozing
    camera.policy.is_on = False
    actions = camera.send_group(from_place=45)
    assert actions == [DecodeAction.REPLAY, *[DecodeAction.DECODE] * 4]


def test_a_camera_that_dozes_falls_asleep_as_one_that_does_not() -> None:
    """Between 10 looks a second at 25 frames something is left of most groups."""
    camera = Camera(DecodePolicy("cam", period_s=PERIOD_S), is_fresh=True)
    actions = camera.send(LEARN_S + 10)
    assert DecodeAction.SKIP in actions[: round(LEARN_S * FPS)]
    assert DecodeAction.PEEK in actions
    assert camera.policy.is_asleep
    assert actions[-100:].count(DecodeAction.SKIP) >= 90


@pytest.mark.parametrize("what", ["reordered", "groups of many lengths", "nobody looks"])
def test_it_does_not_doze(what: str) -> None:
    camera = Busy(is_in_order=what != "reordered")
    for number in range(20):
        if what == "nobody looks":
            camera.detected_s = [camera.t_s + 1e6]
        actions = camera.send_group(50 + (number * 7 % 20 if what == "groups of many lengths" else 0))
        assert set(actions) == {DecodeAction.DECODE}
