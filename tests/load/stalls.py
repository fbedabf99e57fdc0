"""Many connections, half of them slow or stalled: ``python -m tests.load.stalls --seconds 60``.

It starts a service of its own and prints what the well-behaved half saw, what memory and file descriptors it took,
and whether all was as before when the others had gone.
"""

import argparse
import asyncio
import json
import math
import tempfile
import time
from pathlib import Path

import aiohttp

from tests.faults.stores import make_file
from tests.load.callers import HOSTILE, Behaved, Figures, Stalling
from tests.running_service import RunningService

LARGE_FRAMES = 250
"""Of 32 KiB: 8 MB, more than sockets hold."""


def count_descriptors(service):
    """File descriptors of the processes that answer requests, but those of the driver's pool, which stay open."""
    processes = [
        service.process,
        *(each for each in service.family() if "service.launch.server_process" in each.cmdline()),
    ]
    pooled = [
        connection
        for process in processes
        for connection in process.net_connections("tcp")
        if connection.raddr and connection.laddr.port != service.port
    ]
    return sum(process.num_fds() for process in processes) - len(pooled)


def milliseconds(seconds):
    """Whole milliseconds; None where nothing was answered, as happens in a short run on a busy machine."""
    return None if math.isnan(seconds) else round(seconds * 1000)


async def run_load(service, connections, seconds, pause, hold):
    """Have callers of both kinds for so long, and give the figures."""
    large = f"/dicom/{service.upload(make_file(LARGE_FRAMES), HOSTILE)}"
    for patient in range(10):  # what is loaded once is loaded, and each patient has a file
        content = make_file()
        for _ in range(2):
            first = service.upload(content, f"p-{patient}")
        service.request("GET", f"/patient/p-{patient}/dicom/{first}", patient=f"p-{patient}", Accept="image/png")
    figures, stalling = Figures(), Stalling(service, large, hold)
    before, descriptors, most = service.memory(), count_descriptors(service), 0
    ends = time.monotonic() + seconds
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(30)) as session:
        callers = [
            *(Behaved(service, session, number, figures, pause).run(ends) for number in range(connections // 2)),
            *(stalling.run(number, ends) for number in range(connections - connections // 2)),
        ]
        working = asyncio.gather(*callers)
        while not working.done():
            most = max(most, service.memory())
            await asyncio.wait({asyncio.ensure_future(asyncio.sleep(1)), working}, return_when=asyncio.FIRST_COMPLETED)
        await working
    slots = [await asyncio.to_thread(service.upload, make_file(), HOSTILE) for _ in range(20)]
    for _ in range(40):
        if count_descriptors(service) <= descriptors:
            break
        await asyncio.sleep(0.5)
    return {
        "connections": connections,
        "seconds": seconds,
        "requests": {kind: len(taken) for kind, taken in figures.seconds.items()},
        "p50 ms": {kind: milliseconds(figures.percentile(0.5, kind)) for kind in figures.seconds},
        "p99 ms": {kind: milliseconds(figures.percentile(0.99, kind)) for kind in figures.seconds},
        "p99 ms of all": milliseconds(figures.percentile(0.99)),
        "slowest ms": milliseconds(figures.percentile(1)),
        "unexpected answers": dict(figures.unexpected),
        "stalling connections opened": stalling.opened,
        "memory MB": {"before": before >> 20, "most": most >> 20, "after": service.memory() >> 20},
        "file descriptors": {"before": descriptors, "after": count_descriptors(service)},
        "uploads of the stalling patient afterwards": len(slots),
    }


def run_stalls(data_dir, connections, seconds, pause=2.0, *, workers=1, hold=80.0, **variables):
    """Run a service, trouble it, and give the figures."""
    # One worker process each, so that none starts in the middle.
    with RunningService(data_dir, "--workers", str(workers), POOL_PROCESSES=str(workers), **variables) as service:
        figures = asyncio.run(run_load(service, connections, seconds, pause, hold))
        figures["exit status"] = service.stop()
        return figures


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.load.stalls", description=__doc__)
    parser.add_argument("--connections", type=int, default=200)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--pause", type=float, default=2, help="seconds between two requests of a well-behaved client")
    parser.add_argument("--workers", type=int, default=1)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        figures = run_stalls(
            Path(folder) / "data", asked.connections, asked.seconds, asked.pause, workers=asked.workers
        )
    print(json.dumps(figures, indent=2))


if __name__ == "__main__":
    main()
