"""A stack's folder, processes and sockets are one user's: modes of all it writes, and what each child is given."""

from __future__ import annotations

import asyncio
import os
import stat
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from services.local.config import models_dir
from services.local.launcher.stack import Stack, StackPlan, running
from services.local.run_settings import ListenAddress

pytestmark = [
    pytest.mark.timeout(200),
    pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs Linux' /proc"),
]
LIMIT_S = 150.0
SECRETS = {  # by the child that may have it
    "GATE_PASSWORD": "motion",
    "LIVE_ICE_PASSWORD": "motion",
    "HF_TOKEN": "classifier",
    "OPENWEATHER_KEY": "recorder",
    "HOOK_TOKEN": "recorder",
    "AWS_SECRET_ACCESS_KEY": "nobody",
    "CLIPWATCH_TEST_TOKEN": "nobody",
}


@pytest.fixture
def plan(tmp_path: Path, people_15s: Path, monkeypatch: pytest.MonkeyPatch) -> StackPlan:
    """A finite run of one short recording, with secrets for everybody in the environment."""
    for name in SECRETS:
        monkeypatch.setenv(name, f"value-of-{name}")
    hook = "webhook: {url: 'http://127.0.0.1:9/', secret: '${HOOK_TOKEN}'}"
    (tmp_path / "notify.yml").write_text(f"targets: [{{name: home, {hook}}}]")
    camera = {
        "id": "people", "url": str(people_15s), "pace": "fast", "loop": False, "name": "${GATE_PASSWORD}",
        "starts_at": "2026-01-01T00:00:00+00:00", "labels": ["a pedestrian"], "background": ["an empty street"],
    }  # fmt: skip
    with (tmp_path / "cameras.yml").open("w") as file:
        YAML().dump({"cameras": [camera]}, file)
    monkeypatch.setenv("NOTIFY_FILE", str(tmp_path / "notify.yml"))
    data_dir = tmp_path / "data"
    (data_dir / "media" / "old").mkdir(parents=True)  # of an older clipwatch
    (data_dir / "media" / "old" / "clip.mp4").write_bytes(b"x")
    return StackPlan(
        data_dir=data_dir, cameras_file=tmp_path / "cameras.yml", model="mini", models_dir=models_dir(),
        media_dir=data_dir / "media", listen=ListenAddress(port=0), weather="none", is_finite=True,
    )  # fmt: skip


async def test_what_a_run_writes_is_private_and_no_child_has_the_others_secrets(plan: StackPlan) -> None:
    lines: list[str] = []
    before = os.umask(0o022)
    try:
        async with running(plan, lambda name, line: lines.append(f"{name}: {line}")) as stack:
            environments = {name: await _environ_of(stack, name) for name in stack.children}
            ends_at = time.monotonic() + LIMIT_S
            while not (await stack.is_done() and (plan.data_dir / "clipwatch.db").exists()):
                assert not stack.failure.done(), stack.failure.result().last_lines
                assert time.monotonic() < ends_at, "\n".join(lines)
                await asyncio.sleep(0.1)
            while_it_runs = _open_to_others(plan.data_dir)
    finally:
        os.umask(before)
    assert while_it_runs == {}
    assert _open_to_others(plan.data_dir) == {}
    kinds = {path.suffix for path in plan.data_dir.rglob("*") if path.is_file()}
    assert {".mp4", ".jpg", ".json", ".db", ".aof"} <= kinds
    assert sum("was readable for other users" in line for line in lines) == 1
    for name, owner in SECRETS.items():
        holders = [child for child, given in environments.items() if f"value-of-{name}" in given.values()]
        assert holders == [one for one in environments if one == owner], name
    password = (plan.data_dir / "redis" / "password").read_text()
    assert not any(password in value for value in environments["redis"].values())


async def _environ_of(stack: Stack, name: str) -> Mapping[str, str]:
    child = stack.children[name]
    while not child.process:
        await asyncio.sleep(0.01)
    raw = Path(f"/proc/{child.process.pid}/environ").read_bytes()
    return dict(pair.partition("=")[::2] for pair in raw.decode().split("\0"))


def _open_to_others(folder: Path) -> dict[str, str]:
    """Return what others may read or write, with its mode. What goes meanwhile is passed over."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        try:
            mode = path.lstat().st_mode
        except FileNotFoundError:
            continue
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            found[str(path.relative_to(folder))] = stat.filemode(mode)
    return found
