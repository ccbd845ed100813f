"""What a process does to itself before it runs code that is not trusted. None of it can be undone."""

import ctypes
import math
import os
import re
import resource
import signal
import struct
import sys
import sysconfig
from typing import Any

from . import landlock
from .syscalls import deny_system_calls


_PR_SET_PDEATHSIG, _PR_SET_DUMPABLE, _PR_SET_NO_NEW_PRIVS = 1, 4, 38
_CLONE_NEWUSER = 0x10000000
_CAPSET = {"x86_64": 126, "aarch64": 91}
_CAPABILITIES_VERSION = 0x20080522
_FIRST_UID_OF_PROGRAMS = 2_000_000_000  # of no user; plus the pid of the worker

_PACKAGES = ("site-packages", "dist-packages")
_C_LIBRARIES = ("/lib/x86_64-linux-gnu", "/lib/aarch64-linux-gnu", "/lib64", "/usr/lib64")

libc = ctypes.CDLL(None, use_errno=True)


def rules_for(packages: bool, confined: bool, own: str | None) -> int | None:
    """
    The files that a process may open, as a descriptor for [`confine`].

    Args:
        packages (`bool`): whether it may import the installed packages, besides the standard library.
        confined (`bool`): whether to raise `OSError` where there is no Landlock, or to return `None`.
        own (`str`, *optional*): the folder where it may write. Unit tests have none, and may import all packages.
    """
    readable = ["/usr/share/zoneinfo", "/dev/urandom"]
    for folder in (sysconfig.get_path("stdlib"), sysconfig.get_path("platstdlib"), *_C_LIBRARIES):
        readable += _without_packages(folder)
    beside = os.path.join(sys.base_prefix, "lib")  # conda has C libraries there
    readable += [os.path.join(beside, name) for name in os.listdir(beside) if ".so" in name]
    if packages or own is None:
        readable += [path for path in sys.path if os.path.basename(path) in _PACKAGES]
    try:
        return landlock.ruleset(libc, readable, own)
    except OSError:
        if confined:
            raise
        return None


def confine(limits: dict[str, Any], rules: int | None) -> None:
    """
    Limits this process, and takes from it every privilege, the network, other processes and all files but those of
    the rules. Where the limits do not ask for confinement, what the kernel refuses is left out.

    Raises:
        `OSError`: if the kernel refuses something and the limits ask for confinement.
    """
    _first_to_go()
    _limit_resources(limits)
    threads_are_counted = _leave_user()
    _drop_capabilities()
    if threads_are_counted:
        _limit(resource.RLIMIT_NPROC, limits["threads"])
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    libc.prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)  # no process of the same user can read its memory
    libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    try:
        if rules is not None:
            landlock.restrict_self(libc, rules)
            os.close(rules)  # the worker has the same rules open, and nobody may add to them
        deny_system_calls(libc)
    except OSError:
        if limits["confined"]:
            raise


def _without_packages(folder: str) -> list[str]:
    """A folder, or what is in it if Python packages are in it too, without those."""
    names = os.listdir(folder) if os.path.isdir(folder) else []
    kept = [name for name in names if name not in _PACKAGES and not re.fullmatch(r"python3[\d.]*", name)]
    return [folder] if len(kept) == len(names) else [os.path.join(folder, name) for name in kept]


def _first_to_go() -> None:
    """Where the machine runs out of memory, the kernel kills this process before the trainer."""
    try:
        with open("/proc/self/oom_score_adj", "w") as file:
            file.write("1000")
    except OSError:
        pass


def _limit_resources(limits: dict[str, Any]) -> None:
    _limit(resource.RLIMIT_CPU, math.ceil(limits["cpu_seconds"]))
    _limit(resource.RLIMIT_AS, limits["memory_mb"] * 2**20)
    _limit(resource.RLIMIT_FSIZE, limits["file_mb"] * 2**20)
    _limit(resource.RLIMIT_NOFILE, 64)
    _limit(resource.RLIMIT_CORE, 0)


def _limit(what: int, value: int) -> None:
    """Never above what the process is allowed already."""
    hard = resource.getrlimit(what)[1]
    value = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (value, value))


def _leave_user() -> bool:
    """
    Whether this process is now the only one of its user for the kernel, which counts threads by user. The files that
    it may open stay the same.
    """
    try:
        if os.geteuid() == 0:
            os.setresuid(_FIRST_UID_OF_PROGRAMS + os.getppid(), 0, 0)
            return True
        return libc.unshare(_CLONE_NEWUSER) == 0
    except OSError:
        return False


def _drop_capabilities() -> None:
    if number := _CAPSET.get(os.uname().machine):
        libc.syscall(number, struct.pack("Ii", _CAPABILITIES_VERSION, 0), bytes(24))
