"""Ports for servers that tests start."""

import random
import socket


# Below those that systems give to outgoing connections (from 32768 on Linux, 49152 elsewhere): one of these would now
# and then be taken by another process between its choice and its use. 29500, torchrun's own, is left out.
FIRST, LAST = 20000, 29000


def free_port() -> int:
    """A port of this machine that nothing listens on, and that nothing gets by chance."""
    rng = random.Random()  # of its own: tests seed the global one, and would all begin with the same
    for _ in range(100):
        port = rng.randint(FIRST, LAST)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port between {FIRST} and {LAST}")
