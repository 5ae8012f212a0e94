"""The recorder as a process with a notify file: killed while it tells, nothing is lost and few are told twice."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from redis.asyncio import Redis

from services.recorder.app import check
from services.recorder.settings import RecorderSettings
from tests.integration.hook_server import Hooks, hook_server
from tests.integration.test_recorder_service import Recorder, holds
from tests.unit.recorder.messages import Said, send

NOTIFY = """
page: http://page.lan
targets:
  - name: hook
    webhook: {url: "${HOOK_URL}", secret: "${HOOK_SECRET}"}
    gaps: false                                      # it would also be told of the target below
  - name: home
    mqtt: {host: 127.0.0.1, port: 9, timeout_s: 1}   # nobody listens there: it must not matter
"""
N_EVENTS = 30
N_KILLS = 2


@pytest.fixture
def hooks() -> Iterator[Hooks]:
    with hook_server() as hooks:
        yield hooks


def _has_taken(hooks: Hooks, n_events: int) -> bool:
    return len(hooks.taken) >= n_events


async def test_killed_while_telling_each_event_is_told_and_few_twice(
    tmp_path: Path, redis_url: str, redis_client: Redis, hooks: Hooks
) -> None:
    (tmp_path / "notify.yml").write_text(NOTIFY)
    environment = {
        "NOTIFY_FILE": str(tmp_path / "notify.yml"),
        "HOOK_URL": hooks.url,
        "HOOK_SECRET": "a secret of the test",
        "INSTANCE": "one",  # a restarted recorder holds its own lease
    }
    recorder = Recorder(tmp_path, redis_url, f"sqlite:///{tmp_path}/clipwatch.db", environment)
    try:
        recorder.start()
        for event in range(N_EVENTS):
            await send(redis_client, Said(event=event, accepted=[("a dog", 0.75)]))
        for kill in range(1, N_KILLS + 1):
            await holds(partial(_has_taken, hooks, kill * N_EVENTS // 4), 90, "some were told")
            recorder.kill()
            recorder.start()
        wanted = {Said(event=event).event_id for event in range(N_EVENTS)}
        await holds(lambda: set(hooks.events) == wanted, 120, "all were told")
        n_doubled = sum(count - 1 for count in Counter(hooks.events).values())
        assert n_doubled <= N_KILLS  # the one that was sent and not yet written down
        assert recorder.stop() == 0
        for secret in ("not-to-be-logged", "a secret of the test"):
            assert secret not in recorder.log
    finally:
        if recorder.process is not None and recorder.process.poll() is None:
            recorder.kill()


async def test_check_tells_the_faults_of_the_notify_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "notify.yml"
    path.write_text("targets: [{name: hook, webhook: {url: 'http://h/x', secret: short}}]")
    for name in list(os.environ):
        if name.startswith(("NOTIFY", "MEDIA", "DATABASE")):
            monkeypatch.delenv(name)
    settings = RecorderSettings(notify_file=path, media_dir=tmp_path / "media")
    [fault] = await check(settings)
    assert "target 'hook': webhook.secret" in fault
    assert "short" not in fault
