"""What a lease is made of; how replicas agree is shown with a real Redis in tests/integration/test_leases.py."""

from __future__ import annotations

import pytest

from services.classifier.settings import ClassifierSettings
from shared.leases import LeaseSettings


@pytest.mark.parametrize(
    ("holder", "ttl_s"), [("", 30.0), ("two words", 30.0), ("line\n", 30.0), ("one", 0.0)]
)
def test_a_holder_that_would_break_a_lease_in_two_is_refused(holder: str, ttl_s: float) -> None:
    with pytest.raises(ValueError, match="holder must be a word"):
        LeaseSettings(holder, ttl_s)


def test_the_services_default_is_the_leases() -> None:
    assert ClassifierSettings().gpu_lease_s == LeaseSettings("host-1").ttl_s
