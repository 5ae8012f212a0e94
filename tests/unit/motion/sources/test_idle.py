"""Which packets are decoded, when: packets and looks without pictures."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from services.motion.sources.idle import DISTRUST_S, DOZE_S, LEARN_S, LONGEST_GROUP_S, ON_TIME_S, Idler, Wish
from services.motion.sources.packet_sizes import Size

FPS = 25


@dataclasses.dataclass
class Camera:
    """Sends groups of packets and looks at what is decoded. `spread`: how its sizes scatter while nothing moves."""

    idler: Idler
    group: int = 50
    spread: float = 300.0
    n: int = 0
    fps: int = FPS
    is_fresh: bool = False  # its key frames need nothing of what came before, its pictures come in order

    def __post_init__(self) -> None:
        self._rng = np.random.default_rng(5)

    def send(self, seconds: float, extra: int = 0, is_busy: bool = False) -> list[Wish]:
        wishes = []
        for _ in range(round(seconds * self.fps)):
            place, t_s = self.n % self.group, self.n / self.fps
            n_bytes = (
                200_000 if place == 0 else max(1, round(2000 + self.spread * self._rng.normal())) + extra
            )
            size = Size(n_bytes, is_key=place == 0, place=place, is_fresh=self.is_fresh and place == 0)
            wish = self.idler.take(t_s, size, is_in_order=self.is_fresh)
            wishes.append(wish)
            if wish in (Wish.DECODE, Wish.REPLAY, Wish.REPLAY_BOTH):
                self.idler.saw(t_s, is_busy=is_busy)
            self.n += 1
        return wishes

    @property
    def t_s(self) -> float:
        return self.n / self.fps


def asleep() -> Camera:
    """Return a camera that has been asleep for a few groups; the next packet is a key frame."""
    camera = Camera(Idler("cam"))
    camera.send(40)
    while not camera.idler.is_asleep or camera.n % camera.group:
        camera.send(1 / FPS)
        assert camera.t_s < 100
    return camera


def test_everything_is_decoded_at_first_and_little_later() -> None:
    camera = Camera(Idler("cam"))
    assert set(camera.send(LEARN_S)) == {Wish.DECODE}
    later = camera.send(240)
    assert sum(wish is Wish.SKIP for wish in later) >= 0.85 * len(later)
    assert Wish.PEEK in later


def test_some_groups_are_decoded_to_see_whether_the_sizes_tell() -> None:
    camera = asleep()
    later = camera.send(240)
    assert 0.02 <= sum(wish is Wish.DECODE for wish in later) / len(later) <= 0.15


def test_a_hint_has_the_group_so_far_decoded() -> None:
    camera = asleep()
    camera.send(0.4)
    found = [wish for wish in camera.send(1.0, extra=2500, is_busy=True) if wish is not Wish.SKIP]
    assert found[0] in (Wish.REPLAY, Wish.DECODE)
    assert set(found[1:]) <= {Wish.DECODE}
    assert not camera.idler.is_asleep


def test_a_key_frame_that_shows_something_has_the_group_before_decoded_too() -> None:
    camera = asleep()
    while camera.send(1 / FPS) != [Wish.PEEK]:
        assert camera.t_s < 100
    camera.idler.notice()
    assert camera.send(1 / FPS) == [Wish.REPLAY_BOTH]
    assert camera.send(1 / FPS) == [Wish.DECODE]


def test_sizes_that_would_not_tell_keep_the_camera_awake() -> None:
    assert set(Camera(Idler("cam"), spread=8000.0).send(120)) == {Wish.DECODE}


def test_pictures_that_come_too_rarely_to_tell_in_time_keep_the_camera_awake() -> None:
    assert Wish.SKIP in Camera(Idler("cam"), group=10, fps=5).send(300)
    assert set(Camera(Idler("cam"), group=8, fps=4).send(300)) == {Wish.DECODE}


def test_rare_key_frames_keep_the_camera_awake() -> None:
    group = round((LONGEST_GROUP_S + 0.5) * FPS)
    assert set(Camera(Idler("cam"), group=group).send(200)) == {Wish.DECODE}


def test_switched_off_it_decodes_everything_at_once() -> None:
    camera = asleep()
    camera.send(0.2)
    camera.idler.is_on = False
    wishes = camera.send(30)
    assert wishes[0] in (Wish.REPLAY, Wish.DECODE)
    assert set(wishes[1:]) == {Wish.DECODE}


def test_an_event_that_no_hint_told_of_ends_the_trust_for_a_while() -> None:
    camera = asleep()
    camera.idler.opened(camera.t_s - 1.0, camera.t_s)
    began_s = camera.t_s
    assert camera.idler.n_missed == 1
    assert set(camera.send(DISTRUST_S - 0.1)) == {Wish.DECODE}
    assert camera.t_s < began_s + DISTRUST_S
    assert any(wish is Wish.SKIP for wish in camera.send(60))


def test_an_event_that_a_hint_told_of_costs_no_trust() -> None:
    camera = asleep()
    camera.send(0.4)
    began_s = camera.t_s
    camera.send(1.0, extra=2500, is_busy=True)
    camera.idler.opened(began_s, camera.t_s)
    assert camera.idler.n_missed == 0
    assert any(wish is Wish.SKIP for wish in camera.send(30))


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
            camera.idler.notice()
        if what == "missed":
            camera.idler.opened(camera.t_s - 1, camera.t_s)
        for _ in range(n_packets):
            is_key = camera.n % camera.group == 0
            (wish,) = camera.send(1 / FPS, extra=2500 if what == "moves" else 0, is_busy=what == "moves")
            if wish is Wish.DECODE:
                assert is_key or not has_gap
                has_gap = False
            elif wish in (Wish.REPLAY, Wish.REPLAY_BOTH):
                has_gap = False
            else:
                assert is_key is (wish is Wish.PEEK)
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
    idler = Idler("cam", period_s=1 / detect_fps)
    packets = stream(PATTERNS[name], fps)
    wishes = [
        (t_s, is_disposable, idler.take(t_s, Size(2000, False, place, is_disposable)))
        for place, (t_s, is_disposable) in enumerate(packets, 1)
    ]
    assert all(wish is Wish.DECODE for _, is_disposable, wish in wishes if not is_disposable)
    decoded_s = sorted(t_s for t_s, _, wish in wishes if wish is Wish.DECODE)
    longest_s = max(later - earlier for earlier, later in itertools.pairwise(decoded_s))
    assert longest_s <= max(1.25 / detect_fps, 1 / fps) + 1e-6


@pytest.mark.parametrize(
    ("name", "share"),
    [("two B in each other", 0.5), ("three B", 0.5), ("one B", 0.5), ("two layers of P", 0.5)],
)
def test_at_25_frames_a_second_half_of_them_are_left_out(name: str, share: float) -> None:
    idler = Idler("cam", period_s=0.1)
    wishes = [
        idler.take(t_s, Size(2000, False, place, is_disposable))
        for place, (t_s, is_disposable) in enumerate(stream(PATTERNS[name], FPS), 1)
    ]
    assert wishes.count(Wish.LEAVE_OUT) / len(wishes) == pytest.approx(share, abs=0.02)
    idler = Idler("cam", period_s=0.1, is_on=False)
    wishes = [idler.take(t_s, Size(2000, False, 1, True)) for t_s, _ in stream(PATTERNS[name], FPS)]
    assert set(wishes) == {Wish.DECODE}


PERIOD_S = 0.1


@dataclasses.dataclass
class Busy:
    """A camera whose pictures come in order, looked at as the service does: half as often while an event is sure."""

    idler: Idler = dataclasses.field(default_factory=lambda: Idler("cam", period_s=PERIOD_S))
    is_fresh: bool = True
    is_in_order: bool = True
    is_sure: bool = True
    t_s: float = 0.0
    looked_s: list[float] = dataclasses.field(default_factory=list)

    def send_group(self, n_packets: int = 50, from_place: int = 0) -> list[Wish]:
        return [self.send(place) for place in range(from_place, n_packets)]

    def send(self, place: int) -> Wish:
        size = Size(2000, place == 0, place, is_fresh=self.is_fresh and place == 0)
        wish = self.idler.take(self.t_s, size, is_in_order=self.is_in_order)
        period_s = PERIOD_S * (1 + self.is_sure)
        is_due = not self.looked_s or self.t_s >= self.looked_s[-1] + period_s - 1e-6
        if wish is not Wish.SKIP and is_due:
            self.idler.saw(self.t_s, is_busy=True, is_sure=self.is_sure)
            self.looked_s.append(self.t_s)
        self.t_s += 1 / FPS
        return wish


def test_in_a_sure_event_the_rest_of_a_group_is_left() -> None:
    camera = Busy()
    known = [wish for _ in range(3) for wish in camera.send_group()]
    assert set(known) == {Wish.DECODE}
    for _ in range(20):
        wishes = camera.send_group()
        n_decoded = wishes.index(Wish.SKIP)
        assert 0.69 <= n_decoded / len(wishes) <= 0.84
        assert set(wishes[:n_decoded]) == {Wish.DECODE}
        assert set(wishes[n_decoded:]) == {Wish.SKIP}
    assert max(later - earlier for earlier, later in itertools.pairwise(camera.looked_s)) <= DOZE_S + 1e-6


def test_without_one_a_group_is_left_only_after_its_last_look() -> None:
    camera = Busy(is_sure=False)
    wishes = [wish for _ in range(24) for wish in camera.send_group()]
    assert 0 < wishes.count(Wish.SKIP) / len(wishes) <= 0.04
    apart_s = max(later - earlier for earlier, later in itertools.pairwise(camera.looked_s))
    assert apart_s <= PERIOD_S + 1 / FPS + 1e-6


@pytest.mark.parametrize(("n_sure", "n_left"), [(30, 9), (5, 0)])
def test_an_event_counts_as_sure_for_a_second_after_it_was(n_sure: int, n_left: int) -> None:
    camera = Busy()
    for _ in range(6):
        camera.send_group()
    camera.send_group(n_sure)
    camera.is_sure = False
    wishes = camera.send_group(from_place=n_sure)
    assert n_left <= wishes.count(Wish.SKIP) <= n_left + 5


@pytest.mark.parametrize("n_packets", [51, 60, 100, 500])
def test_what_was_left_is_decoded_when_the_key_frame_is_late(n_packets: int) -> None:
    camera = Busy()
    for _ in range(6):
        camera.send_group()
    ends_s = camera.t_s + 2.0
    wishes = camera.send_group(n_packets)
    began = wishes.index(Wish.SKIP)
    if Wish.REPLAY in wishes:
        caught_up = wishes.index(Wish.REPLAY)
        assert set(wishes[began:caught_up]) == {Wish.SKIP}
        assert set(wishes[caught_up + 1 :]) <= {Wish.DECODE}
        replayed_s = camera.t_s - (n_packets - caught_up) / FPS
        assert ends_s < replayed_s <= ends_s + ON_TIME_S + 1 / FPS + 1e-6
    else:
        assert n_packets / FPS <= 2.0 + ON_TIME_S + 1e-6
    again = camera.send_group()
    assert again.count(Wish.SKIP) == 0 or n_packets == 51


def test_a_key_frame_that_needs_what_came_before_has_it_decoded() -> None:
    camera = Busy()
    for _ in range(6):
        camera.send_group()
    assert camera.idler.is_dozing
    camera.is_fresh = False
    wishes = camera.send_group()
    assert wishes[0] is Wish.REPLAY
    assert set(wishes[1:]) == {Wish.DECODE}
    assert set(camera.send_group()) == {Wish.DECODE}


def test_a_viewer_has_what_was_left_decoded_at_once() -> None:
    camera = Busy()
    for _ in range(6):
        camera.send_group()
    camera.send_group(45)
    assert camera.idler.is_dozing
    camera.idler.is_on = False
    wishes = camera.send_group(from_place=45)
    assert wishes == [Wish.REPLAY, *[Wish.DECODE] * 4]


def test_a_camera_that_dozes_falls_asleep_as_one_that_does_not() -> None:
    """Between 10 looks a second at 25 frames something is left of most groups."""
    camera = Camera(Idler("cam", period_s=PERIOD_S), is_fresh=True)
    wishes = camera.send(LEARN_S + 10)
    assert Wish.SKIP in wishes[: round(LEARN_S * FPS)]
    assert Wish.PEEK in wishes
    assert camera.idler.is_asleep
    assert wishes[-100:].count(Wish.SKIP) >= 90


@pytest.mark.parametrize("what", ["reordered", "groups of many lengths", "nobody looks"])
def test_it_does_not_doze(what: str) -> None:
    camera = Busy(is_in_order=what != "reordered")
    for number in range(20):
        if what == "nobody looks":
            camera.looked_s = [camera.t_s + 1e6]
        wishes = camera.send_group(50 + (number * 7 % 20 if what == "groups of many lengths" else 0))
        assert set(wishes) == {Wish.DECODE}
