"""Fetching a JWK Set over real sockets: within bounds, from where it was told, and from nowhere else."""

import asyncio
import gzip
import os
import ssl
import time

import aiohttp
import pytest

from service.auth.jwks import MAX_SET_BYTES, SetUnavailable, fetch, loader
from tests.auth.issuer import Publisher, make_certificate


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
    monkeypatch.setattr("service.auth.jwks.FETCH_SECONDS", 0.4)
    publisher.text, publisher.seconds_a_byte = b" " * 1000, 0.05
    begun, beats = time.monotonic(), 0  # of the event loop, which goes on
    fetching = asyncio.create_task(fetch(publisher.url))
    while not fetching.done():
        await asyncio.sleep(0.01)
        beats += 1
    assert time.monotonic() - begun < 25  # all of it would take 50 seconds
    assert beats > 3
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


@pytest.mark.parametrize(("name", "trusted"), [("localhost", True), ("localhost", False), ("elsewhere.example", True)])
async def test_tls_is_verified(tmp_path, monkeypatch, name, trusted):
    path = make_certificate(tmp_path, name)
    if trusted:
        # What aiohttp verifies with where nothing is said, with one authority more.
        monkeypatch.setattr(aiohttp.connector, "_SSL_CONTEXT_VERIFIED", ssl.create_default_context(cafile=str(path)))
    with Publisher(b"{}", path) as publisher:
        if trusted and name == "localhost":
            assert await fetch(publisher.url) == b"{}"
        else:
            with pytest.raises(SetUnavailable, match="reached"):
                await fetch(publisher.url)
            assert publisher.asked == []


async def test_a_file_that_holds_up_its_reader_is_a_failure(tmp_path):
    os.mkfifo(tmp_path / "set")
    async with asyncio.timeout(5):
        for path in (tmp_path / "set", tmp_path, "/dev/zero"):
            with pytest.raises(SetUnavailable):
                await loader(str(path))()
