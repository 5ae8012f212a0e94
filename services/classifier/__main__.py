"""`python -m services.classifier`: see app.py."""

from shared.early_stop import stop_at_once_on_signals

if __name__ == "__main__":
    stop_at_once_on_signals()
    from services.classifier.app import main  # seconds of imports: a stop must be heard during them

    main()
