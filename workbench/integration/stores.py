"""Keystores and truststores of Java, as far as librdkafka can use them: PEM and PKCS#12, told by their first bytes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.errors import ConfigError
from workbench.integration.config import Ssl

if TYPE_CHECKING:
    from pydantic import SecretStr

_JKS, _PEM, _DER = b"\xfe\xed\xfe\xed", b"-----BEGIN ", b"\x30"


def keystore_settings(ssl: Ssl) -> dict[str, Any]:
    """Settings for one's own certificate and key.

    Raises:
        ConfigError: the file cannot be read, or is neither PKCS#12 nor PEM with certificate and key.
    """
    if ssl.keystore is None:
        return {}
    kind, path = _kind(ssl.keystore, "keystore"), str(ssl.keystore)
    if kind == "pkcs12":
        return {"ssl.keystore.location": path, "ssl.keystore.password": _text(ssl.keystore_password)}
    if b"PRIVATE KEY-----" not in ssl.keystore.read_bytes():
        raise ConfigError(f"The keystore {path} holds no private key.", hint="Put certificate and key into one file.")
    password = {"ssl.key.password": _text(ssl.keystore_password)} if ssl.keystore_password else {}
    return {"ssl.certificate.location": path, "ssl.key.location": path, **password}


def truststore_settings(ssl: Ssl) -> dict[str, Any]:
    """Settings for whom to trust; nothing where the system's certificates are meant.

    Raises:
        ConfigError: the file cannot be read, is a JKS, or its password is wrong.
    """
    if ssl.truststore is None:
        return {}
    if _kind(ssl.truststore, "truststore") == "pem":
        return {"ssl.ca.location": str(ssl.truststore)}
    # librdkafka takes certificates as PEM only; those of a PKCS#12 file are handed over as text.
    return {"ssl.ca.pem": _certificates(ssl.truststore, ssl.truststore_password)}


def _kind(path: Path, what: str) -> str:
    try:
        head = path.read_bytes()
    except OSError as error:
        reason = error.strerror or "it failed"
        raise ConfigError(f"The {what} {path} cannot be read: {reason}.", hint=f"Check ssl.{what}.") from None
    if head.startswith(_JKS):
        hint = f"Convert it: keytool -importkeystore -srckeystore {path} -destkeystore {what}.p12 -deststoretype PKCS12"
        raise ConfigError(f"The {what} {path} is a JKS, which only Java reads.", hint=hint)
    if _PEM in head:
        return "pem"
    if head.startswith(_DER):
        return "pkcs12"
    raise ConfigError(f"The {what} {path} is neither PEM nor PKCS#12.", hint=f"Check ssl.{what}.")


def _certificates(path: Path, password: SecretStr | None) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs12

    try:
        store = pkcs12.load_pkcs12(path.read_bytes(), _text(password).encode() or None)
    except ValueError:
        hint = "Check ssl.truststorePassword."
        raise ConfigError(f"The truststore {path} cannot be opened: damaged, or a wrong password.", hint=hint) from None
    found = [item.certificate for item in (*([store.cert] if store.cert else []), *store.additional_certs)]
    if not found:
        raise ConfigError(f"The truststore {path} holds no certificate.", hint="Check ssl.truststore.")
    return "".join(certificate.public_bytes(Encoding.PEM).decode() for certificate in found)


def _text(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret else ""
