"""Processes by pid and start time, and the file that tells of one.

A pid alone does not name a process: it is given out again. With the time of its start it does.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from dataclasses import asdict, dataclass
from pathlib import Path

PROC = Path("/proc")


@dataclass(frozen=True, slots=True)
class Running:
    """A database process, as the file in the data directory tells of it.

    Parameters
    ----------
    uri : str
        Where it answers.
    pid : int
    started : str
        When the process started, in the system's own words.
    program : str
        ``mongod`` or ``secantusd-py``.
    ready : bool
        Whether it has answered yet.
    """

    uri: str
    pid: int
    started: str
    program: str
    ready: bool


def start_time(pid: int) -> str | None:
    """Return when a process started; None when there is no such process, or only its exit status is left."""
    if PROC.is_dir():
        try:
            # The program's name is in parentheses and may hold anything; the fields after it are numbers.
            fields = (PROC / str(pid) / "stat").read_text(encoding="ascii", errors="replace").rpartition(")")[2].split()
        except OSError:
            return None
        return None if fields[0] in "ZX" else fields[19]
    found = subprocess.run(  # noqa: S603
        ["/bin/ps", "-o", "state=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, started = found.stdout.strip().partition(" ")
    return None if not started or state.startswith("Z") else started.strip()


def is_alive(process: Running) -> bool:
    """Return whether the process that is meant, and not another with its pid, is there."""
    return start_time(process.pid) == process.started


def stop(process: Running, grace: float) -> None:
    """Ask a process to end, and end it when it does not within `grace` seconds."""
    for number, seconds in ((signal.SIGTERM, grace), (signal.SIGKILL, 10.0)):
        deadline = time.monotonic() + seconds
        try:
            if is_alive(process):
                os.kill(process.pid, number)
                os.kill(process.pid, signal.SIGCONT)  # a paused process does not see the request
        except ProcessLookupError:
            return
        while is_alive(process):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)
        else:
            return


def write_running(path: Path, process: Running) -> None:
    """Write the file, for its owner alone, in one step that no reader sees half of."""
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(asdict(process), file)
    draft.replace(path)


def read_running(path: Path) -> Running | None:
    """Read the file; None when it is not there or does not hold what it should."""
    try:
        return Running(**json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
