"""The cameras by HTTP, in process: the file, the workers and the answers say the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from services.motion.cameras.registry import CameraRegistry
from services.motion.http.cameras import CHANGEABLE, CameraRoutes, add_camera_routes
from services.motion.http.rules import PATTERNS, RULES
from shared.cameras import Camera
from shared.cameras.store import CameraFileStore
from shared.http_access import TokenAuthenticator
from shared.http_api import OF_EVERY_ROUTE, make_app
from tests.http_apps import client_of, guarded

FILE = """\
defaults: {background: [a wall]}   # for all
cameras:
  - id: gate   # the gate
    url: rtsp://u:${PASSWORD}@10.0.0.7/s
    labels: [a dog]   # seen
"""
TOKEN = "0123456789abcdef"


class Workers:
    """Keeps what it was told."""

    def __init__(self) -> None:
        self.told: list[dict[str, Camera]] = []

    def change(self, cameras: dict[str, Camera]) -> None:
        self.told.append(cameras)


class Rig:
    """The routes over a camera file in a folder."""

    def __init__(self, folder: Path, token: str | None = None, peer: str = "127.0.0.1") -> None:
        self.path = folder / "cameras.yml"
        self.path.write_text(FILE)
        self.workers = Workers()
        store = CameraFileStore(self.path, {"PASSWORD": "secret"})
        self.registry = CameraRegistry(store, self.workers, store.read())
        self.registry.begin()
        app = make_app("motion")
        self.app = app
        add_camera_routes(app, CameraRoutes(self.registry, lambda: {"cameras": []}))
        self.http = client_of(guarded(app, RULES, PATTERNS, TokenAuthenticator(token)), peer)


@pytest.fixture
async def rig(tmp_path: Path) -> AsyncIterator[Rig]:
    made = Rig(tmp_path)
    async with made.http:
        yield made


async def test_a_camera_shows_its_settings_without_its_password(rig: Rig) -> None:
    answer = await rig.http.get("/api/cameras/gate")
    assert answer.json()["url"] == "rtsp://***@10.0.0.7/s"
    assert answer.json()["settings"]["background"] == ["a wall"]
    assert "secret" not in answer.text
    assert (await rig.http.get("/api/cameras/cellar")).status_code == 404


async def test_labels_are_written_applied_and_answered_at_once_and_only_once(rig: Rig) -> None:
    answer = await rig.http.put("/api/cameras/gate/labels", json={"labels": ["a fox", "a cat"]})
    assert answer.status_code == 200
    assert answer.json()["settings"]["labels"] == ["a fox", "a cat"]
    assert rig.path.read_text() == FILE.replace("[a dog]", "[a fox, a cat]")
    assert [told["gate"].labels for told in rig.workers.told] == [("a fox", "a cat")]
    await rig.registry.follow()
    assert len(rig.workers.told) == 1


async def test_a_file_edited_by_hand_is_followed_and_kept_by_the_next_change(rig: Rig) -> None:
    rig.path.write_text(FILE.replace("[a dog]", "[a hen]"))
    await rig.registry.follow()
    assert rig.workers.told[-1]["gate"].labels == ("a hen",)
    rig.path.write_text(FILE.replace("[a dog]", "[a hen, a cow]"))
    answer = await rig.http.patch("/api/cameras/gate", json={"threshold": 0.7, "motion": {"quiet_s": 6}})
    assert answer.json()["settings"]["labels"] == ["a hen", "a cow"]
    assert rig.workers.told[-1]["gate"].motion.quiet_s == 6


async def test_of_two_editors_the_second_is_told_that_the_file_changed(rig: Rig) -> None:
    seen = (await rig.http.get("/api/cameras/gate")).headers["etag"]
    first = await rig.http.patch("/api/cameras/gate", json={"threshold": 0.7}, headers={"If-Match": seen})
    second = await rig.http.patch("/api/cameras/gate", json={"threshold": 0.8}, headers={"If-Match": seen})
    assert (first.status_code, second.status_code) == (200, 412)
    again = first.headers["etag"]
    third = await rig.http.patch("/api/cameras/gate", json={"threshold": 0.8}, headers={"If-Match": again})
    assert third.json()["settings"]["threshold"] == 0.8


async def test_all_faults_are_answered_at_once_and_nothing_changes(rig: Rig) -> None:
    answer = await rig.http.patch("/api/cameras/gate", json={"threshold": 7, "margins": 1, "labels": []})
    assert answer.status_code == 422
    errors = answer.json()["errors"]
    assert len(errors) == 3
    assert answer.json()["error"] == errors[0]
    assert {
        "found": "cameras.yml: camera 'gate': threshold=7",
        "wanted": "0..1",
        "do": "change the request",
    } in errors
    assert any("did you mean 'margin'?" in error["do"] for error in errors)
    assert (await rig.http.patch("/api/cameras/gate", json={"url": "file:///etc/passwd"})).status_code == 422
    assert rig.path.read_text() == FILE
    assert rig.workers.told == []


async def test_a_paused_camera_is_not_run_until_it_is_resumed(rig: Rig) -> None:
    json = {"Content-Type": "application/json"}
    answer = await rig.http.post("/api/cameras/gate/pause", headers=json)
    assert answer.json()["state"] == "paused"
    assert not rig.workers.told[-1]["gate"].enabled
    await rig.http.post("/api/cameras/gate/resume", headers=json)
    assert rig.workers.told[-1]["gate"].enabled


async def test_a_broken_file_is_answered_as_a_conflict(rig: Rig) -> None:
    rig.path.write_text("cameras: [")
    answer = await rig.http.patch("/api/cameras/gate", json={"threshold": 0.7})
    assert answer.status_code == 409
    assert "correct the camera file's faults first" in answer.json()["error"]["do"]


async def test_a_token_is_asked_for_where_there_is_one(tmp_path: Path) -> None:
    async with Rig(tmp_path, TOKEN, peer="10.0.0.9").http as http:
        assert (await http.get("/api/cameras")).status_code == 401
        without = await http.patch("/api/cameras/gate", json={"threshold": 0.7})
        key = {"Authorization": f"Bearer {TOKEN}"}
        with_it = await http.patch("/api/cameras/gate", json={"threshold": 0.7}, headers=key)
    assert (without.status_code, with_it.status_code) == (401, 200)


async def test_without_a_token_other_machines_see_and_change_nothing(tmp_path: Path) -> None:
    async with Rig(tmp_path, peer="10.0.0.9").http as http:
        answer = await http.patch("/api/cameras/gate", json={"threshold": 0.7})
        assert answer.status_code == 403
        assert "set API_TOKEN" in answer.json()["error"]["do"]
        assert (await http.get("/api/cameras/gate")).status_code == 403
        assert (await http.get("/api/cameras")).status_code == 403


def body_schema(rig: Rig, path: str, method: str) -> dict[str, Any]:  # Any: JSON
    body = rig.app.openapi()["paths"][path][method]["requestBody"]
    assert body["required"] is True
    schema: dict[str, Any] = body["content"]["application/json"]["schema"]
    assert "$ref" not in str(schema)
    return schema


async def test_the_api_document_says_what_a_change_may_hold(rig: Rig) -> None:
    schema = body_schema(rig, "/api/cameras/{camera_id}", "patch")
    assert set(schema["properties"]) == set(CHANGEABLE)
    for name in CHANGEABLE:
        assert {"type": "null"} in schema["properties"][name]["anyOf"], name
    motion = schema["properties"]["motion"]["anyOf"][0]
    assert motion["properties"]["min_contour_area"]["description"]


async def test_the_api_document_says_what_each_fault_looks_like(rig: Rig) -> None:
    for path, operations in rig.app.openapi()["paths"].items():
        for method, operation in operations.items():
            faults = {status: said for status, said in operation["responses"].items() if status >= "400"}
            assert {str(status) for status in OF_EVERY_ROUTE} <= set(faults), (method, path)
            for said in faults.values():
                schema = said["content"]["application/json"]["schema"]
                assert schema == {"$ref": "#/components/schemas/FaultOut"}


async def test_the_api_document_says_that_labels_are_wanted(rig: Rig) -> None:
    schema = body_schema(rig, "/api/cameras/{camera_id}/labels", "put")
    assert set(schema["properties"]) == {"labels", "background"}
    assert schema["required"] == ["labels"]
    assert schema["properties"]["labels"]["type"] == "array"
