"""The camera file: what is read, and that every fault is told at once with file, camera and field."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.cameras import (
    Camera,
    CameraFile,
    kind_of,
    load_cameras,
    parse_cameras,
    whip_token,
)
from shared.errors import ConfigError
from shared.yaml_files import MAX_FILE_BYTES

GATE = "cameras:\n  - id: gate\n    url: rtsp://u:p@10.0.0.7/s\n    labels: [a dog]\n"
Read = Callable[..., CameraFile]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    def from_text(text: str | bytes, **environment: str) -> CameraFile:
        path = tmp_path / "cameras.yml"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        return load_cameras(path, environment)

    return from_text


def faults(read: Read, text: str | bytes, **environment: str) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(text, **environment)
    return list(caught.value.faults)


# -- reading


def test_a_camera_has_the_defaults_unless_it_says_otherwise(read: Read) -> None:
    text = """
        defaults:
          labels: [a pedestrian, a dog]
          background: [an empty path]
          motion: {threshold: 40, min_frames: 2}
        cameras:
          - {id: gate, url: "rtsp://10.0.0.7/s", threshold: 0.7, motion: {threshold: auto}}
          - {id: yard, url: "rtsps://10.0.0.8/s", labels: [a cat], latitude: 52.5, longitude: 13.4}
        """
    gate, yard = read(text).cameras
    assert gate.label_set.labels == ("a pedestrian", "a dog")
    assert gate.label_set.background == ("an empty path",)
    assert gate.decision.threshold == 0.7
    assert (gate.motion.threshold, gate.motion.min_frames) == ("auto", 2)
    assert yard.labels == ("a cat",)
    assert yard.motion.threshold == 40


def test_names_in_the_environment_are_replaced(read: Read) -> None:
    text = GATE.replace("u:p@", "u:${GATE_PASSWORD}@").replace("a dog", "'a ${THING}'")
    (gate,) = read(text, GATE_PASSWORD="x$y", THING="cat").cameras
    assert gate.url == "rtsp://u:x$y@10.0.0.7/s"
    assert gate.labels == ("a cat",)


def test_video_files_are_relative_to_the_camera_file(read: Read, tmp_path: Path) -> None:
    text = "cameras:\n" + "".join(
        f"  - {{id: c{n}, url: '{url}', labels: [x]}}\n"
        for n, url in enumerate(["a.mp4", "/v/b.mp4", "file:///v/c.mp4"])
    )
    urls = [camera.url for camera in read(text).cameras]
    assert urls == [str(tmp_path / "a.mp4"), "/v/b.mp4", "/v/c.mp4"]
    assert all(camera.is_file for camera in read(text).cameras)


@pytest.mark.parametrize(
    ("url", "kind"),
    [
        ("rtsps://10.0.0.7/s", "rtsp"),
        ("http://10.0.0.7/video.mjpg", "http"),
        ("whep://10.0.0.7:8889/gate/whep", "whep"),
        ("whip:?token=0123456789abcdef", "whip"),
        ("/dev/video0", "device"),
        ("/videos/a.mp4", "file"),
    ],
)
def test_the_url_says_what_kind_of_source_it_is(url: str, kind: str) -> None:
    camera = Camera(id="gate", url=url, labels=("x",))
    assert kind_of(camera.url) == kind
    assert camera.is_file == (kind == "file")


@pytest.mark.parametrize("url", ["whip:", "whip:?token=short", "whip:?token=0123456789abcde&f"])
def test_a_whip_camera_needs_a_token_that_nobody_guesses(read: Read, url: str) -> None:
    (told,) = faults(read, f"cameras:\n  - {{id: phone, url: '{url}', labels: [x]}}\n")
    assert "wanted whip:?token= and at least 16 of" in told
    assert "0123456789" not in told


def test_the_token_of_a_whip_camera_comes_from_the_environment(read: Read) -> None:
    text = "cameras:\n  - {id: phone, url: 'whip:?token=${PHONE_TOKEN}', labels: [x]}\n"
    (phone,) = read(text, PHONE_TOKEN="0123456789-abcdef").cameras
    assert whip_token(phone.url) == "0123456789-abcdef"


def test_motion_is_looked_for_in_a_stream_only(read: Read) -> None:
    (told,) = faults(read, GATE + "    detect_url: small.mp4\n")
    assert "detect_url='small.mp4': must be a stream: rtsp://" in told


def test_a_byte_order_mark_is_not_in_the_way(read: Read) -> None:
    assert len(read(b"\xef\xbb\xbf" + GATE.encode()).cameras) == 1


def test_a_time_with_a_zone_is_taken(read: Read) -> None:
    (gate,) = read(GATE + "    starts_at: 2026-03-29T03:00:00+02:00\n").cameras
    assert gate.starts_at == datetime(2026, 3, 29, 1, tzinfo=UTC)


def test_anchors_and_aliases_are_taken(read: Read) -> None:
    text = "cameras:\n  - {id: a, url: a.mp4, labels: &l [x, y]}\n  - {id: b, url: b.mp4, labels: *l}\n"
    assert read(text).cameras[1].labels == ("x", "y")


# -- faults


def test_every_fault_is_told_at_once_with_file_camera_and_field(read: Read) -> None:
    text = """
        defaults: {labls: [x], id: 3}
        camera: 3
        cameras:
          - id: gate
            url: rtps://user:pa@ss w/rd@10.0.0.7/s
            name: 17
            enabled: maybe
            latitude: 91
            labels: dog
            threshold: 2
            window_s: .nan
            min_moments: 1.5
            pace: slow
            starts_at: 2026-01-01
            motion: {threshold: 300, gaussian_ksize: 4, detect_fps: 0, tresh: 3, masks: [[[0, 0], [1, 2]]]}
            lables: [x]
          - id: gate
            url: a.mp4
            labels: []
            motion: fast
          - {id: 7, url: "${NOPE}", labels: [a dog, A Dog, '']}
          - 5
          - {id: a b, labels: [x], motion: {threshold: null}, threshold: 0.5, leave_threshold: 0.9}
        """
    gate = "cameras.yml: camera 'gate': "
    assert faults(read, text) == [
        "cameras.yml: 'camera' is not known; did you mean 'cameras'?",
        "cameras.yml: defaults: labls: is not known; did you mean 'labels'?",
        "cameras.yml: defaults: id: is each camera's own",
        gate + "url='rtps://***@10.0.0.7/s': scheme 'rtps' is not known, "
        "wanted rtsp://, rtsps://, http://, https://, whip:, whep://, wheps:// or a file",
        gate + "name=17: must be text: write '17' in quotes",
        gate + "enabled='maybe': must be true or false",
        gate + "latitude=91: must be -90..90",
        gate + "labels='dog': wanted a list: [dog]",
        gate + "threshold=2: must be 0..1",
        gate + "window_s=nan: must be a finite number",
        gate + "min_moments=1.5: must be a whole number, 1..64",
        gate + "motion.gaussian_ksize=4: must be odd",
        gate + "motion.threshold=300: must be 'auto' or 1..255",
        gate + "motion.detect_fps=0: must be 0.5..60",
        gate + "motion.masks.0.1.1=2: must be 0..1",
        gate + "motion.tresh: is not known; did you mean 'threshold'?",
        gate + "pace='slow': must be 'realtime' or 'fast'",
        gate + "starts_at: must be a time with its zone, such as 2026-03-29T12:00:00Z",
        gate + "lables: is not known; did you mean 'labels'?",
        gate + "latitude and longitude go together: give both or neither",
        gate + "id: is used twice, ids must be unique",
        gate + "labels: is empty, wanted at least one label",
        gate
        + "motion='fast': must be a mapping with gaussian_ksize, threshold, dilate_iterations, min_contour_area …",
        "cameras.yml: camera '7': ${NOPE} is not set in the environment",
        "cameras.yml: camera '7': id=7: must be text: write '7' in quotes",
        "cameras.yml: camera '7': labels.2='': is empty",
        "cameras.yml: camera '7': named twice among labels and background: a dog",
        "cameras.yml: cameras[3]: holds a number, wanted a mapping with id, url, labels",
        "cameras.yml: camera 'a b': id='a b': must be text that matches ^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$",
        "cameras.yml: camera 'a b': url: is missing",
        "cameras.yml: camera 'a b': motion.threshold=nothing: must be 'auto' or 1..255",
        "cameras.yml: camera 'a b': leave_threshold=0.9: must not lie above threshold=0.5",
    ]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", "holds nothing, wanted a mapping with 'cameras:'"),
        ("# only a comment\n", "holds nothing, wanted a mapping with 'cameras:'"),
        ("- gate", "holds a list, wanted a mapping with 'cameras:'"),
        ("gate", "holds a text, wanted a mapping with 'cameras:'"),
        ("cameras:", "cameras: holds nothing, wanted a list with at least one camera"),
        ("cameras: []", "cameras: is empty, wanted a list with at least one camera"),
        ("cameras: {gate: 1}", "cameras: holds a mapping, wanted a list with at least one camera"),
        ("cameras:\n  - url: a.mp4\n    labels: [x]", "camera number 1: id: is missing"),
        ("a: 1\na: 2", 'line 2, column 1: found duplicate key "a" with value "2" (original value: "1")'),
        ("cameras:\n\t- id: gate", "line 2, column 1: a tab, indent with spaces"),
        ("cameras: [", "line 1, column 11: expected the node content, but found '<stream end>'"),
        ("a: 2026-99-99", "month must be in 1..12"),
        (b"\xff\xfe\x00", "is not UTF-8 text (byte 0)"),
        (b"PK\x03\x04\x00\x00", "unacceptable character #x0003"),
        ("a: !!python/object/apply:os.system [ls]", "could not determine a constructor for the tag"),
        ("a: &a [*a]", "is nested too deeply, or repeats itself"),
        ("[" * 500, "is nested too deeply"),
    ],
    ids=lambda value: repr(value)[:24],
)
def test_what_is_no_camera_file_is_told_in_one_line(read: Read, text: str | bytes, fault: str) -> None:
    (told,) = faults(read, text)
    assert told.startswith("cameras.yml: ")
    assert fault in told
    assert "\n" not in told


def test_aliases_of_aliases_do_not_eat_the_memory(read: Read) -> None:
    letters = "abcdefghijk"
    text = "a: &a [x,x,x,x,x,x,x,x,x]\n" + "".join(
        f"{letter}: &{letter} [{','.join([f'*{before}'] * 9)}]\n" for before, letter in pairwise(letters)
    )
    assert faults(read, text) == ["cameras.yml: has more than 300000 values, aliases included"]


def test_a_huge_file_is_not_read(read: Read) -> None:
    (told,) = faults(read, b"#" * (MAX_FILE_BYTES + 1))
    assert "this cannot be a camera file" in told


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_cameras(tmp_path / "none.yml")
    with pytest.raises(ConfigError, match="cannot be read: Is a directory"):
        load_cameras(tmp_path)


@contextlib.contextmanager
def another_user() -> Iterator[int]:
    """Be a user whom modes bind: root may read everything."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield os.geteuid()
    finally:
        os.seteuid(was)


