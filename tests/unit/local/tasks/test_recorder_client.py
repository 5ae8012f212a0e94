"""`clipwatch search` and `relabel`: what is sent, what is printed, and how they end."""

from __future__ import annotations

import io
import json
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from PIL import Image
from typer.testing import CliRunner

from services.local.cli import app
from services.local.tasks import recorder_client
from services.local.tasks.picture_file import FILE_BYTES_MAX, picture_to_send
from services.local.tasks.recorder_address import RecorderAddress
from shared.clock import now_utc
from shared.errors import ConfigError
from tests.servers import free_port

FOUND: dict[str, Any] = {  # Any: JSON
    "query": "a fox",
    "results": [
        {
            "similarity": 0.31234,
            "is_good": None,
            "captured_at": "2026-05-04T03:02:01Z",
            "offset_s": 2.5,
            "event": {"id": "019d3727-f93a-7abc-8def-0123456789ab", "camera": "gate", "label": None},
        }
    ],
    "searched": 1200,
    "left_out": 30,
    "is_complete": False,
    "took_s": 0.25,
}
FAULT = {"error": {"found": "no classifier answered within 5 s", "wanted": "a classifier", "do": "start it"}}


@contextmanager
def recorder(status: int, body: str, seen: list[Any]) -> Iterator[str]:
    """Serve one answer to everything; `seen` gets path and body of each request."""

    class Handler(BaseHTTPRequestHandler):
        def _answer(self) -> None:
            length = int(self.headers.get("content-length", 0))
            seen.append((self.path, self.rfile.read(length)))
            raw = body.encode()
            self.send_response(status)
            self.send_header("content-length", str(len(raw)))
            self.end_headers()
            self.wfile.write(raw)

        do_GET = do_POST = _answer  # noqa: N815 - http.server's names

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


def test_spans_count_back_from_now_and_times_are_taken_as_they_are() -> None:
    assert recorder_client.parse_time(None, "--since") is None
    for given, back in (
        ("30m", timedelta(minutes=30)),
        ("12h", timedelta(hours=12)),
        ("2w", timedelta(weeks=2)),
    ):
        found = recorder_client.parse_time(given, "--since")
        assert found is not None
        assert timedelta(0) <= now_utc() - back - found < timedelta(minutes=5)
    assert recorder_client.parse_time("2026-05-04T18:00+02:00", "--since") == datetime(
        2026, 5, 4, 16, tzinfo=UTC
    )
    with pytest.raises(ConfigError, match="--since soon: wanted 30m"):
        recorder_client.parse_time("soon", "--since")


def test_search_sends_its_limits_and_says_what_was_left_out() -> None:
    seen: list[Any] = []
    with recorder(200, json.dumps(FOUND), seen) as url:
        options = ["--camera", "gate", "--since", "2026-05-01T00:00+00:00", "--limit", "5", "--url", url]
        done = CliRunner().invoke(app, ["search", "a fox", *options])
    assert done.exit_code == 0
    assert parse_qs(urlsplit(seen[0][0]).query) == {
        "q": ["a fox"],
        "camera": ["gate"],
        "since": ["2026-05-01T00:00:00+00:00"],
        "limit": ["5"],
    }
    assert "0.312" in done.output
    assert "1 event from 1,200 pictures in 0.25 s" in done.output
    assert "30 pictures of other models were left out; the index is still being built" in done.output


EVENT = "019d3727-f93a-7abc-8def-0123456789ab"


def test_like_an_event_asks_for_what_looks_like_it() -> None:
    seen: list[Any] = []
    with recorder(200, json.dumps(FOUND), seen) as url:
        done = CliRunner().invoke(app, ["search", "--like", EVENT, "--camera", "gate", "--url", url])
    assert done.exit_code == 0, done.output
    asked = urlsplit(seen[0][0])
    assert asked.path == "/api/search/like"
    assert parse_qs(asked.query) == {"event": [EVENT], "camera": ["gate"], "limit": ["24"]}
    assert "0.312" in done.output


