"""A Prometheus that is down, slow, broken, huge or closed to us: one clear sentence, in bounded time and memory."""

from __future__ import annotations

import base64
import datetime as dt
import ipaddress
import ssl
import time
import tracemalloc
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from tests.kafka.answering import EMPTY, Handler, answering, reply, reply_json
from workbench.errors import AccessDenied, SourceError, SourceUnavailable
from workbench.sources.prometheus import Prometheus

pytestmark = pytest.mark.kafka

# What a call that should give up after two seconds may take on a loaded machine; without a limit it would take minutes.
PATIENCE_SECONDS = 60


def error_of(url: str, timeout_seconds: float = 2, **settings: Any) -> SourceError:
    """The error of a query, which must come in time and in one line."""
    began = time.monotonic()
    with Prometheus({"url": url, **settings}, timeout_seconds) as prometheus, pytest.raises(SourceError) as caught:
        prometheus.query("up")
    assert time.monotonic() - began < PATIENCE_SECONDS
    assert "\n" not in str(caught.value)
    assert caught.value.source == "prometheus"
    return caught.value


def test_nothing_listens():
    error = error_of("http://127.0.0.1:9")
    assert isinstance(error, SourceUnavailable)
    assert str(error) == "Prometheus at http://127.0.0.1:9 cannot be reached."
    assert error.retriable


def test_a_host_that_does_not_exist():
    assert isinstance(error_of("http://prometheus.invalid:9090"), SourceUnavailable)


def slow(handler: BaseHTTPRequestHandler) -> None:
    time.sleep(20)


def drip(handler: BaseHTTPRequestHandler) -> None:
    """A byte every now and then: each single read is in time."""
    handler.send_response(200)
    handler.end_headers()
    for _ in range(100):
        handler.wfile.write(b" ")
        handler.wfile.flush()
        time.sleep(0.5)


def drip_headers(handler: BaseHTTPRequestHandler) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    for number in range(100):
        handler.wfile.write(b"X-%d: x\r\n" % number)
        handler.wfile.flush()
        time.sleep(0.5)


@pytest.mark.parametrize("handle", [slow, drip, drip_headers])
def test_too_slow(handle: Handler):
    with answering(handle) as url:
        error = error_of(url, 1)
    assert isinstance(error, SourceUnavailable)
    assert "did not answer within 1 s" in str(error)


def test_a_server_error_is_tried_again_and_then_told_in_its_own_words():
    seen: list[str] = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.path)
        reply_json(handler, {"status": "error", "error": "the disk\nis \x1b[31mfull"}, 503)

    with answering(handle) as url:
        error = error_of(url, 20)
    assert len(seen) == 3
    assert isinstance(error, SourceUnavailable)
    assert error.retriable
    assert str(error) == f"Prometheus at {url} answered HTTP 503: the disk is [31mfull."


def test_a_500_without_a_word():
    with answering(lambda handler: reply(handler, 500, b"")) as url:
        assert "answered HTTP 500." in str(error_of(url))


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>log in</html>",
        b"[]",
        b"null",
        b"{}",
        b'{"data": 7}',
        b'{"status": "success", "data": {"result": 7}}',
        b'{"status": "success", "data": {"result": [7, 8]}}',
        b'{"status": "success", "data": {"result": [{"metric": [], "value": [1, "2"]}]}}',
        b'{"status": "success", "data": {"result": [{"metric": {}, "value": ["x"]}]}}',
        b"[" * 100_000,
        b"\xff\xfe\x00",
    ],
    ids=lambda body: repr(body[:24]),
)
def test_what_is_no_prometheus(body: bytes):
    with answering(lambda handler: reply(handler, 200, body)) as url:
        error = error_of(url, 20)
    assert isinstance(error, SourceUnavailable)
    assert "does not answer as Prometheus does" in str(error)


def test_an_answer_of_a_gigabyte_is_cut_and_not_held():
    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", str(2**30))
        handler.end_headers()
        for _ in range(2**10):
            handler.wfile.write(b" " * 2**20)

    tracemalloc.start()
    try:
        with answering(endless) as url:
            error = error_of(url, 60)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "answered with more than 64 MiB" in str(error)
    assert "shorter time" in error.hint
    assert peak < 200 * 2**20


def test_a_query_that_is_wrong_is_refused_in_prometheus_words():
    def handle(handler: BaseHTTPRequestHandler) -> None:
        reply_json(handler, {"status": "error", "errorType": "bad_data", "error": "1:3: parse error"}, 400)

    with answering(handle) as url:
        error = error_of(url)
    assert not isinstance(error, SourceUnavailable)
    assert "refused the query: 1:3: parse error" in str(error)


