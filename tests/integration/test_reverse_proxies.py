"""A recorder behind the real nginx and the real Caddy, with the configurations that deploy/proxy holds."""

from __future__ import annotations

import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from services.local.launcher.page_address import own_certificate
from tests.certificates import make_certificate
from tests.integration.test_recorder_service import Recorder
from tests.programs import find_caddy, find_nginx
from tests.servers import RedisServer, free_port, spawn, wait_until
from tests.unit.classifier.makers import RED, jpeg

PROXIES = Path(__file__).resolve().parents[2] / "deploy" / "proxy"
TOKEN = "0123456789abcdef-site"
PASSWORD = "a password of the admin"
CLIP_NAME = f"2026/05/04/{'c' * 32}.mp4"
PICTURE = jpeg(RED, 320, 180)
NGINX = """\
daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;{user}
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
    {site}
}}
"""
DEFAULT = "server {{ listen 127.0.0.1:{port}; location / {{ proxy_pass http://127.0.0.1:8080; }} }}"
CADDY = "{{\n\tadmin off\n\tauto_https off\n\tdefault_bind 127.0.0.1\n}}\n{site}"


class _MotionServer(ThreadingHTTPServer):
    def __init__(self) -> None:
        self.ended = threading.Event()
        super().__init__(("127.0.0.1", 0), _Motion)