@pytest.mark.parametrize(
    ("are_good", "said"),
    [
        ([True, False], "0.312 0.212 nearest"),
        ([False, False], "no-match 0.312 0.212"),
        ([True, True], "0.312 0.212"),
        ([None, None], "0.312 0.212"),
        ([], ""),
    ],
)
def test_matches_are_told_from_what_is_merely_nearest(are_good: list[bool | None], said: str) -> None:
    [hit] = FOUND["results"]
    hits = [
        {**hit, "similarity": 0.3123 - 0.1 * at, "is_good": is_good} for at, is_good in enumerate(are_good)
    ]
    with recorder(200, json.dumps({**FOUND, "results": hits}), []) as url:
        done = CliRunner().invoke(app, ["search", "a fox", "--url", url])
    assert done.exit_code == 0, done.output
    assert ("No good match. Nearest all the same:" in done.output) == ("no-match" in said)
    lines = done.output.splitlines()
    heading = [at for at, line in enumerate(lines) if line.startswith("Nearest all the same:")]
    assert len(heading) == ("nearest" in said)
    rows = [[line for line in lines if f" {number} " in line] for number in ("0.312", "0.212")]
    assert [len(found) for found in rows] == [int(number in said) for number in ("0.312", "0.212")]
    if heading:
        assert lines.index(rows[0][0]) < heading[0] < lines.index(rows[1][0])


@pytest.mark.parametrize(("name", "mode"), [("a.jpg", "RGB"), ("a.png", "RGBA"), ("a.webp", "RGB")])
def test_like_a_file_sends_it_small_and_as_jpeg(name: str, mode: str, tmp_path: Path) -> None:
    path = tmp_path / name
    Image.new(mode, (3000, 2000), "red").save(path)
    seen: list[Any] = []
    with recorder(200, json.dumps(FOUND), seen) as url:
        done = CliRunner().invoke(app, ["search", "--like", str(path), "--limit", "3", "--url", url])
    assert done.exit_code == 0, done.output
    assert seen[0][0] == "/api/search/like?limit=3"
    with Image.open(io.BytesIO(seen[0][1])) as sent:
        assert (sent.format, sent.size, sent.mode) == ("JPEG", (1024, 683), "RGB")


def test_a_photograph_is_sent_upright(tmp_path: Path) -> None:
    lying = Image.new("RGB", (60, 40), "blue")
    exif = lying.getexif()
    exif[0x0112] = 6  # Orientation: turned by 90 degrees (TIFF 6.0)
    lying.save(tmp_path / "a.jpg", exif=exif)
    with Image.open(io.BytesIO(picture_to_send(tmp_path / "a.jpg", "--like"))) as sent:
        assert sent.size == (40, 60)


@pytest.mark.parametrize(
    ("arguments", "fault"),
    [
        ([], "wanted words to look for, or --like EVENT or FILE, and not both"),
        (["a fox", "--like", EVENT], "and not both"),
        (
            ["--like", "none.jpg"],
            "--like none.jpg: No such file or directory; wanted a picture (JPEG, PNG, WebP, …) or the id",
        ),
        (
            ["--like", "."],
            "--like .: Is a directory; wanted a picture (JPEG, PNG, WebP, …) or the id of an event",
        ),
        (["--like", __file__], "wanted a picture (JPEG, PNG, WebP, …) or the id of an event"),
    ],
)
def test_what_cannot_be_compared_is_an_error_before_anybody_is_asked(
    arguments: list[str], fault: str
) -> None:
    done = CliRunner().invoke(app, ["search", *arguments, "--url", f"http://127.0.0.1:{free_port()}"])
    assert fault in " ".join(str(done.exception or "").split()) + " ".join(done.output.split())
    assert done.exit_code != 0


def test_a_broken_picture_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.new("RGB", (90, 90), "red").save(path)
    path.write_bytes(path.read_bytes()[:60])
    with pytest.raises(ConfigError, match=r"--like .*a\.png: "):
        picture_to_send(path, "--like")
    with path.open("wb") as file:
        file.truncate(FILE_BYTES_MAX + 1)
    with pytest.raises(ConfigError, match="more than 64 MiB"):
        picture_to_send(path, "--like")


@pytest.mark.parametrize(("status", "code"), [(503, 1), (400, 2), (403, 2), (404, 2)])
def test_a_fault_of_the_recorder_becomes_an_error_of_its_kind(status: int, code: int) -> None:
    with recorder(status, json.dumps(FAULT), []) as url:
        wanted = recorder_client.NotAnswered if code == 1 else ConfigError
        with pytest.raises(wanted, match="no classifier answered within 5 s; wanted a classifier; start it"):
            recorder_client.search(RecorderAddress(url), {"q": "a fox"})
        with pytest.raises(wanted, match="no classifier"):
            recorder_client.relabel(RecorderAddress(url), {"labels": ["a fox"]}, lambda _stage, _share: None)


def test_without_a_recorder_the_command_ends_with_1() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    with pytest.raises(recorder_client.NotAnswered, match="no recorder answers"):
        recorder_client.search(RecorderAddress(url), {"q": "a fox"})
    assert CliRunner().invoke(app, ["search", "a fox", "--url", url]).exit_code == 1


