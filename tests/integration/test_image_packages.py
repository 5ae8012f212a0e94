"""Each service with the packages of its own requirements and no other, as in its image.

Runs what the Dockerfile runs to check an image, and the service's `--check` with the settings of docker-compose.yml.
Requirements are installed by pip into a fresh environment. Those with torch (5.5 GB) are linked in, distribution by
distribution, from the environment that the tests run in, where the same pins are installed; deploy/try.sh really
installs them.
"""

from __future__ import annotations

import importlib.metadata
import json
import re
import shutil
import subprocess
import sys
import venv
from collections.abc import Iterator
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.unit.deploy.test_compose import VARIABLE, environment_file, services

ROOT = Path(__file__).resolve().parents[2]
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
LAST_STAGE = DOCKERFILE[DOCKERFILE.rindex("\nFROM ") :]
SERVICES = ("motion", "classifier", "recorder")
pytestmark = [
    pytest.mark.timeout(600),  # the packages may come over a slow line
    pytest.mark.slow,  # shorter: import-linter's contract of the recorder, and what compose gives the services
]
LINKED_WITH = "torch"  # too large to be installed for a test
MINI = Path(sys.prefix) / "share" / "clipwatch" / "models" / "mini"


def requirements(service: str) -> list[Requirement]:
    """Return what is pinned for a service on this platform."""
    lines = (ROOT / "requirements" / f"{service}.txt").read_text(encoding="utf-8").splitlines()
    pins = [Requirement(line) for line in lines if line[:1].isalpha()]
    return [pin for pin in pins if pin.marker is None or pin.marker.evaluate()]


def instructions(name: str) -> list[str]:
    return re.findall(rf"^{name} (.+)$", LAST_STAGE, re.MULTILINE)


def make_environment(service: str, folder: Path) -> Path:
    """Make an environment with a service's requirements; return its folder of programs."""
    venv.create(folder, with_pip=False, symlinks=True)
    pins = requirements(service)
    if any(pin.name == LINKED_WITH for pin in pins):
        [packages] = folder.glob("lib/python*/site-packages")
        for pin in pins:
            link_distribution(pin, packages)
    else:
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"]
        # no dependencies: what a service needs and its file does not pin is missed below
        file = ["--no-deps", "--no-compile", "-r", str(ROOT / "requirements" / f"{service}.txt")]
        done = subprocess.run([*pip, *file], capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
    return folder / "bin"


def link_distribution(pin: Requirement, packages: Path) -> None:
    """Link the files of an installed distribution into another environment's packages."""
    found = importlib.metadata.distribution(pin.name)
    assert pin.specifier.contains(found.version), f"{pin}: {found.version} is installed; make install"
    for file in found.files or ():
        if ".." in file.parts or "__pycache__" in file.parts:
            continue
        target = packages / file
        target.parent.mkdir(parents=True, exist_ok=True)
        target.symlink_to(Path(str(found.locate_file(file))).resolve())


def copy_application(service: str, folder: Path) -> None:
    """Copy what the Dockerfile's last stage copies from the repository."""
    for line in instructions("COPY"):
        *sources, target = line.replace("${SERVICE}", service).split()
        if sources[0].startswith("--"):
            continue
        for path in (path for source in sources for path in ROOT.glob(source)):
            place = folder / target
            if path.is_dir():
                shutil.copytree(path, place, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, place)


class Image:
    """A service's packages and code in folders of a test's own, and the ways in which the image runs them."""

    def __init__(self, service: str, folder: Path) -> None:
        self.service = service
        self.app, self.data = folder / "app", folder / "volumes"
        self.app.mkdir()
        programs = make_environment(service, folder / "venv")
        copy_application(service, self.app)
        self.environment = {"PATH": f"{programs}:/usr/bin:/bin", "SERVICE": service}

    def build_checks(self) -> subprocess.CompletedProcess[str]:
        """Run the last RUN of the Dockerfile."""
        return self._run(["/bin/sh", "-c", instructions("RUN")[-1]], self.environment)

    def start(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the image's entry point as compose does; volumes are folders of the test's own."""
        [entry] = instructions("ENTRYPOINT")
        return self._run([*json.loads(entry), *arguments], {**self.environment, **self._compose_settings()})

    def _compose_settings(self) -> dict[str, str]:
        places = {"/config": ROOT / "deploy" / "demo", "/models": MINI.parent}
        found = {"HTTP_HOST": "127.0.0.1", "HTTP_PORT": "8080"}
        for name, value in services()[self.service]["environment"].items():
            text = VARIABLE.sub(lambda m: environment_file()[m["name"]] or "0123456789abcdef", str(value))
            for mount in ("/config", "/models", "/data", "/media"):
                if text == mount or text.startswith(f"{mount}/"):
                    text = str(places.get(mount, self.data / mount[1:])) + text[len(mount) :]
            found[name] = text
        return found | ({"MODEL": "mini"} if "MODEL" in found else {})  # the default would be downloaded

    def _run(self, command: list[str], environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=self.app, env=environment, capture_output=True, text=True, timeout=170
        )


@pytest.fixture(scope="module", params=SERVICES)
def image(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Image]:
    folder = tmp_path_factory.mktemp(f"image-{request.param}")
    yield Image(request.param, folder)
    shutil.rmtree(folder)


def test_the_image_passes_the_checks_of_its_build(image: Image) -> None:
    done = image.build_checks()
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(image.app.glob("shared/__pycache__/errors.*.pyc")), "compiled: the root is read-only later"


@pytest.mark.model
def test_the_service_finds_all_it_imports_and_its_settings_are_fine(image: Image) -> None:
    done = image.start("--check")
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout == f"{image.service}: settings are fine\n"


def test_the_images_user_may_read_what_a_careful_umask_closed(image: Image) -> None:
    closed = [path for path in image.app.rglob("*.py") if path.parent.name != "__pycache__"]
    for path in closed:
        path.chmod(0o600)
    assert image.build_checks().returncode == 0
    assert {path.stat().st_mode & 0o077 for path in closed} == {0o044}


def test_a_package_that_must_not_be_there_ends_the_build(image: Image) -> None:
    unwanted = {"motion": "torch", "classifier": "cv2", "recorder": "av"}[image.service]
    intruder = image.app / f"{unwanted}.py"
    intruder.write_text("")
    try:
        done = image.build_checks()
    finally:
        intruder.unlink()
    assert done.returncode == 1
    assert f"{image.service}: found {unwanted}, wanted an image without" in done.stderr


def test_the_build_wants_a_service_by_name() -> None:
    [command] = re.findall(r"^RUN (case .+)$", DOCKERFILE, re.MULTILINE)
    for service, code in [*((name, 0) for name in SERVICES), ("", 2), ("local", 2)]:
        done = subprocess.run(
            ["/bin/sh", "-c", command], env={"SERVICE": service}, capture_output=True, text=True, timeout=30
        )
        assert done.returncode == code, service
        assert ("wanted motion, classifier or recorder" in done.stderr) == (code == 2)
