"""What is installed is what was pinned, and can be listed: hashes that are asked for, SBOM and licences."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.unit.deploy.test_requirements import pins

ROOT = Path(__file__).resolve().parents[3]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
[LISTED] = re.findall(r"^SBOM +\?= (.+)$", MAKEFILE, re.MULTILINE)


def wheel(folder: Path, text: str) -> Path:
    """Write a wheel with one module that holds `text`."""
    path = folder / "parcel-1.0-py3-none-any.whl"
    files = {
        "parcel.py": text,
        "parcel-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: parcel\nVersion: 1.0\n",
        "parcel-1.0.dist-info/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        "parcel-1.0.dist-info/RECORD": "",
    }
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return path


def install(folder: Path, requirement: str) -> subprocess.CompletedProcess[str]:
    """Install as the images do, from a folder in the place of the registry."""
    (folder / "requirements.txt").write_text(requirement + "\n")
    command = [
        *(sys.executable, "-m", "pip", "--disable-pip-version-check", "--isolated", "install", "--no-deps"),
        *("--require-hashes", "--no-index", "--no-cache-dir", "--find-links", folder),
        *("--target", folder / "installed", "-r", folder / "requirements.txt"),
    ]
    return subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=120)


def test_a_wheel_that_was_changed_is_refused(tmp_path: Path) -> None:
    digest = hashlib.sha256(wheel(tmp_path, "good = 1\n").read_bytes()).hexdigest()
    done = install(tmp_path, f"parcel==1.0 --hash=sha256:{digest}")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "installed" / "parcel.py").exists()
    (tmp_path / "installed").rename(tmp_path / "before")
    wheel(tmp_path, "bad = 1\n")
    done = install(tmp_path, f"parcel==1.0 --hash=sha256:{digest}")
    assert done.returncode != 0
    assert "DO NOT MATCH THE HASHES" in done.stderr
    assert not (tmp_path / "installed" / "parcel.py").exists()


def test_a_requirement_without_a_hash_is_refused(tmp_path: Path) -> None:
    wheel(tmp_path, "")
    done = install(tmp_path, "parcel==1.0")
    assert done.returncode != 0
    assert "hash" in done.stderr.lower()


@pytest.mark.parametrize(
    "name", ["Dockerfile", "requirements/install.sh", "requirements/make-venv.sh", "Makefile"]
)
def test_whatever_is_installed_from_a_file_is_asked_for_its_hashes(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8").replace("\\\n", " ")
    for line in text.splitlines():
        if re.search(r"\bpip (install|download)\b.* -r ", line):
            assert line.count("--require-hashes") == len(re.findall(r"\bpip (?:install|download)\b", line)), (
                line
            )


def test_nothing_else_brings_packages() -> None:
    """What CI, scripts and programs run; models/assemble.py asks for the hashes of the weights itself."""
    folders = ("services", "shared", "models", "bench", "deploy", "requirements", ".github", ".ci")
    files = [path for folder in folders for path in (ROOT / folder).rglob("*") if path.is_file()]
    files += [ROOT / "Makefile", ROOT / "Dockerfile", *(ROOT / "tests").glob("*.sh")]
    texts = {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in files if path.suffix != ".pyc"}
    found = {name for name, text in texts.items() if re.search(rb'\bpip"?,?\s+"?(install|download)\b', text)}
    unpacked_only = {
        "models/sources.py",
        "bench/scenes_pictures.py",
    }  # pictures, pinned by version: no code runs
    hashed = {"Dockerfile", "requirements/install.sh", "models/assemble.py"}
    assert found - {"models/README.md"} == hashed | unpacked_only
    for name in hashed:
        assert b"--require-hashes" in texts[name]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", LISTED.split())
def test_the_sbom_names_every_pinned_package_with_its_version(name: str, tmp_path: Path) -> None:
    target = tmp_path / "sbom.json"
    command = [
        *(Path(sys.executable).with_name("cyclonedx-py"), "requirements", "--output-reproducible"),
        *("--of", "JSON", "-o", target, ROOT / "requirements" / f"{name}.txt"),
    ]
    done = subprocess.run([str(part) for part in command], capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    document = json.loads(target.read_text())
    assert document["bomFormat"] == "CycloneDX"
    listed = {component["purl"].lower().partition("?")[0] for component in document["components"]}
    for pin in pins(name):
        [specifier] = pin.specifier
        assert f"pkg:pypi/{pin.name.lower()}@{specifier.version}" in listed


def test_make_lists_what_the_images_and_an_installation_hold() -> None:
    assert set(LISTED.split()) == {"motion", "classifier", "recorder", "gpu", "local"}
    recipe = MAKEFILE.split("\nsbom:")[1].split("\n\n")[0]
    assert "pip-licenses" in recipe
    assert "build/sbom" in recipe
