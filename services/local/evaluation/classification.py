"""`clipwatch evaluate`: labelled clips through the same motion and classifier services, and what they got right.

The clips are looked at once. Their embeddings come back in the labels messages, so that other thresholds and
temperatures are tried with the service's own decision code and without the model.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import ValidationError
from redis.exceptions import RedisError
from ruamel.yaml import YAML

from services.classifier.embed_labels import EmbeddedTexts
from services.classifier.model.model_settings import write_temperature
from services.classifier.model.temperature import Example, fit_temperature, mean_loss
from services.classifier.port import ModelFacts
from services.classifier.weights.names import resolve_model
from services.local.config import folder_faults, models_dir
from services.local.evaluation.labelled_clips import Clip, labels_of, read_folder
from services.local.evaluation.metrics import AtThreshold, Counts, Judged, counts_of
from services.local.launcher.processes import ChildGaveUp
from services.local.launcher.stack import ServiceFailed, Stack, StackPlan, running
from services.motion.sources.probe import probe
from shared.clock import now_utc
from shared.contract import (
    LABELS,
    MEDIA,
    DecisionSettings,
    LabelSet,
    LabelsMessage,
    MediaMessage,
    SnippetMessage,
)
from shared.decisions.decision import MomentScores, averaged_peaks, decide
from shared.decisions.label_texts import LabelTexts
from shared.decisions.labeller import EmbeddedSnippet, deciding_pictures, moments_of
from shared.errors import ConfigError, ContractError
from shared.plurals import plural

AT_ONCE = 8  # clips that one motion process reads side by side
READ_COUNT = 16  # labels messages read from Redis together
POLL_S = 0.05
TEXTS_LIMIT_S = 600  # loading a model from a slow disk, at worst
THRESHOLDS = tuple(round(number / 50, 2) for number in range(1, 50))
FEWEST_CLIPS, FEWEST_GROUPS = 10, 2  # fewer say nothing of a temperature
Progress = Callable[[str, float], None]


@dataclass(frozen=True, slots=True)
class EvaluateWish:
    """What the command line asked for; nothing of it is checked yet. No labels: those that are true of some clip."""

    folder: Path
    labels: tuple[str, ...]
    background: tuple[str, ...]
    decision: DecisionSettings
    model: str
    out: Path


@dataclass(frozen=True, slots=True)
class Plan:
    """A wish without faults. `ignored`: true labels of the folder that were not asked for."""

    wish: EvaluateWish
    clips: tuple[Clip, ...]
    label_set: LabelSet
    ignored: tuple[str, ...]


@dataclass(slots=True)
class Seen:
    """One clip as the services saw it: its labels messages in order, and the thumbnail of its best moment."""

    clip: Clip
    messages: list[LabelsMessage] = field(default_factory=list)
    thumbnail: bytes = b""


@dataclass(frozen=True, slots=True)
class Look:
    """All clips as the services saw them."""

    seen: tuple[Seen, ...]
    facts: ModelFacts
    texts: LabelTexts
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Calibration:
    """A fitted temperature; `loss` is the mean negative log of the true answer's share."""

    before: float
    after: float
    loss_before: float
    loss_after: float
    n_clips: int
    file: Path


