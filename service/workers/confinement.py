"""What a worker process may still do once it is prepared: compute, and answer.

Linux only, by Landlock (files, TCP, signals) and seccomp (system calls); each as far as the kernel has it. Neither can
be taken back, and what the process forks has the same. Both hold for root as well.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import importlib.util
import os
import platform
import struct
import sys
from collections.abc import Iterable
from pathlib import Path

PR_SET_NO_NEW_PRIVS = 38

LANDLOCK_CREATE_RULESET, LANDLOCK_ADD_RULE, LANDLOCK_RESTRICT_SELF = 444, 445, 446
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1
WRITE_FILE, READ_FILE, READ_DIR = 1 << 1, 1 << 2, 1 << 3
FILE_RIGHTS_BY_VERSION = (13, 14, 15, 15, 16)
"""How many rights over files there are, by the version of Landlock; from the fifth on as many as in that."""

CONNECT_AND_BIND_TCP = 3
ABSTRACT_SOCKETS_AND_SIGNALS = 3

SYSTEM_LIBRARIES = ("/lib", "/lib64", "/usr/lib", "/usr/lib64", "/usr/local/lib", "/etc/ld.so.cache")

SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC = 1, 1
SECCOMP_RET_ERRNO, SECCOMP_RET_ALLOW = 0x0005_0000, 0x7FFF_0000
LOAD_WORD, JUMP_IF_EQUAL, JUMP_IF_AT_LEAST, RETURN = 0x20, 0x15, 0x35, 0x06
NUMBER_AT, ARCHITECTURE_AT, FIRST_ARGUMENT_AT = 0, 4, 16
X32_CALLS = 0x4000_0000

MACHINES = {"x86_64": (0, 317, 0xC000_003E), "aarch64": (1, 277, 0xC000_00B7)}
"""For each machine the column of the tables below, the number of seccomp(2), and what the kernel calls it."""

REFUSED_CALLS: dict[str, tuple[int | None, int | None]] = {
    # Sockets, also by the back door.
    "socket": (41, 198),
    "socketpair": (53, 199),
    "connect": (42, 203),
    "bind": (49, 200),
    "listen": (50, 201),
    "accept": (43, 202),
    "accept4": (288, 242),
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    # Other programs, and other processes: their memory, descriptors, signals, priorities.
    "execve": (59, 221),
    "execveat": (322, 281),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "kcmp": (312, 272),
    "kill": (62, 129),
    "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138),
    "rt_tgsigqueueinfo": (297, 240),
    "setpriority": (141, 140),
    "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119),
    "sched_setattr": (314, 274),
    "ioprio_set": (251, 30),
    # What Landlock leaves open of files: their modes, owners, times and attributes, and news of them.
    "chmod": (90, None),
    "fchmod": (91, 52),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchown": (93, 55),
    "fchownat": (260, 54),
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "utimensat": (280, 88),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "inotify_init": (253, None),
    "inotify_init1": (294, 26),
    "fanotify_init": (300, 262),
    # The system: what it mounts, its namespaces, keys, modules and events.
    "mount": (165, 40),
    "umount2": (166, 39),
    "move_mount": (429, 429),
    "open_tree": (428, 428),
    "fsopen": (430, 430),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "setns": (308, 268),
    "unshare": (272, 97),
    "open_by_handle_at": (304, 265),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
}
"""The numbers of calls that are refused with EPERM, on each machine; None where it does not have the call."""

OWN_ONLY_CALLS = {"prlimit64": (302, 261)}
"""Calls whose first argument must be 0, which stands for the process itself."""


def confine(packages: Iterable[str]) -> list[str]:
    """Return what confines this process from now on, in words for the log.

    It reads the interpreter, its libraries and what is imported of the packages, and whatever it is handed as a
    descriptor. It writes to the null device and such descriptors, opens no socket, runs no program, and touches no
    other process.

    Parameters
    ----------
    packages : iterable of str
        Names of packages whose modules may be imported later.
    """
    if sys.platform != "linux":
        return []
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0 or len(os.listdir("/proc/self/task")) != 1:  # noqa: PTH208
        return []  # another thread would not be confined
    in_force = []
    version = libc.syscall(LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    if version > 0 and _restrict_files(libc, version, readable_paths(packages)):
        in_force.append(f"Landlock {version}")
    if _filter_calls(libc):
        in_force.append("seccomp")
    return in_force


def readable_paths(packages: Iterable[str]) -> set[Path]:
    """Return the files and directories that the interpreter runs from; never the whole of the project's own directory.

    A data directory may lie in that, beside the packages.
    """
    found = {Path(prefix) for prefix in (sys.prefix, sys.base_prefix, sys.exec_prefix, *SYSTEM_LIBRARIES)}
    for name in packages:
        spec = importlib.util.find_spec(name)
        found |= {Path(each) for each in (spec and spec.submodule_search_locations) or ()}
    for module in [module for name, module in sys.modules.items() if "." not in name]:
        file = getattr(module, "__file__", None)
        found |= {Path(each) for each in getattr(module, "__path__", [file] if file else [])}
    return found


def _restrict_files(libc: ctypes.CDLL, version: int, readable: Iterable[Path]) -> bool:
    """Return whether Landlock is in force: for all rights that its version knows."""
    rights = (1 << FILE_RIGHTS_BY_VERSION[min(version, len(FILE_RIGHTS_BY_VERSION)) - 1]) - 1
    attributes = struct.pack(
        "=QQQ", rights, CONNECT_AND_BIND_TCP if version >= 4 else 0, ABSTRACT_SOCKETS_AND_SIGNALS if version >= 6 else 0
    )
    length = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = libc.syscall(LANDLOCK_CREATE_RULESET, attributes, length, 0)
    if ruleset < 0:
        return False
    try:
        for path in readable:
            _allow(libc, ruleset, path, READ_FILE | READ_DIR)
        _allow(libc, ruleset, Path(os.devnull), READ_FILE | WRITE_FILE)
        return bool(libc.syscall(LANDLOCK_RESTRICT_SELF, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


def _allow(libc: ctypes.CDLL, ruleset: int, path: Path, rights: int) -> None:
    """Allow what is done to a file, or beneath a directory, that is there."""
    with contextlib.suppress(OSError):
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rights &= ~0 if path.is_dir() else ~READ_DIR
            libc.syscall(
                LANDLOCK_ADD_RULE, ruleset, LANDLOCK_RULE_PATH_BENEATH, struct.pack("=Qi", rights, descriptor), 0
            )
        finally:
            os.close(descriptor)


class _Program(ctypes.Structure):
    """A struct sock_fprog."""

    _fields_ = (("length", ctypes.c_ushort), ("instructions", ctypes.c_char_p))


def _filter_calls(libc: ctypes.CDLL) -> bool:
    """Return whether system calls are filtered."""
    machine = MACHINES.get(platform.machine())
    if machine is None:
        return False
    column, seccomp, architecture = machine
    code = call_filter(column, architecture)
    program = _Program(len(code) // 8, code)
    return bool(libc.syscall(seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, ctypes.byref(program)) == 0)


def call_filter(column: int, architecture: int) -> bytes:
    """Return the program of the filter: a refused call fails with EPERM, and so does every call of another machine."""
    refuse = _instruction(RETURN, SECCOMP_RET_ERRNO | errno.EPERM)
    steps = [
        _instruction(LOAD_WORD, ARCHITECTURE_AT),
        _instruction(JUMP_IF_EQUAL, architecture, 1, 0),
        refuse,
        _instruction(LOAD_WORD, NUMBER_AT),
        _instruction(JUMP_IF_AT_LEAST, X32_CALLS, 0, 1),
        refuse,
    ]
    for number in (numbers[column] for numbers in REFUSED_CALLS.values()):
        if number is not None:
            steps += [_instruction(JUMP_IF_EQUAL, number, 0, 1), refuse]
    for numbers in OWN_ONLY_CALLS.values():
        steps += [
            _instruction(JUMP_IF_EQUAL, numbers[column], 0, 4),
            _instruction(LOAD_WORD, FIRST_ARGUMENT_AT),
            _instruction(JUMP_IF_EQUAL, 0, 1, 0),
            refuse,
            _instruction(RETURN, SECCOMP_RET_ALLOW),
        ]
    return b"".join([*steps, _instruction(RETURN, SECCOMP_RET_ALLOW)])


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    """Return a struct sock_filter."""
    return struct.pack("=HBBI", code, if_true, if_false, value)