def test_a_file_that_its_mode_closes_says_whose_it_is_and_what_to_do() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, file = Path(name), Path(name) / "cameras.yml"
        file.write_text(GATE)
        folder.chmod(0o755)
        file.chmod(0o200)
        with another_user() as user, pytest.raises(ConfigError) as closed:
            load_cameras(file)
        folder.chmod(0o600)
        with another_user(), pytest.raises(ConfigError) as hidden:
            load_cameras(file)
        folder.chmod(0o700)
    do = f"wanted what user {user} may read: chown {user} it, or chmod a+r it and a+rx its folder"
    assert closed.value.faults == (f"{file}: cannot be read: found mode 200 of user {os.geteuid()}, {do}",)
    assert hidden.value.faults == (
        f"{file}: cannot be read: found a folder on the way that others may not enter, {do}",
    )


@pytest.mark.parametrize("have", [("latitude",), ("longitude",), ()])
def test_latitude_and_longitude_go_together(read: Read, have: tuple[str, ...]) -> None:
    text = GATE + "".join(f"    {name}: 3\n" for name in have)
    if have:
        assert faults(read, text) == [
            "cameras.yml: camera 'gate': latitude and longitude go together: give both or neither"
        ]
    else:
        assert read(text).cameras[0].latitude is None


@pytest.mark.parametrize(
    "url", ["rtps://user:S3cr3t@h/s", "rtps://user:S3@cr/3t S3cr3t@h/s", "rtps://u:" + "S3cr3t" * 30 + "@h/s"]
)
def test_no_fault_shows_a_password(read: Read, url: str) -> None:
    told = "\n".join(faults(read, f"cameras:\n  - {{id: gate, url: '{url}', labels: '{url}'}}\n"))
    assert "S3" not in told
    assert "***@h/s" in told


def test_a_camera_made_in_code_is_checked_as_one_in_a_file() -> None:
    with pytest.raises(ValueError, match="named twice"):
        Camera(id="a", url="a.mp4", labels=("x",), background=("X ",))
    with pytest.raises(ValueError, match="ids must be unique"):
        CameraFile(cameras=(Camera(id="a", url="a.mp4", labels=("x",)),) * 2)


documents = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=10),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*Camera.model_fields, "cameras", "defaults", "x"]) | st.integers(),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@given(st.lists(documents, max_size=3), documents)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_document_raises_anything_but_config_errors(cameras: list[object], defaults: object) -> None:
    try:
        parse_cameras({"cameras": cameras, "defaults": defaults}, "cameras.yml", Path("/"), {})
    except ConfigError as exc:
        told = exc.faults
    else:
        return
    assert told
    assert all(fault.startswith("cameras.yml: ") for fault in told)