class _Motion(BaseHTTPRequestHandler):
    """Answers cameras, pictures, looks and WHEP as motion does."""

    server: _MotionServer

    def do_GET(self) -> None:
        kind, body = {
            "/api/cameras": ("application/json", b'{"cameras": [{"id": "gate", "state": "running"}]}'),
            "/api/cameras/gate/picture.jpg": ("image/jpeg", PICTURE),
            "/api/cameras/gate/looks": ("text/event-stream", b"event: look\ndata: {}\n\n"),
            "/api/cameras/gate/video.mjpeg": ("multipart/x-mixed-replace; boundary=b", b"--b\r\n\r\n"),
        }[self.path]
        is_stream = self.path.endswith(("/looks", "/video.mjpeg"))
        self.send_response(200)
        self.send_header("Content-Type", kind)
        if not is_stream:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        if is_stream:  # there is more to come, which nobody waits for
            self.server.ended.wait(60)
            self.close_connection = True

    def do_DELETE(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(201)
        self.send_header("Location", f"{self.path}/0123")
        self.send_header("Content-Type", "application/sdp")
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # the base class' name
        """Say nothing."""


@contextmanager
def motion() -> Iterator[str]:
    server = _MotionServer()
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.ended.set()
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture(scope="module", params=["", "/clipwatch"])
def recorder(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, redis_server: RedisServer
) -> Iterator[Recorder]:
    redis_server.start()
    folder = tmp_path_factory.mktemp("site")
    with motion() as address:
        made = Recorder(folder, redis_server.url, f"sqlite+aiosqlite:///{folder}/record.db")
        made.environment = {
            "API_TOKEN": TOKEN,
            "ADMIN_PASSWORD": PASSWORD,
            "TRUSTED_PROXIES": "127.0.0.1",
            "ALLOWED_HOSTS": "cam.example.org,home.example.org",
            "PATH_PREFIX": request.param,
            "MOTION_URL": address,
        }
        made.start()
        clip = made.media / CLIP_NAME
        clip.parent.mkdir(parents=True)
        clip.write_bytes(bytes(range(200)))
        yield made
        made.stop()


@contextmanager
def nginx(site: str, folder: Path) -> Iterator[None]:
    """Run nginx with the `server` blocks of `site`."""
    user = " user root;" if os.geteuid() == 0 else ""
    (folder / "nginx.conf").write_text(NGINX.format(folder=folder, user=user, site=site))
    with _running([find_nginx(), "-p", folder, "-c", folder / "nginx.conf"], folder):
        yield


@contextmanager
def _running(
    command: list[str | Path], folder: Path, environment: dict[str, str] | None = None
) -> Iterator[None]:
    process = spawn(command, folder / "proxy.txt", {**os.environ, **(environment or {})})
    try:
        yield
        assert process.poll() is None, (folder / "proxy.txt").read_text()
    finally:
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:  # Caddy waits for the streams
            process.kill()
            process.wait()


def nginx_site(recorder: Recorder, folder: Path, port: int) -> str:
    """Return the configuration of deploy/proxy for this recorder and port, with a certificate of its own."""
    pair = make_certificate(folder / "tls")
    text = (PROXIES / "nginx.conf").read_text()
    prefix = recorder.environment["PATH_PREFIX"]
    if prefix:
        head, _, _ = text.partition("    location / {")
        text = head + (PROXIES / "nginx-prefix.conf").read_text() + "}\n"
    text = text.replace("listen 443 ssl", f"listen 127.0.0.1:{port} ssl").replace(
        ":8080", f":{recorder.port}"
    )
    text = text.replace("/etc/ssl/cam.example.org/fullchain.pem", str(pair.chain))
    return text.replace("/etc/ssl/cam.example.org/privkey.pem", str(pair.key))


def _client(port: int, scheme: str, host: str = "cam.example.org") -> httpx.Client:
    return httpx.Client(
        base_url=f"{scheme}://127.0.0.1:{port}",
        headers={"host": f"{host}:{port}"},
        verify=False,
        trust_env=False,
        timeout=30,
    )


def _whole_site_works(client: httpx.Client, prefix: str) -> None:
    wait_until(lambda: _status(client, f"{prefix}/healthz") == 200, 60, "the recorder behind its proxy")
    token = {"authorization": f"Bearer {TOKEN}"}
    page = client.get(f"{prefix}/")
    assert page.status_code == 200
    assert 'href="web/app.css"' in page.text, "relative links"
    assert client.get(f"{prefix}/web/app.css").headers["content-type"].startswith("text/css")
    if prefix:
        moved = client.get(prefix)
        assert moved.status_code == 308
        assert moved.headers["location"].endswith(f"{prefix}/")
    assert client.get(f"{prefix}/api/events").status_code in (401, 403)
    assert client.get(f"{prefix}/api/events", headers=token).status_code == 200
    foreign = {**token, "host": "evil.example"}
    answer = client.get(f"{prefix}/api/events", headers=foreign)
    assert answer.status_code == 421 or not answer.content  # Caddy does not pass it on
    pages = {**token, "origin": "https://evil.example", "content-type": "application/sdp"}
    whep = f"{prefix}/api/cameras/gate/whep"
    assert client.post(whep, content=b"v=0", headers=pages).status_code == 403
    own = {**pages, "origin": str(client.base_url).replace("127.0.0.1", "cam.example.org").rstrip("/")}
    answer = client.post(whep, content=b"v=0", headers=own)
    assert (answer.status_code, answer.headers.get("location")) == (201, f"{whep}/0123"), answer.text
    with client.stream(
        "GET", f"{prefix}/api/stream", headers=token
    ) as stream:  # at once, not when a buffer is full
        assert stream.headers["content-type"].startswith("text/event-stream")
        assert next(stream.iter_lines())
    _login_works(client, prefix)


def _login_works(client: httpx.Client, prefix: str) -> None:
    """As a browser does it: the cookie is for the site's path alone, and opens everything until it logs out."""
    origin = str(client.base_url).replace("127.0.0.1", "cam.example.org").rstrip("/")
    own = {"origin": origin, "sec-fetch-site": "same-origin"}
    wrong = client.post(f"{prefix}/api/login", json={"name": "admin", "password": "wrong"}, headers=own)
    assert (wrong.status_code, wrong.headers.get("set-cookie")) == (401, None)
    login = client.post(f"{prefix}/api/login", json={"name": "admin", "password": PASSWORD}, headers=own)
    assert login.status_code == 200, login.text
    session, *said = login.headers["set-cookie"].split("; ")
    client.cookies.clear()
    attributes = {part.lower() for part in said}
    assert attributes >= {f"path={prefix or '/'}", "httponly", "samesite=lax"}
    assert ("secure" in attributes) == (client.base_url.scheme == "https")

    inside = {**own, "cookie": session}
    assert client.get(f"{prefix}/api/me", headers=inside).json()["name"] == "admin"
    picture = client.get(f"{prefix}/api/cameras/gate/picture.jpg", headers=inside)
    assert picture.content == PICTURE
    for path, start in (
        ("/api/stream", "retry: 2000"),
        ("/api/cameras/gate/looks", "event: look"),
        ("/api/cameras/gate/video.mjpeg", "--b"),
    ):
        with client.stream("GET", prefix + path, headers=inside) as stream:
            assert next(line for line in stream.iter_lines() if line) == start
    sdp = {**inside, "content-type": "application/sdp"}
    whep = client.post(f"{prefix}/api/cameras/gate/whep", content=b"v=0", headers=sdp)
    assert client.delete(whep.headers["location"], headers=inside).status_code == 200
    part = client.get(f"{prefix}/media/{CLIP_NAME}", headers={**inside, "range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, bytes(range(10, 20)))
    assert part.headers["content-range"] == "bytes 10-19/200"

    out = client.post(f"{prefix}/api/logout", json={}, headers=inside)
    assert out.status_code == 204
    assert f"path={prefix or '/'}" in out.headers["set-cookie"].lower()
    for path in ("/api/events", "/api/cameras/gate/picture.jpg", f"/media/{CLIP_NAME}"):
        assert client.get(prefix + path, headers=inside).status_code == 401, path


def _status(client: httpx.Client, path: str) -> int:
    try:
        return client.get(path).status_code
    except httpx.HTTPError:
        return 0


@pytest.mark.redis
def test_behind_nginx(recorder: Recorder, tmp_path: Path) -> None:
    port = free_port()
    site = nginx_site(recorder, tmp_path, port)
    with nginx(site, tmp_path), _client(port, "https") as client:
        _whole_site_works(client, recorder.environment["PATH_PREFIX"])


@pytest.mark.redis
def test_behind_nginx_that_leaves_the_prefix(recorder: Recorder, tmp_path: Path) -> None:
    port = free_port()
    site = nginx_site(recorder, tmp_path, port).replace(f":{recorder.port}/;", f":{recorder.port};")
    with nginx(site, tmp_path), _client(port, "https") as client:
        _whole_site_works(client, recorder.environment["PATH_PREFIX"])


@pytest.mark.redis
def test_behind_caddy(recorder: Recorder, tmp_path: Path) -> None:
    port = free_port()
    prefix = recorder.environment["PATH_PREFIX"]
    site = (PROXIES / ("Caddyfile.prefix" if prefix else "Caddyfile")).read_text()
    name = "home.example.org" if prefix else "cam.example.org"
    site = site.replace(f"\n{name} {{", f"\nhttp://cam.example.org:{port} {{").replace(
        ":8080", f":{recorder.port}"
    )
    (tmp_path / "Caddyfile").write_text(CADDY.format(site=site))
    own = {"XDG_DATA_HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path), "HOME": str(tmp_path)}
    command: list[str | Path] = [
        find_caddy(),
        "run",
        "--adapter",
        "caddyfile",
        "--config",
        tmp_path / "Caddyfile",
    ]
    with _running(command, tmp_path, own), _client(port, "http") as client:
        _whole_site_works(client, prefix)


@pytest.mark.redis
def test_a_stranger_behind_nginx_as_it_comes_is_not_this_machine(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    """No users, no TRUSTED_PROXIES, and a proxy that sends its own Host and no word of whom it asks for."""
    redis_server.start()
    made = Recorder(tmp_path, redis_server.url, f"sqlite+aiosqlite:///{tmp_path}/record.db").start()
    port = free_port()
    try:
        assert httpx.get(f"{made.url}/api/events", trust_env=False).status_code == 200
        site = DEFAULT.format(port=port).replace(":8080", f":{made.port}")
        with nginx(site, tmp_path), _client(port, "http") as client:
            wait_until(lambda: _status(client, "/healthz") == 200, 60, "nginx")
            for path in ("/api/events", "/api/cameras", "/api/health", "/metrics"):
                assert client.get(path).status_code in (401, 403), path
    finally:
        made.stop()


@pytest.mark.redis
def test_a_recorder_speaks_https_with_a_certificate_of_its_own(
    redis_server: RedisServer, tmp_path: Path
) -> None:
    redis_server.start()
    pair = make_certificate(tmp_path / "tls")
    made = Recorder(tmp_path, redis_server.url, f"sqlite+aiosqlite:///{tmp_path}/record.db")
    made.environment = {"TLS_CERT_FILE": str(pair.chain), "TLS_KEY_FILE": str(pair.key)}
    made.start(is_ready=False)
    try:
        with httpx.Client(
            base_url=f"https://127.0.0.1:{made.port}", verify=own_certificate(pair.chain), trust_env=False
        ) as client:
            wait_until(lambda: _status(client, "/readyz") == 200, 60, "the recorder")
            assert client.get("/api/events").status_code == 200
        with pytest.raises(httpx.HTTPError):
            httpx.get(f"http://127.0.0.1:{made.port}/readyz", trust_env=False)
    finally:
        made.stop()
