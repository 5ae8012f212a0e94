"""Has the classifier embed pictures (pictures.v1). The recorder does not decode them.

NoClassifier     (Transient)  as in classifier_answers.py, or the classifier's device has no memory now
PicturesRefused  (Permanent)  the classifier does not take these pictures; the message says why
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from redis.asyncio import Redis

from services.recorder.search.classifier_answers import NoClassifier, WaitingRequest, answer_of
from shared.contract import (
    MAX_REQUEST_PICTURES,
    PICTURES,
    PICTURES_WAITING,
    PicturesAnswer,
    PicturesRequest,
    PicturesRequestHeader,
)
from shared.errors import ContractError, Permanent


class PicturesRefused(Permanent):
    """The classifier does not embed these pictures."""


@dataclass(frozen=True, slots=True)
class EmbeddedPictures:
    """Pictures as one model embeds them: float32[N,D], unit length, in the order in which they were sent."""

    model: str
    embeddings: NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PictureEmbedder:
    """Sends pictures to the classifier. Each request waits `deadline_s` at most."""

    redis: Redis
    deadline_s: float = 10.0

    async def ask(self, jpegs: Sequence[bytes]) -> EmbeddedPictures:
        """Return 1 to MAX_REQUEST_PICTURES pictures (JPEG; PNG and WebP, too) embedded, all or none of them."""
        if not 1 <= len(jpegs) <= MAX_REQUEST_PICTURES:
            raise PicturesRefused(f"{len(jpegs)} pictures at once, wanted 1 to {MAX_REQUEST_PICTURES}")
        request_id = secrets.token_hex(16)
        header = PicturesRequestHeader(
            request_id=request_id, n_pictures=len(jpegs), deadline_s=self.deadline_s
        )
        try:
            fields = PicturesRequest(header, tuple(jpegs)).encode()
        except ContractError as exc:
            raise PicturesRefused(str(exc)) from exc
        waiting = WaitingRequest(PICTURES, request_id, fields, PICTURES_WAITING, self.deadline_s)
        return _embedded(await answer_of(self.redis, waiting), len(jpegs))


def _embedded(fields: dict[bytes, bytes], n_pictures: int) -> EmbeddedPictures:
    try:
        answer = PicturesAnswer.decode(fields)
    except ContractError as exc:
        raise PicturesRefused(f"the classifier's answer cannot be read: {exc}") from exc
    header = answer.header
    if header.fault:
        raise NoClassifier(header.fault) if header.is_passing else PicturesRefused(header.fault)
    rows = np.frombuffer(answer.embeddings, dtype="<f4").astype(np.float32)
    if header.n_pictures != n_pictures or not header.embedding_dim:
        raise PicturesRefused(f"the classifier answered {header.n_pictures} of {n_pictures} pictures")
    embeddings = rows.reshape(n_pictures, header.embedding_dim)
    if not bool((np.abs(np.linalg.norm(embeddings, axis=1) - 1) < 0.01).all()):
        raise PicturesRefused("the classifier's answer holds a row that is not of unit length")
    return EmbeddedPictures(header.model, embeddings)
