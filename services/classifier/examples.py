"""What people said of pictures of each camera, as the recorder last wrote it (shared/contract/examples.py).

Asked for at each batch, by one question for all its cameras; fetched only when a revision changed. A Redis that does
not answer leaves what is known in force: the batch's labels wait for Redis anyway.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any, cast

from redis.asyncio import Redis
from redis.exceptions import RedisError

from services.classifier.port import ModelFacts
from shared.contract import ExamplesMessage, LabelSet, examples_key, revision_of
from shared.decisions.examples import NO_EXAMPLES, Example, LabelExamples, examples_of, for_labels
from shared.errors import ContractError
from shared.logs import get_logger

log = get_logger(__name__)
KEPT_MAX = 100_000  # examples of all cameras that are kept: 200 MB at 512 numbers each, and as much for each label set
LABEL_SETS_MAX = 8  # of a camera, prepared: those in use, while labels are being changed
_NONE = -1  # the revision of a camera without examples


@dataclass(slots=True)
class _CameraState:
    revision: int = _NONE
    examples: tuple[Example, ...] = ()
    unrelated: float = 0.0
    prepared: OrderedDict[LabelSet, LabelExamples] = field(default_factory=OrderedDict)


class CameraExamples:
    """The examples of the cameras that were seen last, for one model."""

    def __init__(self, redis: Redis, facts: ModelFacts) -> None:
        self._redis = redis
        self._facts = facts
        self._cameras: OrderedDict[str, _CameraState] = OrderedDict()

    @property
    def n_kept(self) -> int:
        return sum(len(state.examples) for state in self._cameras.values())

    async def refresh(self, cameras: Collection[str]) -> None:
        """Fetch what changed of these cameras."""
        names = sorted(cameras)
        try:
            async with self._redis.pipeline(transaction=False) as asked:
                for camera in names:
                    asked.hget(examples_key(camera, self._facts.name), "revision")
                revisions = await asked.execute()
            for camera, value in zip(names, revisions, strict=True):
                revision = revision_of(value)
                if revision != self._state(camera).revision:
                    await self._fetch(camera)
        except (RedisError, OSError) as exc:
            log.debug("examples cannot be asked for", error=exc)
        while self.n_kept > KEPT_MAX and len(self._cameras) > len(names):
            self._cameras.popitem(last=False)

    def of(self, camera: str, label_set: LabelSet) -> LabelExamples:
        """Return the camera's examples for a label set. Computes for about 10 ms once."""
        state = self._cameras.get(camera)
        if state is None or not state.examples:
            return NO_EXAMPLES
        if (prepared := state.prepared.get(label_set)) is None:
            prepared = for_labels(state.examples, label_set.labels, state.unrelated)
            state.prepared[label_set] = prepared
            if len(state.prepared) > LABEL_SETS_MAX:
                state.prepared.popitem(last=False)
        return prepared

    def _state(self, camera: str) -> _CameraState:
        state = self._cameras.setdefault(camera, _CameraState())
        self._cameras.move_to_end(camera)
        return state

    async def _fetch(self, camera: str) -> None:
        # Any: redis-py's unions of both clients
        key = examples_key(camera, self._facts.name)
        fields: dict[bytes, bytes] = await cast("Any", self._redis.hgetall(key))
        revision = revision_of(fields.get(b"revision"))
        state = _CameraState(revision)
        if fields:
            try:
                message = ExamplesMessage.decode(fields)
                if message.header.said and message.header.embedding_dim != self._facts.embedding_dim:
                    raise ContractError(
                        f"examples of {message.header.embedding_dim} numbers, wanted {self._facts.embedding_dim}"
                    )
                state = _CameraState(revision, examples_of(message), message.header.unrelated)
            except ContractError as exc:
                log.warning("examples of a camera are left out", camera=camera, error=str(exc))
        self._cameras[camera] = state
        log.info("examples of a camera", camera=camera, examples=len(state.examples), revision=revision)
