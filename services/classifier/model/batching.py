"""How pictures are shared out over forwards. Any runtime; knows numbers only."""

from __future__ import annotations

# Batches come in few sizes: the chip's libraries prepare themselves, and keep memory, for every size they see.
MULTIPLE = 4


def chunk_sizes(n_pictures: int, most: int) -> list[int]:
    """Return how many pictures each forward gets, at most `most`.

    The sizes are nearly equal, since a small batch wastes a forward; all but the last are multiples of MULTIPLE, since
    what a batch lacks to the next multiple is computed as well.
    """
    step = MULTIPLE if most >= MULTIPLE else 1
    n_steps = -(-n_pictures // step)
    n_chunks = -(-n_steps // (most // step))
    short, n_long = divmod(n_steps, max(1, n_chunks))
    sizes = [step * (short + (number < n_long)) for number in range(n_chunks)]
    if sizes:
        sizes[-1] -= n_steps * step - n_pictures
    return sizes
