"""A decoder that ends its process ends a child."""

import contextlib
import os
import time

from service.dicom.pixels.isolate import run_isolated


def test_the_bytes_come_back():
    assert run_isolated(lambda: b"x" * 1_000_000) == b"x" * 1_000_000


def test_an_end_an_error_and_half_an_answer_are_empty():
    def fail():
        raise ValueError

    def leave():
        os.write(1, b"noise")
        os._exit(0)

    assert run_isolated(os.abort) == b""
    assert run_isolated(fail) == b""
    assert run_isolated(leave) == b""


def test_no_child_is_left_behind():
    started = time.monotonic()
    run_isolated(os.abort)
    assert time.monotonic() - started < 30  # a child that does not end has a minute
    with contextlib.suppress(ChildProcessError):  # there may be no children at all
        assert os.waitpid(-1, os.WNOHANG)[0] == 0
