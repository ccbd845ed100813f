"""A module in a process of its own, which answers questions over a private channel until its parent is gone."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing.connection import Connection, Pipe
from pathlib import Path
from typing import Any


_READY = -1  # the number of what a process says first: one that dies before it would die at every question
_SECONDS_TO_START = 300.0


class ChildProcess:
    """
    A module of this package that runs in a process of its own. It starts at the first question. One that died, or that
    was killed because it broke the protocol, is replaced at the next question. Threads wait for one another.

    Questions have numbers, and an answer must have the number of its question. So no answer is ever taken for that of
    another question, whatever interrupts this process or is printed in the other one.

    Args:
        module (`str`):
            Import path of the module, which calls [`serve`] when it is run.
        seconds (`float`):
            How long a question may take before the process is killed.
        **environment (`str`):
            Environment variables of the process, besides those of this one.
    """

    def __init__(self, module: str, seconds: float, **environment: str) -> None:
        # Not multiprocessing or a pool of it: they would run the user's training script again.
        # -P: the working directory is not an import root.
        self.command = [sys.executable, "-P", "-m", module]
        self.seconds = seconds
        self.environment = environment
        self.process: subprocess.Popen[bytes] | None = None
        self._channel: Connection | None = None
        self._number = 0
        self._lock = threading.Lock()
        # A forked process must not read the answers that are meant for its parent.
        os.register_at_fork(after_in_child=self._forget)

    def ask(self, question: Any) -> Any:
        """
        The answer to a question, both of what JSON can hold.

        Raises:
            `ChildProcessError`: if the process dies, says anything but the answer, or takes too long.
            `RuntimeError`: if it cannot start.
        """
        with self._lock:
            if self._channel is None or self.process is None or self.process.poll() is not None:
                self._channel = self._started()
            self._number += 1
            message = json.dumps([self._number, question]).encode()
            try:
                self._channel.send_bytes(message)
                return _received(self._channel, self._number, self.seconds)
            except BaseException as error:  # an interrupt too: what is asked next must not get this answer
                status = self._ended()
                if isinstance(error, EOFError | OSError) and not isinstance(error, TimeoutError):
                    raise ChildProcessError(f"the process died with status {status}.") from error
                if isinstance(error, TimeoutError | ValueError):
                    raise ChildProcessError(f"the process was killed: {error}.") from error
                raise

    def _started(self) -> Connection:
        self._ended()
        ours, theirs = Pipe()
        with theirs:
            self.process = subprocess.Popen(
                [*self.command, str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,  # where libraries print
                pass_fds=[theirs.fileno()],
                env={**_environment(), **self.environment},
            )
        try:
            _received(ours, _READY, _SECONDS_TO_START)
        except BaseException as error:
            ours.close()
            status, command = self._ended(), " ".join(self.command)
            if not isinstance(error, Exception):
                raise
            raise RuntimeError(
                f"the process of {self.command[-1]} cannot start (status {status}): run {command} to see why."
            ) from error
        return ours

    def _ended(self) -> int | None:
        """Kills the process, unless it is at its end by itself. Returns its status."""
        process, channel = self.process, self._channel
        self.process = self._channel = None
        if channel is not None:
            channel.close()
        if process is None:
            return None
        try:
            return process.wait(timeout=0.5)  # one whose channel is closed ends, unless it is at work
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()

    def _forget(self) -> None:
        self.process, self._channel, self._lock = None, None, threading.Lock()


def serve(answer: Callable[[Any], Any]) -> None:
    """Answers each question of the parent. Run by hand, without a parent, a module only shows that it starts."""
    if len(sys.argv) < 2:
        return
    os.set_inheritable(int(sys.argv[1]), False)  # or a process that outlives this one would keep the channel open
    with Connection(int(sys.argv[1])) as channel:
        channel.send_bytes(json.dumps([_READY, None]).encode())
        while True:
            try:
                number, question = json.loads(channel.recv_bytes())
            except (EOFError, ConnectionResetError):
                return
            channel.send_bytes(json.dumps([number, answer(question)]).encode())


def _received(channel: Connection, number: int, seconds: float) -> Any:
    """
    The message with a number, the next one.

    Raises:
        `EOFError`, `OSError`: if the other process has ended.
        `TimeoutError`: if no message comes in time.
        `ValueError`: if the message is another one, or none of [`serve`].
    """
    if not channel.poll(seconds):
        raise TimeoutError(f"it did not answer within {seconds:g} seconds")
    message = json.loads(channel.recv_bytes())
    if not (isinstance(message, list) and len(message) == 2 and message[0] == number):
        raise ValueError("it said something that is no answer to the question")
    return message[1]


def _environment() -> dict[str, str]:
    """The child's environment: it must find this package, even where a script has put it on `sys.path`."""
    root = Path(__file__).parents[1]
    if root.name in ("site-packages", "dist-packages"):  # found anyway, and must not come before the standard library
        return dict(os.environ)
    paths = [*filter(None, [os.environ.get("PYTHONPATH")]), str(root)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
