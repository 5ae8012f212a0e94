"""Known secrets are hidden in every form in which a library, a file or a language writes them."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Callable
from pathlib import Path
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import BaseModel, SecretStr

from shared import secrets
from shared.cameras import parse_cameras
from shared.errors import ConfigError, redact
from shared.placeholders import expand_all
from shared.secrets import forget_all, know, know_address, know_all, know_environment, know_issued
from shared.urls import SecretUrl
from tests.unit.shared.test_long_texts import slow_text

MARK = "S3cr3t"
odd = st.text(
    st.sampled_from("@/:%? #'\"&=+!$,;()[]{}<>|\\~éß中\u202e\t0aZ_-.*") | st.characters(codec="utf-8"),
    max_size=12,
)
passwords = st.tuples(odd, odd).map(MARK.join)

WAYS: list[Callable[[str], str]] = [
    str,
    repr,
    ascii,
    json.dumps,
    quote,
    quote_plus,
    html.escape,
    unquote,
    lambda text: quote(text, safe=""),
    lambda text: quote(text, safe="").lower() if text == text.lower() else quote(text, safe=""),
    lambda text: repr({"a": text}),
    lambda text: repr(json.dumps(text)),
    lambda text: json.dumps(json.dumps(text)),
    lambda text: repr(text.encode()),
    lambda text: " ".join(text.split()),
    lambda text: f"rtsp://admin:{quote(text, safe='')}@10.0.0.7/x",
    lambda text: text.replace("'", "''"),
]


@given(passwords)
@example(f"p%21@:/#\"'{MARK}")
@example(f"{MARK}\nsecond line")
def test_a_known_secret_is_hidden_in_every_form(password: str) -> None:
    forget_all()
    know(password)
    for number, way in enumerate(WAYS):
        assert MARK not in redact(f"before {way(password)} after"), number


@given(passwords)
def test_the_login_of_a_url_is_hidden_as_base64_too(password: str) -> None:
    forget_all()
    know(f"rtsp://admin:{quote(password, safe='')}@10.0.0.7/stream1")
    encoded = base64.b64encode(f"admin:{password}".encode()).decode()
    assert encoded.rstrip("=") not in redact(f"sent {encoded}")
    assert MARK not in redact(f"{password} {password!r}")


def test_pieces_that_a_library_cut_off_are_hidden() -> None:
    know("before/first-half@second-half#third")
    text = "Port could not be cast to integer value as 'first-half', 'second-half'"
    assert redact(text) == "Port could not be cast to integer value as '***', '***'"


@pytest.mark.parametrize("short", ["a", "ab", "abc", ""])
def test_short_secrets_leave_logs_readable(short: str) -> None:
    know(short, "user")
    assert redact("abc: a camera is about") == "abc: a camera is about"


def test_a_long_secret_is_hidden_before_a_shorter_one_in_it() -> None:
    know("gate")
    know("gateway-7")
    assert redact("xgateway-7x gate") == "x***x ***"


def test_secrets_that_overlap_are_hidden_both() -> None:
    know("abcdef")
    know("defghi")
    assert redact("-abcdefghi-") == "-***-"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://h/snap.cgi?loginuse=admin&loginpas=hunter22", "hunter22"),
        ("rtsp://h/user=admin_password=hunter22_channel=1", "hunter22_channel=1"),
        ("whip:?token=0123456789abcdef", "0123456789abcdef"),
        ("redis://:hunter22@h:6379/0", "hunter22"),
        ("mysql://user:hunt%2Fer22@h/db", "hunt/er22"),
        ("rtsp://user:hunt/er22@h/x", "hunt/er22"),
    ],
)
def test_the_secrets_of_a_url_are_known_and_its_host_is_not(url: str, shown: str) -> None:
    know(url)
    assert redact(f"no answer: {shown}") == "no answer: ***"
    assert redact("redis://h:6379/0 rtsp://h/x sqlite:///db") == "redis://h:6379/0 rtsp://h/x sqlite:///db"


def test_an_address_that_is_a_secret_is_hidden_with_its_path() -> None:
    know_address("https://hooks.example/services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX?thread=1")
    text = redact('POST /services/T00000000/B00000000/XXXXXXXXXXXXXXXXXXXXXXXX?thread=1 "404"')
    assert text == 'POST *** "404"'
    assert redact("key XXXXXXXXXXXXXXXXXXXXXXXX") == "key ***"
    assert redact("https://hooks.example") == "https://hooks.example"


class _Inner(BaseModel):
    token: SecretStr


class _Outer(BaseModel):
    url: SecretUrl
    inner: tuple[_Inner, ...]


def test_each_secret_of_a_model_is_known_and_none_is_shown() -> None:
    model = _Outer.model_validate({"url": "redis://:hunter22@h", "inner": [{"token": "hunter33"}]})
    know_all(model)
    assert redact("hunter22 hunter33") == "*** ***"
    forget_all()
    for text in (repr(model), str(model), str(model.model_dump()), model.model_dump_json(), f"{model.url}"):
        assert "hunter" not in text
    assert model.url.shown == "redis://***@h"


def test_what_placeholders_fill_into_a_url_is_known_also_where_the_camera_has_a_fault() -> None:
    environment = {"PASSWORD": "hunter22", "HOST": "camera.lan", "KEY": "hunter33", "NAME": "front door"}
    given = {"url": "rtsp://u:${PASSWORD}@${HOST}/x?k=${KEY}", "name": "${NAME}"}
    expand_all(given, environment)
    assert redact("hunter22 camera.lan hunter33 front door") == "*** camera.lan *** front door"
    with pytest.raises(ConfigError, match="url"):
        parse_cameras({"cameras": [{"id": "a", "url": "rtsp://u:hunter44#@h/"}]}, "c.yml", Path(), {})
    assert redact("hunter44") == "***"


@pytest.mark.parametrize(
    ("secret", "line", "shown"),
    [
        ("door", "the door of a doorbell", "the *** of a doorbell"),
        ("12345", "12345 at 2026-11-30T12:34:56.123456Z", "*** at 2026-11-30T12:34:56.123456Z"),
        ("admin", "the admin's camera", "the admin's camera"),
        ("password", "the password is wrong", "the password is wrong"),
        ("admin", "rtsp://admin:admin@h/x", "rtsp://***@h/x"),
        ("camera", "http://h/x?loginpas=camera&a=1", "http://h/x?loginpas=***&a=1"),
        ("ab1c", "xab1cx", "x***x"),
        ("street", "the streets", "the ***s"),
    ],
)
def test_words_and_numbers_of_everybody_leave_the_rest_readable(secret: str, line: str, shown: str) -> None:
    know(secret, "admin")
    assert redact(line) == shown
    basic = base64.b64encode(f"admin:{secret}".encode()).decode()
    assert redact(f"sent {basic}").rstrip("=") == "sent ***"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("rtsp://h/live/AbCdEfGh1234XyZ9", "rtsp://h/live/***"),
        ("rtsps://h:7441/7f1c9a2e-6f1b-4a56-9d0c-0f4b8f6f2b11?enableSrtp", "rtsps://h:7441/***?enableSrtp"),
        ("http://h/v1/x?k=0123456789abcdef0", "http://h/v1/x?k=***"),
        ("rtsp://h/Zm9vYmFy_Q1w2-E3r4t5Y6/1", "rtsp://h/***/1"),
        ("rtsp://h/h264Preview_01_main", "rtsp://h/h264Preview_01_main"),
        ("rtsp://h/Streaming/Channels/101", "rtsp://h/Streaming/Channels/101"),
        ("rtsp://h/cam/realmonitor?channel=1&subtype=0", "rtsp://h/cam/realmonitor?channel=1&subtype=0"),
        ("rtsp://h/axis-media/media.amp", "rtsp://h/axis-media/media.amp"),
        ("redis://h/0123456789abcdef0", "redis://h/0123456789abcdef0"),
    ],
)
def test_a_key_in_the_path_of_a_camera_is_known_and_a_name_is_not(url: str, shown: str) -> None:
    know(url)
    assert redact(f"lost {url}") == f"lost {shown}"


def test_a_password_between_others_in_a_path_is_known_by_itself() -> None:
    know("rtsp://h/user=admin_password=hunter22_channel=1_stream=0.sdp?real_stream")
    assert redact("said hunter22, and hunter22 again") == "said ***, and *** again"


def test_issued_tokens_are_hidden_and_push_no_password_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "MOST_ISSUED", 3)
    know("hunter22")
    tokens = [f"{number:064x}" for number in range(5)]
    for token in tokens:
        know_issued(token)
    assert redact(f"cw_0123456789ab_{tokens[4]} {tokens[2]}") == "cw_0123456789ab_*** ***"
    assert redact(f"hunter22 {tokens[0]} sha256 {tokens[1]}") == f"*** {tokens[0]} sha256 {tokens[1]}"


def test_variables_with_a_name_of_a_secret_are_known_whoever_reads_them() -> None:
    know_environment(
        {"HF_TOKEN": "hf_hunter22", "OTHER_PASSWORD": "hunter333", "A_TOKEN": "true", "PATH": "/usr/bin"}
    )
    assert redact("hf_hunter22 hunter333 true /usr/bin") == "*** *** true /usr/bin"


def test_names_without_a_value_stay_readable() -> None:
    know("rtsp://u:${GATE_PASSWORD}@h/x?token=${TOKEN}")
    assert redact("${GATE_PASSWORD} ${TOKEN}") == "${GATE_PASSWORD} ${TOKEN}"


def test_the_number_of_forms_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(secrets, "MOST_FORMS", 100)
    for number in range(1000):
        know(f"pass word-{number:04}")
    assert redact("pass word-0999") == "***"
    assert redact("pass word-0001") == "pass word-0001"


def test_many_secrets_cost_no_more_than_the_text_is_long() -> None:
    for number in range(2000):
        know(f"rtsp://admin:aaaa{number:06}@h/x")
    assert slow_text(redact) is None
