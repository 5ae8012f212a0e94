"""`clipwatch why`: how an event is named, what is printed on 80 columns, and how it ends."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from typer.testing import CliRunner

from services.local.cli import app
from services.local.commands.command_line import EXIT_BAD_INPUT
from services.local.tasks import recorder_client
from shared.errors import ConfigError
from tests.servers import free_port

EVENT = "019d3727-f93a-7abc-8def-0123456789ab"
OTHER = "019d3727-f93b-7abc-8def-0123456789ab"
RIVAL = {"name": "a fox", "kind": "target", "took": 0.31, "is_better": True, "is_better_in_all": True}
MOMENT = {
    "at": "2026-05-04T03:02:03.500Z",
    "offset_s": 3.5,
    "score": 0.81,
    "background": 0.1,
    "picture": 3,
    "kind": "crop",
    "box": [0.25, 0.5, 0.25, 0.2],
    "own_score": 0.92,
    "own_background": 0.04,
    "rival": None,
}
DOG = {
    "label": "a dog",
    "is_accepted": True,
    "sentence": "'a dog' was accepted: for 2.5 s its score stayed above 0.40 and reached 0.81, wanted 0.50.",
    "snippet": 0,
    "peak": 0.81,
    "threshold": 0.5,
    "background": 0.12,
    "run": {"duration_s": 2.5, "n_moments": 6, "n_own": 5},
    "rival": None,
    "moments": [MOMENT, {**MOMENT, "offset_s": 4.0, "own_score": None, "box": None, "rival": RIVAL}],
}
CAT = {
    **DOG,
    "label": "a very long label that somebody gave to a cat",
    "is_accepted": False,
    "sentence": "'a cat' was not accepted.",
    "background": None,
    "run": None,
    "rival": RIVAL,
}
WHY = {
    "event_id": EVENT,
    "camera": "gate",
    "started_at": "2026-05-04T03:02:01Z",
    "sentence": DOG["sentence"],
    "labels": [DOG, CAT],
    "snippets": [],
    "missing": ["The scores of single pictures are not known: no classifier answered within 5 s."],
}
Answers = Mapping[str, tuple[int, object]]


@contextmanager
def recorder(answers: Answers, seen: list[str]) -> Iterator[str]:
    """Serve an answer for each path; `seen` gets what was asked."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            seen.append(self.path)
            status, body = answers[urlsplit(self.path).path]
            raw = json.dumps(body).encode()
            self.send_response(status)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def asked(answers: Answers, *arguments: str) -> tuple[int, str, list[str]]:
    """Return exit code, output and requests of `clipwatch why`."""
    seen: list[str] = []
    with recorder(answers, seen) as url:
        code, said = ended(["why", *arguments, "--url", url])
    return code, said, seen


def ended(arguments: Sequence[str]) -> tuple[int, str]:
    """Return exit code and output of a command, as services/local/cli.py ends it."""
    done = CliRunner().invoke(app, list(arguments))
    if isinstance(done.exception, ConfigError):
        return EXIT_BAD_INPUT, str(done.exception)
    return done.exit_code, done.output


def events(*ids: str) -> Answers:
    return {"/api/events": (200, {"events": [{"id": one} for one in ids]})}


def test_the_reasons_fit_a_terminal_of_80_columns() -> None:
    code, said, seen = asked({f"/api/events/{EVENT}/why": (200, WHY)}, EVENT)
    assert (code, len(seen)) == (0, 1)
    lines = said.splitlines()
    assert max(len(line) for line in lines) <= 80
    text = " ".join(" ".join(lines).split())
    for words in (DOG["sentence"], EVENT, "camera gate", "a fox 0.31", "25x20 % at 25,50", "whole frame"):
        assert str(words) in text
    assert "no classifier answered within 5 s" in text
    assert "'a cat' was not accepted" not in text, "an accepted event says why it was accepted"


def test_an_event_without_a_label_says_what_came_nearest() -> None:
    why = {**WHY, "labels": [CAT], "sentence": "No label was accepted; 'a cat' came nearest: …"}
    code, said, _ = asked({f"/api/events/{EVENT}/why": (200, why)}, EVENT)
    assert code == 0
    assert said.startswith("No label was accepted; 'a cat' came nearest")
    assert "a fox" in said


def test_an_event_that_nothing_was_asked_of_is_a_sentence() -> None:
    why = {**WHY, "labels": [], "sentence": "No label could be accepted.", "missing": []}
    code, said, _ = asked({f"/api/events/{EVENT}/why": (200, why)}, EVENT)
    assert (code, said.splitlines()[0]) == (0, "No label could be accepted.")


def test_all_of_it_is_one_json_object() -> None:
    code, said, _ = asked({f"/api/events/{EVENT}/why": (200, WHY)}, EVENT, "--json")
    assert (code, json.loads(said)) == (0, WHY)


def test_the_start_of_an_id_is_enough() -> None:
    answers = {**events(EVENT), f"/api/events/{EVENT}/why": (200, WHY)}
    code, _, seen = asked(answers, "019D3727")
    assert code == 0
    assert parse_qs(urlsplit(seen[0]).query) == {
        "id_start": ["019d3727"],
        "accepted_only": ["false"],
        "limit": ["4"],
    }
    assert urlsplit(seen[1]).path == f"/api/events/{EVENT}/why"


@pytest.mark.parametrize(
    ("answers", "given", "words"),
    [
        (events(), "019d3727", "no event's id starts with 019d3727"),
        (events(EVENT, OTHER), "019d3727", f"start with 019d3727: {EVENT}, {OTHER}; give more of the id"),
        ({}, "gate", "wanted the id of an event or its first 4 letters and digits or more"),
        ({}, "019", "wanted the id of an event"),
        ({}, f"{EVENT}0", "wanted the id of an event"),
        (
            {
                f"/api/events/{EVENT}/why": (
                    404,
                    {"error": {"found": f"no event '{EVENT}'", "wanted": "an id", "do": "look"}},
                )
            },
            EVENT,
            f"no event '{EVENT}'; wanted an id; look",
        ),
    ],
)
def test_an_event_that_is_not_there_is_wrong_input(answers: Answers, given: str, words: str) -> None:
    code, said, _ = asked(answers, given)
    assert code == 2
    assert words in " ".join(said.split())


def test_without_a_recorder_it_ends_with_1() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert ended(["why", EVENT, "--url", url])[0] == 1


def test_all_that_is_wrong_is_said_at_once() -> None:
    code, said = ended(["why", "gate", "--url", "ftp://x"])
    assert code == 2
    assert "--url ftp://x" in said
    assert "EVENT 'gate'" in said


def test_what_cannot_be_an_id_is_refused_before_anything_is_asked() -> None:
    assert recorder_client.parse_event(f" {EVENT.upper()} ") == EVENT
    for given in ("", "0", "zzzz", "-019d", "%", f"{EVENT}/links"):
        with pytest.raises(ConfigError, match="wanted the id of an event"):
            recorder_client.parse_event(given)
