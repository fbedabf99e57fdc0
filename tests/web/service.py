"""A running service that tests ask over a real socket, on the in-memory double of the database."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import itertools
import json
import socket
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import aiohttp
import bson
import pytest
from aiohttp import web
from mongomock.collection import Collection as MongoMockCollection
from mongomock_motor import AsyncMongoMockClient
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from schemas.http import ProblemSchema
from service.app import create_app
from service.auth.tokens import mint_token
from service.dicom.extract import Extraction, unpack
from service.resources import now
from service.settings import Settings
from service.storage.connection import CODEC
from service.storage.store import Store
from service.web.app_keys import CONTEXT
from service.web.server import DiscreetRunner, listen

SECRET = "a secret of the tests, with more than 32 bytes"
MAX_UPLOAD_BYTES = 3 << 20


@dataclass(frozen=True)
class Answer:
    status: int
    headers: CIMultiDictProxy[str]
    body: bytes

    def json(self) -> Any:
        assert self.headers["Content-Type"].partition(";")[0] in {
            "application/json",
            "application/problem+json",
            "application/dicom+json",
        }
        squeezed = self.headers.get("Content-Encoding") == "gzip"
        return json.loads(gzip.decompress(self.body) if squeezed else self.body)

    @property
    def detail(self) -> str:
        return str(self.json()["detail"])


@dataclass
class Service:
    port: int
    app: web.Application
    store: Store
    settings: Settings
    session: aiohttp.ClientSession
    stop: Callable[[], Awaitable[None]]
    patients: Any = field(default_factory=lambda: (f"p-{number}" for number in itertools.count()))

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def context(self) -> Any:
        return self.app[CONTEXT]

    def token(self, patient_id: str, **options: Any) -> str:
        return mint_token(SECRET, patient_id, **{"lifetime": 600, **options})

    async def ask(
        self, method: str, path: str, *, patient: str | None = None, headers: Any = None, data: Any = None
    ) -> Answer:
        """Send a request, its path as it stands, with a token for the patient."""
        sent = CIMultiDict(headers or {})
        if isinstance(data, bytes):
            data = io.BytesIO(data)  # aiohttp warns of long bodies that are not files
        if patient is not None:
            sent["access-token"] = self.token(patient)
        async with self.session.request(
            method, URL(self.url + path, encoded=True), headers=sent, data=data, allow_redirects=False
        ) as response:
            answer = Answer(response.status, response.headers, await response.read())
        check(method, answer)
        return answer

    async def upload(self, patient: str, content: bytes, name: str = "CT.dcm", **options: Any) -> Answer:
        form = aiohttp.FormData(quote_fields=False)
        form.add_field("body", io.BytesIO(content), filename=name, content_type="application/dicom")
        return await self.ask("POST", f"/patient/{patient}/dicom", patient=patient, data=form, **options)

    async def raw(self, request: bytes) -> Answer:
        """Send bytes as they are, and read one answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(request)
            await writer.drain()
            head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 5)
            lines = head.decode("latin-1").split("\r\n")
            headers = CIMultiDict(
                (name, value.strip()) for name, _, value in (line.partition(":") for line in lines[1:] if line)
            )
            body = await asyncio.wait_for(reader.readexactly(int(headers.get("Content-Length", 0))), 5)
        finally:
            writer.close()
        answer = Answer(int(lines[0].split()[1]), CIMultiDictProxy(headers), body)
        check(request.split(b" ", 1)[0].decode("latin-1"), answer)
        return answer


def check(method: str, answer: Answer) -> None:
    """What every answer has, and the one shape of every refusal."""
    assert answer.headers["X-Request-ID"]
    assert answer.headers["X-Content-Type-Options"] == "nosniff"
    assert answer.status != 500, answer.body
    if answer.status >= 400:
        assert answer.headers["Content-Type"] == "application/problem+json"
        if method != "HEAD":
            problem = answer.json()
            assert ProblemSchema().validate(problem) == {}
            assert problem["status"] == answer.status
            assert problem["request_id"] == answer.headers["X-Request-ID"]
        if answer.status == 401:
            assert answer.headers["WWW-Authenticate"].startswith("Bearer")
        if answer.status == 503:
            assert int(answer.headers["Retry-After"]) > 0


@contextlib.contextmanager
def plain_documents() -> Iterator[None]:
    """Have dicts from worker processes: the double keeps raw documents as they are and cannot project from them.

    That a database takes them as they come is tested with the store, over the wire. Nor can two threads of the double
    delete one document at once, as those of a database can.
    """
    deleting, delete = threading.Lock(), MongoMockCollection._delete

    def delete_alone(*arguments: Any, **options: Any) -> Any:
        with deleting:
            return delete(*arguments, **options)

    def unpack_plain(packed: Any) -> Extraction:
        made = unpack(packed)
        parts = {name: getattr(made, name) for name in ("dataset", "index", "series")}
        return replace(
            made, **{name: part and bson.decode(part.raw, codec_options=CODEC) for name, part in parts.items()}
        )

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("service.usecases.ingest.unpack", unpack_plain)
        patch.setattr(MongoMockCollection, "_delete", delete_alone)
        yield


@contextlib.asynccontextmanager
async def starting(make_folder: Callable[[str], Path]) -> AsyncIterator[Callable[..., Awaitable[Service]]]:
    """Give what starts a service with these settings, each in a folder of its own; in the end all of them stop."""
    runners: list[DiscreetRunner] = []
    stores: list[Store] = []
    async with aiohttp.ClientSession(
        auto_decompress=False, cookie_jar=aiohttp.DummyCookieJar(), timeout=aiohttp.ClientTimeout(20)
    ) as session:

        async def go(**options: Any) -> Service:
            folder = make_folder("service")
            double = AsyncMongoMockClient(tz_aware=True).get_database("web", codec_options=CODEC)
            database = options.pop("database", double)
            settings = Settings(
                **{
                    "data_dir": folder,
                    "spool_dir": folder / "spool",
                    "jwt_secret": SECRET,
                    "max_upload_bytes": MAX_UPLOAD_BYTES,
                    "pool_processes": 1,
                    **options,
                }
            )
            store = Store(database, now, max_patient_bytes=settings.max_patient_bytes)
            await store.prepare()
            stores.append(store)
            app = create_app(settings, store=store)
            runner = DiscreetRunner(app)
            await runner.setup()
            runners.append(runner)
            listener = listen("127.0.0.1", 0)
            await web.SockSite(runner, listener).start()

            async def stop() -> None:
                runners.remove(runner)
                await runner.cleanup()

            return Service(listener.getsockname()[1], app, store, settings, session, stop)

        yield go
        for runner in runners:
            await runner.cleanup()
        for store in stores:
            store.close()


def head_of(service: Service, method: str, path: str, patient: str, *lines: str) -> bytes:
    token = service.token(patient)
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: x", f"access-token: {token}", *lines, "", ""]).encode()


async def large_original(service: Service, ct: bytes) -> str:
    """Store an original that no socket's buffers hold, and give its path."""
    whole = await service.ask(
        "POST",
        "/patient/p-1/dicom",
        patient="p-1",
        headers={"Content-Type": "application/dicom"},
        data=ct + bytes(12 << 20),
    )
    assert whole.status == 200, whole.body
    return whole.headers["Location"]


def ask_and_read_nothing(service: Service, path: str) -> socket.socket:
    connection = socket.create_connection(("127.0.0.1", service.port))
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(head_of(service, "GET", path, "p-1", "Accept: application/dicom"))
    return connection


async def until(what: Callable[[], bool], seconds: float = 5) -> None:
    deadline = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)
