"""One of several service processes: ``python -m service.launch.server_process SOCKET PIPE``.

It is started by `service.launch.supervisor` alone, which writes its settings to its standard input: they hold secrets,
which a command line would show.
"""

from __future__ import annotations

import os
import pickle
import socket
import sys

from service.launch.kernel import hide_memory
from service.launch.run import serve, set_up_logging
from service.settings import Settings


def main(listener: int, pipe: int) -> int:
    """Answer requests until told to stop; return the exit status.

    Parameters
    ----------
    listener, pipe : int
        File descriptors: the listening socket, and where to say that requests are answered.
    """
    hide_memory()  # before the secrets come; it does not outlive the change of program that made this process
    settings: Settings = pickle.load(sys.stdin.buffer)  # noqa: S301 - written by the supervisor
    set_up_logging(settings)

    def ready() -> None:
        os.write(pipe, b"\n")
        os.close(pipe)

    os.set_inheritable(pipe, False)
    os.set_inheritable(listener, False)
    with socket.socket(fileno=listener) as shared:
        shared.setblocking(False)
        return serve(settings, shared, ready)


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