def check_evaluation(wish: EvaluateWish, calibrates: bool = False, known_faults: Sequence[str] = ()) -> Plan:
    """Return the plan; raise ConfigError with every fault of the whole wish at once, `known_faults` first.

    Clips that cannot be enough to calibrate on are a fault here, and not after all of them were looked at.
    """
    faults = list(known_faults)
    clips: tuple[Clip, ...] = ()
    try:
        clips = read_folder(wish.folder, wish.labels)
    except ConfigError as exc:
        faults.extend(exc.faults)
    for clip in clips:
        try:
            probe(clip.path)
        except ConfigError as exc:
            faults.extend(exc.faults)
    true = labels_of(clips)
    labels = wish.labels or true
    if clips and not labels:
        faults.append("no labels: no clip names one, and no --label is given")
    elif clips and not any(label in true for label in labels):
        faults.append(
            f"no clip shows {_quoted(labels)}; the folder has {_quoted(true) or 'no labels'}: nothing to find"
        )
    try:
        resolve_model(wish.model, models_dir())
    except ConfigError as exc:
        faults.extend(fault.replace("MODEL=", "--model ", 1) for fault in exc.faults)
    faults.extend(folder_faults("--out", wish.out))
    label_set = None
    if labels:
        try:
            label_set = LabelSet(labels=labels, background=wish.background)
        except ValidationError as exc:
            faults.extend(f"--label, --background: {error['msg']}" for error in exc.errors())
    asked = frozenset(labels)
    kept = tuple(replace(clip, truth=clip.truth & asked) for clip in clips)
    if calibrates and clips and labels:
        useful = [next(iter(clip.truth), "") for clip in kept if len(clip.truth) <= 1]
        faults.extend(_too_few(useful, "clips with one truth"))
    if faults or label_set is None:
        raise ConfigError(faults)
    return Plan(wish, kept, label_set, tuple(label for label in true if label not in asked))


def _too_few(groups: Sequence[str], what: str) -> list[str]:
    """Return the fault when clips of these kinds say too little of a temperature."""
    n_kinds = len(set(groups))
    if len(groups) >= FEWEST_CLIPS and n_kinds >= FEWEST_GROUPS:
        return []
    return [
        f"--calibrate: {len(groups)} {what}, of {n_kinds} kinds; wanted at least {FEWEST_CLIPS} clips of "
        f"{FEWEST_GROUPS} kinds (labels, or nothing): add clips"
    ]


def _quoted(labels: Sequence[str]) -> str:
    return ", ".join(f"'{label}'" for label in labels)


# -- looking


async def look(plan: Plan, stop: asyncio.Event, progress: Progress) -> Look:
    """Let the services look at all clips; raise ServiceFailed when one of them gave up."""
    out = plan.wish.out
    try:
        out.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=".clipwatch-", dir=out)).resolve()
    except OSError as exc:
        raise ConfigError(f"--out {out}: cannot be written: {exc.strerror}") from exc
    try:
        seen = {f"clip-{number}": Seen(clip) for number, clip in enumerate(plan.clips)}
        progress("starting", 0.0)
        async with running(_stack_plan(plan, work)) as stack:
            faults = await _look_at_all(plan, stack, seen, (stop, progress))
        embedded = await _texts(plan, work)
        progress("done", 1.0)
        for one in seen.values():
            one.messages.sort(key=lambda m: (m.header.snippet.event_started_at, m.header.snippet.snippet))
        return Look(tuple(seen.values()), embedded.facts, embedded.texts, tuple(faults))
    finally:
        await asyncio.to_thread(shutil.rmtree, work, ignore_errors=True)


def _stack_plan(plan: Plan, work: Path) -> StackPlan:
    return StackPlan(
        data_dir=work,
        cameras_file=work / "cameras.yml",
        model=plan.wish.model,
        models_dir=models_dir(),
        media_dir=work / "media",
        page_port=0,
        weather="none",
        log_level="WARNING",
        services=("classifier",),
    )


async def _look_at_all(
    plan: Plan, stack: Stack, seen: dict[str, Seen], told: tuple[asyncio.Event, Progress]
) -> list[str]:
    stop, progress = told
    faults: list[str] = []
    n_done = 0
    names_of_all = list(seen)
    for number, at in enumerate(range(0, len(names_of_all), AT_ONCE)):
        names = names_of_all[at : at + AT_ONCE]
        cameras_file = stack.plan.data_dir / f"cameras-{number}.yml"
        with cameras_file.open("w", encoding="utf-8") as file:
            YAML().dump({"cameras": [_camera(plan, name, seen[name].clip) for name in names]}, file)
        async with _motion(stack, cameras_file) as motion:
            while not (motion.done() and await stack.backlog() == 0):
                if stop.is_set():
                    raise ServiceFailed(["interrupted: nothing was kept"], 1)
                if stack.failure.done():
                    raise _failed(stack.failure.result())
                if not await _take(stack, seen):
                    await asyncio.sleep(POLL_S)
            try:
                motion.result()
            except ChildGaveUp as exc:
                if exc.exit_code == 2:
                    raise _failed(exc) from exc
                faults.extend(f"{seen[name].clip.name}: motion could not read it" for name in names)
        n_done += len(names)
        progress("looking", n_done / len(seen))
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


