"""What docker-compose.yml promises: nothing listens outside, no secret has a default, all services have a check."""

from __future__ import annotations

import functools
import importlib.metadata
import importlib.util
import os
import re
import stat
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from ruamel.yaml import YAML

from services.classifier.settings import ClassifierSettings
from services.motion.settings import MotionServiceSettings
from services.recorder.settings import RecorderSettings
from shared.cameras import load_cameras
from shared.settings import ServiceSettings
from tests.unit.deploy.test_requirements import names

ROOT = Path(__file__).resolve().parents[3]
COMPOSE = ROOT / "docker-compose.yml"
GPU = ROOT / "docker-compose.gpu.yml"
WEBRTC = ROOT / "docker-compose.webrtc.yml"
LEASES = ROOT / "docker-compose.leases.yml"
FILES = (COMPOSE, GPU, WEBRTC)
SECRETS = ("_PASSWORD", "_TOKEN")
SETTINGS: dict[str, type[ServiceSettings]] = {
    "motion": MotionServiceSettings,
    "classifier": ClassifierSettings,
    "recorder": RecorderSettings,
}
READ: dict[str, type[ServiceSettings]] = {**SETTINGS, "migration": RecorderSettings}
NOT_OURS = {"HOME", "TZ"}  # read by libraries, not by our settings
ENDS = "migration"  # the service that does its work and ends
# Which secrets of .env each container is given, and no other. METRICS_TOKEN opens /metrics alone.
GIVEN = {
    "redis": {f"REDIS_{user}_PASSWORD" for user in ("ADMIN", "MOTION", "CLASSIFIER", "RECORDER")},
    "mysql": {f"MYSQL_{user}_PASSWORD" for user in ("ROOT", "CLIPWATCH", "MIGRATOR", "GRAFANA")},
    "migration": {"MYSQL_MIGRATOR_PASSWORD"},
    "motion": {"REDIS_MOTION_PASSWORD", "MOTION_TOKEN", "METRICS_TOKEN"},
    "classifier": {"REDIS_CLASSIFIER_PASSWORD", "METRICS_TOKEN"},
    "recorder": {
        *("REDIS_RECORDER_PASSWORD", "MYSQL_CLIPWATCH_PASSWORD", "ADMIN_PASSWORD", "API_TOKEN"),
        *("MOTION_TOKEN", "METRICS_TOKEN"),
    },
    "grafana": {"GRAFANA_ADMIN_PASSWORD", "MYSQL_GRAFANA_PASSWORD"},
    "prometheus": {"METRICS_TOKEN"},
    "camera": set(),
}
VARIABLE = re.compile(r"(?<!\$)\$\{(?P<name>\w+)(?P<rest>[^}]*)\}")

Yaml = dict[str, Any]  # Any: what YAML can hold
RESET = "!reset"  # compose's tag for what a service of another file had, and this one has not


