"""What the tests of the worker pool run in its processes."""

import contextlib
import ctypes
import errno
import json
import os
import platform
import resource
import signal
import socket
import sys
import time
import warnings
from dataclasses import dataclass
from typing import Literal

from service.dicom.limits import Limits
from service.dicom.pixels.isolate import run_isolated
from service.errors import ExtractionPending, NotDicom

REMEMBERED: list[int] = []


@dataclass(frozen=True)
class Picture:
    """Like what a rendering gives, without what that imports."""

    data: bytes
    width: int
    kind: Literal["png", "jpeg"] = "png"
    window: tuple[float, float] | None = None


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


def span(seconds):
    """Sleep, and say when this began and ended, by the clock of the machine."""
    began = time.monotonic()
    time.sleep(seconds)
    return [began, time.monotonic()]


def spin_without_the_interpreter(seconds):
    """Hold the interpreter's lock in C, as a decoder in an endless loop does."""
    ctypes.PyDLL(None).usleep(int(seconds * 1e6))


def remember_and_sleep(number, seconds):
    time.sleep(seconds)
    return remember(number)


def crash():
    ctypes.string_at(0)


def kill_itself():
    signal.raise_signal(signal.SIGKILL)


def leave():
    sys.exit(3)


def allocate(size):
    return len(bytearray(size))


def read_ends(content):
    return len(content), content[-1] if content else None


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
    found = []
    for number in range(256):
        with contextlib.suppress(OSError):
            os.fstat(number)
            found.append(number)
    return found


def no_plain_data():
    return lambda: None


def its_own_main():
    """The locals of the worker's main function."""
    frame = sys._getframe()
    while frame.f_code.co_name != "main":
        frame = frame.f_back
    return frame.f_locals


def say(raw):
    """Write bytes where answers go, as a worker that was taken over would, and answer nothing else."""
    answers = its_own_main()["answers"]
    answers.write(raw)
    answers.flush()
    time.sleep(60)


def say_and_end(raw):
    answers = its_own_main()["answers"]
    answers.write(raw)
    answers.flush()
    os._exit(0)


def say_value(value, blobs=(), *, own_number=True):
    """Answer with a head that the worker's own code would not make."""
    number = its_own_main()["job"][0][0] if own_number else 1 << 40
    head = json.dumps({"value": [number, *value], "blobs": [len(blob) for blob in blobs]}).encode()
    say(len(head).to_bytes(4, "big") + head + b"".join(blobs))


def say_of_another_job():
    say_value(["result", 5], own_number=False)


def say_without_its_blob():
    say_value(["result", {"blob": 0}])


def returns_a_number(value) -> int:
    return value


def returns_a_picture(value) -> Picture:
    return value


def returns_bytes(sizes) -> list[bytes]:
    return [bytes([number]) * size for number, size in enumerate(sizes)]


def takes_types(limits: Limits, picture: Picture) -> list[str]:
    return [type(limits).__name__, type(picture).__name__, str(picture.data), str(picture.window)]


def calls(function, *arguments):
    return function(*arguments)


def attempt(name, *arguments):
    """What becomes of something that a confined worker may not do."""
    try:
        getattr(sys.modules[__name__], f"try_{name}")(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "done"


def try_read(path):
    os.close(os.open(path, os.O_RDONLY))


def try_list(path):
    os.listdir(path)  # noqa: PTH208


def try_write(path):
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600))


def try_remove(path):
    os.unlink(path)  # noqa: PTH108


def try_mode(path):
    os.chmod(path, 0o777)  # noqa: PTH101


def try_connect(port):
    socket.create_connection(("127.0.0.1", port)).close()


def try_socket():
    socket.socket(socket.AF_UNIX).close()


def try_run():
    os.execv(sys.executable, [sys.executable, "-c", "pass"])


def try_signal(pid):
    os.kill(pid, 0)


def try_signal_by_thread(pid):
    if ctypes.CDLL(None, use_errno=True).syscall(234 if platform.machine() == "x86_64" else 131, pid, pid, 0):
        raise OSError(ctypes.get_errno(), "")


def try_attach(pid):
    if ctypes.CDLL(None, use_errno=True).ptrace(16, pid, 0, 0):
        raise OSError(ctypes.get_errno(), "")


def try_limit(pid):
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (16, 16))


def forked(name, *arguments):
    """The same in what a worker forks, as GDCM and CharLS are run."""
    return run_isolated(lambda: attempt(name, *arguments).encode(), samples=1).decode()


def modules():
    return sorted(sys.modules)