def _camera(plan: Plan, name: str, clip: Clip) -> dict[str, Any]:  # Any: a YAML document
    decision = {key: value for key, value in plan.wish.decision.model_dump().items() if value is not None}
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


async def _take(stack: Stack, seen: dict[str, Seen]) -> int:
    """Take what the classifier has said; return how many messages that were."""
    try:
        entries: Any = await stack.redis.xrange(LABELS, count=READ_COUNT)  # Any: redis-py's loose types
        for entry_id, fields in entries:
            message = LabelsMessage.decode(fields)
            one = seen[message.header.snippet.camera]
            media: Any = await stack.redis.xrange(MEDIA, message.header.media_id, message.header.media_id)
            for media_id, media_fields in media:
                with contextlib.suppress(ContractError):  # a picture for the page, no more
                    one.thumbnail = one.thumbnail or MediaMessage.decode(media_fields).thumbnail
                await stack.redis.xdel(MEDIA, media_id)
            one.messages.append(message)
            await stack.redis.xdel(LABELS, entry_id)
    except (RedisError, OSError):  # it is starting, or started again; the launcher tells when it gave up
        return 0
    return len(entries)


async def _texts(plan: Plan, work: Path) -> EmbeddedTexts:
    """Return the label set as the model embeds it; a process of its own, since it loads torch."""
    file = work / "texts.npz"
    root = str(Path(__file__).resolve().parents[3])
    path = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    own = {"MODEL": plan.wish.model, "MODELS_DIR": str(models_dir()), "PYTHONPATH": path}
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
        asked = plan.label_set.model_dump_json().encode()
        _, said = await asyncio.wait_for(process.communicate(asked), TEXTS_LIMIT_S)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        raise ServiceFailed(said.decode(errors="replace").splitlines()[-5:], process.returncode or 1)
    return await asyncio.to_thread(EmbeddedTexts.read, file)


# -- judging: pure


@dataclass(frozen=True, slots=True)
class _Shown:
    """The moments of one snippet at some temperature."""

    series: MomentScores
    background_peaks: tuple[float, ...]


def judge(look: Look, decision: DecisionSettings, temperature: float | None = None) -> tuple[Judged, ...]:
    """Return what the service would have said of each clip with this decision and temperature."""
    shown = _shown(look, temperature, decision.window_s)
    return tuple(_judged(one, parts, look, decision) for one, parts in zip(look.seen, shown, strict=True))


def threshold_curve(
    look: Look, decision: DecisionSettings, labels: Sequence[str], temperature: float | None = None
) -> dict[str, tuple[AtThreshold, ...]]:
    """Return what thresholds would have given, for each label and, under '', for all together.

    The leave threshold follows (0.8 x threshold) unless it is set, and is never above the threshold.
    """
    shown = _shown(look, temperature, decision.window_s)
    curves: dict[str, list[AtThreshold]] = {name: [] for name in ("", *labels)}
    for threshold in THRESHOLDS:
        wanted = decision.model_copy(update={"threshold": threshold})
        clips = [_judged(one, parts, look, wanted) for one, parts in zip(look.seen, shown, strict=True)]
        total = Counts()
        for name in labels:
            counts = counts_of(name, clips)
            curves[name].append(AtThreshold(threshold, counts))
            total += counts
        curves[""].append(AtThreshold(threshold, total))
    return {name: tuple(curve) for name, curve in curves.items()}


