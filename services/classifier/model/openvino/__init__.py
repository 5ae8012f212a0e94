"""Runs models by OpenVINO.

OpenVINO and nncf tell Google Analytics of each import and use, from whoever has not opted out by a file in the home
directory, if the package openvino_telemetry can be imported. So it cannot, from here on: both then do without it.
"""

import sys

sys.modules["openvino_telemetry"] = None  # type: ignore[assignment]  # Python's own way to say: not to be had
