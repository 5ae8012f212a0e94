"""`python -m services.recorder`: start the recorder; `--check` reads the settings and stops."""

from services.recorder.app import start

if __name__ == "__main__":
    start()