def _shown(look: Look, temperature: float | None, window_s: float) -> list[list[_Shown]]:
    sharpness = look.facts.temperature if temperature is None else temperature
    n_targets, n_named = look.texts.n_targets, look.texts.n_targets + look.texts.n_background
    found: list[list[_Shown]] = []
    for one in look.seen:
        parts: list[_Shown] = []
        for message in one.messages:
            times, moments = moments_of(_looked(message), look.texts, sharpness)
            behind = averaged_peaks(times, moments.probabilities[:, n_targets:n_named], window_s)
            parts.append(_Shown(MomentScores(times, moments.scores, moments.background), behind))
        found.append(parts)
    return found


def _judged(one: Seen, parts: list[_Shown], look: Look, decision: DecisionSettings) -> Judged:
    texts = [column.text for column in look.texts.columns]
    labels = texts[: look.texts.n_targets]
    peaks: dict[str, float] = {}
    accepted: dict[str, float] = {}
    for part in parts:
        found = decide(part.series, labels, decision)
        for text, peak in zip(texts, (*found.peaks, *part.background_peaks), strict=False):
            peaks[text] = max(min(1.0, peak), peaks.get(text, 0.0))
        for item in found.accepted:
            accepted[labels[item.target]] = max(item.probability, accepted.get(labels[item.target], 0.0))
    said = tuple(sorted(accepted, key=lambda text: (-accepted[text], text)))
    return Judged(one.clip.name, one.clip.truth, said, peaks, is_seen=bool(one.messages))


def _looked(message: LabelsMessage) -> EmbeddedSnippet:
    """Return what the classifier saw; what it could not decode is a row of zeros there."""
    header = message.header.snippet
    rows = np.frombuffer(message.embeddings, "<f2").reshape(len(header.pictures), -1).astype(np.float32)
    snippet = SnippetMessage(header, (b"",) * len(header.pictures), message.header.media_id)
    return EmbeddedSnippet(snippet, rows, np.linalg.norm(rows, axis=1) > 0)


def examples_of(look: Look) -> list[Example]:
    """Return what a temperature can be fitted to: clips with one truth or none, by the pictures that decide them.

    For a clip with nothing in it every background and other text counts as true.
    """
    n_targets, width = look.texts.n_targets, len(look.texts.embeddings)
    names = [column.text for column in look.texts.columns[:n_targets]]
    examples: list[Example] = []
    for one in look.seen:
        if len(one.clip.truth) > 1 or not one.messages:
            continue
        is_true = np.zeros(width, dtype=np.bool_)
        if one.clip.truth:
            is_true[names.index(next(iter(one.clip.truth)))] = True
        else:
            is_true[n_targets:] = True
        shown = np.concatenate([np.ones(width - len(look.texts.shown), dtype=np.bool_), look.texts.shown])
        cosines = np.concatenate([_deciding(message) @ look.texts.embeddings.T for message in one.messages])
        if len(cosines):
            examples.append(Example(cosines[:, shown], is_true[shown], next(iter(one.clip.truth), "")))
    return examples


def _deciding(message: LabelsMessage) -> NDArray[np.float32]:
    looked = _looked(message)
    chosen = deciding_pictures(message.header.snippet.pictures, looked.seen)
    return looked.embeddings[[index for indices in chosen for index in indices]]


def calibrate(look: Look, model: str, folder: Path) -> Calibration:
    """Fit the temperature and write it to the model's settings; raise ConfigError when the clips say too little."""
    examples = examples_of(look)
    if faults := _too_few([example.group for example in examples], "clips with motion and one truth"):
        raise ConfigError(faults)
    before = look.facts.temperature
    after = fit_temperature(examples)
    losses = mean_loss(examples, before), mean_loss(examples, after)
    at: datetime = now_utc()
    facts = {
        "fitted_on": f"{plural(len(examples), 'clip')} in {folder.resolve().name}",
        "before": round(before, 3),
        "loss_before": round(losses[0], 4),
        "loss_after": round(losses[1], 4),
    }
    file = write_temperature(
        models_dir(), resolve_model(model, models_dir()).name, after, facts, at.astimezone(UTC)
    )
    return Calibration(before, after, *losses, len(examples), file)
