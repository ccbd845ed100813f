"""Which files a process may open, by Linux's Landlock (5.13 and newer), which needs no privilege.

Source: https://docs.kernel.org/userspace-api/landlock.html
"""

import ctypes
import os
import struct
from collections.abc import Iterable


# system calls, the same on every architecture
_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_VERSION, _PATH_BENEATH = 1, 1
_O_PATH = getattr(os, "O_PATH", 0)

# LANDLOCK_ACCESS_FS_*: bits by the version that brought them
_BITS_BY_VERSION = {1: 13, 2: 14, 3: 15, 5: 16}
_WRITE_FILE, _READ_FILE, _READ_DIR, _TRUNCATE = 1 << 1, 1 << 2, 1 << 3, 1 << 14
_READ = _READ_FILE | _READ_DIR
_REMOVE_FILE, _MAKE_REG = 1 << 5, 1 << 8
_OWN = _READ | _WRITE_FILE | _TRUNCATE | _REMOVE_FILE | _MAKE_REG  # no folders, which could be too deep to remove
_ALL_OF_A_FILE = _READ_FILE | _WRITE_FILE | _TRUNCATE

_TCP, _SIGNALS_AND_SOCKETS = 0b11, 0b11


def version(libc: ctypes.CDLL) -> int:
    """The version of the kernel's Landlock, or -1 without one."""
    return libc.syscall(_CREATE_RULESET, None, ctypes.c_size_t(0), _VERSION)


def ruleset(libc: ctypes.CDLL, readable: Iterable[str], own: str | None = None) -> int:
    """
    The descriptor of a set of rules: what is beneath `readable` can be read, files in `own`
    written too, and nothing else.

    Paths that do not exist are left out.

    Raises:
        `OSError`: if there is no Landlock here.
    """
    known = version(libc)
    if known < 1:
        raise OSError(ctypes.get_errno(), "this kernel has no Landlock")
    handled = (1 << max(bits for since, bits in _BITS_BY_VERSION.items() if since <= known)) - 1
    attributes = struct.pack("QQQ", handled, _TCP, _SIGNALS_AND_SOCKETS)[: 8 if known < 4 else 16 if known < 6 else 24]
    rules = libc.syscall(_CREATE_RULESET, attributes, ctypes.c_size_t(len(attributes)), 0)
    if rules < 0:
        raise OSError(ctypes.get_errno(), "Landlock is refused")
    for path in readable:
        _allow(libc, rules, path, _READ & handled)
    _allow(libc, rules, os.devnull, (_READ_FILE | _WRITE_FILE) & handled)
    if own is not None:
        _allow(libc, rules, own, _OWN & handled)
    return rules


def restrict_self(libc: ctypes.CDLL, rules: int) -> None:
    """Puts the rules on this thread for good. Raises `OSError` if the kernel refuses."""
    if libc.syscall(_RESTRICT_SELF, rules, 0):
        raise OSError(ctypes.get_errno(), "Landlock is refused")


def _allow(libc: ctypes.CDLL, rules: int, path: str, access: int) -> None:
    try:
        descriptor = os.open(path, _O_PATH | os.O_CLOEXEC)
    except OSError:
        return
    try:
        if not os.path.isdir(path):
            access &= _ALL_OF_A_FILE
        if libc.syscall(_ADD_RULE, rules, _PATH_BENEATH, struct.pack("=Qi", access, descriptor), 0):
            raise OSError(ctypes.get_errno(), f"Landlock refuses a rule on {path}")
    finally:
        os.close(descriptor)
