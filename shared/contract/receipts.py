"""receipts.v1: whoever settles a snippet for good -> motion."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Literal

from shared.contract.codec import Fields, dump, load
from shared.contract.fields import EventId, MessagePart, Number


class Receipt(MessagePart):
    """Whoever settles a snippet for good -> motion, which need not keep it any longer.

    outcome: recorded, a row with its clip is committed; dead, it is a dead letter, which Redis keeps.
    """

    version: Literal[1] = 1
    event_id: EventId
    snippet: Number
    outcome: Literal["recorded", "dead"] = "recorded"

    def encode(self) -> Fields:
        """Raise ContractError rather than write what no reader would take."""
        return {b"h": dump(self)}

    @classmethod
    def decode(cls, fields: Mapping[bytes, bytes]) -> Receipt:
        """Raise ContractError when `fields` are not a Receipt of this version."""
        return load(Receipt, fields)

    @classmethod
    def of_dead(cls, fields: Mapping[bytes, bytes]) -> Receipt | None:
        """Return the receipt for a snippets or labels message that goes to the dead letters, as little as can be read
        of it; None when it does not even say whose it is.
        """
        try:
            header = json.loads(fields.get(b"h", b""))
            snippet = header.get("snippet")
            named = snippet if isinstance(snippet, dict) else header
            return cls(event_id=named["event_id"], snippet=named["snippet"], outcome="dead")
        except (ValueError, AttributeError, KeyError, TypeError, RecursionError):
            return None
