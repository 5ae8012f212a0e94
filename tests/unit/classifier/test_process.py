"""What is set before torch is loaded; in processes of its own, since it cannot be undone."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

CODE = "import os; from services.classifier.process import tune; tune(); print(os.environ.get('OMP_WAIT_POLICY'))"


@pytest.mark.parametrize(
    ("given", "found"),
    [({}, "PASSIVE"), ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE"), ({"GOMP_SPINCOUNT": "10"}, "None")],
)
def test_waiting_threads_sleep_unless_the_user_says_otherwise(given: dict[str, str], found: str) -> None:
    environment = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    result = subprocess.run(
        [sys.executable, "-c", CODE], env={**environment, **given}, capture_output=True, text=True, check=True
    )
    assert result.stdout.strip() == found


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="mallopt is glibc's")
def test_glibc_takes_every_setting() -> None:
    code = "from services.classifier.process import keep_memory, tune; raise SystemExit(not (tune() and keep_memory()))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
