"""What one camera has learned, written to a folder of pictures and learned by another, through the recorder's API."""

from __future__ import annotations

import asyncio
import csv
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from redis.asyncio import Redis
from typer.testing import CliRunner, Result

from services.classifier.words.prompts import LabelBank
from services.local.cli import app
from services.recorder.http.rules import EXAMPLE_RULE
from shared.contract import LABELS, MEDIA, examples_key
from shared.decisions.labeller import EmbeddedSnippet, label
from shared.errors import ConfigError
from tests.integration.test_picture_requests import embedding, png
from tests.integration.test_recorder_service import Recorder, database_url, settled
from tests.integration.test_search_and_hindsight import answering, seen
from tests.unit.classifier.makers import GREEN, RED, Colour, ColourModel, jpeg
from tests.unit.local.tasks.test_verdict_folder import clip_of
from tests.unit.recorder.messages import Said, append, media_message

__all__ = ["database_url"]  # a fixture

pytestmark = pytest.mark.redis
OLIVE = (180, 220, 20)  # taken for a dog


@pytest.fixture
def recorder(tmp_path: Path, redis_url: str, database_url: str) -> Iterator[Recorder]:  # noqa: F811 - the fixture
    recorder = Recorder(tmp_path, redis_url, database_url).start()
    yield recorder
    if recorder.process is not None and recorder.process.poll() is None:
        recorder.kill()


async def recorded(
    redis: Redis, number: int, colour: Colour, camera: str = "gate", *, clip: bytes = b""
) -> str:
    """Publish a snippet of one colour as motion and classifier do; return the event's id."""
    model, sent = ColourModel(), seen(number, [colour] * 4, camera)
    pixels = np.stack([np.full((3, 4, 4), np.array(colour)[:, None, None], np.uint8)] * 4)
    looked = EmbeddedSnippet(sent, model.embed_pictures(pixels), np.ones(4, dtype=np.bool_))
    said = label(looked, LabelBank(model, 1).get(sent.header.label_set), model.facts, sent.header.ended_at)
    if clip:
        media = media_message(Said(event=number, camera=camera), clip, jpeg(colour, 320, 180))
        header = media.header.model_copy(update={"event_id": sent.header.event_id, "snippet": 0})
        media_id = await append(redis, MEDIA, replace(media, header=header).encode())
        said = replace(said, header=said.header.model_copy(update={"media_id": media_id}))
    await append(redis, LABELS, said.encode())
    return sent.header.event_id


async def clipwatch(recorder: Recorder, *arguments: str) -> Result:
    """Run `clipwatch verdicts` beside the loop, in which the classifier answers."""
    command = ["verdicts", *arguments, "--url", recorder.url]
    return await asyncio.to_thread(lambda: CliRunner().invoke(app, command))


async def fault_of(recorder: Recorder, *arguments: str) -> str:
    """Return what is wrong with a command line."""
    done = await clipwatch(recorder, *arguments)
    assert isinstance(done.exception, ConfigError), done.output
    return str(done.exception)


