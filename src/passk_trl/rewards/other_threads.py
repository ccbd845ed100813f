"""Equality of answers for threads other than the main one: a child process compares them in its own main thread."""

import json
import os
import subprocess
import sys
import threading
import warnings
from pathlib import Path


# Not multiprocessing: it would run the user's training script again. -P: the working directory is not an import root.
_COMMAND = [sys.executable, "-P", "-m", "passk_trl.rewards.verifier_process"]

_process: subprocess.Popen[str] | None = None
_lock = threading.Lock()


def equality_in_process(answer: str, gold: str) -> float | None:
    """As [`~passk_trl.rewards.equality.equality`], from any thread. An answer on which the process dies is wrong."""
    global _process
    with _lock:
        if _process is None or _process.poll() is not None:
            _process = subprocess.Popen(
                _COMMAND, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=_environment()
            )
        assert _process.stdin is not None
        assert _process.stdout is not None
        try:
            _process.stdin.write(json.dumps([answer, gold]) + "\n")
            _process.stdin.flush()
            reply = _process.stdout.readline()
        except BrokenPipeError:
            reply = ""
    if not reply:
        warnings.warn(f"The process that verifies answers died on {answer[-200:]!r}: counted as wrong.")
        return 0.0
    return json.loads(reply)


def _environment() -> dict[str, str]:
    """The child's environment: it must find this package, even where a script has put it on `sys.path`."""
    root = Path(__file__).parents[2]
    if root.name in ("site-packages", "dist-packages"):  # found anyway, and must not come before the standard library
        return dict(os.environ)
    paths = [*filter(None, [os.environ.get("PYTHONPATH")]), str(root)]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _forget_process() -> None:
    global _process, _lock
    _process, _lock = None, threading.Lock()


# A forked process must not read the replies that are meant for its parent.
os.register_at_fork(after_in_child=_forget_process)
