"""What a provider's claims mean."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from services.recorder.access.oidc import OidcSettings, role_of, subject_hash
from shared.permissions import Role

ROLES = {"admins": Role.ADMIN, "family": Role.OPERATOR, "guests": Role.VIEWER}
SETTINGS = OidcSettings("https://id.example", "clipwatch", None, "groups", ROLES, None)
json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.sampled_from(sorted(ROLES)),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)


def test_the_highest_role_of_the_claim_counts() -> None:
    assert role_of({"groups": ["guests", "admins", "family"]}, SETTINGS) is Role.ADMIN
    assert role_of({"groups": "family"}, SETTINGS) is Role.OPERATOR
    assert role_of({"groups": ["others"]}, SETTINGS) is None
    assert role_of({}, SETTINGS) is None


@given(json)
def test_no_claim_makes_a_role_that_it_does_not_name(claim: object) -> None:
    role = role_of({"groups": claim}, SETTINGS)
    values = claim if isinstance(claim, list) else [claim]
    named = {ROLES[value] for value in values if isinstance(value, str) and value in ROLES}
    assert (role is None and not named) or role in named


def test_a_subject_is_of_one_issuer() -> None:
    assert subject_hash("https://a", "b") != subject_hash("https://b", "a")
    assert len(subject_hash("https://a", "\ud800")) == 64
