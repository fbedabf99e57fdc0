"""Two service processes beside one, in one run: ``python -m tests.load.workers``.

Each round starts a service with one process and one with two, on one database, and has the same clients upload, ask
for tags and look at pictures. The clients are processes of their own. The rounds alternate which comes first, because
the machine may be busy with something else; what is told is the median of the rounds, and the ratios.

The local database is one process without parallel reads, and may well be the bound: `--uri` names a MongoDB instead.
"""

import argparse
import asyncio
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import aiohttp

from service.storage.local import LocalDatabase
from tests.faults.stores import make_file
from tests.running_service import ROOT, RunningService

KINDS = ("uploads", "tags")


async def client(number, url, token, seconds, connections):
    """Upload for so many seconds, then ask for tags for as long, over some connections; give how many of each."""
    headers = {"access-token": token}
    connector = aiohttp.TCPConnector(limit=connections)
    async with aiohttp.ClientSession(connector=connector, headers=headers) as session:
        content = make_file()  # its last pixels make each upload another file
        done = dict.fromkeys(KINDS, 0)
        ids = []

        async def upload(serial):
            mark = f"{number:03d}{serial:013d}".encode()
            async with session.post(
                url, data=content[:-16] + mark, headers={"Content-Type": "application/dicom"}
            ) as answer:
                if answer.status != 200:
                    raise RuntimeError(await answer.text())
                ids.append(json.loads(await answer.read()))

        async def ask(serial):
            async with session.get(f"{url}/{ids[serial % len(ids)]}/tag/Modality") as answer:
                if answer.status != 200:
                    raise RuntimeError(await answer.text())
                await answer.read()

        for kind, work in zip(KINDS, (upload, ask), strict=True):
            ends = time.monotonic() + seconds
            serials = iter(range(10**9))

            async def lane(kind=kind, work=work, ends=ends, serials=serials):
                while time.monotonic() < ends:
                    await work(next(serials))
                    done[kind] += 1

            await asyncio.gather(*(lane() for _ in range(connections)))
        return done


def measure(data_dir, uri, workers, clients, connections, seconds, serial):
    """Give the uploads and tags a second of a service with so many processes."""
    variables = {"MONGODB_URI": uri, "MONGODB_DATABASE": f"load_{serial}", "MAX_UPLOADS": "256"}
    with RunningService(data_dir, "--workers", str(workers), **variables) as service:
        started = [
            subprocess.Popen(
                [sys.executable, "-m", "tests.load.workers", "--client", str(number)],
                cwd=ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for number in range(clients)
        ]
        for number, process in enumerate(started):
            patient = f"p-{number}"
            url = f"{service.url}/patient/{patient}/dicom"
            process.stdin.write(json.dumps([url, service.token(patient), seconds, connections]) + "\n")
            process.stdin.close()
        done = [json.loads(process.stdout.read()) for process in started]
        for process in started:
            process.stdout.close()
            process.wait()
        return {kind: sum(each[kind] for each in done) / seconds for kind in KINDS}


def compare(folder, uri, rounds, clients, connections, seconds):
    """Measure one and two processes in turn, and give medians and ratios."""
    load = os.getloadavg()[0]
    figures = {1: {kind: [] for kind in KINDS}, 2: {kind: [] for kind in KINDS}}
    for turn in range(rounds):
        for workers in (1, 2) if turn % 2 == 0 else (2, 1):
            serial = f"{turn}_{workers}"
            found = measure(folder / serial, uri, workers, clients, connections, seconds, serial)
            for kind in KINDS:
                figures[workers][kind].append(found[kind])
    median = {workers: {kind: statistics.median(found[kind]) for kind in KINDS} for workers, found in figures.items()}
    return {
        "processors": os.cpu_count(),
        "load average before": round(load, 1),
        "a second, one process": {kind: round(value, 1) for kind, value in median[1].items()},
        "a second, two processes": {kind: round(value, 1) for kind, value in median[2].items()},
        "two beside one": {kind: round(median[2][kind] / median[1][kind], 2) for kind in KINDS},
    }


async def compare_on_local(folder, *arguments):
    async with LocalDatabase(folder / "shared") as database:
        return await asyncio.to_thread(compare, folder, database.uri, *arguments)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.load.workers", description=__doc__)
    parser.add_argument("--uri", help="a MongoDB; unset: a local database is started for this run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=2, help="client processes")
    parser.add_argument("--connections", type=int, default=8, help="of each client")
    parser.add_argument("--seconds", type=float, default=5, help="of uploads, and again of tags, each time")
    parser.add_argument("--client", type=int, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.client is not None:
        print(json.dumps(asyncio.run(client(asked.client, *json.loads(sys.stdin.readline())))))
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments = (asked.rounds, asked.clients, asked.connections, asked.seconds)
        if asked.uri:
            figures = compare(Path(folder), asked.uri, *arguments)
        else:
            figures = asyncio.run(compare_on_local(Path(folder), *arguments))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
