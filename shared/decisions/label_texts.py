"""An embedded label set, and its message: all that a decision needs of a model. Knows no model and no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from shared.contract import Column, TextsAnswer, TextsAnswerHeader
from shared.errors import ContractError


@dataclass(frozen=True, slots=True)
class LabelTexts:
    """The embeddings of a label set's texts, and which compete.

    Rows of `embeddings` (float32[T+B+O,D]): targets, backgrounds, others.

    rivals[t,u]:  seeing target u speaks against target t        bool[T,T]
    against[t,o]: other o competes with target t                 bool[T,O]
    shown[o]:     other o is no kin of any target, so it counts in the pooled column   bool[O]
    """

    columns: tuple[Column, ...]
    embeddings: NDArray[np.float32]
    n_targets: int
    n_background: int
    rivals: NDArray[np.bool_]
    against: NDArray[np.bool_]
    shown: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class EmbeddedLabelSet:
    """A label set as one model embeds it. `temperature` multiplies cosines before the softmax."""

    name: str
    temperature: float
    embedding_dim: int
    texts: LabelTexts


def to_answer(request_id: str, embedded: EmbeddedLabelSet) -> TextsAnswer:
    """Return the message that carries an embedded label set."""
    texts = embedded.texts
    header = TextsAnswerHeader(
        request_id=request_id,
        model=embedded.name,
        temperature=embedded.temperature,
        embedding_dim=embedded.embedding_dim,
        columns=texts.columns,
        n_targets=texts.n_targets,
        n_background=texts.n_background,
        n_others=len(texts.shown),
    )
    return TextsAnswer(
        header,
        embeddings=texts.embeddings.astype("<f4").tobytes(),
        tables=b"".join(
            table.astype(np.uint8).tobytes() for table in (texts.rivals, texts.against, texts.shown)
        ),
    )


def from_answer(answer: TextsAnswer) -> EmbeddedLabelSet:
    """Return the embedded label set of an answer without fault; raise ContractError when it is none."""
    header = answer.header
    t, o = header.n_targets, header.n_others
    embeddings = np.frombuffer(answer.embeddings, dtype="<f4").reshape(-1, max(header.embedding_dim, 1))
    lengths = np.linalg.norm(embeddings, axis=1)
    if not bool((np.abs(lengths - 1) < 0.01).all()):
        raise ContractError("field 'embeddings' holds a row that is not of unit length")
    tables = np.frombuffer(answer.tables, dtype=np.uint8).astype(np.bool_)
    texts = LabelTexts(
        columns=header.columns,
        embeddings=embeddings.astype(np.float32),
        n_targets=t,
        n_background=header.n_background,
        rivals=tables[: t * t].reshape(t, t),
        against=tables[t * t : t * t + t * o].reshape(t, o),
        shown=tables[t * t + t * o :],
    )
    return EmbeddedLabelSet(header.model, header.temperature, header.embedding_dim, texts)
