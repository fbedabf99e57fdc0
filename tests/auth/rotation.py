"""Keys that rotate while clients ask: who was let in wrongly, and who was sent away wrongly.

Also a command: ``python -m tests.auth.rotation --seconds 60`` prints its figures.
"""

import argparse
import asyncio
import collections
import contextlib
import itertools
import random
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.auth.issuer import Publisher, SigningKey, as_set, make_certificate, make_private
from tests.running_service import RunningService

REFRESH = 0.3
"""Seconds between two fetches of the service under test, and with it the time that a removed key may work on."""

SLACK = 1.0
"""Seconds that a fetch and its way through a busy machine may take."""

KINDS = ("ES256", "EdDSA", "RS256", "ES384", "PS256")


@dataclass
class Figures:
    rotations: int = 0
    outages: int = 0
    admitted: int = 0
    refused: int = 0
    wrong_refusals: list = field(default_factory=list)
    wrong_admissions: list = field(default_factory=list)
    uncounted: collections.Counter = field(default_factory=collections.Counter)
    seconds: float = 0.0
    fetches: int = 0
    milliseconds: list = field(default_factory=list)

    def lines(self):
        times = sorted(self.milliseconds)
        return [
            f"{self.seconds:.0f} s, {self.rotations} rotations, {self.outages} outages, {self.fetches} fetches",
            f"current keys: {self.admitted} admitted, {len(self.wrong_refusals)} wrongly refused",
            f"removed and unknown keys: {self.refused} refused, {len(self.wrong_admissions)} wrongly admitted",
            f"within the cache time of a removal: {dict(self.uncounted)}",
            f"with a key in use: median {times[len(times) // 2]:.1f} ms, p99 {times[len(times) * 99 // 100]:.1f} ms",
        ]


class Rotation:
    """An issuer that rotates its keys, and what is known of each of them."""

    def __init__(self, publisher):
        self.publisher = publisher
        self.names = itertools.count()
        self.rsa = make_private("RS256")
        self.current = [self._make()]
        self.removed = []  # (key, when)
        self.publish()

    def _make(self):
        number = next(self.names)
        kind = KINDS[number % len(KINDS)]
        return SigningKey(kind, f"key-{number}", self.rsa if kind[0] in "RP" else None)

    def publish(self):
        self.publisher.text = as_set(*self.current)

    def rotate(self):
        """Publish a new key, sign with it from then on, and take the oldest back once two others are there."""
        self.current.append(self._make())
        if len(self.current) > 2:
            self.removed.append((self.current.pop(0), time.monotonic()))
        self.publish()

    def retired(self):
        """The keys that are gone for longer than the service may remember them."""
        return [key for key, since in self.removed if time.monotonic() - since > REFRESH + SLACK]


async def ask(session, url, token):
    async with session.get(url, headers={"access-token": token}) as response:
        await response.read()
        return response.status


async def run_client(session, url, rotation, figures, chance, until):
    """Ask with the newest key, the others in use, and those that are removed, by turns."""
    tokens = {}
    while time.monotonic() < until:
        retired = rotation.retired()
        key = chance.choice([*rotation.current, rotation.current[-1], *retired[-1:]])
        if key not in tokens or chance.random() < 0.3:
            tokens[key] = key.sign()
        begun = time.monotonic()
        status = await ask(session, url, tokens[key])
        if key in retired:
            if status in {401, 503}:
                figures.refused += 1
            else:
                figures.wrong_admissions.append((key.kid, status))
        elif key in rotation.current:
            figures.milliseconds.append((time.monotonic() - begun) * 1000)
            if status == 200:
                figures.admitted += 1
            else:
                figures.wrong_refusals.append((key.kid, status))
        else:  # it was removed while this was under way
            figures.uncounted[status] += 1
        await asyncio.sleep(0.01)


async def run_latecomer(session, url, rotation, figures, until):
    """Go on with keys from the moment they are removed: let in for the cache time at most."""
    while time.monotonic() < until:
        for key, since in rotation.removed[-2:]:
            age = time.monotonic() - since
            status = await ask(session, url, key.sign())
            if age <= REFRESH + SLACK:
                figures.uncounted[status] += 1
            elif status == 200:
                figures.wrong_admissions.append((key.kid, status))
            else:
                figures.refused += 1
        await asyncio.sleep(0.02)


async def run_attacker(session, url, figures, until):
    """Send tokens of keys that never were."""
    forger = SigningKey("ES256", "forged")
    for number in itertools.count():
        if time.monotonic() > until:
            return
        status = await ask(session, url, forger.sign(headers={"kid": f"key-{number}-forged"}))
        if status == 200:
            figures.wrong_admissions.append(("forged", status))
        else:
            figures.refused += 1


async def run_issuer(rotation, publisher, figures, until):
    """Rotate, and be out for a while now and then; keys are only changed where they can be published."""
    for turn in itertools.count(1):
        await asyncio.sleep(REFRESH * 1.6)
        if time.monotonic() > until - REFRESH:
            return
        if turn % 3 == 2:
            await asyncio.to_thread(publisher.stop)
            await asyncio.sleep(REFRESH * 2)
            publisher.start()
            figures.outages += 1
        rotation.rotate()
        figures.rotations += 1


async def load(service, publisher, rotation, seconds, clients):
    figures = Figures()
    begun = time.monotonic()
    until, asked = begun + seconds, len(publisher.asked)
    url = f"{service.url}/patient/p-1/dicom"
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(20)) as session, asyncio.TaskGroup() as tasks:
        for number in range(clients):
            tasks.create_task(run_client(session, url, rotation, figures, random.Random(number), until))
        tasks.create_task(run_latecomer(session, url, rotation, figures, until))
        for _ in range(2):
            tasks.create_task(run_attacker(session, url, figures, until))
        tasks.create_task(run_issuer(rotation, publisher, figures, until))
    figures.seconds = time.monotonic() - begun
    figures.fetches = len(publisher.asked) - asked
    return figures


@contextlib.contextmanager
def running(directory):
    """Give a real service, an issuer whose tokens it verifies, and the server that publishes its keys."""
    certificate = make_certificate(Path(directory), "localhost")
    publisher = Publisher(certificate=certificate)
    rotation = Rotation(publisher)
    flags = ("--jwt-jwks", publisher.url, "--jwt-jwks-refresh", str(REFRESH))
    trusted = {"SSL_CERT_FILE": str(certificate)}
    with RunningService(Path(directory) / "data", *flags, dev=False, **trusted) as service:
        try:
            yield service, rotation, publisher
        finally:
            publisher.stop()
        service.stop()


def run_rotations(directory, seconds, clients=6):
    """Let a real service verify the tokens of an issuer that rotates its keys, and give the figures."""
    with running(directory) as (service, rotation, publisher):
        return asyncio.run(load(service, publisher, rotation, seconds, clients))


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--clients", type=int, default=16)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        outcome = run_rotations(temporary, given.seconds, given.clients)
    sys.stdout.write("\n".join(outcome.lines()) + "\n")
    sys.exit(bool(outcome.wrong_refusals or outcome.wrong_admissions))
