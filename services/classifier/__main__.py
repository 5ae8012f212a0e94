"""`python -m services.classifier`: see app.py."""

from services.classifier.app import main

if __name__ == "__main__":
    main()
