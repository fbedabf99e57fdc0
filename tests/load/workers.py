"""Two service processes beside one, in one run: ``python -m tests.load.workers``.

Each round starts a service with one process and one with two, on one database, and has the same clients upload, ask
for tags and look at pictures. The clients are processes of their own. The rounds alternate which comes first, because
the machine may be busy with something else; what is told is the median of the rounds, and the ratios.

The local database is one process without parallel reads, and may well be the bound: `--uri` names a MongoDB instead.
"""

import argparse
import asyncio
import functools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from service.storage.local.database import LocalDatabase
from tests.faults.stores import make_file
from tests.running_service import ROOT, RunningService

KINDS = ("uploads", "tags")


class Lane(asyncio.Protocol):
    """One connection that sends a request when the last one is answered, and takes no more than that of a processor.

    Parameters
    ----------
    requests : iterator of bytes
        What to send; at its end the connection is closed.
    answered : callable
        Told the body of each answer.
    """

    def __init__(self, requests, answered):
        self.over = asyncio.get_running_loop().create_future()
        self._requests = requests
        self._answered = answered
        self._came = b""

    def connection_made(self, transport):
        self._transport = transport
        self._send()

    def data_received(self, data):
        self._came += data
        head, ended, body = self._came.partition(b"\r\n\r\n")
        if not ended or len(body) < int(re.search(rb"(?i)content-length: (\d+)", head)[1]):
            return
        self._came = b""
        if head.split(b" ", 2)[1] != b"200":
            self.over.set_exception(RuntimeError(body.decode()))
            self._transport.close()
            return
        self._answered(body)
        self._send()

    def connection_lost(self, _):
        if not self.over.done():
            self.over.set_result(None)

    def _send(self):
        request = next(self._requests, None)
        if request is None:
            self._transport.close()
        else:
            self._transport.write(request)


async def client(number, kind, port, path, token, seconds, connections, ids):
    """Upload or ask for tags for so many seconds over some connections; give what was answered."""
    content = make_file()  # its last pixels make each upload another file
    serials = iter(range(10**9))
    answers = []

    def request(method, target, body=b""):
        lines = [f"{method} {target} HTTP/1.1", "Host: x", f"access-token: {token}"]
        lines += ["Content-Type: application/dicom", f"Content-Length: {len(body)}"] if body else []
        return "\r\n".join([*lines, "", ""]).encode() + body

    def uploads():
        return request("POST", path, content[:-16] + f"{number:03d}{next(serials):013d}".encode())

    def tags():
        return request("GET", f"{path}/{ids[next(serials) % len(ids)]}/tag/Modality")

    ends = time.monotonic() + seconds

    def requests():
        while time.monotonic() < ends:
            yield {"uploads": uploads, "tags": tags}[kind]()

    make = functools.partial(asyncio.get_running_loop().create_connection, host="127.0.0.1", port=port)
    lanes = [await make(lambda: Lane(requests(), answers.append)) for _ in range(connections)]
    await asyncio.gather(*(lane.over for _, lane in lanes))
    return [json.loads(answer) for answer in answers] if kind == "uploads" else len(answers)


def run_clients(service, kind, seconds, connections, ids):
    """Have a client process for each patient of `ids`; give what each was answered."""
    started = []
    for number, known in enumerate(ids):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.load.workers", "--client"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        patient = f"p-{number}"
        asked = [number, kind, service.port, f"/patient/{patient}/dicom", service.token(patient), seconds, connections]
        process.stdin.write(json.dumps([*asked, known]) + "\n")
        process.stdin.close()
        started.append(process)
    answers = []
    for process in started:
        answers.append(json.loads(process.stdout.read()))
        process.stdout.close()
        process.wait()
    return answers


def processor_seconds(processes):
    """What processes have taken of the processors."""
    return sum(sum(process.cpu_times()[:2]) for process in processes)


def measure(data_dir, uri, database, workers, clients, connections, seconds):
    """Give what a service with so many processes does in a second, and what that takes of the processors."""
    variables = {"MONGODB_URI": uri, "MONGODB_DATABASE": f"load_{data_dir.name}", "MAX_UPLOADS": "256"}
    figures = {}
    with RunningService(data_dir, "--workers", str(workers), **variables) as service:
        ids = [[] for _ in range(clients)]
        for kind in KINDS:
            family = [service.process, *service.family()]
            before = [processor_seconds(each) for each in (family, database)]
            answers = run_clients(service, kind, seconds, connections, ids)
            took = [processor_seconds(each) - was for each, was in zip((family, database), before, strict=True)]
            done = sum(len(each) if kind == "uploads" else each for each in answers)
            ids = answers if kind == "uploads" else ids
            figures[kind] = done / seconds
            figures[f"{kind}: service, ms of processor each"] = took[0] * 1000 / done
            figures[f"{kind}: database, ms of processor each"] = took[1] * 1000 / done
    return figures


def compare(folder, uri, database, rounds, clients, connections, seconds):
    """Measure one and two processes in turn, and give medians and ratios."""
    load = os.getloadavg()[0]
    found = {1: [], 2: []}
    for turn in range(rounds):
        for workers in (1, 2) if turn % 2 == 0 else (2, 1):
            place = folder / f"{turn}_{workers}"
            found[workers].append(measure(place, uri, database, workers, clients, connections, seconds))
    median = {
        workers: {name: round(statistics.median(each[name] for each in of), 2) for name in of[0]}
        for workers, of in found.items()
    }
    return {
        "processors": os.cpu_count(),
        "load average before": round(load, 1),
        "a second, one process": median[1],
        "a second, two processes": median[2],
        "two beside one": {kind: round(median[2][kind] / median[1][kind], 2) for kind in KINDS},
    }


async def compare_on_local(folder, *arguments):
    async with LocalDatabase(folder / "shared") as database:
        return await asyncio.to_thread(compare, folder, database.uri, [psutil.Process(database.pid)], *arguments)


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.load.workers", description=__doc__)
    parser.add_argument("--uri", help="a MongoDB; unset: a local database is started for this run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--clients", type=int, default=2, help="client processes")
    parser.add_argument("--connections", type=int, default=8, help="of each client")
    parser.add_argument("--seconds", type=float, default=5, help="of uploads, and again of tags, each time")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.client:
        print(json.dumps(asyncio.run(client(*json.loads(sys.stdin.readline())))))
        return
    with tempfile.TemporaryDirectory() as folder:
        arguments = (asked.rounds, asked.clients, asked.connections, asked.seconds)
        if asked.uri:
            figures = compare(Path(folder), asked.uri, [], *arguments)
        else:
            figures = asyncio.run(compare_on_local(Path(folder), *arguments))
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
