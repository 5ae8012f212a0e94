"""The text of the camera file: what a change changes, what stays, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.cameras.editor import UnknownCamera, changed_document, edit
from shared.errors import ConfigError
from shared.yaml_files import parse_yaml

FILE = """\
# our cameras
defaults:          # for all
  background: [an empty path]   # what is always there
  motion: {pre_roll_s: 3, post_roll_s: 2}

cameras:
  # the gate
  - id: gate
    url: "rtsp://viewer:${GATE_PASSWORD}@192.0.2.7/stream1"   # never the password itself
    labels: [a pedestrian, 'a dog']   # seen often
    threshold:   0.60   # was 0.5
    motion:
      # found by trying
      min_contour_area: 300
  - id: yard
    url: yard.mp4
    labels:
      # people first
      - a person    # adults
      - a child
      # animals
      - a cat       # ours

    name: 'The yard'
    # the end
"""
ENVIRONMENT = {"GATE_PASSWORD": "secret"}


def changed_lines(new: str, old: str = FILE) -> tuple[list[str], list[str]]:
    """Return the lines that went, and the lines that came."""
    before, after = old.splitlines(), new.splitlines()
    return [line for line in before if line not in after], [line for line in after if line not in before]


def change(camera: str, text: str = FILE, **values: Any) -> str:  # Any: settings
    return edit(text, camera, values, ENVIRONMENT)


def test_a_list_between_brackets_changes_where_it_stands_and_its_items_keep_their_quotes() -> None:
    assert changed_lines(change("gate", labels=["a dog", "a cyclist"])) == (
        ["    labels: [a pedestrian, 'a dog']   # seen often"],
        ["    labels: ['a dog', a cyclist]   # seen often"],
    )


def test_a_list_of_lines_keeps_the_lines_and_comments_of_the_items_that_stay() -> None:
    assert changed_lines(change("yard", labels=["a person", "a fox", "a cat"])) == (
        ["      - a child"],
        ["      - a fox"],
    )
    assert "      # people first\n      # animals\n      - a cat       # ours\n" in change(
        "yard", labels=["a cat"]
    )
    assert "      # animals\n" in change("yard", labels=["a person"])


def test_a_number_keeps_the_spaces_and_the_comment_around_it() -> None:
    assert changed_lines(change("gate", threshold=0.7)) == (
        ["    threshold:   0.60   # was 0.5"],
        ["    threshold:   0.7   # was 0.5"],
    )


def test_a_text_keeps_its_quotes() -> None:
    assert changed_lines(change("yard", name="It's here"))[1] == ["    name: 'It''s here'"]


def test_what_is_inherited_is_put_at_the_camera() -> None:
    new = change("yard", background=["a wall: grey", "grass"])
    assert changed_lines(new) == ([], ['    background: ["a wall: grey", grass]'])
    assert "  background: [an empty path]   # what is always there\n" in new


def test_motion_settings_change_one_by_one() -> None:
    assert changed_lines(change("gate", motion={"min_contour_area": 400, "min_frames": 5})) == (
        ["      min_contour_area: 300"],
        ["      min_contour_area: 400", "      min_frames: 5"],
    )
    assert changed_lines(change("yard", motion={"quiet_s": 6.5}))[1] == ["    motion: {quiet_s: 6.5}"]


def test_none_takes_a_setting_away_and_the_defaults_hold_again() -> None:
    assert changed_lines(change("gate", threshold=None)) == (["    threshold:   0.60   # was 0.5"], [])
    assert changed_lines(change("gate", motion={"min_contour_area": None}))[1] == []
    assert "motion" not in parse_yaml(change("gate", motion={"min_contour_area": None}), "f")["cameras"][0]


def test_no_change_changes_no_byte() -> None:
    assert change("gate", threshold=0.6, labels=["a pedestrian", "a dog"]) == FILE


def test_a_variable_that_still_says_the_same_stays_in_the_file() -> None:
    text = FILE.replace("'a dog'", '"${WHO}"')
    new = edit(text, "gate", {"labels": ["Ann's dog", "a fox"]}, {"WHO": "Ann's dog"})
    assert '    labels: ["${WHO}", a fox]   # seen often\n' in new


def test_cameras_between_braces_line_ends_of_windows_and_a_mark_at_the_start_are_kept() -> None:
    text = "\ufeffcameras: # all\r\n  - {id: a, url: a.mp4, labels: [x]} # one\r\n"
    assert change("a", text, threshold=0.4, labels=["y"]) == (
        "\ufeffcameras: # all\r\n  - {id: a, url: a.mp4, labels: [y], threshold: 0.4} # one\r\n"
    )


def test_json_stays_json() -> None:
    text = '{"cameras": [{"id": "a", "url": "a.mp4", "labels": ["x"]}]}'
    assert change("a", text, labels=["y", "x"], name="A", motion={"threshold": "auto"}) == (
        '{"cameras": [{"id": "a", "url": "a.mp4", "labels": ["y", "x"], "name": "A", "motion": {"threshold": "auto"}}]}'
    )


def test_a_file_without_a_last_line_end_takes_another_setting() -> None:
    new = change("a", "cameras:\n  - id: a\n    url: a.mp4\n    labels: [x]", name="A")
    assert new == "cameras:\n  - id: a\n    url: a.mp4\n    labels: [x]\n    name: A\n"


def test_an_anchor_that_another_camera_uses_is_refused_and_an_alias_gets_its_own_value() -> None:
    text = "cameras:\n  - {id: a, url: a.mp4, labels: &l [x]}\n  - {id: b, url: b.mp4, labels: *l}\n"
    with pytest.raises(ConfigError, match="shares this with other places"):
        change("a", text, labels=["y"])
    assert "{id: b, url: b.mp4, labels: [y]}" in change("b", text, labels=["y"])


def test_what_a_merge_key_brings_is_overridden_at_the_camera() -> None:
    text = "defaults: &d\n  labels: [x]\n  motion: {min_frames: 4}\ncameras:\n  - <<: *d\n    id: a\n    url: a.mp4\n"
    new = change("a", text, labels=["y"], motion={"quiet_s": 3})
    camera = parse_yaml(new, "f")["cameras"][0]
    assert (camera["labels"], camera["motion"]) == (["y"], {"min_frames": 4, "quiet_s": 3})
    assert new.startswith(text)


def test_comments_between_brackets_are_not_thrown_away() -> None:
    text = "cameras:\n  - id: a\n    url: a.mp4\n    labels: [x, # first\n      y]\n"
    with pytest.raises(ConfigError, match="comments between its brackets"):
        change("a", text, labels=["z"])


def test_a_camera_that_is_not_there_is_told() -> None:
    with pytest.raises(UnknownCamera, match="'cellar'"):
        change("cellar", threshold=0.4)


def test_the_only_motion_setting_may_give_way_to_another() -> None:
    text = "cameras:\n  - id: a\n    url: a.mp4\n    labels: [x]\n    motion:\n      min_frames: 4   # slow\n"
    new = change("a", text, motion={"min_frames": None, "threshold": 30})
    assert parse_yaml(new, "f")["cameras"][0]["motion"] == {"threshold": 30}


_TEXT = st.text(min_size=1, max_size=12).filter(lambda text: "${" not in text)
_WISH = st.fixed_dictionaries(
    {},
    optional={
        "labels": st.lists(_TEXT | st.sampled_from(["a person", "a cat", "a dog"]), min_size=1, unique=True),
        "background": st.lists(_TEXT, unique=True),
        "threshold": st.floats(0, 1) | st.none(),
        "name": _TEXT | st.just(""),
        "enabled": st.booleans(),
        "motion": st.fixed_dictionaries(
            {},
            optional={
                "min_contour_area": st.integers(1, 900) | st.none(),
                "threshold": st.just("auto") | st.integers(1, 255),
                "masks": st.lists(st.lists(st.lists(st.floats(0, 1), min_size=2, max_size=2), min_size=3)),
            },
        ),
    },
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.sampled_from(["gate", "yard"]), _WISH, _WISH)
def test_the_file_says_what_was_wanted_and_keeps_the_rest(camera: str, first: Any, then: Any) -> None:
    text, document = FILE, parse_yaml(FILE, "f")
    for wish in (first, then):
        text = edit(text, camera, wish, ENVIRONMENT)
        document = changed_document(document, camera, wish)
    assert parse_yaml(text, "f") == document
    assert text.startswith(FILE[: FILE.index("  - id: gate")])
    if camera == "yard":
        assert text.startswith(FILE[: FILE.index("  - id: yard")])
    else:
        assert text.endswith(FILE[FILE.index("  - id: yard") :])
        assert '  - id: gate\n    url: "rtsp://viewer:${GATE_PASSWORD}@192.0.2.7/stream1"   # never' in text
