"""A worker: it takes one program at a time, and runs it in one process and its unit tests in another.

Two messages come for each program: the program with its limits, and the unit tests. The worker reads the first alone
and leaves the second to the process of the tests. So no process of a program, which is a copy of the worker, has ever
had an expected result in its memory. For the same reason no text that could hold one is told to the worker.
"""

import gc
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable
from functools import cache, partial
from os import _exit as end_now  # documented, for all its name
from typing import Any

from . import candidate, confinement
from .descriptors import keep_only
from .examiner import examine
from .folders import emptied, is_full, removed
from .messages import receive, send


_REQUESTS = 0  # a descriptor
_PR_SET_CHILD_SUBREAPER = 36
_LOOK_EVERY = 0.02  # seconds between looks at what a program has written
_NOT_CONFINED = 114  # exit status
_ONE_THREAD = {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}  # numpy would start one for each processor


class Examination:
    """
    The two processes of one program: the examiner runs the unit tests, the candidate the program.

    Args:
        program (`str`): its text.
        limits (`dict[str, Any]`): the fields of `CodeLimits`.
        folder (`str`): the only one where the candidate may write.
    """

    def __init__(self, program: str, limits: dict[str, Any], folder: str) -> None:
        self._program, self._limits, self._folder = program, limits, folder
        self._candidate: int | None = None
        self._started = False
        self._deadline = time.monotonic() + limits["seconds"]
        self._examiner_end, for_examiner = socket.socketpair()
        self._examiner = self._forked(partial(examine, _REQUESTS), for_examiner, None, keeps=_REQUESTS)

    def verdict(self) -> dict[str, Any]:
        """Waits for the verdict. It is `"unscorable"` if the unit tests fail before they ask for the program."""
        try:
            while self._has_message():
                message = receive(self._examiner_end.fileno())
                if "verdict" in message:
                    return message
                if "start" in message:
                    self._start(message["start"])
                else:
                    send(self._examiner_end.fileno(), self._end_of_candidate(message["end"]))
            return self._without_examiner(*self._too_much())
        except (EOFError, BrokenPipeError):
            return self._after_examiner()
        finally:
            self._examiner_end.close()
            _kill_all_children()
            emptied(self._folder)

    def _after_examiner(self) -> dict[str, Any]:
        """The verdict where the examiner has ended without one. It alone tells that nothing can be confined here."""
        _, status = os.waitpid(self._examiner, 0)
        if not self._started and os.waitstatus_to_exitcode(status) == _NOT_CONFINED:
            return {"verdict": "refused", "text": "the kernel refuses to confine a process"}
        return self._without_examiner(*self._end(status))

    def _without_examiner(self, end: str, text: str) -> dict[str, Any]:
        """The verdict where the examiner has not come to one."""
        if self._started:
            return {"verdict": "error" if end == "ended" else end, "text": text}
        return {"verdict": "unscorable", "text": f"the set-up of the unit tests fails: {text}"}

    def _has_message(self) -> bool:
        """Whether the examiner has said something before the time is up or the folder is full."""
        while (left := self._deadline - time.monotonic()) > 0:
            if select.select([self._examiner_end], [], [], min(left, _LOOK_EVERY))[0]:
                return True
            if is_full(self._folder, self._limits["file_mb"]):
                return False
        return False

    def _too_much(self) -> tuple[str, str]:
        if is_full(self._folder, self._limits["file_mb"]):
            return "error", f"it wrote more than {self._limits['file_mb']} MB or too many files"
        return "timeout", f"not done after {self._limits['seconds']} seconds"

    def _start(self, kind: str) -> None:
        """Starts a candidate and gives the examiner the other end of its channel."""
        self._kill_candidate()
        emptied(self._folder)  # of what the run before has left
        self._started = True
        self._deadline = time.monotonic() + self._limits["seconds"]
        ours, theirs = socket.socketpair()
        run = candidate.run_script if kind == "script" else candidate.answer_calls
        self._candidate = self._forked(partial(run, self._program), theirs, self._folder)
        socket.send_fds(self._examiner_end, [b"."], [ours.fileno()])
        ours.close()

    def _end_of_candidate(self, patience: float | None) -> tuple[str, str]:
        """How the candidate ended, once it has, or what it is like after so many seconds or when the time is up."""
        until = time.monotonic() + (self._limits["seconds"] if patience is None else patience)
        while self._candidate is not None and (now := time.monotonic()) < self._deadline:
            pid, status = os.waitpid(self._candidate, os.WNOHANG)
            if pid:
                self._candidate = None
                return self._end(status)
            if now > until:
                return "error", "it no longer answers"
            time.sleep(0.001)
        return self._too_much()

    def _kill_candidate(self) -> None:
        if self._candidate is not None:
            os.kill(self._candidate, signal.SIGKILL)
            os.waitpid(self._candidate, 0)
            self._candidate = None

    def _forked(
        self, action: Callable[[int], int], channel: socket.socket, own: str | None, keeps: int | None = None
    ) -> int:
        """The process id of a confined copy of this process, which does an action on a channel and exits."""
        rules = _rules(self._limits["packages"], self._limits["confined"], own)
        pid = os.fork()
        if pid:
            channel.close()
            return pid
        status = 1
        try:
            os.setsid()
            os.chdir(own or "/")
            if own is None or self._limits["packages"]:
                os.environ.update(_ONE_THREAD)
            descriptor, rules = keep_only(channel.fileno(), rules, keeps)
            try:
                confinement.confine(self._limits, rules)
            except OSError:
                status = _NOT_CONFINED
                raise
            status = action(descriptor)
        finally:
            end_now(status)

    def _end(self, status: int) -> tuple[str, str]:
        """How a process ended: `"ended"` if well."""
        code = os.waitstatus_to_exitcode(status)
        if code in (-signal.SIGKILL, -signal.SIGXCPU):
            return "timeout", f"more than {self._limits['cpu_seconds']} seconds of processor time"
        if code == candidate.OUT_OF_MEMORY:
            return "memory", f"more than {self._limits['memory_mb']} MB"
        return ("ended", "it ended") if code == 0 else ("error", f"it ended with status {code}")


@cache
def _rules(packages: bool, confined: bool, own: str | None) -> int | None:
    return confinement.rules_for(packages, confined, own)


def _kill_all_children() -> None:
    """Kills all descendants. One whose parent has ended became a child of this process."""
    while True:
        with open(f"/proc/self/task/{os.getpid()}/children") as file:
            children = [int(word) for word in file.read().split()]
        for pid in children:
            os.kill(pid, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def serve(folder: str) -> None:
    """Gives a verdict on each program that comes, until the trainer is gone. Programs write in the folder alone."""
    verdicts = os.dup(1)
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # where a library may print: that must be no part of a verdict
    confinement.libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    os.environ.clear()
    gc.freeze()
    verdict = {"verdict": ""}
    try:
        while verdict["verdict"] != "refused":  # then nobody has read the unit tests
            verdict = _verdict_on(receive(_REQUESTS), folder)
            send(verdicts, verdict)
    except (EOFError, BrokenPipeError):
        pass
    finally:
        removed(folder)


def _verdict_on(request: dict[str, Any], folder: str) -> dict[str, Any]:
    limits = request["limits"]
    try:
        os.makedirs(folder, 0o700, exist_ok=True)  # whoever cleans the folder of temporary files may have removed it
        for own in (None, folder):
            _rules(limits["packages"], limits["confined"], own)
    except OSError as error:
        return {"verdict": "refused", "text": str(error)}
    return Examination(request["program"], limits, folder).verdict()


if __name__ == "__main__":
    serve(sys.argv[1])
