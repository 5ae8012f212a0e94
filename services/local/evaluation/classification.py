"""Runs labelled clips through the motion and classifier services, and collects what the classifier answered.

Each clip is classified once. Its embeddings come back in the labels messages, so that other thresholds and
temperatures can be tried with the service's own decision code and without the model.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from redis.exceptions import RedisError
from ruamel.yaml import YAML

from services.classifier.embed_labels import EmbeddedTexts
from services.classifier.port import ModelFacts
from services.local.config import models_dir
from services.local.evaluation.labelled_clips import LabelledClip
from services.local.evaluation.plan import EvaluationPlan
from services.local.launcher.processes import ChildGaveUp
from services.local.launcher.stack import ServiceFailed, Stack, StackPlan, running
from services.local.launcher.work_folder import work_folder
from services.local.run_settings import ListenAddress
from shared.contract import LABELS, MEDIA, LabelsMessage, MediaMessage
from shared.decisions.label_texts import LabelTexts
from shared.errors import ContractError
from shared.plurals import plural

AT_ONCE = 8  # clips that one motion process reads side by side
READ_COUNT = 16  # labels messages read from Redis together
POLL_S = 0.05
TEXTS_LIMIT_S = 600  # loading a model from a slow disk, at worst
Progress = Callable[[str, float], None]


@dataclass(slots=True)
class ClassifiedClip:
    """One clip as the services saw it: its labels messages in order, and the thumbnail of its best moment."""

    clip: LabelledClip
    messages: list[LabelsMessage] = field(default_factory=list)
    thumbnail: bytes = b""


@dataclass(frozen=True, slots=True)
class ClassifiedClips:
    """All clips as the services saw them."""

    clips: tuple[ClassifiedClip, ...]
    facts: ModelFacts
    texts: LabelTexts
    faults: tuple[str, ...]


async def classify_clips(plan: EvaluationPlan, stop: asyncio.Event, progress: Progress) -> ClassifiedClips:
    """Run all clips through the services; raise ServiceFailed when one of them gives up."""
    async with work_folder(plan.options.out) as work:
        clips = {f"clip-{number}": ClassifiedClip(clip) for number, clip in enumerate(plan.clips)}
        progress("starting", 0.0)
        async with running(_stack_plan(plan, work)) as stack:
            faults = await _classify_all(plan, stack, clips, (stop, progress))
        embedded = await _texts(plan, work)
        progress("done", 1.0)
        for clip in clips.values():
            clip.messages.sort(key=lambda m: (m.header.snippet.event_started_at, m.header.snippet.snippet))
        return ClassifiedClips(tuple(clips.values()), embedded.facts, embedded.texts, tuple(faults))


def _stack_plan(plan: EvaluationPlan, work: Path) -> StackPlan:
    return StackPlan(
        data_dir=work,
        cameras_file=work / "cameras.yml",
        model=plan.options.model,
        models_dir=models_dir(),
        media_dir=work / "media",
        listen=ListenAddress(port=0),
        weather="none",
        log_level="WARNING",
        services=("classifier",),
    )


async def _classify_all(
    plan: EvaluationPlan,
    stack: Stack,
    clips: dict[str, ClassifiedClip],
    controls: tuple[asyncio.Event, Progress],
) -> list[str]:
    stop, progress = controls
    faults: list[str] = []
    n_done = 0
    all_names = list(clips)
    for number, at in enumerate(range(0, len(all_names), AT_ONCE)):
        names = all_names[at : at + AT_ONCE]
        cameras_file = stack.plan.data_dir / f"cameras-{number}.yml"
        with cameras_file.open("w", encoding="utf-8") as file:
            YAML().dump({"cameras": [_camera(plan, name, clips[name].clip) for name in names]}, file)
        async with _motion(stack, cameras_file) as motion:
            while not (motion.done() and await stack.backlog() == 0):
                if stop.is_set():
                    raise ServiceFailed(["interrupted: nothing was kept"], 1)
                if stack.failure.done():
                    raise _failed(stack.failure.result())
                if not await _collect(stack, clips):
                    await asyncio.sleep(POLL_S)
            try:
                motion.result()
            except ChildGaveUp as exc:
                if exc.exit_code == 2:
                    raise _failed(exc) from exc
                faults.extend(f"{clips[name].clip.name}: motion could not read it" for name in names)
        n_done += len(names)
        progress("looking", n_done / len(clips))
    if dead := await stack.dead_letters():
        faults.append(f"{plural(dead, 'snippet')} could not be looked at (dead letters)")
    return faults


@contextlib.asynccontextmanager
async def _motion(stack: Stack, cameras_file: Path) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(stack.run_motion(cameras_file), name="motion")
    try:
        yield task
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def _failed(gone: ChildGaveUp) -> ServiceFailed:
    own = [line for line in gone.last_lines if line.startswith((f"{gone.name}: ", "motion: "))][-5:]
    return ServiceFailed(own or [str(gone)], 2 if gone.exit_code == 2 else 1)


def _camera(plan: EvaluationPlan, name: str, clip: LabelledClip) -> dict[str, Any]:  # Any: a YAML document
    decision = {key: value for key, value in plan.options.decision.model_dump().items() if value is not None}
    return {
        "id": name,
        "url": clip.path.resolve().as_uri(),
        "labels": list(plan.label_set.labels),
        "background": list(plan.label_set.background),
        "pace": "fast",
        "loop": False,
        "starts_at": "2026-01-01T00:00:00Z",
        **decision,
    }


async def _collect(stack: Stack, clips: dict[str, ClassifiedClip]) -> int:
    """Move the classifier's answers from Redis to their clips; return how many there were."""
    try:
        entries: Any = await stack.redis.xrange(LABELS, count=READ_COUNT)  # Any: redis-py's loose types
        for entry_id, fields in entries:
            message = LabelsMessage.decode(fields)
            clip = clips[message.header.snippet.camera]
            media: Any = await stack.redis.xrange(MEDIA, message.header.media_id, message.header.media_id)
            for media_id, media_fields in media:
                with contextlib.suppress(ContractError):  # a picture for the page, no more
                    clip.thumbnail = clip.thumbnail or MediaMessage.decode(media_fields).thumbnail
                await stack.redis.xdel(MEDIA, media_id)
            clip.messages.append(message)
            await stack.redis.xdel(LABELS, entry_id)
    except (RedisError, OSError):  # Redis is starting, or starting again; the launcher says when it gives up
        return 0
    return len(entries)


async def _texts(plan: EvaluationPlan, work: Path) -> EmbeddedTexts:
    """Return the label set as the model embeds it; in a process of its own, since that loads torch."""
    file = work / "texts.npz"
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    own = {"MODEL": plan.options.model, "MODELS_DIR": str(models_dir()), "PYTHONPATH": path}
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "services.classifier.embed_labels",
        str(file),
        env={**os.environ, **own, "LOG_LEVEL": "WARNING"},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        label_set = plan.label_set.model_dump_json().encode()
        _, stderr = await asyncio.wait_for(process.communicate(label_set), TEXTS_LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ServiceFailed(stderr.decode(errors="replace").splitlines()[-5:], process.returncode or 1)
    return await asyncio.to_thread(EmbeddedTexts.read, file)
