"""A share that is revoked is over in every process; and whoever guesses at links keeps nobody out.

Both are asked of real services over many connections at once, and say what they measured.
"""

import asyncio
import json
import secrets
import statistics
import time
from collections import Counter

import aiohttp
import pytest

from service.auth.tokens import DELETE, READ, SHARE, WRITE, mint_token
from tests.faults.stores import make_file
from tests.running_service import RunningService
from tests.web.service import until

pytestmark = pytest.mark.long

KEY = "a secret of the tests, with more than 32 bytes"
VARIABLES = {"JWT_SECRET": KEY, "PUBLIC_URL": "https://store.example"}
CONNECTIONS = 8
AFTER = 1000
"""Requests after the end of a share, in each round."""

ROUNDS = 5
GUESSES = 10_000
GUESSING = 32
"""Connections that guess."""


def token_of(patient):
    return {"access-token": mint_token(KEY, patient, lifetime=3600, scope=f"{READ} {WRITE} {DELETE} {SHARE}")}


class Asking:
    """Whoever asks a service over HTTP."""

    def __init__(self, session, url):
        self.session, self.url = session, url

    async def ask(self, method, path, headers=None, **options):
        async with self.session.request(method, self.url + path, headers=headers, **options) as answer:
            return answer.status, await answer.read()

    async def store(self, patient):
        headers = {**token_of(patient), "Content-Type": "application/dicom"}
        status, body = await self.ask("POST", f"/patient/{patient}/dicom", headers, data=make_file())
        assert status == 200, body
        return json.loads(body)

    async def make(self, patient, **wanted):
        body = {"expires_in": 3000, "download": True, **wanted}
        status, body = await self.ask("POST", f"/patient/{patient}/shares", token_of(patient), json=body)
        assert status == 201, body
        made = json.loads(body)
        return made["share_id"], made["link"].rpartition("#")[2]

    async def open(self, secret):
        return await self.ask("POST", "/shares/session", json={"secret": secret})


async def asking_until(over, service, paths, token, answers):
    """Ask one thing after another over one connection; keep when each was asked, and what came."""
    turn = 0
    while not over.is_set():
        path, headers = paths[turn % len(paths)]
        turn += 1
        asked_at = time.perf_counter()
        status, body = await service.ask("GET", path, {**token, **headers})
        answers.append((asked_at, status, body))


async def revoke_while_asked(services, number):
    """Revoke a share at the first service while both are asked by its token; give what was asked after that."""
    patient = f"p-{number}"
    first = services[0]
    dicom_id = await first.store(patient)
    share_id, secret = await first.make(patient, instances=[dicom_id])
    token = {"access-token": json.loads((await first.open(secret))[1])["access_token"]}
    root = f"/patient/{patient}"
    paths = [
        (f"{root}/dicom/{dicom_id}", {"Accept": "application/dicom"}),
        (f"{root}/dicom/{dicom_id}", {"Accept": "image/png"}),
        (f"{root}/dicom/{dicom_id}/tag/Modality", {}),
        (f"{root}/dicom", {}),
        (f"{root}/dicomweb/studies", {}),
        (f"{root}/tags", {}),
    ]
    answers, over = [], asyncio.Event()
    async with asyncio.TaskGroup() as group:
        for lane in range(CONNECTIONS):
            turned = paths[lane % len(paths) :] + paths[: lane % len(paths)]
            group.create_task(asking_until(over, services[lane % len(services)], turned, token, answers))
        await asyncio.sleep(1)
        status, body = await first.ask("DELETE", f"{root}/shares/{share_id}", token_of(patient))
        revoked_at = time.perf_counter()
        assert status == 204, body
        wanted = len(answers) + CONNECTIONS + AFTER
        await until(lambda: len(answers) >= wanted, 120)
        over.set()
    assert (await services[1].open(secret))[0] == 404
    assert any(status == 200 for asked_at, status, _ in answers if asked_at < revoked_at)
    return [(status, body) for asked_at, status, body in answers if asked_at > revoked_at]


