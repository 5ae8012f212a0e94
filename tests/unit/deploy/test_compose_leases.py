"""What docker-compose.leases.yml promises: several motion processes, each with what it needs of its own."""

from __future__ import annotations

from services.motion.settings import MotionServiceSettings
from shared.settings import read_settings
from tests.unit.deploy.test_compose import (
    COMPOSE,
    LEASES,
    NOT_OURS,
    RESET,
    ROOT,
    VARIABLE,
    Yaml,
    environment_file,
    merged,
    read,
    services,
    texts,
)


def leased_motions() -> dict[str, Yaml]:
    """Return the motion processes with the file of leases, whole, by the names of their services."""
    found = {name: over for name, over in read(LEASES)["services"].items() if name.startswith("motion")}
    return {name: whole_motion(over) for name, over in found.items()}


def whole_motion(over: Yaml) -> Yaml:
    """Return motion with what `over` says: its networks and volumes by name and target, as compose joins them."""
    base = services()["motion"]
    plain = {key: value for key, value in over.items() if key not in ("networks", "volumes", "extends")}
    named = [one for one in base["volumes"] if isinstance(one, str)]
    volumes = {one.partition(":")[2]: one for one in [*named, *over.get("volumes", [])]}
    networks = {**dict.fromkeys(base["networks"]), **over["networks"]}
    return {**merged(base, plain), "networks": networks, "volumes": volumes}


def test_with_the_leases_file_each_motion_has_a_name_an_address_and_a_volume_of_its_own() -> None:
    motions = leased_motions()
    assert motions.keys() == {"motion", "motion-2", "motion-3"}
    environments = [one["environment"] for one in motions.values()]
    for environment in environments:
        assert environment["CAMERA_LEASES"] == "true"
        assert environment["EXIT_WHEN_DONE"] == "false"
        assert environment["REACHED_AT"] == f"http://{environment['ALLOWED_HOSTS']}:8080"
    for setting in ("INSTANCE", "REACHED_AT"):
        assert len({environment[setting] for environment in environments}) == len(motions), setting
    volumes = [one["volumes"]["/data"].partition(":")[0] for one in motions.values()]
    assert len({*volumes}) == len(motions)
    assert {*volumes} == {"motion", *read(LEASES)["volumes"]}, (
        "without the file the first one's data is there"
    )
    told = read(LEASES)["services"]["recorder"]["environment"]["MOTION_URL"]
    assert told.split(",") == [environment["REACHED_AT"] for environment in environments]


def test_with_the_leases_file_the_recorder_finds_each_motion_and_prometheus_all() -> None:
    names = {
        name: {name, *(one["networks"]["default"] or {}).get("aliases", [])}
        for name, one in leased_motions().items()
    }
    for name, motion in leased_motions().items():
        assert motion["networks"].keys() == {"queue", "default"}
        host = motion["environment"]["ALLOWED_HOSTS"]
        assert [one for one, known in names.items() if host in known] == [name], (
            "nobody else has this address"
        )
    assert all("motion" in known for known in names.values())
    [scraped] = read(ROOT / "deploy" / "prometheus.yml")["scrape_configs"][0]["dns_sd_configs"]
    assert "motion" in scraped["names"]


def test_with_the_leases_file_further_motions_are_the_first_one_and_its_image() -> None:
    over = read(LEASES)["services"]
    for name in {*leased_motions()} - {"motion"}:
        assert over[name]["extends"] == {"file": COMPOSE.name, "service": "motion"}
        assert over[name]["build"] == RESET, "two builds of one tag: see test_each_image_is_built_once"
        assert over[name]["pull_policy"] == "never"
        assert over[name].keys() == {
            *("extends", "build", "pull_policy", "environment", "volumes", "networks")
        }
    assert not any(VARIABLE.search(text) for text in texts(read(LEASES)))


def test_the_settings_of_leased_motions_are_valid() -> None:
    for motion in leased_motions().values():
        given = {
            name: VARIABLE.sub(
                lambda match: environment_file()[match["name"]] or "0123456789abcdef", str(value)
            )
            for name, value in motion["environment"].items()
            if name not in NOT_OURS
        }
        settings, faults = read_settings(MotionServiceSettings, given)
        assert faults == []
        assert settings is not None
        assert settings.camera_leases
        assert settings.lease_fault is None
