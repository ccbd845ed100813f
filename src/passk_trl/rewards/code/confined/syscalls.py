"""The system calls that a confined process may not make, as a seccomp filter.

They would start a process, reach the network or another process, or change what Landlock does not guard. Numbers are
those of Linux's `asm/unistd_64.h` (x86-64) and `asm-generic/unistd.h` (arm64).
"""

import ctypes
import errno
import os
import platform
import struct


ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}  # AUDIT_ARCH_* of linux/audit.h

# name → number on x86-64, on arm64; `None` where there is no such call
_DENIED: dict[str, tuple[int | None, int | None]] = {
    # new processes and programs (clone is below)
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    "setsid": (112, 157), "setpgid": (109, 154), "unshare": (272, 97), "setns": (308, 268), "personality": (135, 92),
    # the network, and what can open a socket
    "socket": (41, 198), "io_uring_setup": (425, 425), "bpf": (321, 280),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "tkill": (200, 130),
    "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240), "pidfd_open": (434, 434),
    "pidfd_getfd": (438, 438), "pidfd_send_signal": (424, 424), "kcmp": (312, 272), "setpriority": (141, 140),
    "ioprio_set": (251, 30), "sched_setaffinity": (203, 122), "sched_setscheduler": (144, 119),
    "sched_setparam": (142, 118), "sched_setattr": (314, 274), "process_madvise": (440, 440),
    "process_mrelease": (448, 448), "move_pages": (279, 239), "migrate_pages": (256, 238),
    "perf_event_open": (298, 241), "userfaultfd": (323, 282),
    # memory that no limit counts, or that outlives the process
    "memfd_create": (319, 279), "memfd_secret": (447, 447), "shmget": (29, 194), "msgget": (68, 186),
    "semget": (64, 190), "mq_open": (240, 180), "add_key": (248, 217), "request_key": (249, 218),
    "keyctl": (250, 219),
    "sync": (162, 81), "syncfs": (306, 267), "syslog": (103, 116), "modify_ldt": (154, None),
    # the rules of Landlock themselves
    "landlock_create_ruleset": (444, 444), "landlock_add_rule": (445, 445), "landlock_restrict_self": (446, 446),
    # files, in ways that Landlock does not guard, or not before Linux 6.2 (truncate) and 6.10 (ioctl)
    "truncate": (76, 45), "openat2": (437, 437),  # its flags are out of sight
    "mount": (165, 40), "umount2": (166, 39), "chroot": (161, 51), "pivot_root": (155, 41), "open_tree": (428, 428),
    "move_mount": (429, 429), "fsopen": (430, 430), "mount_setattr": (442, 442), "chmod": (90, None),
    "fchmod": (91, 52), "fchmodat": (268, 53), "fchmodat2": (452, 452), "chown": (92, None), "fchown": (93, 55),
    "lchown": (94, None), "fchownat": (260, 54), "utime": (132, None), "utimes": (235, None),
    "utimensat": (280, 88), "futimesat": (261, None), "setxattr": (188, 5), "lsetxattr": (189, 6),
    "fsetxattr": (190, 7), "removexattr": (197, 14), "lremovexattr": (198, 15), "fremovexattr": (199, 16),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "inotify_init": (253, None),
    "inotify_init1": (294, 26), "fanotify_init": (300, 262),
}  # fmt: skip
_CLONE, _CLONE3, _KILL, _TGKILL, _PRLIMIT, _PRCTL, _FCNTL, _IOCTL, _SOCKETPAIR, _OPEN, _OPENAT = (
    (56, 220), (435, 435), (62, 129), (234, 131), (302, 261), (157, 167), (72, 25), (16, 29), (53, 199), (2, None),
    (257, 56),
)  # fmt: skip
_FIRST_UNKNOWN = 463  # calls that came after those above

_CLONE_THREAD = 0x10000
_PR_SET_PDEATHSIG = 1
_OWNERS_OF_SIGNALS = (8, 10, 15)  # F_SETOWN, F_SETSIG, F_SETOWN_EX: whom a descriptor sends SIGIO
_OWNERS_BY_IOCTL = (0x8901, 0x8902)  # FIOSETOWN, SIOCSPGRP: the same
_DATAGRAMS = 2  # a bit of the kinds of sockets that can send to any address
_O_WRITE, _O_TRUNC = 0b11, 0o1000

