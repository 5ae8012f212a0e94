"""Fetching from a hub on the loopback interface, as the command does it."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from services.classifier.weights import hub

REPOSITORY = Path(__file__).parents[3]
COMMIT = "0123456789" * 4


@contextmanager
def hub_of(folder: Path, corrupt: bool = False, failing: str = "") -> Iterator[str]:
    """Serve a folder as the hub serves the repository o/tiny; `corrupt` changes a byte of the weights on the way.

    Of the file `failing` it says that it may not be had now.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            path = folder / self.path.rpartition("/")[2]
            is_known = self.path.startswith("/o/tiny/resolve/main/") and path.is_file()
            data = bytearray(path.read_bytes() if is_known else b"")
            digest = hashlib.sha256(data).hexdigest()
            if corrupt and path.suffix == ".safetensors" and data:
                data[-1] ^= 1
            status = 403 if path.name == failing else 200 if is_known or self.path == "/" else 404
            self.send_response(status)
            if status == 404:
                self.send_header("X-Error-Code", "EntryNotFound")
            self.send_header("X-Repo-Commit", COMMIT)
            self.send_header("ETag", f'"{digest}"')
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            if with_body:
                self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def fetch(models_dir: Path, endpoint: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    unset = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY")
    environment = {key: value for key, value in os.environ.items() if key not in unset}
    return subprocess.run(
        [sys.executable, "-m", "services.classifier.fetch", *arguments],
        env=environment
        | {"MODELS_DIR": str(models_dir), "HF_ENDPOINT": endpoint, "HF_HOME": str(models_dir)},
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


def test_a_fetched_model_is_verified_and_then_needs_no_network(tiny_folder: Path, tmp_path: Path) -> None:
    with hub_of(tiny_folder) as endpoint:
        done = fetch(tmp_path, endpoint, "hf-hub:o/tiny")
    assert done.returncode == 0, done.stderr
    assert "every checksum is right" in done.stdout
    assert "golden embeddings are compared" in done.stdout
    again = fetch(tmp_path, endpoint, "--verify")
    assert (again.returncode, again.stdout.startswith("hf-hub:o/tiny: 2 files")) == (0, True), again.stderr


def test_a_download_that_was_changed_on_the_way_is_exit_code_2(tiny_folder: Path, tmp_path: Path) -> None:
    with hub_of(tiny_folder, corrupt=True) as endpoint:
        done = fetch(tmp_path, endpoint, "hf-hub:o/tiny")
    assert done.returncode == 2
    assert "the file is corrupt: delete it and run `clipwatch models fetch hf-hub:o/tiny`" in done.stderr


def other_weights(tiny_folder: Path, folder: Path) -> Path:
    """Return a copy of the model whose weights have the second best name that a hub's may have."""
    shutil.copytree(tiny_folder, folder)
    (folder / hub.WEIGHTS[0]).rename(folder / hub.WEIGHTS[1])
    return folder


def test_weights_of_the_second_best_name_are_fetched_where_there_are_no_others(
    tiny_folder: Path, tmp_path: Path
) -> None:
    with hub_of(other_weights(tiny_folder, tmp_path / "repository")) as endpoint:
        fetch(tmp_path / "models", endpoint, "hf-hub:o/tiny")
    assert [path.name for path in (tmp_path / "models").rglob(hub.WEIGHTS[1])] == [hub.WEIGHTS[1]]


def test_a_download_that_fails_does_not_pass_for_a_file_that_is_not_there(
    tiny_folder: Path, tmp_path: Path
) -> None:
    """Else the second best would be fetched, which a CPU cannot read, and the reason would be lost."""
    repository = other_weights(tiny_folder, tmp_path / "repository")
    with hub_of(repository, failing=hub.WEIGHTS[0]) as endpoint:
        done = fetch(tmp_path / "models", endpoint, "hf-hub:o/tiny")
    assert done.returncode == 2
    assert "could not be fetched (" in done.stderr
    assert "run `clipwatch models fetch hf-hub:o/tiny`" in done.stderr
    assert not list((tmp_path / "models").rglob(hub.WEIGHTS[1]))


def test_without_network_and_weights_the_command_to_run_is_one_line(tmp_path: Path) -> None:
    done = fetch(tmp_path, "http://127.0.0.1:9", "ViT-B-32-256/datacomp_s34b_b86k")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "run `clipwatch models fetch ViT-B-32-256/datacomp_s34b_b86k`" in done.stderr
