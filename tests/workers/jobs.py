"""What the tests of the worker pool run in its processes."""

import contextlib
import ctypes
import os
import signal
import sys
import time
import warnings
from pathlib import Path

from service.errors import ExtractionPending, NotDicom

REMEMBERED: list[int] = []


def add(left, right):
    return left + right


def process_id():
    return os.getpid()


def remember(number):
    REMEMBERED.append(number)
    return REMEMBERED


def sleep(seconds, result=None):
    time.sleep(seconds)
    return result


def meet(mine, others, seconds):
    """Say that this job is there, and wait for another to say so."""
    Path(mine).touch()
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        if Path(others).exists():
            return True
        time.sleep(0.01)
    return False


def spin_without_the_interpreter(seconds):
    """Hold the interpreter's lock in C, as a decoder in an endless loop does."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def touch_and_sleep(path, seconds):
    with open(path, "w") as file:  # noqa: PTH123
        file.write(str(os.getpid()))
    time.sleep(seconds)
    with open(path, "a") as file:  # noqa: PTH123
        file.write(" finished")


def crash():
    ctypes.string_at(0)


def kill_itself():
    os.kill(os.getpid(), signal.SIGKILL)


def leave():
    sys.exit(3)


def allocate(size):
    return len(bytearray(size))


def map_file(path):
    import mmap

    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:  # noqa: PTH123
        return len(view), view[-1]


def raise_not_dicom(detail):
    raise NotDicom(detail)


def raise_pending():
    raise ExtractionPending("wait", retry_after=7)


def raise_foreign(value):
    return float(value)


def print_everywhere():
    print("to standard output")
    print("to standard error", file=sys.stderr)
    os.write(1, b"as C does\n" * 1000)
    os.write(2, b"as C does\n" * 1000)
    warnings.warn("careful", stacklevel=1)
    return "clean"


def many_bytes(size):
    return b"\x5a" * size


def surroundings():
    return dict(os.environ), os.getcwd()  # noqa: PTH109


def opened_files():
    """What each file descriptor leads to, but that of the directory being listed."""
    found = []
    for each in list(Path("/proc/self/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):
            found.append(str(each.readlink()))
    return found


def not_picklable():
    return lambda: None


class Named:
    """What a worker that was taken over would answer: a call of something, packed as a value."""

    def __init__(self, function, *arguments):
        self.function, self.arguments = function, arguments

    def __reduce__(self):
        return self.function, self.arguments


def name_a_foreign_function():
    return Named(os.system, "true")


def name_a_function_of_the_project():
    return Named(sleep, 0)


def modules():
    return sorted(sys.modules)
