"""The filter of system calls: by a reading of its steps for both machines, and by the kernel."""

import errno
import struct
import subprocess
import sys

import pytest

from passk_trl.rewards.code.confined.syscalls import ARCHITECTURES, seccomp_filter


PID = 4242
ALLOWED, KILLED, DENIED, UNKNOWN = 0x7FFF0000, 0x80000000, 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS
THREAD, DATAGRAM, STREAM, SET_OWNER, DEATH_SIGNAL, TRUNCATE = 0x10000, 2, 1 | 0o2000000, 8, 1, 0o1000

CALLS = {  # number on x86-64, on arm64, arguments, outcome
    "read": (0, 63, [], ALLOWED),
    "mmap": (9, 222, [], ALLOWED),
    "futex": (202, 98, [], ALLOWED),
    "execve": (59, 221, [], DENIED),
    "socket": (41, 198, [], DENIED),
    "ptrace": (101, 117, [], DENIED),
    "fchmodat": (268, 53, [], DENIED),
    "clone of a process": (56, 220, [17], DENIED),
    "clone of a thread": (56, 220, [0x3D0F00 | THREAD], ALLOWED),
    "clone3": (435, 435, [], UNKNOWN),
    "a call that came later": (500, 500, [], UNKNOWN),
    "kill of itself": (62, 129, [PID], ALLOWED),
    "kill of another": (62, 129, [PID + 1], DENIED),
    "kill of all": (62, 129, [2**32 - 1], DENIED),
    "limits of itself": (302, 261, [0], ALLOWED),
    "limits of another": (302, 261, [PID + 1], DENIED),
    "name of a thread": (157, 167, [15], ALLOWED),
    "signal at a parent's death": (157, 167, [DEATH_SIGNAL], DENIED),
    "flags of a file": (72, 25, [3, 4], ALLOWED),
    "owner of a file's signals": (72, 25, [3, SET_OWNER], DENIED),
    "pair of streams": (53, 199, [1, STREAM], ALLOWED),
    "pair of datagrams": (53, 199, [1, DATAGRAM], DENIED),
    "open to read": (257, 56, [0, 0, 0], ALLOWED),
    "open to write anew": (257, 56, [0, 0, 1 | TRUNCATE], ALLOWED),
    "open to read and cut": (257, 56, [0, 0, TRUNCATE], DENIED),
}


def outcome(steps: bytes, architecture: int, number: int, arguments: list[int]) -> int:
    """What the kernel would return: it runs the steps on a `struct seccomp_data`."""
    data = struct.pack("<IIQ6Q", number, architecture, 0, *(arguments + [0] * 6)[:6])
    at, loaded = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("HBBI", steps, 8 * at)
        at += 1
        if code == 0x06:
            return value
        if code == 0x20:
            (loaded,) = struct.unpack_from("<I", data, value)
        else:
            holds = {0x15: loaded == value, 0x35: loaded >= value, 0x45: bool(loaded & value)}[code]
            at += if_true if holds else if_false


@pytest.mark.parametrize("machine", ARCHITECTURES)
@pytest.mark.parametrize("name", CALLS)
def test_the_filter_lets_through_what_it_should(name, machine):
    x86, arm, arguments, expected = CALLS[name]
    number = x86 if machine == "x86_64" else arm
    assert outcome(seccomp_filter(machine, PID), ARCHITECTURES[machine], number, arguments) == expected


@pytest.mark.parametrize("machine", ARCHITECTURES)
def test_calls_of_another_architecture_end_the_process(machine):
    assert outcome(seccomp_filter(machine, PID), 0x40000003, 0, []) == KILLED


def test_the_kernel_takes_the_filter(tmp_path):
    (tmp_path / "mine").write_text("mine")
    script = (
        "import ctypes, os\n"
        "from passk_trl.rewards.code.confined.syscalls import deny_system_calls\n"
        "libc = ctypes.CDLL(None, use_errno=True)\n"
        "libc.prctl(38, 1, 0, 0, 0)\n"
        "deny_system_calls(libc)\n"
        "for attempt in (lambda: os.open('mine', os.O_TRUNC), lambda: os.truncate('mine', 0), os.fork):\n"
        "    try: attempt()\n"
        "    except PermissionError: print('denied')\n"
        "print(open('mine').read())\n"
    )
    ran = subprocess.run([sys.executable, "-c", script], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert ran.stdout.split() == ["denied"] * 3 + ["mine"], ran.stderr
