"""Callers: those who behave, and those who are slow or do nothing, in every way that HTTP/1.1 leaves them."""

import asyncio
import contextlib
import json
import random
import socket
import time
from collections import Counter
from dataclasses import dataclass, field

import aiohttp

from tests.faults.stores import make_file

HOSTILE = "p-slow"


@dataclass
class Figures:
    """What the well-behaved saw: seconds by what they did, and answers that they did not expect."""

    seconds: dict[str, list[float]] = field(default_factory=lambda: {"upload": [], "tag": [], "picture": []})
    unexpected: Counter = field(default_factory=Counter)

    def percentile(self, share, what=None):
        """The time that this share of the answers (of one kind, or of all) was given within."""
        taken = sorted(self.seconds[what] if what else [each for kind in self.seconds.values() for each in kind])
        return taken[min(len(taken) - 1, int(share * len(taken)))] if taken else float("nan")


class Behaved:
    """A client that uploads, asks for tags and looks at pictures, one request after another, at a modest rate."""

    def __init__(self, service, session, number, figures, pause):
        self.patient = f"p-{number % 10}"
        self.url = f"{service.url}/patient/{self.patient}/dicom"
        self.headers = {"access-token": service.token(self.patient)}
        self.session = session
        self.figures = figures
        self.pause = pause
        self.chance = random.Random(number)
        self.ids = []

    async def run(self, ends):
        await asyncio.sleep(self.chance.random() * self.pause)
        while time.monotonic() < ends:
            kind = self.chance.choices(("upload", "tag", "picture"), (2, 6, 2))[0] if self.ids else "upload"
            content = make_file() if kind == "upload" else None
            began = time.monotonic()
            try:
                await getattr(self, kind)(content)
            except (aiohttp.ClientError, TimeoutError) as error:
                self.figures.unexpected[f"{kind}: {type(error).__name__}"] += 1
            self.figures.seconds[kind].append(time.monotonic() - began)
            await asyncio.sleep(self.pause * (0.5 + self.chance.random()))

    async def upload(self, content):
        headers = {**self.headers, "Content-Type": "application/dicom"}
        body = await self._ask("POST", "", headers, content)
        if body is not None:
            self.ids.append(json.loads(body))

    async def tag(self, _):
        await self._ask("GET", f"/{self.chance.choice(self.ids)}/tag/Modality", self.headers)

    async def picture(self, _):
        await self._ask("GET", f"/{self.chance.choice(self.ids)}", {**self.headers, "Accept": "image/png"})

    async def _ask(self, method, path, headers, data=None):
        async with self.session.request(method, self.url + path, headers=headers, data=data) as response:
            body = await response.read()
            if response.status != 200:
                self.figures.unexpected[f"{response.status} {json.loads(body)['code']}"] += 1
                return None
            return body


# --- those who do not


class Stalling:
    """A caller that opens one connection after another, and does with each what its kind does.

    Parameters
    ----------
    service : RunningService
        Whom it troubles.
    large : str
        Path of an original that no socket's buffers hold.
    hold : float
        Seconds after which it turns to a new connection, where it was not cut off before.
    """

    KINDS = (
        "nothing",
        "half_a_line",
        "head_by_bytes",
        "body_by_bytes",
        "half_a_body",
        "deaf",
        "hard_of_hearing",
        "kept_alive",
    )

    def __init__(self, service, large, hold):
        self.service = service
        self.large = large
        self.hold = hold
        self.token = service.token(HOSTILE)
        self.opened = 0

    async def run(self, number, ends):
        kind = getattr(self, self.KINDS[number % len(self.KINDS)])
        while time.monotonic() < ends:
            connection = socket.socket()
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.setblocking(False)
            self.opened += 1
            try:
                async with asyncio.timeout(min(self.hold, max(0.01, ends - time.monotonic()))):
                    await asyncio.get_running_loop().sock_connect(connection, ("127.0.0.1", self.service.port))
                    await kind(connection)
            except (OSError, TimeoutError):
                pass
            finally:
                connection.close()
            await asyncio.sleep(0.2)

    async def nothing(self, connection):
        await self._recv(connection)

    async def half_a_line(self, connection):
        await self._send(connection, b"GET /heal")
        await self._recv(connection)

    async def head_by_bytes(self, connection):
        await self._by_bytes(connection, self._head("GET", "/dicom"))

    async def body_by_bytes(self, connection):
        await self._send(connection, self._upload())
        await self._by_bytes(connection, bytes(1000))

    async def half_a_body(self, connection):
        await self._send(connection, self._upload() + bytes(500))
        await self._recv(connection)

    async def deaf(self, connection):
        await self._send(connection, self._head("GET", self.large, "Accept: application/dicom"))
        await asyncio.sleep(self.hold)

    async def hard_of_hearing(self, connection):
        await self._send(connection, self._head("GET", self.large, "Accept: application/dicom"))
        for _ in range(round(self.hold)):
            await asyncio.sleep(1)
            await self._recv(connection, 256)

    async def kept_alive(self, connection):
        await self._send(connection, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        while await self._recv(connection):
            pass

    def _upload(self):
        return self._head("POST", "/dicom", "Content-Type: application/dicom", "Content-Length: 1000")

    def _head(self, method, path, *lines):
        first = f"{method} /patient/{HOSTILE}{path} HTTP/1.1"
        return "\r\n".join([first, "Host: x", f"access-token: {self.token}", *lines, "", ""]).encode()

    async def _by_bytes(self, connection, content):
        receiving = asyncio.create_task(self._recv(connection))
        try:
            for byte in content:
                await self._send(connection, bytes([byte]))
                done, _ = await asyncio.wait({receiving}, timeout=1)
                if done:
                    return
        finally:
            receiving.cancel()
            with contextlib.suppress(asyncio.CancelledError, OSError):
                await receiving

    @staticmethod
    async def _send(connection, content):
        await asyncio.get_running_loop().sock_sendall(connection, content)

    @staticmethod
    async def _recv(connection, count=4096):
        return await asyncio.get_running_loop().sock_recv(connection, count)