def load(path: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check_packages = load(ROOT / "deploy" / "image" / "check_packages.py")


@functools.cache
def read(path: Path) -> Yaml:
    """Return what a YAML file holds; nobody changes it."""
    yaml = YAML(typ="safe")
    yaml.constructor.add_constructor("!reset", lambda *_: RESET)
    document: Yaml = yaml.load(path.read_text(encoding="utf-8"))
    return document


@functools.cache
def packages_distributions() -> Mapping[str, list[str]]:
    return importlib.metadata.packages_distributions()


def services() -> dict[str, Yaml]:
    found: dict[str, Yaml] = read(COMPOSE)["services"]
    return found


def environment_file() -> dict[str, str]:
    lines = (ROOT / ".env.example").read_text(encoding="utf-8").splitlines()
    pairs = (line.partition("=") for line in lines if line and not line.startswith("#"))
    return {name: value for name, _, value in pairs}


def seconds(text: str) -> float:
    units = {"s": 1, "m": 60, "h": 3600}
    return sum(float(number) * units[unit] for number, unit in re.findall(r"(\d+)([smh])", text))


def texts(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from texts(key)
            yield from texts(item)
    elif isinstance(value, list):
        for item in value:
            yield from texts(item)
    else:
        yield str(value)


@pytest.mark.parametrize("name", services())
def test_ports_are_published_on_loopback_and_the_page_where_the_user_says(name: str) -> None:
    address = "${LISTEN_ADDRESS:-127.0.0.1}:" if name == "recorder" else "127.0.0.1:"
    for port in services()[name].get("ports", []):
        assert isinstance(port, str)
        assert port.startswith(address)
    assert services()[name].get("network_mode") != "host"


def test_only_the_page_and_grafana_are_published() -> None:
    assert {name for name, service in services().items() if "ports" in service} == {"recorder", "grafana"}


@pytest.mark.parametrize("name", sorted({*services()} - {ENDS}))
def test_every_service_is_healthy_in_a_way_of_its_own_or_its_images(name: str) -> None:
    service = services()[name]
    own = service.get("healthcheck", {})
    assert "test" in own or ("build" in service and "\nHEALTHCHECK " in (ROOT / "Dockerfile").read_text())
    assert not own.get("disable")
    assert "start_interval" not in own, "needs Docker 25; Debian 12 and Ubuntu 22.04 have older ones"


@pytest.mark.parametrize("name", services())
def test_images_are_pinned(name: str) -> None:
    image = services()[name]["image"]
    assert re.search(r":[^/@]+(@sha256:[0-9a-f]{64})?$", image), image
    assert ":latest" not in image


def test_the_dockerfiles_base_is_pinned() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.search(r"^ARG PYTHON=3\.\d+-slim-\w+(@sha256:[0-9a-f]{64})?$", text, re.MULTILINE)
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", text, re.MULTILINE)
    own = {name for _, name in stages} | {"packages-${RUNTIME}"}
    assert {base for base, _ in stages} - own == {"python:${PYTHON}"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_variable_is_explained_in_the_example(path: Path) -> None:
    used = {match["name"] for text in texts(read(path)) for match in VARIABLE.finditer(text)}
    assert used
    assert used <= environment_file().keys()


def test_the_example_has_no_variable_that_nothing_reads() -> None:
    used = {
        match["name"] for path in FILES for text in texts(read(path)) for match in VARIABLE.finditer(text)
    }
    assert environment_file().keys() <= used


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_secrets_have_no_default_and_their_absence_is_said(path: Path) -> None:
    for text in texts(read(path)):
        for match in VARIABLE.finditer(text):
            if match["name"].endswith(SECRETS):
                assert match["rest"].startswith(":?")
                assert "new-env.sh" in match["rest"] or "openssl" in match["rest"]


def test_the_example_holds_no_secret_and_a_value_for_all_else() -> None:
    for name, value in environment_file().items():
        assert (value == "") == name.endswith(SECRETS), name


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_the_examples_values_are_the_defaults_of_the_file(path: Path) -> None:
    for text in texts(read(path)):
        for match in VARIABLE.finditer(text):
            if match["rest"].startswith(":-") and match["name"] != "CONFIG_DIR":  # the example shows the demo
                assert match["rest"][2:] == environment_file()[match["name"]], match["name"]


@pytest.mark.parametrize("name", READ)
def test_services_are_given_only_what_they_read(name: str) -> None:
    given = {*services()[name]["environment"]} - NOT_OURS
    known = {field.upper() for field in READ[name].model_fields}
    assert given <= known
    for file in (GPU, WEBRTC, LEASES):
        assert {*read(file)["services"].get(name, {}).get("environment", {})} <= known


@pytest.mark.parametrize("name", READ)
def test_what_the_services_are_given_is_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for setting, value in services()[name]["environment"].items():
        text = VARIABLE.sub(lambda match: environment_file()[match["name"]] or "0123456789abcdef", str(value))
        monkeypatch.setenv(setting, text)
    settings = READ[name]()
    for field in settings.model_fields_set:
        value = getattr(settings, field)
        if isinstance(value, Path):
            mounts = [
                str(volume).split(":")[1] for volume in services()[name]["volumes"] if isinstance(volume, str)
            ]
            mounts += [volume["target"] for volume in services()[name]["volumes"] if isinstance(volume, dict)]
            assert any(value.is_relative_to(mount) for mount in mounts), f"{field}={value} is on no volume"


@pytest.mark.parametrize("name", SETTINGS)
def test_docker_waits_longer_than_the_drain(name: str) -> None:
    service = services()[name]
    drain_s = float(service["environment"]["DRAIN_S"])
    assert seconds(service["stop_grace_period"]) > drain_s + 2 + 4, (
        "2 s to cancel, 4 s to close HTTP: runtime.py"
    )


@pytest.mark.parametrize("name", services())
def test_containers_can_do_little_and_come_back(name: str) -> None:
    service = services()[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["restart"] == ("no" if name == ENDS else "unless-stopped")
    assert service["logging"]["options"].keys() >= {"max-size", "max-file"}
    assert "container_name" not in service
    assert "privileged" not in service
    if not service["image"].endswith(":local"):
        assert service["user"] not in ("", "root", "0")


@pytest.mark.parametrize("name", services())
def test_containers_have_a_limit_of_memory_and_of_threads(name: str) -> None:
    service = services()[name]
    assert re.fullmatch(r"(\$\{[A-Z]+_MEMORY:-)?\d+[gm]\}?", service["mem_limit"])
    assert service["pids_limit"] == "${PIDS_MAX:-4096}"


def test_redis_may_take_twice_its_data() -> None:
    """It copies itself to rewrite its file, and the copy is as large as all that changes meanwhile."""
    limit, data = (gib(environment_file()[name]) for name in ("REDIS_MEMORY", "REDIS_MAXMEMORY"))
    assert limit > 2 * data


def gib(text: str) -> float:
    number = re.fullmatch(r"(\d+)gb?", text)
    assert number is not None, text
    return float(number[1])


def test_each_image_is_built_once() -> None:
    """Two builds of one tag leave a dangling image, and the next `up` makes both containers anew."""
    built = [service["image"] for service in services().values() if "build" in service]
    assert len(built) == len(set(built)) == 3
    ours = [service for service in services().values() if service["image"].endswith(":local")]
    assert all("build" in service or service["pull_policy"] == "never" for service in ours)
    assert services()["camera"]["image"] == services()["motion"]["image"]
    assert services()[ENDS]["image"] == services()["recorder"]["image"]


def test_two_checkouts_share_nothing() -> None:
    name = "${COMPOSE_PROJECT_NAME:-clipwatch}"
    assert read(COMPOSE)["name"] == name, "containers, volumes and networks carry it"
    for service in services().values():
        if service["image"].endswith(":local"):
            assert service["image"].startswith(f"{name}/")


def test_the_demos_camera_is_scaled_to_nothing_and_never_forgotten() -> None:
    """`up` and `down` leave the container of a disabled profile behind."""
    assert services()["camera"]["scale"] == "0${COMPOSE_PROFILES:+1}"
    assert not any("profiles" in service for service in services().values())


def test_the_image_runs_as_a_user_without_rights() -> None:
    text = (ROOT / "Dockerfile").read_text()
    assert re.findall(r"useradd --uid (\d+) ", text) == ["10001"]
    assert re.findall(r"^USER (\w+)$", text, re.MULTILINE) == ["10001"]  # a number: every host resolves it


def test_hadolint_finds_nothing_in_the_dockerfile() -> None:
    program = Path(sys.executable).with_name("hadolint")
    done = subprocess.run([program, ROOT / "Dockerfile"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_nothing_starts_before_what_it_needs_is_healthy() -> None:
    needs = {
        name: {other: how["condition"] for other, how in service.get("depends_on", {}).items()}
        for name, service in services().items()
    }
    healthy = "service_healthy"
    assert needs["motion"] == needs["classifier"] == {"redis": healthy}
    assert needs[ENDS] == {"mysql": healthy}
    # `up --wait` waits for its end, instead of for its health, because another service does
    ended = "service_completed_successfully"
    assert needs["recorder"] == {"redis": healthy, "mysql": healthy, ENDS: ended}
    assert needs["grafana"] == {"mysql": healthy}


def test_redis_and_mysql_cannot_be_reached_from_elsewhere() -> None:
    assert services()["redis"]["networks"] == ["queue"]
    assert services()["mysql"]["networks"] == ["database"]
    networks = read(COMPOSE)["networks"]
    assert networks["queue"]["internal"] is True
    assert networks["database"]["internal"] is True


def test_redis_drops_nothing_and_mysql_counts_in_utc() -> None:
    assert "--maxmemory-policy noeviction" in " ".join(services()["redis"]["command"])
    assert "--appendonly yes" in " ".join(services()["redis"]["command"])
    assert "--default-time-zone=+00:00" in services()["mysql"]["command"]
    assert "--character-set-server=utf8mb4" in services()["mysql"]["command"]


def test_every_volume_is_used_and_declared() -> None:
    named = {
        str(volume).split(":")[0]
        for service in services().values()
        for volume in service.get("volumes", [])
        if isinstance(volume, str) and not volume.startswith((".", "/"))
    }
    assert named == read(COMPOSE)["volumes"].keys()


def guide(section: str) -> str:
    text = (ROOT / "docs" / "guide" / "compose.md").read_text(encoding="utf-8")
    return text.split(f"\n## {section}\n")[1].split("\n## ")[0]


def test_the_guide_names_every_volume_and_every_containers_memory() -> None:
    text = guide("Looking after it")
    volumes = set(read(COMPOSE)["volumes"])
    assert {volume for volume in volumes if f"| volume `{volume}`" in text} == volumes
    memory = text[text.index("Memory:") : text.index("Two checkouts")]
    assert not [name for name in {*services()} - {"camera", ENDS} if name.lower() not in memory.lower()]


def test_the_guides_backup_keeps_every_file_that_belongs_to_an_installation() -> None:
    files = {entry["path"] for service in services().values() for entry in service.get("env_file", [])}
    assert files == {"cameras.env", "recorder.env"}
    for name in (*files, ".env", "config/"):
        assert f"`{name}`" in guide("Backup"), name


def test_the_guides_upgrade_fetches_what_is_not_built_here() -> None:
    [pull] = re.findall(r"^docker compose pull (.+?)(?: +#.*)?$", guide("Upgrade"), re.MULTILINE)
    fetched = {n for n, service in services().items() if not service["image"].endswith(":local")}
    assert set(pull.split()) == fetched
    assert "docker compose build --pull" in guide("Upgrade")


def test_health_checks_need_no_program_that_a_variant_of_the_image_lacks() -> None:
    assert services()["prometheus"]["healthcheck"]["test"][:2] == ["CMD", "promtool"]
    assert services()["prometheus"]["healthcheck"]["test"][2] != "check", "2.42 has no `check healthy`"
    assert " || wget " in services()["grafana"]["healthcheck"]["test"][1]


def test_files_that_are_mounted_exist() -> None:
    for service in services().values():
        for volume in service.get("volumes", []):
            if isinstance(volume, str) and volume.startswith("./"):
                assert (ROOT / volume.split(":")[0]).exists(), volume
                assert volume.endswith(":ro")


def test_classifiers_can_be_scaled() -> None:
    assert "ports" not in services()["classifier"]
    assert "INSTANCE" not in services()["classifier"]["environment"], "replicas would share it"


def merged(base: Yaml, over: Yaml) -> Yaml:
    """Merge as compose does it where there is nothing but mappings, and lists that one side alone has."""
    found = dict(base)
    for key, value in over.items():
        if key in found and isinstance(value, dict):
            found[key] = merged(found[key], value)
        else:
            assert key not in found or not isinstance(value, list), f"{key}: compose would append"
            found[key] = value
    return found


@pytest.mark.parametrize(("gpus", "count"), [(None, "all"), ("all", "all"), ("2", "2")])
def test_with_the_gpu_file_every_classifier_sees_all_gpus(gpus: str | None, count: str) -> None:
    whole = merged(read(COMPOSE), read(GPU))
    (reserved,) = whole["services"]["classifier"]["deploy"]["resources"]["reservations"]["devices"]
    assert reserved["driver"] == "nvidia"
    assert reserved["capabilities"] == ["gpu"]
    given = {"GPUS": gpus} if gpus else {}
    assert (
        VARIABLE.sub(lambda m: given.get(m["name"], m["rest"].removeprefix(":-")), reserved["count"]) == count
    )
    assert "device_ids" not in reserved, "compose takes either"
    for name, service in whole["services"].items():
        assert ("deploy" in service) == (name == "classifier"), name


def test_with_the_gpu_file_the_cpu_is_no_silent_substitute() -> None:
    environment = merged(read(COMPOSE), read(GPU))["services"]["classifier"]["environment"]
    assert environment["DEVICE"] == "${DEVICE:-cuda}"
    assert "DEVICE" not in services()["classifier"]["environment"]
    # what Docker and CUDA themselves read would take GPUs away from what the leases spread over
    assert not {"NVIDIA_VISIBLE_DEVICES", "CUDA_VISIBLE_DEVICES", "INSTANCE"} & environment.keys()
    assert environment["REDIS_URL"] == services()["classifier"]["environment"]["REDIS_URL"]


def test_with_the_webrtc_file_motion_opens_the_ports_that_it_uses_on_one_address() -> None:
    assert read(WEBRTC)["services"].keys() == {"motion"}
    motion = read(WEBRTC)["services"]["motion"]
    address, ports = "${MOTION_ADDRESS:-127.0.0.1}", motion["environment"]["WEBRTC_PORTS"]
    assert motion["environment"]["WEBRTC_ADDRESSES"] == address
    assert motion["ports"] == [f"{address}:{ports}:{ports}/udp"], "HTTP goes through the recorder"
    assert "network_mode" not in motion, "compose refuses it beside networks"
    default = MotionServiceSettings(webrtc_ports=environment_file()["WEBRTC_PORTS"])
    assert len(default.peer_network.ports) == 20


@pytest.mark.parametrize(
    ("image", "files"),
    [
        ("motion", ["motion"]),
        ("classifier", ["classifier"]),  # and open_clip, as data
        ("classifier-gpu", ["gpu", "convert"]),
        ("recorder", ["recorder"]),
    ],
)
def test_no_image_requires_what_its_build_refuses(image: str, files: list[str]) -> None:
    """The real thing, in an environment of the image's own: tests/integration/test_image_packages.py."""
    brought_by = packages_distributions()
    unwanted = {
        re.sub(r"[-_.]+", "-", name).lower()
        for module in check_packages.UNWANTED[image]
        for name in brought_by.get(module, ())
    }
    pinned = set().union(*(names(file) for file in files))
    assert unwanted, "this environment has all images' packages"
    assert pinned & unwanted == set()
    assert {"redis", "pydantic"} <= pinned


def test_the_gpu_file_builds_another_image_with_a_name_of_its_own() -> None:
    """With the tag of the other one, whoever leaves the file out would go on with torch, and the other way round."""
    plain = services()["classifier"]
    gpu = merged(read(COMPOSE), read(GPU))["services"]["classifier"]
    assert gpu["build"] == {**plain["build"], "args": {**plain["build"]["args"], "RUNTIME": "gpu"}}
    assert "RUNTIME" not in plain["build"]["args"], "the Dockerfile's own is cpu"
    assert gpu["image"] != plain["image"]
    assert gpu["image"].endswith("/classifier-gpu:local")


def test_the_recorders_code_may_import_nothing_that_its_build_refuses() -> None:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    [light] = [contract for contract in contracts if contract["name"] == "the recorder is light"]
    assert set(light["forbidden_modules"]) == set(check_packages.UNWANTED["recorder"])


def test_the_images_take_only_what_they_need() -> None:
    ignore = (ROOT / ".dockerignore").read_text().splitlines()
    assert ignore[[line.startswith("#") for line in ignore].index(False)] == "*", (
        "everything is left out first"
    )
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    allowed = {line[1:] for line in ignore if line.startswith("!")}
    sources = [source.rstrip("*") for sources in copied for source in sources.split()]
    assert {path.split("/")[0] for path in sources} == {path.split("/")[0] for path in allowed}


@pytest.mark.parametrize("path", ["deploy/demo/cameras.yml", "deploy/cameras.example.yml"])
def test_the_camera_files_are_valid(path: str) -> None:
    assert load_cameras(ROOT / path, {"GATE_PASSWORD": "secret"}).cameras


def test_the_demo_plays_every_sample() -> None:
    urls = {camera.url for camera in load_cameras(ROOT / "deploy" / "demo" / "cameras.yml").cameras}
    samples = {path.stem for path in (ROOT / "samples").glob("*.mp4")}
    assert urls == {f"rtsp://camera:8554/{sample}" for sample in samples}


def checkout(folder: Path) -> Path:
    """Make what new-env.sh needs of a checkout, closed to other users as by umask 077."""
    for name in ("deploy", "grafana-provisioning", "samples"):
        (folder / name).mkdir(parents=True, mode=0o700)
    for name in ("deploy/new-env.sh", ".env.example"):
        (folder / name).write_bytes((ROOT / name).read_bytes())
        (folder / name).chmod(0o600)
    return folder


def new_env(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    script = folder / "deploy" / "new-env.sh"
    return subprocess.run(["sh", script, *arguments], capture_output=True, text=True, timeout=30)


def values_of(file: Path) -> dict[str, str]:
    return dict(line.split("=", 1) for line in file.read_text().splitlines() if line and line[0] != "#")


def test_new_env_fills_in_fresh_passwords_and_keeps_an_old_file(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "clipwatch")
    names = sorted(path.name for path in folder.iterdir())
    done = new_env(folder)
    assert done.returncode == 0, done.stderr
    made = folder / ".env"
    assert stat.S_IMODE(made.stat().st_mode) == 0o600
    found = values_of(made)
    passwords = [value for name, value in found.items() if name.endswith(SECRETS)]
    assert len(set(passwords)) == len(passwords) == 13
    assert all(re.fullmatch(r"[0-9a-f]{48}", password) for password in passwords), "they stand in URLs"
    example = environment_file()
    fresh = {name for name in example if name.endswith(SECRETS)} | {"COMPOSE_PROJECT_NAME"}
    assert {n: v for n, v in found.items() if n not in fresh} == {
        n: v for n, v in example.items() if n not in fresh
    }
    before = made.read_text()
    assert new_env(folder).returncode == 1
    assert made.read_text() == before
    assert sorted(path.name for path in folder.iterdir()) == sorted([".env", *names])


def test_new_env_adds_what_an_older_file_lacks_and_changes_nothing(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "clipwatch")
    (folder / ".env").write_text(
        "REDIS_PASSWORD=old\nMYSQL_ROOT_PASSWORD='a$b'\nPAGE_PORT=9"
    )  # no end of line
    done = new_env(folder, "--add")
    assert done.returncode == 0, done.stderr
    text = (folder / ".env").read_text()
    assert text.startswith("REDIS_PASSWORD=old\nMYSQL_ROOT_PASSWORD='a$b'\nPAGE_PORT=9\n")
    found = values_of(folder / ".env")
    assert found.keys() == environment_file().keys() - {"COMPOSE_PROJECT_NAME"} | {"REDIS_PASSWORD"}
    assert (found["PAGE_PORT"], found["MYSQL_ROOT_PASSWORD"]) == ("9", "'a$b'")
    assert all(found[name] for name in found if name.endswith(SECRETS))
    again = new_env(folder, "--add")
    assert again.returncode == 0, again.stderr
    assert (folder / ".env").read_text() == text
    assert {path.name for path in folder.iterdir() if path.name.startswith(".env")} == {
        ".env",
        ".env.example",
    }


@pytest.mark.parametrize("name", services())
def test_each_container_has_its_own_secrets_and_no_others(name: str) -> None:
    used = {match["name"] for text in texts(services()[name]) for match in VARIABLE.finditer(text)}
    assert {one for one in used if one.endswith(SECRETS)} == GIVEN[name]
    files = {"motion": ["cameras.env"], "recorder": ["recorder.env"]}
    assert [entry["path"] for entry in services()[name].get("env_file", [])] == files.get(name, [])


def test_the_page_of_the_design_says_what_belongs_to_whom() -> None:
    text = (ROOT / "docs" / "design" / "deployment.md").read_text(encoding="utf-8")
    table = text.split("| service | Redis | MySQL |")[1].split("\n\n")[0].splitlines()[2:]
    rows = {
        row[0]: row[1:] for row in ([cell.strip() for cell in line.strip("|").split("|")] for line in table)
    }
    assert rows.keys() == services().keys()
    for name, (redis, mysql, others, volume, networks) in rows.items():
        users = {
            f"REDIS_{redis.upper()}_PASSWORD",
            f"MYSQL_{mysql.upper()}_PASSWORD",
        } & environment_file().keys()
        given = {one for one in others.split(", ") if one != "-"} | users
        assert given == GIVEN[name] or name in ("redis", "mysql"), name
        mounts = [str(one) for one in services()[name].get("volumes", [])]
        assert [one.split(":")[0] for one in mounts if re.match(r"\w+:", one)] == (
            [] if volume == "-" else [volume]
        )
        assert services()[name]["networks"] == networks.split(", ")


def test_only_the_start_of_the_recorder_may_change_tables() -> None:
    [holder] = [
        name for name in services() if "MIGRATION_DATABASE_URL" in services()[name].get("environment", {})
    ]
    assert holder == ENDS
    assert services()[ENDS]["entrypoint"] == ["python", "-m", "services.recorder.migrate"]
    assert services()[ENDS]["networks"] == ["database"]


def test_each_service_is_a_user_of_redis_and_has_its_own_password_alone() -> None:
    for name in SETTINGS:
        environment = services()[name]["environment"]
        assert environment["REDIS_URL"] == f"redis://{name}@redis:6379/0"
        given = {match["name"] for text in texts(environment) for match in VARIABLE.finditer(text)}
        assert {one for one in given if one.startswith("REDIS_")} == {f"REDIS_{name.upper()}_PASSWORD"}
    assert set(services()["redis"]["environment"]) == {
        f"REDIS_{user}_PASSWORD" for user in ("ADMIN", "MOTION", "CLASSIFIER", "RECORDER")
    }
    assert "--aclfile /tmp/users.acl" in " ".join(services()["redis"]["command"])


def test_prometheus_has_its_token_by_a_file_and_nobody_asks_without_one() -> None:
    config = read(ROOT / "deploy" / "prometheus.yml")
    assert config["scrape_configs"][0]["authorization"] == {"credentials_file": "/tmp/metrics-token"}
    assert "> /tmp/metrics-token" in services()["prometheus"]["entrypoint"][-1]
    for name in SETTINGS:
        assert "METRICS_TOKEN" in services()[name]["environment"]
        assert services()[name]["environment"]["TRUSTED_PROXIES"] == "${TRUSTED_PROXIES:-127.0.0.1}"


def test_new_env_keeps_two_checkouts_apart_and_one_the_same(tmp_path: Path) -> None:
    one, other = (checkout(tmp_path / name / "clipwatch") for name in ("a", "b"))
    for folder, file in ((one, "1.env"), (one, "2.env"), (other, "1.env")):
        assert new_env(folder, file).returncode == 0
    first, again, second = (
        values_of(file)["COMPOSE_PROJECT_NAME"] for file in (one / "1.env", one / "2.env", other / "1.env")
    )
    assert first == again != second
    assert re.fullmatch(r"clipwatch-\d+", first), "compose takes small letters, digits, - and _"


def test_new_env_opens_what_containers_mount(tmp_path: Path) -> None:
    folder = checkout(tmp_path / "clipwatch")
    assert new_env(folder).returncode == 0
    for path in (folder / "deploy", folder / "samples", folder / "grafana-provisioning"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o755
    assert stat.S_IMODE((folder / "deploy" / "new-env.sh").stat().st_mode) == 0o644


@pytest.mark.parametrize(
    "password", ["plain", "it's", "back\\slash", "'; DROP USER root; --", '`x` $HOME "y"']
)
def test_passwords_of_database_users_are_quoted_whole(tmp_path: Path, password: str) -> None:
    """The first-start script runs against a `mysql` that keeps what it is told."""
    told = tmp_path / "told.sql"
    (tmp_path / "mysql").write_text(f'#!/bin/sh\ncat > "{told}"\n')
    (tmp_path / "mysql").chmod(0o755)
    environment = {
        "PATH": f"{tmp_path}:{os.environ['PATH']}",
        "MYSQL_ROOT_PASSWORD": "r",
        "MYSQL_DATABASE": "clipwatch",
        "CLIPWATCH_PASSWORD": password,
        "MIGRATOR_PASSWORD": "m",
        "GRAFANA_PASSWORD": "g",
    }
    script = ROOT / "deploy" / "mysql-init" / "10-users.sh"
    subprocess.run(["sh", script], env=environment, check=True, timeout=30)
    quoted = password.replace("\\", "\\\\").replace("'", "''")
    lines = told.read_text().splitlines()
    assert lines[0] == f"CREATE USER IF NOT EXISTS 'clipwatch'@'%' IDENTIFIED BY '{quoted}';"
    assert lines[1] == f"ALTER USER 'clipwatch'@'%' IDENTIFIED BY '{quoted}';"
    assert [line for line in lines if "GRANT" in line and "grafana" in line] == [
        "REVOKE ALL PRIVILEGES, GRANT OPTION FROM 'grafana'@'%';"
    ], "what it may read is granted when the tables are there"
