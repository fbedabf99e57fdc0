"""Where a JWK Set comes from: a file, or the https address of an issuer."""

from __future__ import annotations

import asyncio
import contextlib
import os
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

import aiohttp

MAX_SET_BYTES = 1 << 20
"""The largest JWK Set that is read; an issuer's has some thousand bytes."""

FETCH_SECONDS = 5.0
"""What a fetch may take, from the first packet to the last."""

Load = Callable[[], Awaitable[bytes]]


class SetUnavailable(Exception):
    """The set could not be read; the text is a reason for the log, and holds nothing that was sent."""


def is_address(source: str) -> bool:
    """Return whether the text is an address rather than the path of a file."""
    return "://" in source


def loader(source: str) -> Load:
    """Return what reads the set.

    Parameters
    ----------
    source : str
        A path, or an address that the settings let pass: https, or http on a loopback address.
    """

    async def load_file() -> bytes:
        return await asyncio.to_thread(read_file, Path(source))

    async def load_address() -> bytes:
        return await fetch(source)

    return load_address if is_address(source) else load_file


def read_file(path: Path) -> bytes:
    """Read a set from a file.

    Raises
    ------
    SetUnavailable
        Where it cannot be read, or is too large.
    """
    try:
        # Only what is read to its end at once: a pipe without a writer would hold its reader for ever.
        with open(path, "rb", opener=_open_at_once) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SetUnavailable("It is not a regular file")
            text = file.read(MAX_SET_BYTES + 1)
    except OSError as error:
        raise SetUnavailable(f"{error.strerror or type(error).__name__}") from None
    return _bounded(text)


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


async def fetch(address: str) -> bytes:
    """Fetch a set from an issuer: verified TLS, no redirects, no proxies, no cookies, and within bounds.

    Raises
    ------
    SetUnavailable
        Where it cannot be had.
    """
    try:
        async with contextlib.AsyncExitStack() as stack:
            # One connection a fetch: they are minutes apart, and a kept one would be stale.
            session = await stack.enter_async_context(
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(total=FETCH_SECONDS),
                    cookie_jar=aiohttp.DummyCookieJar(),
                    auto_decompress=False,
                    trust_env=False,
                    headers={"Accept": "application/jwk-set+json, application/json", "Accept-Encoding": "identity"},
                )
            )
            response = await stack.enter_async_context(session.get(address, allow_redirects=False))
            if response.status != 200:
                raise SetUnavailable(f"it answered {response.status}")
            text = bytearray()
            async for piece in response.content.iter_chunked(1 << 16):
                text += piece
                if len(text) > MAX_SET_BYTES:
                    break
            return _bounded(bytes(text))
    except (aiohttp.ClientError, TimeoutError, OSError, ValueError) as error:
        raise SetUnavailable(f"it could not be reached ({type(error).__name__})") from None


def _bounded(text: bytes) -> bytes:
    if len(text) > MAX_SET_BYTES:
        raise SetUnavailable(f"it has more than {MAX_SET_BYTES} bytes")
    return text
