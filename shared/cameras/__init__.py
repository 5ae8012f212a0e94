"""Cameras: their settings, and the file that holds them.

sources      kinds of sources and their addresses   (pure)
model        settings with their bounds             (pure)
reader       file -> CameraFile, or every fault at once
yaml_text    changes one key in YAML text           (pure)
editor       changes one camera in the file's text  (pure)
store        the file on disk: lock, revision, replacement
"""

from shared.cameras.model import LEAST_LOOKS_HZ, Camera, CameraFile, MotionSettings, Point
from shared.cameras.reader import camera_with, load_cameras, parse_cameras, recordings_of
from shared.cameras.sources import kind_of, whip_token

__all__ = [
    "LEAST_LOOKS_HZ",
    "Camera",
    "CameraFile",
    "MotionSettings",
    "Point",
    "camera_with",
    "kind_of",
    "load_cameras",
    "parse_cameras",
    "recordings_of",
    "whip_token",
]
