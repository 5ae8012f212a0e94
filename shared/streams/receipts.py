"""The receipt that is written in the step that settles a snippet for good: see docs/design/delivery.md."""

from __future__ import annotations

from collections.abc import Sequence

from shared.contract import RECEIPTS, RECEIPTS_KEPT, Receipt
from shared.streams.outcomes import Delivery, Output


def receipt_of(event_id: str, snippet: int) -> Output:
    """Return the receipt of a recorded snippet, to be written when its answer is settled."""
    return Output(RECEIPTS, Receipt(event_id=event_id, snippet=snippet).encode(), RECEIPTS_KEPT)


def receipt_of_dead(delivery: Delivery) -> Sequence[Output]:
    """Return the receipt of a snippet that goes to the dead letters; nothing when it does not say whose it is."""
    receipt = Receipt.of_dead(delivery.fields)
    return () if receipt is None else (Output(RECEIPTS, receipt.encode(), RECEIPTS_KEPT),)
