"""The scripts that prepare a machine, every branch: their programs are stand-ins that write down what they are told."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.programs import FINDERS, ServerError, find_gstreamer

ROOT = Path(__file__).resolve().parents[3]
SERVERS = ROOT / "tests" / "install-servers.sh"
VENV = ROOT / "requirements" / "make-venv.sh"
INSTALL = ROOT / "requirements" / "install.sh"
REAL = ("sh", "cat", "dirname", "mktemp", "rm", "find", "sed", "sort", "mkdir", "chmod")


class Machine:
    """A PATH with nothing but what a test puts there; `told` are the command lines of the stand-ins."""

    def __init__(self, folder: Path) -> None:
        self.programs, self.log = folder / "bin", folder / "told.txt"
        self.programs.mkdir()
        for name in REAL:
            found = shutil.which(name)
            assert found is not None, name
            (self.programs / name).symlink_to(found)

    def has(self, name: str, script: str = "") -> Path:
        """Put a stand-in there, which writes down how it is called and then runs `script`."""
        path = self.programs / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> "{self.log}"\n{script}\n')
        path.chmod(0o755)
        return path

    def is_user(self, number: int) -> None:
        self.has("id", f"echo {number}")

    def run(self, script: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.programs / "sh", script, *arguments],
            env={"PATH": str(self.programs)},
            capture_output=True,
            text=True,
            timeout=30,
        )

    @property
    def told(self) -> list[str]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [line for line in lines if not line.startswith("id ")]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def lacks(machine: Machine, *answers: str) -> Path:
    """Put a Python there that names as missing what `answers` say, one after the other."""
    count = machine.log.parent / "count"
    cases = "\n".join(f"{number}) echo '{answer}' ;;" for number, answer in enumerate(answers))
    last = len(answers) - 1
    return machine.has(
        "python",
        f'n=0; [ ! -f "{count}" ] || n=$(cat "{count}")\n'
        f'[ "$n" -ge {last} ] || echo $((n + 1)) > "{count}"\ncase $n in\n{cases}\nesac',
    )


# --- tests/install-servers.sh


def test_nothing_is_installed_where_nothing_is_missing(machine: Machine) -> None:
    python = lacks(machine, "")
    machine.has("apt-get")
    assert machine.run(SERVERS, python).returncode == 0
    assert machine.told == ["python -m tests.programs"]


@pytest.mark.parametrize(
    ("missing", "packages"),
    [
        ("mariadb", {"mariadb-server-core", "mariadb-client-core"}),
        ("gstreamer", {"python3-gi", "gstreamer1.0-plugins-good", "gstreamer1.0-plugins-ugly"}),
        ("chromium", {"chromium"}),
        ("compiler", {"gcc", "libc6-dev"}),
        ("mariadb chromium", {"mariadb-server-core", "chromium"}),
    ],
)
def test_root_installs_what_is_missing(machine: Machine, missing: str, packages: set[str]) -> None:
    python = lacks(machine, missing, "")
    machine.is_user(0)
    machine.has("apt-get")
    done = machine.run(SERVERS, python)
    assert done.returncode == 0, done.stderr
    [install] = [line for line in machine.told if line.startswith("apt-get install")]
    assert packages <= set(install.split())
    assert "prometheus" not in install
    assert machine.told[-1] == "python -m tests.programs", "it is looked for again"


@pytest.mark.parametrize(
    ("missing", "package", "program"),
    [
        ("mosquitto", "mosquitto", "mosquitto"),
        ("prometheus", "prometheus", "prometheus"),
        ("promtool", "prometheus", "promtool"),
        ("nginx", "nginx", "nginx"),
        ("caddy", "caddy", "caddy"),
    ],
)
def test_of_packages_that_start_a_service_only_the_program_is_taken(
    machine: Machine, missing: str, package: str, program: str
) -> None:
    python = lacks(machine, missing, "")
    machine.is_user(0)
    machine.has("apt-get", '[ "$1" != download ] || : > package.deb')
    machine.has("dpkg-deb", f': "$3"; mkdir -p usr/bin etc; : > usr/bin/{program}; : > etc/{program}')
    machine.has("install")
    done = machine.run(SERVERS, python)
    assert done.returncode == 0, done.stderr
    assert f"apt-get download -qq {package}" in machine.told
    [placed] = [line for line in machine.told if line.startswith("install ")]
    assert placed.endswith(f"/usr/bin/{program} /usr/local/bin/")
    installed = [line for line in machine.told if line.startswith("apt-get install")]
    assert bool(installed) == (missing in ("mosquitto", "nginx")), "its libraries"
    folder = Path(placed.split()[-2]).parents[2]
    assert not folder.exists()


def test_what_is_still_missing_is_told(machine: Machine) -> None:
    python = lacks(machine, "gstreamer", "gstreamer")
    machine.is_user(0)
    machine.has("apt-get")
    done = machine.run(SERVERS, python)
    assert done.returncode == 2
    assert "still missing after the installation, see above: gstreamer" in done.stderr


@pytest.mark.parametrize("missing", ["promtool", "prometheus promtool"])
@pytest.mark.parametrize(("user", "has_apt"), [(1000, True), (0, False)])
def test_who_cannot_install_is_told_what_to_install(
    machine: Machine, user: int, has_apt: bool, missing: str
) -> None:
    python = lacks(machine, f"chromium {missing}")
    machine.is_user(user)
    if has_apt:
        machine.has("apt-get")
    done = machine.run(SERVERS, python)
    assert done.returncode == 2
    assert "'sudo apt install chromium prometheus'" in done.stderr, "no package is named promtool"
    assert not [line for line in machine.told if line.startswith("apt-get")]


def test_without_a_python_it_says_so(machine: Machine) -> None:
    done = machine.run(SERVERS, "/nowhere/python")
    assert done.returncode == 2
    assert "found no /nowhere/python, wanted the Python of the tests" in done.stderr


def test_every_program_that_can_be_missing_has_a_branch() -> None:
    text = SERVERS.read_text()
    assert len(FINDERS) == 9
    assert all(re.search(rf"^ +({name}|{name} \|.*|.*\| {name})\)", text, re.MULTILINE) for name in FINDERS)


def test_gstreamer_without_its_plugins_is_missing(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The bindings alone answer 5XX Server Error to whoever wants to see a camera."""
    try:
        python = find_gstreamer()
    except ServerError as exc:
        if os.environ.get("CLIPWATCH_TESTS_MAY_SKIP") == "1":
            pytest.skip(str(exc))
        raise
    monkeypatch.setenv("GST_PLUGIN_SYSTEM_PATH_1_0", str(tmp_path))
    monkeypatch.setenv("GST_REGISTRY_1_0", str(tmp_path / "registry"))
    done = subprocess.run(
        [python, ROOT / "tests" / "rtsp_server.py", "--missing"], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1
    missing = set(done.stdout.removeprefix("no element ").strip().split(", "))
    assert missing >= {"x264enc", "x265enc", "jpegenc", "rtph264pay", "rtph265pay", "rtpjpegpay"}
    assert missing >= {"videotestsrc", "filesrc", "qtdemux", "h264parse", "rtpbin"}
    assert not [name for name in missing if "/" in name or "=" in name]


# --- requirements/make-venv.sh


def python(machine: Machine, *, has_venv: bool = False, pip: str = "", venv_after: str = "") -> Path:
    """Put a Python there; `pip`: what of it works, "" none, "old" not from outside, "new" all."""
    lines = 'case "$*" in\n"--version") echo Python 3.12.1 ;;\n"-c "*) echo 3.12 ;;\n'
    lines += '"-m venv --without-pip"*) exit 0 ;;\n'
    lines += f'"-m venv --clear"*) {"exit 0" if has_venv else venv_after or "exit 1"} ;;\n'
    lines += f'"-m pip --python"*) exit {0 if pip == "new" else 1} ;;\n'
    return machine.has("python3", lines + f'"-m pip"*) exit {0 if pip else 1} ;;\nesac')


def test_an_environment_is_made_by_venv(machine: Machine) -> None:
    assert machine.run(VENV, python(machine, has_venv=True), "there").returncode == 0
    assert machine.told[-1] == "python3 -m venv --clear there"


def test_root_of_debian_installs_what_venv_lacks(machine: Machine) -> None:
    machine.is_user(0)
    machine.has("apt-get")
    installed = f'grep -q "apt-get install" "{machine.log}"'
    (machine.programs / "grep").symlink_to(str(shutil.which("grep")))
    assert machine.run(VENV, python(machine, venv_after=installed), "there").returncode == 0
    assert "apt-get install -y -qq --no-install-recommends python3.12-venv" in machine.told


@pytest.mark.parametrize("user", [0, 1000])
@pytest.mark.parametrize(
    ("name", "command"),
    [
        ("uv", "uv venv --seed --python {python} there"),
        ("virtualenv", "virtualenv --python {python} there"),
    ],
)
def test_another_tool_makes_it_where_apt_has_no_package_or_may_not_be_used(
    machine: Machine, user: int, name: str, command: str
) -> None:
    machine.is_user(user)
    machine.has("apt-get", '[ "$1" = update ]')
    machine.has(name)
    found = python(machine)
    done = machine.run(VENV, found, "there")
    assert done.returncode == 0, done.stderr
    assert machine.told[-1] == command.format(python=found)


@pytest.mark.parametrize("has_venv", [False, True])
def test_pip_is_left_to_the_packages_where_it_can_work_from_outside(machine: Machine, has_venv: bool) -> None:
    machine.is_user(1000)
    assert machine.run(VENV, python(machine, has_venv=has_venv, pip="new"), "there").returncode == 0
    assert machine.told[-2:] == [
        "python3 -m venv --without-pip --clear there",
        "python3 -m pip --python there/bin/python --version",
    ]


def test_a_pip_that_cannot_work_from_outside_is_no_help(machine: Machine) -> None:
    assert machine.run(VENV, python(machine, has_venv=True, pip="old"), "there").returncode == 0
    assert machine.told[-1] == "python3 -m venv --clear there"


def test_where_nothing_helps_it_says_what_would(machine: Machine) -> None:
    machine.is_user(1000)
    done = machine.run(VENV, python(machine), "there")
    assert done.returncode == 2
    assert "sudo apt install python3.12-venv" in done.stderr


# --- requirements/install.sh

UV = "uv pip install --quiet --python {python} --no-deps --require-hashes -r some.txt"
PIP = "-m pip --python {python} --disable-pip-version-check install --quiet --no-deps --require-hashes -r some.txt"


def pip_of(machine: Machine, *, config: str = "", makes_uv: bool = False, code: int = 0) -> Path:
    """Put a Python there whose pip knows `config`, can install uv or cannot, and ends with `code`."""
    folder = 'while [ "$1" != --target ]; do shift; done; mkdir -p "$2/bin"'
    uv = f'{folder}; cp "{machine.programs}/spare-uv" "$2/bin/uv"'
    lines = f'case "$*" in\n"-m pip --version") exit 0 ;;\n*" config list") printf "%s\\n" "{config}" ;;\n'
    lines += f"*--target*) {uv if makes_uv else 'exit 1'} ;;\n*) exit {code} ;;\nesac"
    (machine.programs / "cp").symlink_to(str(shutil.which("cp")))
    (machine.programs / "grep").symlink_to(str(shutil.which("grep")))
    return machine.has("python", lines)


def installs(machine: Machine) -> list[str]:
    return [line for line in machine.told if " install " in line and "--target" not in line]


def test_uv_on_the_path_installs(machine: Machine) -> None:
    python = pip_of(machine)
    machine.has("uv")
    assert machine.run(INSTALL, python, "some.txt").returncode == 0
    assert installs(machine) == [UV.format(python=python)]


def test_without_uv_it_is_brought_for_the_time_being(machine: Machine) -> None:
    python = pip_of(machine, makes_uv=True)
    machine.has("spare-uv")
    assert machine.run(INSTALL, python, "some.txt").returncode == 0
    [bring] = [line for line in machine.told if "--target" in line]
    assert bring.endswith("requirements/uv.txt")
    assert not Path(bring.split()[bring.split().index("--target") + 1]).exists(), "taken away again"
    assert installs(machine) == ["spare-" + UV.format(python=python)]


def test_pip_installs_where_uv_is_not_to_be_had(machine: Machine) -> None:
    python = pip_of(machine)
    assert machine.run(INSTALL, python, "some.txt").returncode == 0
    assert installs(machine) == ["python " + PIP.format(python=python)]


def test_pip_installs_what_uv_cannot(machine: Machine) -> None:
    python = pip_of(machine)
    machine.has("uv", "exit 2")
    done = machine.run(INSTALL, python, "some.txt")
    assert done.returncode == 0
    assert "trying pip" in done.stdout
    assert installs(machine) == [UV.format(python=python), "python " + PIP.format(python=python)]


@pytest.mark.parametrize("config", ["global.index-url='there'", ":env:.no-index='1'"])
def test_an_index_that_only_pip_knows_is_asked_by_pip(machine: Machine, config: str) -> None:
    machine.has("uv")
    python = pip_of(machine, config=config)
    assert machine.run(INSTALL, python, "some.txt").returncode == 0
    assert installs(machine) == ["python " + PIP.format(python=python)]


def test_a_further_index_of_pips_is_no_reason_to_leave_uv(machine: Machine) -> None:
    machine.has("uv")
    python = pip_of(machine, config="global.extra-index-url='there'")
    assert machine.run(INSTALL, python, "some.txt").returncode == 0
    assert installs(machine) == [UV.format(python=python)]


def test_a_project_stays_where_it_is_and_comes_after_what_it_needs(machine: Machine, tmp_path: Path) -> None:
    machine.has("uv")
    project = tmp_path / "project"
    project.mkdir()
    assert machine.run(INSTALL, pip_of(machine), "some.txt", project).returncode == 0
    first, second = installs(machine)
    assert first.endswith("--require-hashes -r some.txt")
    assert second.endswith(f"--no-deps --no-build-isolation --editable {project}")


def test_what_neither_can_install_ends_it(machine: Machine) -> None:
    machine.has("uv", "exit 2")
    assert machine.run(INSTALL, pip_of(machine, code=3), "some.txt", "other.txt").returncode == 3
    assert not [line for line in machine.told if "other.txt" in line]


def test_an_environment_without_pip_is_served_by_the_one_of_its_maker(
    machine: Machine, tmp_path: Path
) -> None:
    environment = tmp_path / "environment"
    (environment / "bin").mkdir(parents=True)
    python = environment / "bin" / "python"
    python.write_text("#!/bin/sh\nexit 1\n")
    python.chmod(0o755)
    maker = pip_of(machine)
    (environment / "pyvenv.cfg").write_text(f"home = {machine.programs}\nexecutable = {maker}\n")
    assert machine.run(INSTALL, python, "some.txt").returncode == 0
    assert installs(machine) == ["python " + PIP.format(python=python)]
