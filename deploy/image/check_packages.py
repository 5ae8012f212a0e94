"""What a service's image must not carry: run while the image is built, and by the tests.

python check_packages.py recorder cpu    exit 1 with one line when a package is there that must not be

Each service's requirements name what it needs; a package of this list gets in when one of those starts to depend on it.
"""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Sequence

TORCH = ("torch", "torchvision", "timm", "transformers", "triton")
# imported by openvino and nncf where it is there, and then tells Google Analytics of it
REPORTERS = ("openvino_telemetry",)
MODEL_RUNTIMES = (*TORCH, "open_clip", "openvino", "nncf", "onnxruntime", *REPORTERS)
VIDEO = ("cv2", "av", "aiortc")
DATABASES = ("sqlalchemy", "alembic", "aiomysql")
UNWANTED: dict[str, tuple[str, ...]] = {
    "motion": (*MODEL_RUNTIMES, *DATABASES),
    "classifier": (*TORCH, "nncf", "onnxruntime", *REPORTERS, *VIDEO, *DATABASES),
    "classifier-gpu": (*REPORTERS, *VIDEO, *DATABASES),
    "recorder": (*MODEL_RUNTIMES, *VIDEO),
}


def find_unwanted(image: str) -> list[str]:
    """Return the modules that can be imported here and must not be in the image of that name."""
    return [name for name in UNWANTED[image] if importlib.util.find_spec(name) is not None]


def main(arguments: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    image = "-".join(part for part in arguments if part != "cpu")
    if len(arguments) != 2 or image not in UNWANTED:
        print(f"found {list(arguments)}, wanted SERVICE cpu|gpu of: {', '.join(UNWANTED)}", file=sys.stderr)
        return 2
    if found := find_unwanted(image):
        print(
            f"{image}: found {', '.join(found)}, wanted an image without: look in requirements/*.txt for what "
            "brings it, or take it off the list in deploy/image/check_packages.py",
            file=sys.stderr,
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
