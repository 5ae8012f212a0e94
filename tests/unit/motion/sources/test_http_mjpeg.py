"""MJPEG over HTTP: what cameras send and what they get wrong; and the client against a real HTTP server."""

from __future__ import annotations

import http.server
import io
import itertools
import threading
from collections import Counter
from collections.abc import Callable, Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from services.motion.media.clips import make_clip
from services.motion.sources.http_mjpeg import MAX_HEADER_BYTES, MAX_PART_BYTES, MultipartParser, open_mjpeg
from services.motion.sources.stream import SourceAway


def jpeg(brightness: int = 100) -> bytes:
    out = io.BytesIO()
    Image.new("L", (64, 48), brightness).convert("RGB").save(out, "JPEG")
    return out.getvalue()


A, B = jpeg(30), jpeg(200)


def part(data: bytes, length: int | None = -1, boundary: str = "--frame") -> bytes:
    told = "" if length is None else f"Content-Length: {len(data) if length == -1 else length}\r\n"
    return f"{boundary}\r\nContent-Type: image/jpeg\r\n{told}\r\n".encode() + data + b"\r\n"


def parsed(stream: bytes, step: int = 1000) -> tuple[list[bytes], Counter[str]]:
    drops: Counter[str] = Counter()
    parser = MultipartParser(lambda reason: drops.update([reason]))
    found: list[bytes] = []
    for at in range(0, len(stream), step):
        found += parser.feed(stream[at : at + step])
    return [one.rstrip(b"\r\n") for one in found], drops


@settings(deadline=None)
@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=8), st.integers(1, 3000))
def test_pictures_come_whole_whatever_the_pieces(parts: list[tuple[bool, bool]], step: int) -> None:
    wanted = [A if is_a else B for is_a, _ in parts]
    stream = b"".join(
        part(data, -1 if tells else None) for data, (_, tells) in zip(wanted, parts, strict=True)
    )
    assert parsed(stream + b"--frame\r\n", step) == (wanted, Counter())


@pytest.mark.parametrize("boundary", ["--frame", "--", "----myboundary", "--=_1"])
def test_the_boundary_that_is_sent_counts(boundary: str) -> None:
    if boundary == "--":
        assert parsed(part(A, boundary=boundary) * 3)[0] == []  # two dashes alone are in every picture
        return
    assert parsed(b"\r\n" + part(A, None, boundary) + part(B, None, boundary) + boundary.encode())[0] == [
        A,
        B,
    ]


def test_a_wrong_length_costs_no_other_picture() -> None:
    assert parsed(part(A) + part(A, len(A) + 300) + part(B) + part(B))[0] == [A, A, B, B]
    found, _ = parsed(part(A) + part(A, 100) + part(B))
    assert found == [A, A[:100], B]


def test_what_is_no_jpeg_is_counted() -> None:
    assert parsed(part(b"<html>no</html>") + part(A)) == ([A], Counter(broken_part=1))


def test_a_broken_boundary_is_passed_over() -> None:
    found, _ = parsed(part(A) + part(B, None, "-fra") + part(B) + part(A))
    assert found == [A, B, A]


