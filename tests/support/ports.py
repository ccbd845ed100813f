"""Ports for servers that tests start."""

import random
import socket


# Below the ports that systems give to outgoing connections (from 32768 on Linux, 49152 elsewhere): another process
# could take one of those between its choice and its use. Port 29500, which torchrun uses, is left out.
FIRST, LAST = 20000, 29000


def free_port() -> int:
    """A port of this machine that nothing listens on, and that no outgoing connection gets."""
    rng = random.Random()  # not the global one: tests seed that, and would all start with the same port
    for _ in range(100):
        port = rng.randint(FIRST, LAST)
        with socket.socket() as listener:
            try:
                listener.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError(f"no free port between {FIRST} and {LAST}")
