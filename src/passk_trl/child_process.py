"""A module in a process of its own, which answers a line of JSON with a line of JSON until its parent is gone."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any


_READY = "ready to answer\n"  # what a process says first: one that dies before it would die at every question


class ChildProcess:
    """
    A module of this package that runs in a process of its own. It starts at the first question. A process that died is
    replaced at the next question. Threads wait for one another.

    Args:
        module (`str`):
            Import path of the module, which calls [`serve`] when it is run.
        **environment (`str`):
            Environment variables of the process, besides those of this one.
    """

    def __init__(self, module: str, **environment: str) -> None:
        # Not multiprocessing: it would run the user's training script again.
        # -P: the working directory is not an import root.
        self.command = [sys.executable, "-P", "-m", module]
        self.environment = environment
        self.process: subprocess.Popen[str] | None = None
        self._lock = threading.Lock()
        # A forked process must not read the replies that are meant for its parent.
        os.register_at_fork(after_in_child=self._forget)

    def ask(self, question: Any) -> Any:
        """
        The answer to a question, both of what JSON can hold.

        Raises:
            `ChildProcessError`: if the process dies before it answers.
            `RuntimeError`: if it cannot start.
        """
        with self._lock:
            if self.process is None or self.process.poll() is not None:
                self.process = self._started()
            assert self.process.stdin is not None
            assert self.process.stdout is not None
            try:
                self.process.stdin.write(json.dumps(question) + "\n")
                self.process.stdin.flush()
                reply = self.process.stdout.readline()
            except BrokenPipeError:
                reply = ""
            if not reply:
                raise ChildProcessError(f"the process died with status {self.process.wait()}.")
        return json.loads(reply)

    def _started(self) -> "subprocess.Popen[str]":
        environment = {**_environment(), **self.environment}
        process = subprocess.Popen(
            self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )
        assert process.stdout is not None
        if _READY not in process.stdout:  # which reads up to that line: a module may print as it is imported
            status, command = process.wait(), " ".join(self.command)
            raise RuntimeError(
                f"the process of {self.command[-1]} cannot start (status {status}): run {command} to see why."
            )
        return process

    def _forget(self) -> None:
        self.process, self._lock = None, threading.Lock()


def serve(answer: Callable[[Any], Any]) -> None:
    """Answers each question of the parent. What the function prints, and what it reads, goes elsewhere."""
    questions, replies = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_RDWR)
    os.dup2(nowhere, 0)
    os.dup2(nowhere, 1)
    print(_READY, end="", file=replies, flush=True)
    for question in questions:
        print(json.dumps(answer(json.loads(question))), file=replies, flush=True)


def _environment() -> dict[str, str]:
    """The child's environment: it must find this package, even where a script has put it on `sys.path`."""
    root = Path(__file__).parents[1]
    if root.name in ("site-packages", "dist-packages"):  # found anyway, and must not come before the standard library
        return dict(os.environ)
    paths = [*filter(None, [os.environ.get("PYTHONPATH")]), str(root)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