_LOAD, _EQUAL, _AT_LEAST, _HAS_BITS, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16  # offsets in struct seccomp_data
_ALLOW, _KILL_PROCESS, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_PR_SET_SECCOMP, _MODE_FILTER = 22, 2


def seccomp_filter(machine: str, pid: int) -> bytes:
    """The filter of the process `pid` as an array of `struct sock_filter`, for a machine of `ARCHITECTURES`."""
    column = list(ARCHITECTURES).index(machine)
    deny, unknown = _step(_RETURN, _FAIL | errno.EPERM), _step(_RETURN, _FAIL | errno.ENOSYS)
    steps = [_step(_LOAD, _ARCHITECTURE), _step(_EQUAL, ARCHITECTURES[machine], 1, 0), _step(_RETURN, _KILL_PROCESS)]
    steps += [_step(_LOAD, _NUMBER), _step(_AT_LEAST, _FIRST_UNKNOWN, 0, 1), unknown]
    steps += [_step(_EQUAL, _CLONE3[column], 0, 1), unknown]  # its flags are out of sight; libc then takes clone
    for numbers in _DENIED.values():
        if (number := numbers[column]) is not None:
            steps += [_step(_EQUAL, number, 0, 1), deny]

    def on_argument(call: tuple[int, int], argument: int, test: int, value: int, denied_if: bool) -> None:
        skips = (0, 1) if denied_if else (1, 0)
        steps.append(_step(_EQUAL, call[column], 0, 4))
        steps.append(_step(_LOAD, _ARGUMENTS + 8 * argument))
        steps.extend([_step(test, value, *skips), deny, _step(_LOAD, _NUMBER)])

    on_argument(_CLONE, 0, _HAS_BITS, _CLONE_THREAD, denied_if=False)
    on_argument(_KILL, 0, _EQUAL, pid, denied_if=False)
    on_argument(_TGKILL, 0, _EQUAL, pid, denied_if=False)
    on_argument(_PRLIMIT, 0, _EQUAL, 0, denied_if=False)
    on_argument(_PRCTL, 0, _EQUAL, _PR_SET_PDEATHSIG, denied_if=True)
    for command in _OWNERS_OF_SIGNALS:
        on_argument(_FCNTL, 1, _EQUAL, command, denied_if=True)
    for command in _OWNERS_BY_IOCTL:
        on_argument(_IOCTL, 1, _EQUAL, command, denied_if=True)
    on_argument(_SOCKETPAIR, 1, _HAS_BITS, _DATAGRAMS, denied_if=True)
    for call, flags in ((_OPEN, 1), (_OPENAT, 2)):
        if (number := call[column]) is not None:  # a file that can be read only must not be cut
            steps += [_step(_EQUAL, number, 0, 5), _step(_LOAD, _ARGUMENTS + 8 * flags)]
            steps += [_step(_HAS_BITS, _O_TRUNC, 0, 2), _step(_HAS_BITS, _O_WRITE, 1, 0), deny, _step(_LOAD, _NUMBER)]
    return b"".join([*steps, _step(_RETURN, _ALLOW)])


def deny_system_calls(libc: ctypes.CDLL) -> None:
    """
    Puts the filter on this process and on all of its threads to come.

    Raises:
        `OSError`: if the kernel refuses, or this machine is neither x86-64 nor arm64.
    """
    machine = platform.machine()
    if machine not in ARCHITECTURES:
        raise OSError(f"no list of system calls for {machine}")
    steps = seccomp_filter(machine, os.getpid())
    array = ctypes.create_string_buffer(steps, len(steps))
    program = struct.pack("HxxxxxxP", len(steps) // 8, ctypes.addressof(array))
    if libc.prctl(_PR_SET_SECCOMP, _MODE_FILTER, ctypes.c_char_p(program), 0, 0):
        raise OSError(ctypes.get_errno(), "seccomp is refused")


def _step(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("HBBI", code, if_true, if_false, value)