RELABEL_ID = "019d3727-f93a-7abc-8def-0000000000ab"
LOOKED: dict[str, Any] = {
    "model": "mini",
    "events": 2,
    "snippets": 2,
    "left_out": 1,
    "changed": 1,
    "applied": False,
    "written": 0,
    "summary": "1 event on 1 camera gains 'a fox'",
    "relabel_id": None,
    "labels": [{"label": "a fox", "recorded": 0, "hindsight": 1, "gained": 1, "lost": 0}],
    "cameras": [
        {
            "camera": "gate",
            "events": 2,
            "changed": 1,
            "labels": [{"label": "a fox", "recorded": 0, "hindsight": 1, "gained": 1, "lost": 0}],
        }
    ],
    "shown": [
        {
            "event_id": "019d3727-f93a-7abc-8def-0123456789ab",
            "camera": "gate",
            "started_at": "2026-05-04T03:02:01Z",
            "thumbnail_url": None,
            "recorded": [],
            "hindsight": [{"label": "a fox", "probability": 0.75}],
        }
    ],
}
APPLIED = LOOKED | {
    "applied": True,
    "written": 2,
    "summary": "1 event on 1 camera gained 'a fox'",
    "relabel_id": RELABEL_ID,
}
ENTRY: dict[str, Any] = {
    "id": RELABEL_ID,
    "kind": "words",
    "asked": {"labels": ["a fox"], "mode": "add", "threshold": None, "cameras": None},
    "made_by": "ada",
    "made_at": "2026-05-04T03:02:01Z",
    "events": 41,
    "snippets": 1200,
    "undone_by": None,
    "undone_at": None,
    "unfinished": 0,
}


def lines(*said: object) -> str:
    return "".join(json.dumps(line) + "\n" for line in said)


def test_relabel_follows_the_progress_and_prints_old_beside_new() -> None:
    seen: list[Any] = []
    with recorder(200, lines({"done": 1, "of": 2}, {"result": LOOKED}), seen) as url:
        done = CliRunner().invoke(app, ["relabel", "--label", "a fox", "--threshold", "0.6", "--url", url])
        shares: list[float] = []
        recorder_client.relabel(
            RecorderAddress(url), {"labels": ["a fox"]}, lambda _stage, share: shares.append(share)
        )
    assert done.exit_code == 0
    asked = json.loads(seen[0][1])
    assert (asked["labels"], asked["threshold"], asked["apply"], asked["mode"]) == (
        ["a fox"],
        0.6,
        False,
        "add",
    )
    assert shares == [0.5]
    assert "a fox 0.75" in done.output
    assert "1 of 2 events would differ; 1 snippet of another model keeps its answer" in done.output


@pytest.mark.parametrize(("option", "mode"), [("--instead", "replace"), ("--add", "add")])
def test_relabel_asks_in_place_of_the_labels_of_then_only_where_it_is_said(option: str, mode: str) -> None:
    seen: list[Any] = []
    with recorder(200, lines({"result": LOOKED}), seen) as url:
        assert CliRunner().invoke(app, ["relabel", "--label", "a fox", option, "--url", url]).exit_code == 0
    assert json.loads(seen[0][1])["mode"] == mode


def test_relabel_applies_without_asking_where_it_is_told_to() -> None:
    seen: list[Any] = []
    with recorder(200, lines({"result": APPLIED}), seen) as url:
        done = CliRunner().invoke(app, ["relabel", "--label", "a fox", "--apply", "--yes", "--url", url])
    assert done.exit_code == 0
    assert [json.loads(body)["apply"] for _, body in seen] == [True]
    assert "1 of 2 events differed; 2 answers replaced" in done.output
    assert (
        f"1 event on 1 camera gained 'a fox'; undo it with: clipwatch relabel --undo {RELABEL_ID}"
        in done.output
    )


def test_relabel_without_a_terminal_to_ask_at_applies_nothing() -> None:
    seen: list[Any] = []
    with recorder(200, lines({"result": APPLIED}), seen) as url:
        done = CliRunner().invoke(app, ["relabel", "--label", "a fox", "--apply", "--url", url])
    assert isinstance(done.exception, ConfigError)  # which the program ends with 2 for
    assert "look first, then add --yes" in str(done.exception)
    assert seen == []