def test_a_part_without_end_is_dropped_and_memory_stays_bounded() -> None:
    drops: Counter[str] = Counter()
    parser = MultipartParser(lambda reason: drops.update([reason]))
    assert parser.feed(b"--frame\r\n\r\n\xff\xd8") == []
    for _ in range(3 * MAX_PART_BYTES // 1_000_000):
        assert parser.feed(bytes(1_000_000)) == []
        assert len(parser._buffer) <= MAX_PART_BYTES + 1_000_000
    assert parser.feed(b"\r\n" + part(A) + b"--frame") == [A]
    assert drops["huge_part"] == 1


def test_a_part_that_says_it_is_huge_is_passed_over() -> None:
    found, drops = parsed(part(A, 10**12) + part(B))
    assert found == [B]
    assert drops == Counter(huge_part=1)


def test_a_header_without_end_is_passed_over() -> None:
    found, drops = parsed(b"--frame\r\n" + b"x" * (MAX_HEADER_BYTES + 5000) + b"\r\n" + part(A))
    assert found == [A]
    assert drops == Counter(broken_part=1)


@settings(deadline=None)
@given(st.binary(max_size=3000), st.integers(1, 500))
def test_noise_is_no_fault(noise: bytes, step: int) -> None:
    found, _ = parsed(noise + b"\r\n--frame\r\n" + noise, step)
    assert all(one.startswith(b"\xff\xd8") for one in found)


Serve = Callable[[http.server.BaseHTTPRequestHandler, threading.Event], None]


@pytest.fixture
def camera() -> Iterator[Callable[[Serve], str]]:
    servers: list[http.server.ThreadingHTTPServer] = []
    ends = threading.Event()

    def start(serve: Serve) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                try:
                    serve(self, ends)
                except OSError:
                    self.close_connection = True  # the client left

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class's name
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        servers.append(server)
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return f"127.0.0.1:{server.server_port}"

    yield start
    ends.set()
    for server in servers:
        server.shutdown()
        server.server_close()


def begin(handler: http.server.BaseHTTPRequestHandler, kind: str = "multipart/x-mixed-replace") -> None:
    handler.send_response(200)
    handler.send_header("Content-Type", f"{kind}; boundary=frame")
    handler.end_headers()


def play(handler: http.server.BaseHTTPRequestHandler, ends: threading.Event) -> None:
    begin(handler)
    for number in itertools.count():
        handler.wfile.write(part(jpeg(number % 200)))
        if ends.wait(0.02):
            return


def ignore(_reason: str) -> None: ...


def test_pictures_become_packets_frames_and_a_clip(camera: Callable[[Serve], str]) -> None:
    stream = open_mjpeg(f"http://{camera(play)}/video", 5, 5, ignore)
    reads = list(itertools.islice(stream.read(), 12))
    stream.close()
    assert (stream.facts.codec, stream.facts.width, stream.facts.height) == ("mjpeg", 64, 48)
    assert all(len(read.frames) == 1 for read in reads)
    packets = [read.packet for read in reads if read.packet is not None]
    assert len(packets) == 12
    assert all(after.t_s > before.t_s for before, after in itertools.pairwise(packets))
    assert (make_clip(stream.facts, packets).width, make_clip(stream.facts, packets).height) == (64, 48)


@pytest.mark.parametrize("scheme", ["Basic", "Digest"])
def test_a_login_is_sent_when_it_is_asked_for(camera: Callable[[Serve], str], scheme: str) -> None:
    given: list[str] = []

    def serve(handler: http.server.BaseHTTPRequestHandler, ends: threading.Event) -> None:
        login = handler.headers.get("Authorization", "")
        if login.startswith(scheme) and ("dTpwQHM=" in login or 'username="u"' in login):
            given.append(login)
            play(handler, ends)
            return
        handler.send_response(401)
        nonce = ' nonce="1", qop="auth", algorithm=MD5' if scheme == "Digest" else ""
        handler.send_header("WWW-Authenticate", f'{scheme} realm="camera"' + (nonce and f",{nonce}"))
        handler.end_headers()

    host = camera(serve)
    stream = open_mjpeg(f"http://u:p%40s@{host}/video", 5, 5, ignore)
    assert next(stream.read()).frames
    stream.close()
    with pytest.raises(SourceAway, match=r"^http://\*\*\*@.*/video: user name or password is wrong$"):
        open_mjpeg(f"http://who:wrong-one@{host}/video", 5, 5, ignore)


def test_what_sends_no_parts_is_named(camera: Callable[[Serve], str]) -> None:
    host = camera(lambda handler, _: begin(handler, "text/html"))
    with pytest.raises(SourceAway, match="sends text/html, wanted multipart/x-mixed-replace"):
        open_mjpeg(f"http://{host}/", 5, 5, ignore)


def test_a_camera_that_falls_silent_is_away(camera: Callable[[Serve], str]) -> None:
    def serve(handler: http.server.BaseHTTPRequestHandler, ends: threading.Event) -> None:
        begin(handler)
        handler.wfile.write(part(A) + b"--frame\r\n")
        ends.wait(30)

    stream = open_mjpeg(f"http://{camera(serve)}/", 0.3, 0.3, ignore)
    reads = stream.read()
    assert next(reads).frames
    with pytest.raises(SourceAway, match="no answer in time"):
        next(reads)
    stream.close()


def test_a_camera_that_trickles_is_away(camera: Callable[[Serve], str]) -> None:
    def serve(handler: http.server.BaseHTTPRequestHandler, ends: threading.Event) -> None:
        begin(handler)
        while not ends.wait(0.02):
            handler.wfile.write(b"x")

    stream = open_mjpeg(f"http://{camera(serve)}/", 0.3, 0.3, ignore)
    with pytest.raises(SourceAway, match="no picture in time"):
        next(stream.read())
    stream.close()


def test_a_camera_that_does_not_answer_is_away(camera: Callable[[Serve], str]) -> None:
    def serve(_handler: http.server.BaseHTTPRequestHandler, ends: threading.Event) -> None:
        ends.wait(30)

    with pytest.raises(SourceAway, match="no answer in time"):
        open_mjpeg(f"http://{camera(serve)}/", 0.3, 0.3, ignore)
