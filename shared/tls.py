"""What is wrong with files of TLS: the certificate of an HTTP port, and authorities that servers are checked by."""

from __future__ import annotations

import ssl
from pathlib import Path


def tls_faults(certificate: Path | None, key: Path | None) -> list[str]:
    """Return why a server could not use these files; nothing where none is named."""
    if certificate is None and key is None:
        return []
    if certificate is None or key is None:
        return ["TLS_CERT_FILE and TLS_KEY_FILE: must be both or neither; name the other file too"]
    faults = [
        f"{name}={file}: cannot be read: {why}; name a PEM file that this account can read"
        for name, file in (("TLS_CERT_FILE", certificate), ("TLS_KEY_FILE", key))
        if (why := _unreadable(file)) is not None
    ]
    if faults:
        return faults
    try:
        # a key with a passphrase would ask for it on the terminal
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: b"")
    except (ssl.SSLError, ValueError) as exc:
        said = getattr(exc, "reason", None) or "unusable"
        return [
            f"TLS_CERT_FILE={certificate} TLS_KEY_FILE={key}: {said}: must be a chain and its own key, PEM, without a "
            "passphrase"
        ]
    return []


def authorities_fault(file: Path) -> str | None:
    """Return why servers could not be checked by the certificates of authorities in `file`; None: they can."""
    why = _unreadable(file)
    if why is not None:
        return f"{file} cannot be read: {why}; name a PEM file that this account can read"
    try:
        ssl.create_default_context(cafile=file)
    except (ssl.SSLError, ValueError):
        return f"{file} holds no certificate; name a PEM file with those of the authorities that sign the server's"
    return None


def _unreadable(file: Path) -> str | None:
    try:
        with file.open("rb") as opened:
            opened.read(1)
    except OSError as exc:
        return exc.strerror or type(exc).__name__
    return None
