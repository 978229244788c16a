"""kafka-python's admin client, for the few requests librdkafka does not have; loaded only when one is needed.

Its settings are made from the profile's librdkafka ones. It is kept from creating topics, which its default allows.
"""

from __future__ import annotations

import contextlib
import json
import logging
import ssl
import tempfile
import time
import urllib.parse
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from workbench.errors import ConfigError, SourceUnavailable

_SAME_MEANING = {
    "client.id": "client_id",
    "sasl.mechanism": "sasl_mechanism",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "sasl.kerberos.service.name": "sasl_kerberos_service_name",
}
# Trust and identity that kafka-python has no way to take; better said than silently left out.
_CANNOT = ("ssl.keystore.location", "ssl.engine.location", "ssl.certificate.verify_cb", "sasl.kerberos.keytab")
_TOKEN_MARGIN_SECONDS = 30.0


@contextlib.contextmanager
def python_admin(settings: Mapping[str, str], timeout_seconds: float) -> Iterator[Any]:
    """A connected ``kafka.KafkaAdminClient``, closed at the end.

    Raises:
        SourceUnavailable: it cannot be used with these settings, or does not connect.
    """
    for name in ("kafka", "kafka.net"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    from kafka import KafkaAdminClient

    endpoint = settings.get("bootstrap.servers", "")
    milliseconds = int(timeout_seconds * 1000)
    try:
        options = python_settings(settings)
        admin = KafkaAdminClient(**options, request_timeout_ms=milliseconds, bootstrap_timeout_ms=milliseconds)
    except ConfigError as error:
        raise SourceUnavailable(str(error), source="cluster", endpoint=endpoint) from None
    except Exception as error:  # noqa: BLE001 - the library raises its own, ssl's and OSError; all mean "not usable"
        what = f"kafka-python cannot connect ({type(error).__name__})"
        raise SourceUnavailable(what, source="cluster", endpoint=endpoint, retriable=True) from None
    try:
        admin._manager.cluster.config["allow_auto_create_topics"] = False  # noqa: SLF001 - the admin client has no option for it
        yield admin
    finally:
        admin.close()


def python_settings(settings: Mapping[str, str]) -> dict[str, Any]:
    """kafka-python's options for a profile's librdkafka settings.

    Raises:
        ConfigError: a setting decides about trust or identity and kafka-python cannot take it.
    """
    for key in _CANNOT:
        if settings.get(key):
            raise ConfigError(f"kafka-python cannot use {key}", hint="Give the certificate and key as PEM instead.")
    out: dict[str, Any] = {name: settings[key] for key, name in _SAME_MEANING.items() if settings.get(key)}
    out["bootstrap_servers"] = [_address(server) for server in settings["bootstrap.servers"].split(",")]
    protocol = settings.get("security.protocol", "plaintext").upper()
    out["security_protocol"] = protocol
    if protocol in {"SSL", "SASL_SSL"}:
        out["ssl_context"] = ssl_context(settings)
        out["ssl_check_hostname"] = out["ssl_context"].check_hostname
    if out.get("sasl_mechanism", "").upper() == "OAUTHBEARER":
        out["sasl_oauth_token_provider"] = _token_provider(settings)
    return out


def _address(server: str) -> str:
    return server.strip().rpartition("://")[2]


def ssl_context(settings: Mapping[str, str]) -> ssl.SSLContext:
    """TLS trust and identity as librdkafka's ssl.* settings say them."""
    context = ssl.create_default_context(
        cafile=settings.get("ssl.ca.location") or None, cadata=settings.get("ssl.ca.pem")
    )
    if settings.get("ssl.crl.location"):
        context.load_verify_locations(settings["ssl.crl.location"])
        context.verify_flags |= ssl.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    if settings.get("ssl.endpoint.identification.algorithm", "https").lower() == "none":
        context.check_hostname = False
    if settings.get("enable.ssl.certificate.verification", "true").lower() == "false":
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    _load_identity(context, settings)
    return context


def _load_identity(context: ssl.SSLContext, settings: Mapping[str, str]) -> None:
    password = settings.get("ssl.key.password")
    if settings.get("ssl.certificate.location"):
        context.load_cert_chain(settings["ssl.certificate.location"], settings.get("ssl.key.location"), password)
    elif settings.get("ssl.certificate.pem"):
        # Python's ssl reads identities from files only: a private folder that is gone after the next line.
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "identity.pem"
            path.touch(mode=0o600)
            path.write_text(settings["ssl.certificate.pem"] + "\n" + settings.get("ssl.key.pem", ""))
            context.load_cert_chain(path, password=password)


def _token_provider(settings: Mapping[str, str]) -> Any:
    from kafka.net.sasl.oauth import AbstractTokenProvider

    if settings.get("sasl.oauthbearer.method", "default").lower() != "oidc":
        raise ConfigError("kafka-python needs sasl.oauthbearer.method=oidc")

    class Provider(AbstractTokenProvider):  # type: ignore[misc]  # kafka-python ships no types
        """Client credentials, as librdkafka's own OIDC method."""

        def __init__(self) -> None:
            self._token, self._until = "", 0.0

        def token(self) -> str:
            """A token that is still good for a while."""
            if time.monotonic() >= self._until:
                self._token, seconds = fetch_token(settings)
                self._until = time.monotonic() + max(0.0, seconds - _TOKEN_MARGIN_SECONDS)
            return self._token

        def extensions(self) -> dict[str, str]:
            """The profile's SASL extensions."""
            pairs = settings.get("sasl.oauthbearer.extensions", "").split(",")
            return dict(pair.split("=", 1) for pair in pairs if "=" in pair)

    return Provider()


def fetch_token(settings: Mapping[str, str]) -> tuple[str, float]:
    """(access token, seconds it is good for) from the profile's OIDC endpoint, by client credentials.

    Reads: ``sasl.oauthbearer.token.endpoint.url``.
    """
    url = settings["sasl.oauthbearer.token.endpoint.url"]
    if not url.startswith(("http://", "https://")):
        raise ConfigError("sasl.oauthbearer.token.endpoint.url must be an http(s) address")
    form = {"grant_type": "client_credentials", "scope": settings.get("sasl.oauthbearer.scope", "")}
    form |= {
        "client_id": settings["sasl.oauthbearer.client.id"],
        "client_secret": settings["sasl.oauthbearer.client.secret"],
    }
    body = urllib.parse.urlencode({key: value for key, value in form.items() if value}).encode()
    trusted = ssl.create_default_context(cafile=settings.get("https.ca.location") or None) if url[4] == "s" else None
    with urllib.request.urlopen(url, body, timeout=10, context=trusted) as answered:  # noqa: S310 - http(s) only, see above
        said = json.loads(answered.read(1_000_000))
    return str(said["access_token"]), float(said.get("expires_in", 60))


def log_sizes(admin: Any, topics: Iterable[str]) -> dict[tuple[int | None, str, int], int]:
    """(broker, topic, partition) -> bytes on its disk; a broker that denies Describe on the cluster answers nothing."""
    sizes: dict[tuple[int | None, str, int], int] = {}
    for broker in admin.describe_log_dirs(list(topics)):
        for folder in broker["log_dirs"]:
            for topic in folder["topics"]:
                for part in topic["partitions"]:
                    if not part["is_future_key"]:
                        sizes[broker["broker"], topic["name"], part["partition_index"]] = part["partition_size"]
    return sizes
