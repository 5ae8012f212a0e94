"""What a service's image must not carry: run while the image is built, and by the tests.

python check_packages.py recorder     exit 1 with one line when a package is there that must not be

Each service's requirements name what it needs; a package of this list gets in when one of those starts to depend on it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

MODEL_RUNTIMES = ("torch", "torchvision", "open_clip", "timm", "transformers", "openvino", "onnxruntime")
VIDEO = ("cv2", "av", "aiortc")
DATABASES = ("sqlalchemy", "alembic", "aiomysql")
UNWANTED: dict[str, tuple[str, ...]] = {
    "motion": (*MODEL_RUNTIMES, *DATABASES),
    "classifier": (*VIDEO, *DATABASES),
    "recorder": (*MODEL_RUNTIMES, *VIDEO),
}


def find_unwanted(service: str) -> list[str]:
    """Return the modules that can be imported here and must not be in the image of `service`."""
    return [name for name in UNWANTED[service] if importlib.util.find_spec(name) is not None]


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    if len(arguments) != 1 or arguments[0] not in UNWANTED:
        print(f"found {list(arguments)}, wanted one of: {', '.join(UNWANTED)}", file=sys.stderr)
        return 2
    [service] = arguments
    if found := find_unwanted(service):
        print(
            f"{service}: found {', '.join(found)}, wanted an image without: look in requirements/{service}.txt for "
            "what brings it, or take it off the list in deploy/image/check_packages.py",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