@pytest.mark.parametrize(
    ("answer", "result", "applied", "code"),
    [
        ("y", LOOKED, [False, True], 0),
        ("n", LOOKED, [False], 1),
        ("", LOOKED, [False], 1),
        ("y", LOOKED | {"changed": 0, "shown": []}, [False], 0),
    ],
    ids=["yes", "no", "nothing", "nothing changes"],
)
def test_relabel_asks_at_a_terminal_and_says_what_will_change(
    answer: str, result: dict[str, Any], applied: list[bool], code: int, tmp_path: Path
) -> None:
    seen: list[Any] = []
    terminal, typed = pty.openpty()
    try:
        with recorder(200, lines({"result": result}), seen) as url:
            command = [sys.executable, "-m", "services.local.cli", "relabel", "--label", "a fox", "--apply"]
            os.write(terminal, f"{answer}\n".encode())
            done = subprocess.run(
                [*command, "--url", url],
                stdin=typed,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
                cwd=tmp_path,
                env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[4])},
            )
    finally:
        os.close(terminal)
        os.close(typed)
    bodies = [json.loads(body) for _, body in seen]
    assert (done.returncode, [body["apply"] for body in bodies]) == (code, applied), done.stderr
    assert len({(body["since"], body["until"]) for body in bodies}) == 1
    assert ("1 event on 1 camera gains 'a fox'." in done.stderr) is bool(result["changed"])
    assert ("Apply it to the record? [y/N]" in done.stderr) is bool(result["changed"])
    assert ("nothing was changed" in done.stderr) is (code == 1)


def test_changes_of_the_past_are_listed() -> None:
    undone = ENTRY | {"undone_by": "bob", "undone_at": "2026-05-05T03:02:01Z", "unfinished": 3}
    with recorder(200, json.dumps({"relabels": [undone, ENTRY]}), []) as url:
        done = CliRunner().invoke(app, ["relabel", "--list", "--url", url], env={"COLUMNS": "200"})
        as_json = CliRunner().invoke(app, ["relabel", "--list", "--json", "--url", url])
    assert done.exit_code == 0
    assert RELABEL_ID in done.output
    assert "added: 'a fox'; all cameras" in done.output
    assert "by bob, 3 answers to go: undo again" in done.output
    assert json.loads(as_json.output) == {"relabels": [undone, ENTRY]}
    with recorder(200, json.dumps({"relabels": []}), []) as url:
        assert (
            "no labels of the past were changed"
            in CliRunner().invoke(app, ["relabel", "--list", "--url", url]).output
        )


def test_a_change_of_the_past_is_undone_by_its_id() -> None:
    seen: list[Any] = []
    result = {"relabel_id": RELABEL_ID, "events": 41, "restored": 1200, "left": 2}
    with recorder(200, lines({"done": 40, "of": 41}, {"result": result}), seen) as url:
        done = CliRunner().invoke(app, ["relabel", "--undo", RELABEL_ID, "--url", url])
    assert done.exit_code == 0
    assert seen == [(f"/api/relabels/{RELABEL_ID}/undo", b"{}")]
    assert (
        "1,200 answers put back; the labels of 41 events changed; 2 answers were replaced again since and stay"
        in done.output
    )


@pytest.mark.parametrize(
    ("entries", "undone"),
    [
        ([ENTRY | {"id": "two", "undone_at": "2026-05-05T03:02:01Z"}, ENTRY], RELABEL_ID),
        ([ENTRY | {"id": "two", "undone_at": "2026-05-05T03:02:01Z", "unfinished": 1}, ENTRY], "two"),
        ([ENTRY | {"undone_at": "2026-05-05T03:02:01Z"}], None),
    ],
    ids=["the newest that stands", "one that is undone in part", "none"],
)
def test_undoing_the_last_change_finds_it_in_the_list(entries: list[Any], undone: str | None) -> None:
    seen: list[Any] = []
    answer = json.dumps({"relabels": entries, "result": {}})  # the same to every question
    with recorder(200, answer, seen) as url:
        if undone is None:
            with pytest.raises(ConfigError, match="no change of the past stands"):
                recorder_client.undo_relabel(RecorderAddress(url), "last", lambda _stage, _share: None)
        else:
            recorder_client.undo_relabel(RecorderAddress(url), "last", lambda _stage, _share: None)
    paths = ["/api/relabels"] + ([f"/api/relabels/{undone}/undo"] if undone else [])
    assert [path for path, _ in seen] == paths


def test_an_answer_that_breaks_off_is_no_success() -> None:
    with (
        recorder(200, '{"done":1,"of":2}\n', []) as url,
        pytest.raises(recorder_client.NotAnswered, match="broke off"),
    ):
        recorder_client.relabel(RecorderAddress(url), {"labels": ["a fox"]}, lambda _stage, _share: None)
