"""`python -m services.recorder`: start the recorder; `--check` reads the settings and stops."""

from shared.early_stop import stop_at_once_on_signals

if __name__ == "__main__":
    stop_at_once_on_signals()
    from services.recorder.app import start  # seconds of imports: a stop must be heard during them

    start()
