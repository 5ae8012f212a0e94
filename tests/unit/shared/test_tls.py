"""Files of a certificate that a server cannot use are told at the start."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared.tls import tls_faults
from tests.certificates import Certificate, make_certificate


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_a_chain_with_its_key_is_fine_and_so_is_none(certificate: Certificate) -> None:
    assert tls_faults(certificate.chain, certificate.key) == []
    assert tls_faults(None, None) == []


def test_every_file_that_cannot_be_read_is_told(certificate: Certificate, tmp_path: Path) -> None:
    faults = tls_faults(tmp_path / "c.pem", tmp_path)
    assert [fault.partition("=")[0] for fault in faults] == ["TLS_CERT_FILE", "TLS_KEY_FILE"]
    assert "both" in tls_faults(certificate.chain, None)[0]
    assert "both" in tls_faults(None, certificate.key)[0]


def test_what_is_no_pair_is_told(certificate: Certificate, tmp_path: Path) -> None:
    other = make_certificate(tmp_path)
    (tmp_path / "text.pem").write_text("no certificate")
    locked = make_certificate(tmp_path / "locked", passphrase=b"hunter2")
    for chain, key in (
        (certificate.chain, other.key),
        (certificate.key, certificate.chain),
        (tmp_path / "text.pem", certificate.key),
        (locked.chain, locked.key),
    ):
        (fault,) = tls_faults(chain, key)
        assert "without a passphrase" in fault
