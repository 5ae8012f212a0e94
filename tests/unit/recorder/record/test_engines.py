"""Engines."""

from __future__ import annotations

from services.recorder.record.engines import make_engine


async def test_making_an_engine_connects_to_nothing() -> None:
    engine = make_engine("mysql://u:p@host.invalid/clipwatch")
    await engine.dispose()