def rows_of(folder: Path) -> list[dict[str, str]]:
    with (folder / "verdicts.csv").open(encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def say(recorder: Recorder, event: str, **said: Any) -> None:  # Any: JSON
    answer = httpx.post(f"{recorder.url}/api/events/{event}/verdicts", json=said, trust_env=False, timeout=60)
    assert answer.status_code == 201, answer.text


def status_of(address: str, picture: bytes) -> int:
    kind = {"content-type": "image/jpeg"}
    return httpx.post(address, content=picture, headers=kind, trust_env=False, timeout=60).status_code


def examples_of(recorder: Recorder, camera: str) -> list[dict[str, Any]]:  # Any: JSON
    answer = httpx.get(f"{recorder.url}/api/cameras/{camera}/examples", trust_env=False, timeout=60)
    return list(answer.raise_for_status().json()["examples"])


async def test_what_one_camera_learned_is_learned_by_another(
    recorder: Recorder, redis_client: Redis, tmp_path: Path
) -> None:
    model, folder = ColourModel(), tmp_path / "learned"
    flag = await recorded(redis_client, 0, OLIVE, clip=clip_of(*[(OLIVE, OLIVE)] * 4))
    gone = await recorded(redis_client, 1, GREEN)
    await recorded(redis_client, 2, RED, "yard")
    await settled(redis_client)
    async with answering(redis_client, model), embedding(redis_client, model):
        await asyncio.to_thread(say, recorder, flag, kind="wrong")
        await asyncio.to_thread(say, recorder, gone, kind="right")
        n_gate = len(examples_of(recorder, "gate"))
        done = await clipwatch(recorder, "--export", str(folder), "--json")
        assert done.exit_code == 0, done.output
        rows = rows_of(folder)
        with_picture = [row for row in rows if row["file"]]
        counts = json.loads(done.stdout)
        assert (counts["examples"], counts["without_picture"]) == (n_gate, n_gate - len(with_picture))
        assert {(row["event"], row["label"], row["shows"]) for row in with_picture} == {(flag, "a dog", "no")}
        assert {(row["event"], row["shows"]) for row in rows if not row["file"]} == {(gone, "yes")}
        assert all("gone" in row["note"] for row in rows if not row["file"])

        assert "it is not empty" in await fault_of(recorder, "--export", str(folder))
        own = await clipwatch(recorder, "--import", str(folder), "--camera", "gate", "--json")
        assert json.loads(own.stdout)["new"] == 0, own.output
        assert len(examples_of(recorder, "gate")) == n_gate

        for n_new in (len({(folder / row["file"]).read_bytes() for row in with_picture}), 0):
            done = await clipwatch(recorder, "--import", str(folder), "--camera", "yard", "--json")
            assert done.exit_code == 0, done.output
            said = json.loads(done.stdout)
            assert (said["new"], said["new"] + said["there_already"]) == (n_new, len(with_picture))
            assert said["without_picture"] == len(rows) - len(with_picture)
        learned = examples_of(recorder, "yard")
        assert {(one["label"], one["is_right"], one["clip_url"]) for one in learned} == {
            ("a dog", False, None)
        }
        async with asyncio.timeout(60):
            while not await redis_client.hexists(examples_key("yard", "colours"), "h"):
                await asyncio.sleep(0.05)

        listed = httpx.get(f"{recorder.url}/api/verdicts?camera=yard", trust_env=False).json()["verdicts"]
        for one in listed:
            assert (one["kind"], one["label"], one["is_followed"]) == ("wrong", "a dog", True)
            undo = f"{recorder.url}/api/verdicts/{one['id']}/undo"
            assert httpx.post(undo, json={}, trust_env=False).status_code == 200
        assert examples_of(recorder, "yard") == []
        done = await clipwatch(recorder, "--import", str(folder), "--camera", "yard", "--json")
        assert json.loads(done.stdout)["new"] == 0, "what was taken back stays so"


async def test_what_cannot_be_learned_is_said_of_each_row(
    recorder: Recorder, redis_client: Redis, tmp_path: Path
) -> None:
    model, folder = ColourModel(), tmp_path / "made"
    folder.mkdir()
    (folder / "a.png").write_bytes(png(OLIVE))
    (folder / "b.png").write_bytes(png(GREEN))
    lines = ["file,label,shows", "a.png,a fox,yes", "a.png,a dog,yes", "b.png,a wolf,no"]
    (folder / "verdicts.csv").write_text("\n".join(lines) + "\n")
    await recorded(redis_client, 0, RED)
    await settled(redis_client)
    silent = await clipwatch(recorder, "--import", str(folder), "--camera", "gate")
    assert (silent.exit_code, "start the classifier" in silent.output) == (1, True), silent.output
    async with embedding(redis_client, model):
        done = await clipwatch(recorder, "--import", str(folder), "--camera", "gate")
        assert done.exit_code == 2
        assert "line 2: 'a fox'; wanted a label that camera 'gate' is asked for" in done.output
        assert "line 4: 'a wolf'; wanted a label that camera 'gate' is asked for" in done.output
        assert "1 picture brought in on gate" in done.output
        nobody = await clipwatch(recorder, "--import", str(folder), "--camera", "barn")
        assert (nobody.exit_code, "camera 'barn', of which nothing is recorded" in nobody.output) == (2, True)
        address = f"{recorder.url}/api/cameras/gate/examples?label=a%20dog"
        for body, status in ((b"no picture", 400), (b"", 400), (bytes(EXAMPLE_RULE.body_max_bytes + 1), 413)):
            assert await asyncio.to_thread(status_of, address, body) == status
    assert len(examples_of(recorder, "gate")) == 1
    shutil.rmtree(folder)
    for arguments, fault in (
        (("--import", str(folder)), "say --camera ID"),
        (("--import", str(folder), "--camera", "gate"), "wanted a folder as --export writes it"),
        (("--import", "a", "--export", "b"), "--export and --import: wanted one of them"),
    ):
        assert fault in await fault_of(recorder, *arguments)
