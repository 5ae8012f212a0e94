"""The digests of images: asked of a stand-in for Docker, written beside the tags, all or none."""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
FILES = ("Dockerfile", "docker-compose.yml", "docker-compose.gpu.yml", "docker-compose.webrtc.yml")
FETCHED = ("redis:", "mysql:", "grafana/grafana:", "prom/prometheus:", "python:")
DOCKER = """#!/bin/sh
[ "$1 $2 $3 $4" = "buildx imagetools inspect --format" ] || exit 9
echo "$6" >> "{folder}/asked"
cat "{folder}/answers/$(printf %s "$6" | tr / _)"
"""


class Checkout:
    """What pin-images.sh needs of a checkout, and a `docker` that knows digests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for name in (*FILES, "deploy/pin-images.sh"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        for name in FILES:
            text = re.sub(r"@sha256:[0-9a-f]{64}", "", (folder / name).read_text())
            (folder / name).write_text(text)
        (folder / "bin").mkdir()
        (folder / "answers").mkdir()
        (folder / "bin" / "docker").write_text(DOCKER.format(folder=folder))
        (folder / "bin" / "docker").chmod(0o755)

    def answer(self, image: str, digest: str) -> None:
        (self.folder / "answers" / image.replace("/", "_")).write_text(digest + "\n")

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": f"{self.folder}/bin:{os.environ['PATH']}"}
        script = self.folder / "deploy" / "pin-images.sh"
        return subprocess.run(
            ["sh", script, *arguments], env=environment, capture_output=True, text=True, timeout=60
        )

    def texts(self) -> dict[str, str]:
        return {name: (self.folder / name).read_text() for name in FILES}


def images() -> list[str]:
    """Return the images that are fetched, without digests."""
    compose = "".join((ROOT / name).read_text() for name in FILES[1:])
    [base] = re.findall(r"^ARG PYTHON=([^@\s]+)", (ROOT / FILES[0]).read_text(), re.MULTILINE)
    return sorted({*re.findall(r"^ *image: ([^$@\s]+)", compose, re.MULTILINE), f"python:{base}"})


def digest_of(image: str, tag: str = "") -> str:
    return "sha256:" + hashlib.sha256((image + tag).encode()).hexdigest()


@pytest.fixture
def checkout(tmp_path: Path) -> Checkout:
    made = Checkout(tmp_path)
    for image in images():
        made.answer(image, digest_of(image))
    return made


def test_every_image_that_is_fetched_is_asked_for() -> None:
    assert [image for image in images() if not image.startswith(FETCHED)] == []
    assert len(images()) == len(FETCHED)


def test_digests_stand_behind_the_tags_and_nothing_else_changes(checkout: Checkout) -> None:
    before = checkout.texts()
    done = checkout.run()
    assert done.returncode == 0, done.stderr
    after = checkout.texts()
    for image in images():
        line = (
            f"ARG PYTHON={image.removeprefix('python:')}"
            if image.startswith("python:")
            else f"image: {image}"
        )
        found = re.findall(rf"{re.escape(line)}(.*)$", "".join(after.values()), re.MULTILINE)
        assert set(found) == {f"@{digest_of(image)}"}
    assert {name: re.sub(r"@sha256:[0-9a-f]{64}", "", text) for name, text in after.items()} == before
    assert sorted((checkout.folder / "asked").read_text().split()) == images()


def test_a_second_run_brings_the_tags_newest_digests(checkout: Checkout) -> None:
    assert checkout.run().returncode == 0
    for image in images():
        checkout.answer(image, digest_of(image, "newer"))
    assert checkout.run("--check").returncode == 1
    assert digest_of(images()[0]) in "".join(checkout.texts().values())
    assert checkout.run().returncode == 0
    text = "".join(checkout.texts().values())
    assert all(f"{digest_of(image, 'newer')}\n" in text for image in images())
    assert not [image for image in images() if digest_of(image) in text]
    assert checkout.run("--check").returncode == 0


def test_a_check_without_digests_says_so_and_changes_nothing(checkout: Checkout) -> None:
    before = checkout.texts()
    done = checkout.run("--check")
    assert done.returncode == 1
    assert "docker-compose.yml: found other digests" in done.stderr
    assert checkout.texts() == before


@pytest.mark.parametrize("answer", ["", "<no value>", "sha256:abc", "sha256:" + "0" * 64 + "\nand more"])
def test_an_answer_that_is_no_digest_changes_nothing(checkout: Checkout, answer: str) -> None:
    before = checkout.texts()
    checkout.answer(images()[-1], answer)
    done = checkout.run()
    assert done.returncode == 2
    assert images()[-1] in done.stderr
    assert checkout.texts() == before


def test_a_registry_that_does_not_answer_changes_nothing(checkout: Checkout) -> None:
    before = checkout.texts()
    (checkout.folder / "answers" / images()[-1].replace("/", "_")).unlink()
    done = checkout.run()
    assert done.returncode == 2
    assert f"found no digest of {images()[-1]}" in done.stderr
    assert checkout.texts() == before


def test_another_argument_is_refused(checkout: Checkout) -> None:
    assert checkout.run("--help").returncode == 2
    assert not (checkout.folder / "asked").exists()
