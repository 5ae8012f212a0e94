"""`python -m services.motion`: watch the cameras of the camera file."""

from services.motion.app import check, main
from services.motion.settings import MotionServiceSettings
from shared.runtime import run

if __name__ == "__main__":
    run("motion", MotionServiceSettings, main, check)
