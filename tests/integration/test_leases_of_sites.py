"""Motion processes with a camera file for each site, and a WHIP camera that two processes share."""

from __future__ import annotations

import urllib.request
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from shared.yaml_files import read_yaml
from tests.integration.leased_site import LeasedSite
from tests.integration.test_motion_service import Rig
from tests.integration.test_recorder_service import Recorder, started
from tests.integration.test_webrtc_sources import PHONE, TOKEN, ask
from tests.servers import wait_until
from tests.unit.motion.publisher import Publisher

pytestmark = [pytest.mark.redis, pytest.mark.timeout(300)]
LIMIT_S = 60.0


@pytest.fixture
def site(tmp_path: Path, redis_url: str) -> Iterator[LeasedSite]:
    made = LeasedSite(Rig(tmp_path, redis_url), n_cameras=4)
    yield made
    made.close()


@pytest.fixture
def recorder(site: LeasedSite, tmp_path: Path, redis_url: str) -> Iterator[Recorder]:
    addresses = ",".join(map(site.address_of, site.ports))
    with started(tmp_path, redis_url, MOTION_URL=addresses) as made:
        yield made


def file_of(site: LeasedSite, name: str, *ids: str) -> str:
    """Write a camera file with some of the cameras; return its path."""
    site.rig.cameras(*(entry for entry in site.entries if entry["id"] in ids))
    path = site.rig.folder / f"{name}.yml"
    (site.rig.folder / "cameras.yml").replace(path)
    return str(path)


def n_unheld(site: LeasedSite, name: str) -> float:
    with urllib.request.urlopen(f"{site.address_of(name)}/metrics", timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return float(next(line for line in lines if line.startswith("clipwatch_cameras_unheld ")).split()[1])


def changed(recorder: Recorder, camera: str, **values: object) -> httpx.Response:
    path = f"{recorder.url}/api/cameras/{camera}"
    return httpx.patch(path, json=values, timeout=20, trust_env=False)


def threshold_in(path: str, camera: str) -> object:
    """Return a camera's threshold in a camera file; None: it has none, or is not in there."""
    document = read_yaml(Path(path))
    assert isinstance(document, dict)
    cameras = {one["id"]: one for one in document["cameras"]}
    return cameras.get(camera, {}).get("threshold")


def test_each_site_has_a_camera_file_and_reads_its_own_cameras(site: LeasedSite, recorder: Recorder) -> None:
    north, south = file_of(site, "north", "c00", "c01"), file_of(site, "south", "c02", "c03")
    site.start("a", CAMERAS_FILE=north)
    site.start("b", "c", CAMERAS_FILE=south)
    wait_until(site.are_all_read, LIMIT_S, "that all are read")
    assert site.read_by("a") == {"c00", "c01"}
    wait_until(lambda: len(site.read_by("b")) == len(site.read_by("c")) == 1, LIMIT_S, "an even share")
    wait_until(lambda: not any(n_unheld(site, name) for name in "abc"), LIMIT_S, "that none is unheld")

    wait_until(
        lambda: changed(recorder, "c02", threshold=0.7).is_success, LIMIT_S, "a change of the other site"
    )
    assert (threshold_in(south, "c02"), threshold_in(north, "c02")) == (0.7, None)
    assert changed(recorder, "c00", threshold=0.8).is_success
    assert (threshold_in(north, "c00"), threshold_in(south, "c00")) == (0.8, None)

    site.kill("b")
    wait_until(lambda: site.read_by("c") == {"c02", "c03"}, LIMIT_S, "that the one beside it reads both")
    site.kill("c")
    answers: list[httpx.Response] = []

    def is_told() -> bool:
        answers.append(changed(recorder, "c02", threshold=0.9))
        return "in its camera file" in answers[-1].text

    wait_until(is_told, LIMIT_S, "that nobody has the camera")
    assert {one.status_code for one in answers} == {503}
    assert site.read_by("a") == {"c00", "c01"}
    assert n_unheld(site, "a") == 0
    assert changed(recorder, "c01", threshold=0.6).is_success
    assert threshold_in(south, "c02") == 0.7


def test_a_camera_that_two_sites_list_is_read_by_the_other_one_when_a_site_is_gone(site: LeasedSite) -> None:
    north, south = file_of(site, "north", "c00", "c01"), file_of(site, "south", "c01", "c02", "c03")
    site.start("a", CAMERAS_FILE=north)
    wait_until(lambda: site.read_by("a") == {"c00", "c01"}, LIMIT_S, "that it reads what it lists")
    site.start("b", CAMERAS_FILE=south)
    wait_until(lambda: site.read_by("b") == {"c02", "c03"}, LIMIT_S, "that the other reads what is free")
    site.kill("a")
    wait_until(lambda: site.read_by("b") == {"c01", "c02", "c03"}, LIMIT_S, "that it reads the common one")


def test_a_whip_publisher_reaches_the_process_that_holds_the_camera(
    site: LeasedSite, recorder: Recorder
) -> None:
    site.rig.cameras(PHONE)
    site.start("a", "b")
    publishers: list[Publisher] = []

    def is_let_in() -> bool:
        publishers.append(Publisher("video/H264"))
        kind = {"Content_Type": "application/sdp", "Authorization": f"Bearer {TOKEN}"}
        status, _, answer = ask(recorder, "POST", "/whip/cam", publishers[-1].offer().encode(), **kind)  # type: ignore[arg-type]  # of its port
        assert status in (201, 503), answer
        if status == 201:
            publishers[-1].accept(answer)
        else:
            publishers.pop().close()
        return status == 201

    try:
        wait_until(is_let_in, LIMIT_S, "that the publisher is let in")
        wait_until(lambda: any(map(site.read_by, "ab")), LIMIT_S, "that its video is read")
        holder, other = ("a", "b") if site.read_by("a") else ("b", "a")
        sdp = {"Content_Type": "application/sdp"}
        statuses = [
            ask(site.running[other], "POST", f"/whip/cam?token={token}", b"v=0", **sdp)[0]
            for token in (TOKEN, f"{TOKEN}x")
        ]
        assert statuses == [503, 401]
        assert site.stop(holder) == 0
        wait_until(is_let_in, LIMIT_S, "that the publisher is let in by the other process")
        wait_until(lambda: site.read_by(other) == {"cam"}, LIMIT_S, "that its video is read")
    finally:
        for one in publishers:
            one.close()
