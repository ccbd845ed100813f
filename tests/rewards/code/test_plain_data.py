"""What crosses from a program to its unit tests: plain values, whole, and nothing else."""

import json
from collections import OrderedDict, deque, namedtuple
from decimal import Decimal
from fractions import Fraction
from itertools import count

import pytest

from passk_trl.rewards.code.confined.plain_data import decoded, encoded


def refused(value):
    raise TypeError(type(value).__name__)


def across(value, other=refused, handle=refused):
    return decoded(json.loads(json.dumps(encoded(value, other))), handle)


VALUES = [
    None, True, 0, -1, 2**53, -(2**9999), 0.1, float("inf"), "", "é\ud800", [], [1, [2]], (), (1, (2,)), {1, (2, 3)},
    frozenset([1]), {}, {(1, 2): [3], None: {"a": 1}}, 1 + 2j, b"\0\xff", bytearray(b"a"), range(1, 9, 2),
    Decimal("0.10"), Fraction(1, 3), deque([1, 2]), {"list": 1}, {"object": 3},
]  # fmt: skip
FORGED = [{}, {"list": 3}, {"set": [[]]}, {"a": 1, "b": 2}, {"bytes": "x"}, {"range": [1, 2, 0]}]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_plain_values_arrive_as_they_are(value):
    arrived = across(value)
    assert arrived == value
    assert type(arrived) is type(value)


def test_subclasses_arrive_as_what_they_are_beneath():
    class Equal(int):
        __eq__ = lambda self, other: True  # noqa: E731
        __hash__ = int.__hash__

    assert across([Equal(1)]) != [2]
    assert type(across(namedtuple("P", "x")(1))) is tuple
    assert type(across(OrderedDict(a=1))) is dict
    assert across(float("nan")) != across(float("nan"))


def test_iterators_arrive_as_iterators_and_no_longer_than_allowed():
    assert next(across(iter([1, 2]))) == 1
    assert len(list(across(count()))) == 100_000


def test_other_values_are_left_where_they_are():
    handles = []
    assert across([object()], lambda value: {"object": 7}, lambda handle: handles.append(handle) or "H") == ["H"]
    assert handles == [{"object": 7}]
    with pytest.raises(TypeError, match="function"):
        across(lambda: 1)


def test_numpy_values_arrive_as_those_of_python():
    import numpy

    assert across([numpy.int64(3), numpy.float32(0.5), numpy.bool_(True), numpy.arange(2)]) == [3, 0.5, True, [0, 1]]


@pytest.mark.parametrize("forged", FORGED)
def test_forged_values_are_refused(forged):
    with pytest.raises((ValueError, TypeError)):
        decoded(forged, refused)
