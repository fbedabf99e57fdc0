"""What the audit costs a request: ``python -m tests.load.audit [--requests 2000]``.

Two real services answer the same tag look-ups on one connection, in turns of 200, one of them with an audit that keeps
nothing. Prints the mean time of a request and the service's CPU time for it, and the ratios.
"""

import argparse
import runpy
import sys
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from time import perf_counter

from pydicom.data import get_testdata_file

from tests.running_service import RunningService

TURN = 200


def measure(requests):
    content = Path(str(get_testdata_file("CT_small.dcm", download=False))).read_bytes()
    seconds, cpu = {}, {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        asked = {}
        for name, module in (("with", "service"), ("without", "tests.load.audit")):
            service = stack.enter_context(RunningService(folder / name, module=module))
            connection = stack.enter_context(closing(service.connect()))
            path = f"/patient/p-1/dicom/{service.upload(content)}/tag/Modality"
            asked[name] = (service, connection, path)
            ask(service, connection, path, TURN)  # the first ones load and open what all others use
            seconds[name], cpu[name] = 0.0, -cpu_of(service)
        for _ in range(requests // TURN):
            for name, (service, connection, path) in asked.items():
                began = perf_counter()
                ask(service, connection, path, TURN)
                seconds[name] += perf_counter() - began
        for name, (service, _, _) in asked.items():
            cpu[name] += cpu_of(service)
            service.stop()
    return seconds, cpu


def ask(service, connection, path, times):
    for _ in range(times):
        assert service.request("GET", path, connection=connection)[0] == 200


def cpu_of(service):
    times = service.process.cpu_times()
    return times.user + times.system


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=2000)
    requests = parser.parse_args().requests // TURN * TURN
    seconds, cpu = measure(requests)
    for name in seconds:
        wall, own = (taken[name] / requests * 1000 for taken in (seconds, cpu))
        print(f"{name:8} {wall:.3f} ms a request, {own:.3f} ms of CPU")
    print(f"ratio    {seconds['with'] / seconds['without']:.3f}, CPU {cpu['with'] / cpu['without']:.3f}")


if __name__ == "__main__":
    if "--dev" in sys.argv:  # started as the service whose audit keeps nothing
        from service.usecases.audit import Audit

        Audit.note = lambda *_: None
        runpy.run_module("service", run_name="__main__", alter_sys=True)
    else:
        main()
