"""`python -m services.motion`: watch the cameras of the camera file."""

from shared.early_stop import stop_at_once_on_signals

if __name__ == "__main__":
    stop_at_once_on_signals()
    # seconds of imports: a stop must be heard during them
    from services.motion.app import check, main
    from services.motion.settings import MotionServiceSettings
    from shared.runtime import run

    run("motion", MotionServiceSettings, main, check)
