"""What the process that compares answers does: from `[answer, gold]` to their equality."""

import resource

from passk_trl.child_process import serve

from .equality import compare_carefully, equality


MEMORY = 4 * 2**30
"""Bytes of address space of the process: a power without end must not take the trainer's."""


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    compare_carefully()
    serve(lambda pair: equality(*pair))
