"""Redaction: no password of any URL gets through, and what is no secret stays readable."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from shared.errors import ConfigError, ContractError, Permanent, Transient, reason, redact

# a mark that no other part of a sentence holds, inside of whatever else a password may be
MARK = "S3cr3t"
odd = st.text(
    st.sampled_from("@/:%? #'\"&=+!$,;()[]{}<>|\\~é0aZ_-.*") | st.characters(codec="utf-8"), max_size=12
)
passwords = (
    st.tuples(odd, odd)
    .map(lambda parts: MARK.join(parts))
    .filter(lambda text: "\n" not in text and "://" not in text)
)
schemes = st.sampled_from(
    ["rtsp", "rtsps", "http", "https", "redis", "rediss", "mysql+aiomysql", "mqtt", "RTSP"]
)
sentences = st.sampled_from(
    [
        "{}",
        "[rtsp @ 0x55d0c8a4e6c0] method DESCRIBE failed: 401 Unauthorized {}",
        "Error opening input file {}: Connection refused",
        "Input #0, rtsp, from '{}':",
        "{} and [in#0 @ 0x7f1e] Error opening input: Invalid data found",
        "{{'url': '{}', 'camera': 'gate'}}",
        "cameras.yml: camera 'gate': url='{}': scheme is not known",
        "lost {} trying rtsp://10.0.0.9/other",
        "first line\n{}\nlast line",
    ]
)


@given(schemes, st.sampled_from(["", "user", "us er", "a@b"]), passwords, sentences)
@example("rtsp", "user", f"{MARK}@/:% x", "{}")
@example("redis", "", f"/{MARK}", "Input #0, rtsp, from '{}':")
@example("http", "u", f"{MARK}@ 0", "{}")
def test_no_password_gets_through(scheme: str, user: str, password: str, sentence: str) -> None:
    text = sentence.format(f"{scheme}://{user}:{password}@10.0.0.7:554/stream1")
    assert MARK not in redact(text)
    assert "10.0.0.7:554/stream1" in redact(text)


@given(schemes, passwords, passwords)
def test_of_two_urls_in_a_line_both_keep_their_hosts(scheme: str, one: str, other: str) -> None:
    text = redact(f"lost {scheme}://u:{one}@first/s, trying {scheme}://u:{other}@second/s")
    assert MARK not in text
    assert "@second/s" in text


@given(st.text())
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    assert redact(redact(text)) == redact(text)


def test_hosts_and_paths_stay_readable() -> None:
    lost = "lost rtsp://u:p@first/s, trying rtsp://u:p@second/s"
    assert redact(lost) == "lost rtsp://***@first/s, trying rtsp://***@second/s"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "rtsp://10.0.0.7/stream1",
        "http://127.0.0.1:8080/events?label=a+dog&limit=3",
        "[rtsp @ 0x55d0c8] Could not find codec parameters",
        "rtsp://10.0.0.7/s: Invalid data [in#0 @ 0x55d0c8]",
        "user@example.org wrote",
        "a/b:c@d",
        "cameras.yml: camera 'gate': motion.threshold=300: must be 1..255",
        "Basic authentication is not what the camera wants",
        "the authorization failed",
        "bypass=1 key=3 token=none",
    ],
)
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text


@pytest.mark.parametrize(
    "name", ["appid", "api_key", "apikey", "token", "access_token", "password", "PWD", "sig", "key"]
)
def test_secret_parameters_are_hidden(name: str) -> None:
    text = f"GET https://api.example/weather?lat=1&{name}={MARK}%20x&units=metric failed"
    assert redact(text) == f"GET https://api.example/weather?lat=1&{name}=***&units=metric failed"


@pytest.mark.parametrize(
    "text",
    [
        "rtsp://10.0.0.7:554/user=admin_password={}_channel=1_stream=0.sdp?real_stream",
        "http://10.0.0.7/snapshot.cgi?loginuse=admin&loginpas={}",
        "http://10.0.0.7/cgi?usr=admin&psw={}&x=1",
        "http://10.0.0.7/cgi?pwd={}",
        "GET /x HTTP/1.1\r\nAuthorization: Basic {}\r\nHost: a",
        "{{'authorization': 'Bearer {}'}}",
        "[b'Authorization', b'Digest response={}']",
        "sent: Bearer {}0123456789",
        "connect(password={}, user=x)",
    ],
)
def test_what_cameras_and_headers_hold_is_hidden(text: str) -> None:
    assert MARK not in redact(text.format(MARK))


def test_a_password_without_a_host_is_hidden() -> None:
    assert MARK not in redact(f"rtsp://user:{MARK}@")
    assert MARK not in redact(f"'rtsp://user:{MARK}@'")


def test_config_errors_keep_their_faults_apart() -> None:
    assert ConfigError("one").faults == ("one",)
    assert ConfigError(["one", "two"]).faults == ("one", "two")
    assert str(ConfigError(["one", "two"])) == "one\ntwo"


def test_a_broken_message_is_given_up_for_good() -> None:
    assert issubclass(ContractError, Permanent)


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (TimeoutError(), "TimeoutError"),
        (ConnectionResetError(), "ConnectionResetError"),
        (Transient(" \n"), "Transient"),
        (OSError(28, "No space left on device"), "[Errno 28] No space left on device"),
        (ValueError(f"redis://:{MARK}@host\nis  away"), "redis://***@host is away"),
    ],
)
def test_every_error_has_a_reason(error: Exception, said: str) -> None:
    assert reason(error) == said
