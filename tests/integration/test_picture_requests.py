"""Pictures are embedded on request: through a real Redis, by the classifier's own server, and by its process."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar, cast

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image
from prometheus_client import CollectorRegistry
from redis.asyncio import Redis

from services.classifier.model.preprocess import PixelBudget
from services.classifier.picture_requests import PictureEmbedding, PictureRequestMetrics, PictureRequestServer
from services.recorder.search.classifier_answers import NoClassifier
from services.recorder.search.picture_requests import PictureEmbedder, PicturesRefused
from shared.contract import PICTURES, SNIPPETS, PicturesRequest, PicturesRequestHeader
from shared.errors import Transient
from tests.servers import spawn
from tests.unit.classifier.makers import BLUE, GREEN, RED, ColourModel, jpeg, make_tiny_model

pytestmark = pytest.mark.redis
_T = TypeVar("_T")
ROOT = Path(__file__).resolve().parents[2]
NAME = "clipwatch_classifier_picture_requests_total"


@contextlib.asynccontextmanager
async def embedding(redis: Redis, model: ColourModel, portion: int = 8) -> AsyncIterator[CollectorRegistry]:
    """Run the classifier's server of picture requests with a model that sees colours."""

    def now(work: Callable[[], _T]) -> Awaitable[_T]:
        done: asyncio.Future[_T] = asyncio.get_running_loop().create_future()
        try:
            done.set_result(work())
        except Transient as exc:
            done.set_exception(exc)
        return done

    registry, stop = CollectorRegistry(), asyncio.Event()
    with ThreadPoolExecutor(2) as decoders:
        asked = PictureEmbedding(model, now, decoders, PixelBudget(1_000_000, 4_000_000), portion)
        server = PictureRequestServer(redis, "one", asked, PictureRequestMetrics(registry))
        task = asyncio.create_task(server.run(stop))
        try:
            yield registry
        finally:
            stop.set()
            await task


def png(colour: tuple[int, int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (30, 20), colour).save(buffer, "PNG")
    return buffer.getvalue()


async def test_pictures_come_back_as_the_model_embeds_them_in_their_order(redis_client: Redis) -> None:
    model = ColourModel()
    sent = [jpeg(RED), png(GREEN), jpeg(BLUE), jpeg(RED), jpeg(GREEN)]
    async with embedding(redis_client, model, portion=4) as registry:
        found = await PictureEmbedder(redis_client, 20).ask(sent)
    assert (found.model, found.embeddings.shape) == ("colours", (5, 4))
    assert found.embeddings.dtype == np.float32
    wanted = model.embed_texts(["a person", "a dog", "a blue wall", "a person", "a dog"])
    assert np.abs(found.embeddings - wanted).max() < 0.02
    assert registry.get_sample_value(NAME, {"outcome": "answered"}) == 1
    assert await redis_client.keys("*") == [PICTURES.encode()]
    assert await redis_client.xlen(PICTURES) == 0


async def test_one_bad_picture_refuses_the_request_and_is_named(redis_client: Redis) -> None:
    pictures = PictureEmbedder(redis_client, 20)
    async with embedding(redis_client, ColourModel()) as registry:
        with pytest.raises(PicturesRefused, match=r"^picture 1: 3 bytes that are no JPEG, PNG or WebP$"):
            await pictures.ask([jpeg(RED), b"GIF"])
        with pytest.raises(PicturesRefused, match=r"^1001x1000 px, at most 1000000 pixels are decoded$"):
            await pictures.ask([jpeg(RED, 1001, 1000)])
        assert len((await pictures.ask([jpeg(RED)])).embeddings) == 1
    assert registry.get_sample_value(NAME, {"outcome": "refused"}) == 2


async def test_what_no_classifier_would_take_is_not_sent(redis_client: Redis) -> None:
    pictures = PictureEmbedder(redis_client, 20)
    for sent, fault in (
        ([], "0 pictures at once, wanted 1 to 16"),
        ([jpeg(RED)] * 17, "17 pictures at once, wanted 1 to 16"),
        ([bytes(5 << 20)], "at most 4194304 are taken"),
        ([bytes(3 << 20)] * 3, "at most 8388608 are taken at once"),
    ):
        with pytest.raises(PicturesRefused, match=fault):
            await pictures.ask(sent)
    assert not await redis_client.exists(PICTURES)


async def test_without_a_classifier_nothing_stays_in_redis(redis_client: Redis) -> None:
    with pytest.raises(NoClassifier, match=r"no classifier answered within 0\.05 s"):
        await PictureEmbedder(redis_client, 0.05).ask([jpeg(RED)])
    assert await redis_client.xlen(PICTURES) == 0


class FullModel(ColourModel):
    """Has no memory."""

    def embed_pictures(self, pictures: NDArray[np.uint8]) -> NDArray[np.float32]:
        raise Transient("the GPU has no memory left")


async def test_a_device_without_memory_is_no_fault_of_the_picture(redis_client: Redis) -> None:
    async with embedding(redis_client, FullModel()) as registry:
        with pytest.raises(NoClassifier, match="the GPU has no memory left"):
            await PictureEmbedder(redis_client, 20).ask([jpeg(RED)])
    assert registry.get_sample_value(NAME, {"outcome": "failed"}) == 1


async def test_junk_and_late_requests_are_counted_and_hold_nobody_up(redis_client: Redis) -> None:
    header = PicturesRequestHeader(request_id="0" * 32, n_pictures=1, deadline_s=0.001)
    late = cast("Any", PicturesRequest(header, (jpeg(RED),)).encode())  # Any: redis-py's wide unions
    await redis_client.xadd(PICTURES, {b"h": b"junk"}, id="999-0")
    await redis_client.xadd(PICTURES, late, id="1000-0")
    async with embedding(redis_client, ColourModel()) as registry:
        await PictureEmbedder(redis_client, 20).ask([jpeg(RED)])
    outcomes = {name: registry.get_sample_value(NAME, {"outcome": name}) for name in ("refused", "late")}
    assert outcomes == {"refused": 1, "late": 1}
    assert not await redis_client.exists(f"{PICTURES}:{'0' * 32}")


@pytest.mark.e2e
async def test_the_classifiers_process_embeds_pictures_beside_snippets(
    redis_client: Redis, redis_url: str, tmp_path: Path
) -> None:
    tiny = make_tiny_model(tmp_path / "tiny", name="tiny", temperature=20.0)
    environment = {
        **{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ},
        "PYTHONPATH": str(ROOT), "REDIS_URL": redis_url, "MODEL": str(tiny), "THREADS": "1",
        "MAX_PICTURE_PIXELS": "1000",
    }  # fmt: skip
    process: subprocess.Popen[bytes] = spawn(
        [sys.executable, "-m", "services.classifier"], tmp_path / "log", environment
    )
    pictures = PictureEmbedder(redis_client, 5)
    try:
        async with asyncio.timeout(120):
            while True:
                assert process.poll() is None, (tmp_path / "log").read_text()
                with contextlib.suppress(NoClassifier):
                    found = await pictures.ask([jpeg(RED, 20, 20), png(BLUE), jpeg(RED, 20, 20)])
                    break
        assert (found.model, found.embeddings.shape) == ("tiny", (3, 32))
        assert np.allclose(found.embeddings[0], found.embeddings[2], atol=1e-5)
        assert not np.allclose(found.embeddings[0], found.embeddings[1], atol=1e-2)
        with pytest.raises(PicturesRefused, match="40x40 px, at most 1000 pixels"):
            await pictures.ask([jpeg(RED, 40, 40)])
        assert await redis_client.xlen(SNIPPETS) == 0
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=60) == 0
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