def test_a_redirect_is_not_followed_so_that_no_key_goes_elsewhere():
    seen: list[str] = []
    with answering(lambda handler: seen.append(handler.path)) as elsewhere:

        def handle(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(302)
            handler.send_header("Location", f"{elsewhere}/login")
            handler.send_header("Content-Length", "0")
            handler.end_headers()

        with answering(handle) as url:
            error = error_of(url, api_key="k", bearer_token="t")
    assert str(error) == f"Prometheus at {url} sends us to {elsewhere.removeprefix('http://')}."
    assert seen == []


@pytest.mark.parametrize("status", [401, 403])
def test_unauthorised(status: int):
    with answering(lambda handler: reply_json(handler, {"error": "no"}, status)) as url:
        error = error_of(url, bearer_token="secret-token")
    assert isinstance(error, AccessDenied)
    assert "secret-token" not in f"{error} {error.hint}"


SENT = [
    ({"bearer_token": "t"}, "Authorization", "Bearer t"),
    ({"api_key": "k"}, "X-API-Key", "k"),
    ({"api_key": "k", "api_key_header": "X-Other"}, "X-Other", "k"),
    ({"username": "u", "password": "p"}, "Authorization", f"Basic {base64.b64encode(b'u:p').decode()}"),
]


@pytest.mark.parametrize(("settings", "header", "value"), SENT)
def test_who_we_are_is_sent(settings: dict[str, str], header: str, value: str):
    seen: list[str | None] = []

    def handle(handler: BaseHTTPRequestHandler) -> None:
        seen.append(handler.headers[header])
        reply_json(handler, EMPTY)

    with answering(handle) as url, Prometheus({"url": url, **settings}) as prometheus:
        assert prometheus.query("up").num_rows == 0
    assert seen == [value]


def token_server(seen: list[dict[str, list[str]]], answer: dict[str, Any], status: int = 200) -> Handler:
    def handle(handler: BaseHTTPRequestHandler) -> None:
        if handler.path != "/token":
            granted = handler.headers["Authorization"] == "Bearer granted"
            reply_json(handler, EMPTY if granted else {}, 200 if granted else 401)
            return
        body = handler.rfile.read(int(handler.headers["Content-Length"])).decode()
        seen.append(parse_qs(body))
        reply_json(handler, answer, status)

    return handle


def oauth(url: str) -> dict[str, str]:
    return {"token_url": f"{url}/token", "client_id": "us", "client_secret": "hush", "scope": "metrics"}


def test_a_token_is_fetched_once_by_client_credentials():
    seen: list[dict[str, list[str]]] = []
    granted = {"access_token": "granted", "token_type": "Bearer", "expires_in": 3600}
    with answering(token_server(seen, granted)) as url, Prometheus({"url": url, **oauth(url)}) as prometheus:
        prometheus.query("up")
        prometheus.query("up")
    assert len(seen) == 1
    assert seen[0]["grant_type"] == ["client_credentials"]
    assert seen[0]["scope"] == ["metrics"]


def test_a_token_that_runs_out_is_replaced():
    seen: list[dict[str, list[str]]] = []
    short = {"access_token": "granted", "token_type": "Bearer", "expires_in": 1}
    with answering(token_server(seen, short)) as url, Prometheus({"url": url, **oauth(url)}) as prometheus:
        prometheus.query("up")
        prometheus.query("up")
    assert len(seen) >= 2


def test_a_token_that_is_not_given():
    with answering(token_server([], {"error": "invalid_client"}, 401)) as url:
        error = error_of(url, 20, **oauth(url))
    assert isinstance(error, AccessDenied)
    assert "hush" not in f"{error} {error.hint}"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A self-signed certificate of 127.0.0.1 and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    file = tmp_path_factory.mktemp("tls") / "server.pem"
    file.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        + made.public_bytes(serialization.Encoding.PEM)
    )
    return file


def test_tls_is_checked_against_the_authority_that_is_named(certificate: Path):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with answering(lambda handler: reply_json(handler, EMPTY), context) as url:
        error = error_of(url, 20)
        with Prometheus({"url": url, "ca_file": str(certificate)}) as prometheus:
            assert prometheus.query("up").num_rows == 0
    assert "certificate that is not trusted" in str(error)
    assert "ca_file" in error.hint
