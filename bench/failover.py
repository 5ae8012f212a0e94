"""How soon snippets are recorded again after Redis' master is killed, JSON: `python -m bench.failover [--kills N]`.

A master, a replica and three Sentinels of its own (AOF every second, down-after-milliseconds 5000), snippets of 300 kB
at a steady rate through motion's outbox, the classifier with a stand-in model and the recorder on SQLite. A kill is
SIGKILL; `back_s` is from there until the row of a snippet that was put in after it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import tempfile
from dataclasses import asdict
from pathlib import Path

from shared.logs import configure_logs
from tests.integration.failover_rig import kill_the_master, watched_redis

DOWN_AFTER_MS = 5000


async def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=3)
    parser.add_argument("--rate", type=float, default=10, help="snippets a second")
    args = parser.parse_args()
    configure_logs("bench", "ERROR", "text")
    with tempfile.TemporaryDirectory() as folder, watched_redis(DOWN_AFTER_MS) as watched:
        result = await kill_the_master(
            watched, Path(folder), kills=args.kills, rate_per_s=args.rate, limit_s=120
        )
    figures = asdict(result) | {"n_lost": result.n_lost, "n_doubled": result.n_doubled}
    figures |= {"rate_per_s": args.rate, "down_after_ms": DOWN_AFTER_MS}
    print(
        json.dumps({name: [round(s, 1) for s in v] if name == "back_s" else v for name, v in figures.items()})
    )


if __name__ == "__main__":
    asyncio.run(main())
