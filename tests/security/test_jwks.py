"""Fetching a JWK Set over real sockets: within bounds, from where it was told, and from nowhere else."""

import asyncio
import datetime
import gzip
import ipaddress
import ssl
import time

import aiohttp
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from service.jwks import MAX_SET_BYTES, SetUnavailable, fetch, loader
from tests.security.issuer import Publisher


@pytest.fixture
def publisher():
    with Publisher(b'{"keys": []}') as running:
        yield running


async def test_the_set_is_given_as_it_is_published(publisher):
    assert await loader(publisher.url)() == publisher.text
    assert [path for _, path in publisher.asked] == ["/keys"]


@pytest.mark.parametrize("status", [203, 301, 302, 307, 308, 401, 404, 500])
async def test_another_status_is_a_failure_and_no_redirect_is_followed(publisher, status):
    with Publisher(b'{"keys": []}') as elsewhere:
        publisher.status, publisher.headers = status, {"Location": elsewhere.url}
        with pytest.raises(SetUnavailable, match=str(status)):
            await fetch(publisher.url)
        assert elsewhere.asked == []


async def test_a_set_without_an_end_is_given_up_at_the_bound(publisher):
    publisher.text = b" " * MAX_SET_BYTES
    assert len(await fetch(publisher.url)) == MAX_SET_BYTES
    publisher.text += b" " * (8 << 20)
    with pytest.raises(SetUnavailable, match="more than"):
        await fetch(publisher.url)


async def test_nothing_is_inflated(publisher):
    publisher.text = gzip.compress(b" " * (1 << 24))
    publisher.headers = {"Content-Encoding": "gzip"}
    assert await fetch(publisher.url) == publisher.text


async def test_an_issuer_that_drips_is_given_up_in_time_and_nobody_is_held_up_meanwhile(publisher, monkeypatch):
    monkeypatch.setattr("service.jwks.FETCH_SECONDS", 0.4)
    publisher.text, publisher.seconds_a_byte = b" " * 1000, 0.05
    begun, beats = time.monotonic(), 0
    fetching = asyncio.create_task(fetch(publisher.url))
    while not fetching.done():
        await asyncio.sleep(0.01)
        beats += 1
    assert time.monotonic() - begun < 2
    assert beats > 10
    with pytest.raises(SetUnavailable, match="Timeout"):
        await fetching


async def test_what_is_not_there_is_a_failure(publisher):
    publisher.stop()
    with pytest.raises(SetUnavailable, match="reached"):
        await fetch(publisher.url)
    with pytest.raises(SetUnavailable, match="reached"):
        await fetch("https://issuer.invalid/keys")
    publisher.start()


async def test_an_answer_that_breaks_off_is_a_failure(publisher):
    publisher.headers = {"Content-Length": "1000"}
    with pytest.raises(SetUnavailable):
        await fetch(publisher.url)


def make_certificate(folder, name):
    """A certificate that signs itself, for localhost and the loopback address."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.datetime.now(datetime.UTC)
    names = [x509.DNSName(name), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder(who, who, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path = folder / f"{name}.pem"
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path.write_bytes(secret + certificate.public_bytes(Encoding.PEM))
    return path


@pytest.mark.parametrize(("name", "trusted"), [("localhost", True), ("localhost", False), ("elsewhere.example", True)])
async def test_tls_is_verified(tmp_path, monkeypatch, name, trusted):
    path = make_certificate(tmp_path, name)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(path)
    if trusted:
        # What aiohttp verifies with where nothing is said, with one authority more.
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=str(path)))
    with Publisher(b"{}", server) as publisher:
        if trusted and name == "localhost":
            assert await fetch(publisher.url) == b"{}"
        else:
            with pytest.raises(SetUnavailable, match="reached"):
                await fetch(publisher.url)
            assert publisher.asked == []
