"""How soon a killed motion process's cameras are read again: `python -m bench.takeover`, a Redis of its own, no model.

Three processes share twelve small MJPEG cameras by leases, with the default settings. One is killed (SIGKILL); measured
is from then until every camera delivers pictures to one of the two others. Then it is started again, for the next run.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

from services.motion.settings import MotionServiceSettings
from tests.integration.leased_site import LeasedSite
from tests.integration.test_motion_service import Rig
from tests.servers import RedisServer, wait_until

NAMES = ("a", "b", "c")


def measure(site: LeasedSite, name: str) -> tuple[int, float]:
    """Kill a process; return how many cameras it read, and the seconds until all are read again."""
    n_taken = len(site.read_by(name))
    site.kill(name)
    killed_s = time.perf_counter()
    wait_until(site.are_all_read, 60, "that all cameras are read again")
    took_s = time.perf_counter() - killed_s
    site.start(name)
    site.wait_until_even()
    return n_taken, round(took_s, 2)


def main() -> None:
    """Print the figures as JSON."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--cameras", type=int, default=12)
    parser.add_argument("--lease-s", type=float, default=MotionServiceSettings().camera_lease_s)
    given = parser.parse_args()
    redis = RedisServer()
    with tempfile.TemporaryDirectory() as folder:
        redis.start()
        site = LeasedSite(Rig(Path(folder), redis.url), given.cameras, given.lease_s)
        try:
            site.start(*NAMES)
            site.wait_until_even()
            runs = [measure(site, NAMES[number % len(NAMES)]) for number in range(given.runs)]
        finally:
            site.close()
            redis.close()
    took = [took_s for _, took_s in runs]
    found = {
        "processes": len(NAMES),
        "cameras": given.cameras,
        "lease_s": given.lease_s,
        "cameras_of_the_killed": [n_taken for n_taken, _ in runs],
        "seconds_until_all_are_read": took,
        "median_s": statistics.median(took),
        "most_s": max(took),
    }
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
