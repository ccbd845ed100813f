import random
import socket

from ports import FIRST, LAST, free_port


def test_a_port_is_never_one_for_outgoing_connections():
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as outgoing:
        assert not FIRST <= outgoing.getsockname()[1] <= LAST
    assert all(FIRST <= free_port() <= LAST for _ in range(20))


def test_a_port_in_use_is_skipped(monkeypatch):
    with socket.create_server(("127.0.0.1", free_port())) as server:
        taken = server.getsockname()[1]
        drawn = iter([taken, taken, taken + 1 if taken < LAST else FIRST])
        monkeypatch.setattr(random.Random, "randint", lambda self, first, last: next(drawn))
        assert free_port() != taken


def test_the_global_seed_does_not_choose_the_port():
    ports = set()
    for _ in range(4):
        random.seed(0)
        ports.add(free_port())
    assert len(ports) > 1
