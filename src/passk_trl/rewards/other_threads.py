"""Equality of answers for threads other than the main one: a child process compares them in its own main thread."""

import warnings

from passk_trl.child_process import ChildProcess


_process = ChildProcess("passk_trl.rewards.verifier_process")


def equality_in_process(answer: str, gold: str) -> float | None:
    """As [`~passk_trl.rewards.equality.equality`], from any thread. An answer on which the process dies is wrong."""
    try:
        return _process.ask([answer, gold])
    except ChildProcessError:
        warnings.warn(f"The process that verifies answers died on {answer[-200:]!r}: counted as wrong.")
        return 0.0