def test_after_a_share_is_revoked_no_process_answers_with_data(tmp_path):
    async def run(urls):
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=CONNECTIONS + 1)) as session:
            services = [Asking(session, url) for url in urls]
            return [each for number in range(ROUNDS) for each in await revoke_while_asked(services, number)]

    with RunningService(tmp_path / "first", dev=False, **VARIABLES) as first:
        shared = {"MONGODB_URI": first.database_uri(), "MONGODB_DATABASE": first.database_name}
        with RunningService(tmp_path / "second", dev=False, **VARIABLES, **shared) as second:
            answers = asyncio.run(run([first.url, second.url]))
    statuses = Counter(status for status, _ in answers)
    print(f"\n{len(answers)} requests after {ROUNDS} revocations: {dict(statuses)}")
    assert len(answers) >= ROUNDS * AFTER
    assert statuses.keys() == {401}
    assert {json.loads(body)["detail"] for _, body in answers} == {
        "The session of this link has ended. Open the link again."
    }


async def guess(service, left, statuses):
    """Try secrets that are none until there were enough."""
    while left:
        left.pop()
        statuses[(await service.open(secrets.token_urlsafe(32)))[0]] += 1


async def work(service, patient, over, seconds, statuses):
    """Upload, ask for a tag, ask for a list, as somebody whom all that does not concern."""
    while not over.is_set():
        dicom_id = await timed(seconds, service.store(patient))
        path = f"/patient/{patient}/dicom"
        for each in (f"{path}/{dicom_id}/tag/Modality", path, f"{path}?Modality=CT"):
            status, _ = await timed(seconds, service.ask("GET", each, token_of(patient)))
            statuses[status] += 1
        await asyncio.sleep(0.05)


async def timed(seconds, asked):
    began = time.perf_counter()
    try:
        return await asked
    finally:
        seconds.append(time.perf_counter() - began)


async def attack(url):
    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as guessing,
        aiohttp.ClientSession() as others,
    ):
        guesser, other = Asking(guessing, url), Asking(others, url)
        dicom_id = await other.store("p-1")
        _, secret = await other.make("p-1", instances=[dicom_id])
        left, guessed, worked, seconds = [None] * GUESSES, Counter(), Counter(), []
        opened, opening, over = Counter(), [], asyncio.Event()
        began = time.perf_counter()
        async with asyncio.TaskGroup() as group:
            working = group.create_task(work(other, "p-2", over, seconds, worked))
            guesses = [group.create_task(guess(guesser, left, guessed)) for _ in range(GUESSING)]
            while left:
                status, body = await timed(opening, guesser.open(secret))
                opened[status] += 1
                if status == 200:
                    token = {"access-token": json.loads(body)["access_token"]}
                    path = f"/patient/p-1/dicom/{dicom_id}/tag/Modality"
                    opened["read", (await guesser.ask("GET", path, token))[0]] += 1
                await asyncio.sleep(0.1)
            await asyncio.gather(*guesses)
            took = time.perf_counter() - began
            over.set()
            await working
        return guessed, opened, opening, worked, seconds, took


def p99(seconds):
    return statistics.quantiles(seconds, n=100)[98]


def test_ten_thousand_guesses_from_one_address_keep_nobody_out(tmp_path):
    with RunningService(tmp_path / "data", dev=False, **VARIABLES) as service:
        guessed, opened, opening, worked, seconds, took = asyncio.run(attack(service.url))
    print(
        f"\n{guessed.total()} guesses in {took:.1f} s: {dict(guessed)}; the right secret, from the same address: "
        f"{dict(opened)}, p99 {p99(opening):.3f} s; others: {dict(worked)}, {len(seconds)} requests, "
        f"p99 {p99(seconds):.3f} s"
    )
    assert guessed.keys() == {404}
    assert guessed.total() == GUESSES
    assert set(opened) == {200, ("read", 200)}
    assert opened[200] > 20
    assert worked.keys() == {200}
    assert p99(seconds) < 1
