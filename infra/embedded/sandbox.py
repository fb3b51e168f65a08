"""The kernel's own walls around a process (Linux, Landlock): what it cannot open, no statement can make it open.

Landlock needs no privilege and holds for the threads started afterwards; see https://docs.kernel.org/userspace-api/landlock.html.
"""

import ctypes
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from struct import Struct
from typing import Final

_CREATE_RULESET: Final = 444
_ADD_RULE: Final = 445
_RESTRICT_SELF: Final = 446
_ASK_VERSION: Final = 1
_PATH_RULE: Final = 1
_PORT_RULE: Final = 2
_NO_NEW_PRIVILEGES: Final = 38
_NETWORK_SINCE: Final = 4

_READ: Final = 0b1100  # files and directories
_WRITE_FILE: Final = 0b10
_ALL_BY_VERSION: Final = {1: (1 << 13) - 1, 2: (1 << 14) - 1, 3: (1 << 15) - 1, 4: (1 << 15) - 1}
_ALL: Final = (1 << 16) - 1
_EXECUTE: Final = 1
_BIND: Final = 1
_CONNECT: Final = 2

_RULESET: Final = Struct("=QQ")
_BENEATH: Final = Struct("=Qi")
_PORT: Final = Struct("=QQ")
READABLE: Final = (
    "/usr", "/lib", "/lib64", "/sys", "/dev/urandom", "/dev/null", "/etc/localtime", "/etc/timezone", "/etc/ld.so.cache",
    "/proc/self", "/proc/meminfo", "/proc/cpuinfo", "/proc/stat", "/proc/uptime", "/proc/loadavg", "/proc/vmstat",
    "/proc/sys", "/proc/filesystems",
)  # fmt: skip
"""What Python and the engine read of the machine: programs, time zones, its size and load."""


def confine(writable: Sequence[Path], *, listen_on: Iterable[int]) -> str:
    """Let this process write only beneath `writable`, read only its own programs, run none, and connect nowhere.

    Call before the first thread. Returns what holds now, in words; kernels without Landlock hold nothing.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    version = libc.syscall(_CREATE_RULESET, None, 0, _ASK_VERSION) if sys.platform == "linux" else -1
    if version < 1:
        return "no kernel sandbox here (Landlock is missing): only the engine's grants and the statement guard hold"
    handled = _ALL_BY_VERSION.get(version, _ALL)
    network = version >= _NETWORK_SINCE
    ruleset = _RULESET.pack(handled, _BIND | _CONNECT if network else 0)
    rules = libc.syscall(_CREATE_RULESET, ruleset, _RULESET.size if network else 8, 0)
    try:
        for path in writable:
            _allow_beneath(libc, rules, path, handled & ~_EXECUTE)
        _allow_beneath(libc, rules, Path("/dev/null"), _WRITE_FILE | 0b100)
        for name in {*READABLE, sys.prefix, sys.base_prefix, *(entry or os.curdir for entry in sys.path)}:
            _allow_beneath(libc, rules, Path(name), _READ)
        for port in listen_on if network else ():
            _checked(libc.syscall(_ADD_RULE, rules, _PORT_RULE, _PORT.pack(_BIND, port), 0))
        _checked(libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        _checked(libc.syscall(_RESTRICT_SELF, rules, 0))
    finally:
        os.close(rules)
    return f"kernel sandbox (Landlock {version}): its own folder{' and port' if network else ''}, nothing else"


def _allow_beneath(libc: ctypes.CDLL, rules: int, path: Path, access: int) -> None:
    try:
        handle = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        if not path.is_dir():
            access &= 0b100_0000_0000_0111  # execute, write, read, truncate: all that a file knows
        _checked(libc.syscall(_ADD_RULE, rules, _PATH_RULE, _BENEATH.pack(access, handle), 0))
    finally:
        os.close(handle)


def _checked(result: int) -> None:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"Landlock refused a rule: {os.strerror(number)}")
