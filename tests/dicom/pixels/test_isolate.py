"""A decoder that ends its process ends a child."""

import contextlib
import os
import resource
import time

from service.dicom.pixels.isolate import run_isolated


def test_the_bytes_come_back():
    assert run_isolated(lambda: b"x" * 1_000_000, samples=1) == b"x" * 1_000_000


def test_an_end_an_error_and_half_an_answer_are_empty():
    def fail():
        raise ValueError

    def leave():
        os.write(1, b"noise")
        os._exit(0)

    assert run_isolated(os.abort, samples=1) == b""
    assert run_isolated(fail, samples=1) == b""
    assert run_isolated(leave, samples=1) == b""


def test_no_child_is_left_behind():
    started = time.monotonic()
    run_isolated(os.abort, samples=1)
    assert time.monotonic() - started < 30  # a child that does not end has a minute
    with contextlib.suppress(ChildProcessError):  # there may be no children at all
        assert os.waitpid(-1, os.WNOHANG)[0] == 0


def test_what_counts_for_ever_is_ended_by_how_much_it_decodes():
    def count() -> bytes:
        while True:
            pass

    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
    assert run_isolated(count, samples=64 * 64) == b""
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before < 4
