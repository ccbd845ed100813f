"""Programs, their unit tests, and the verdict on them: a table, run in one call for each kind of verdict."""

import json

import pytest

from passk_trl.rewards.code.unit_tests import unit_tests_of
from passk_trl.rewards.code.workers import verdicts_of
from programs import BRIEF


def asserts(*statements: str, setup: str = "") -> dict:
    return {"test_list": list(statements), "test_setup_code": setup}


def calls(name: str, inputs: list, outputs: list) -> dict:
    return {"input_output": json.dumps({"fn_name": name, "inputs": inputs, "outputs": outputs})}


def script(*pairs: tuple[str, str]) -> dict:
    inputs, outputs = zip(*pairs, strict=True)
    return {"input_output": json.dumps({"inputs": inputs, "outputs": outputs})}


def check(body: str, name: str = "f") -> dict:
    return {"test": f"METADATA = {{}}\n\n\ndef check(candidate):\n    {body}\n", "entry_point": name}


PAIR = "class Pair:\n    def __init__(self, a, b): self.a, self.b = a, b\n"
STACK = "class Stack:\n    def __init__(self): self.items = []\n    def push(self, x): self.items.append(x)\n"

ROWS = [
    # asserts: what a result may be
    ("def f(x): return x * x", asserts("assert f(3) == 9"), "passed"),
    ("f = lambda x: x * x", asserts("assert f(3) == 9"), "passed"),
    ("def f(x): return x * 2", asserts("assert f(2) == 4", "assert f(3) == 9"), "wrong"),
    ("def f(x): return x > 1", asserts("assert f(2)", "assert not f(1)"), "passed"),
    ("def f(x): return 1", asserts("assert f(2) == True"), "passed"),
    ("def f(x): return x / 3", asserts("assert abs(f(1) - 0.3333) < 1e-3"), "passed"),
    ("def f(x): return x / 3", asserts("assert math.isclose(f(1), 1 / 3)", setup="import math"), "passed"),
    ("def f(x): return x / 2", asserts("assert math.isclose(f(1), 1 / 3)", setup="import math"), "wrong"),
    ("def f(x): return (x, [x], {x: {x}})", asserts("assert f(1) == (1, [1], {1: {1}})"), "passed"),
    ("def f(x): return [x, x]", asserts("assert f(1) == (1, 1)"), "wrong"),
    ("def f(x): return (x, x)", asserts("assert f(1) == (1, 1)"), "passed"),
    ("def f(x): return {1, 2}", asserts("assert set(f(1)) == {2, 1}"), "passed"),
    ("def f(x): return map(str, x)", asserts("assert list(f([1, 2])) == ['1', '2']"), "passed"),
    ("def f(x):\n    yield from x", asserts("assert [y + 1 for y in f([1, 2])] == [2, 3]"), "passed"),
    ("def f(x): return range(x)", asserts("assert list(f(3)) == [0, 1, 2]"), "passed"),
    ("def f(x): return None", asserts("assert f(1) is None"), "passed"),
    ("def f(x): return float('nan')", asserts("assert f(1) != f(1)"), "passed"),
    ("def f(x): return float('inf')", asserts("assert f(1) == float('inf')"), "passed"),
    ("def f(x): return 10 ** x", asserts("assert f(5000) == 10 ** 5000"), "passed"),
    ("def f(x): return -(10 ** x)", asserts("assert f(5000) == 10 ** 5000"), "wrong"),
    ("def f(x): return x.encode()", asserts("assert f('é') == 'é'.encode()"), "passed"),
    ("def f(x): return complex(x, 1)", asserts("assert f(2) == 2 + 1j"), "passed"),
    ("def f(x): return '\\ud800' + x", asserts("assert f('a') == '\\ud800a'"), "passed"),
    (
        "from collections import Counter\ndef f(x): return Counter(x)",
        asserts("assert f('aab') == {'a': 2, 'b': 1}"),
        "passed",
    ),
    ("from fractions import Fraction as F\ndef f(x): return F(x, 4)", asserts("assert f(2) == 0.5"), "passed"),
    ("from decimal import Decimal as D\ndef f(x): return D(x)", asserts("assert f('0.5') == 0.5"), "passed"),
    ("def f(x): return object()", asserts("assert f(1) == 1"), "wrong"),
    # asserts: what a program may be
    ("def sum(a, b): return a + b", asserts("assert sum(1, 2) == 3", "assert sum(5, 2) == 7"), "passed"),
    (
        PAIR + "def f(pairs): return max(p.b for p in pairs)",
        asserts("assert f([Pair(1, 5), Pair(2, 3)]) == 5"),
        "passed",
    ),
    (PAIR + "def f(pairs): return 4", asserts("assert f([Pair(1, 5), Pair(2, 3)]) == 5"), "wrong"),
    (STACK, asserts("s = Stack()\ns.push(1)\ns.push(2)\nassert s.items == [1, 2]"), "passed"),
    ("class Solution:\n    def f(self, x): return x + 1", asserts("assert Solution().f(1) == 2"), "passed"),
    ("def f(x, *, by=2): return x * by", asserts("assert f(3, by=4) == 12"), "passed"),
    ("def f(x): return sorted(x)", asserts("x = [3, 1]\nassert f(x) == [1, 3]", "assert x == [3, 1]"), "passed"),
    ("def g(x): return x + 1\ndef f(x): return g(x)", asserts("assert f(1) == 2"), "passed"),
    ("print('hello')\ndef f(x):\n    print(x)\n    return x", asserts("assert f(1) == 1"), "passed"),
    (
        "from dataclasses import dataclass\n@dataclass\nclass A:\n    x: int\ndef f(x): return A(x).x",
        asserts("assert f(1) == 1"),
        "passed",
    ),
    ("if __name__ == '__main__':\n    input()\ndef f(x): return x", asserts("assert f(1) == 1"), "passed"),
    (
        "import heapq, math, re, itertools, functools, bisect\ndef f(x): return x",
        asserts("assert f(1) == 1"),
        "passed",
    ),
    # asserts: failures
    ("def f(x) return x", asserts("assert f(1) == 1"), "error"),
    ("def g(x): return x", asserts("assert f(1) == 1"), "error"),
    ("def f(x): return x / 0", asserts("assert f(1) == 1"), "error"),
    ("def f(): return 1", asserts("assert f(1) == 1"), "error"),
    ("import no_such_module\ndef f(x): return x", asserts("assert f(1) == 1"), "error"),
    ("import numpy\ndef f(x): return x", asserts("assert f(1) == 1"), "error"),
    ("def f(x): return f(x)", asserts("assert f(1) == 1"), "error"),
    ("def f(x): return None", asserts("assert f(1)[0] == 1"), "error"),
    ("def f(x):\n    while True: pass", asserts("assert f(1) == 1"), "timeout"),
    ("def f(x): return [x] * 10**10", asserts("assert f(1) == 1"), "memory"),
    (
        "def f(x): raise ValueError('no')",
        asserts("try:\n    f(1)\n    raise AssertionError\nexcept ValueError:\n    pass"),
        "passed",
    ),
    ("def f(x): return 1", asserts("try:\n    f(1)\nexcept ValueError:\n    pass\nelse:\n    assert False"), "wrong"),
    # asserts: unit tests that fail by themselves
    ("def f(x): return x", asserts("assert f(1) == 1", setup="import no_such_module"), "unscorable"),
    ("def f(x): return x", asserts("assert f(1) == 1", setup="1 / 0"), "unscorable"),
    ("def f(x): return x", asserts("assert f(1) == 1", setup="while True: pass"), "unscorable"),
    ("def f(x): return x(1)", asserts("assert f(lambda y: y) == 1"), "unscorable"),
    # HumanEval
    ("def f(x): return x * x", check("assert candidate(3) == 9; assert candidate(-1) == 1"), "passed"),
    ("def f(x): return x + x", check("assert candidate(3) == 9; assert candidate(-1) == 1"), "wrong"),
    ("def f(x): return x", check("for x in range(100): assert candidate(x) == x, 'message'"), "passed"),
    ("def g(x): return x", check("assert candidate(3) == 3"), "error"),
    ("def f(x): return x", check("import no_such_module"), "unscorable"),
    # calls
    ("def f(a, b): return a + b", calls("f", [[1, 2], [3, 4]], [3, 7]), "passed"),
    ("def f(a, b): return a - b", calls("f", [[1, 2]], [3]), "wrong"),
    ("def f(a): return (a, (a,))", calls("f", [[1]], [[1, [1]]]), "passed"),
    ("def f(a): return [a, a]", calls("f", [[1]], [[[1, 1]]]), "passed"),
    ("class Solution:\n    def f(self, a): return a", calls("f", [[1]], [1]), "passed"),
    ("def f(a): return {a: a}", calls("f", [[1]], [{"1": 1}]), "passed"),
    ("def f(a): return a", calls("f", ['"x"'], ['"x"']), "passed"),
    ("def f(a, b): return a[0] + b", calls("f", ["[1, 2]\n3"], ["4"]), "passed"),
    ("def f(a): return object()", calls("f", [[1]], [1]), "wrong"),
    ("def g(a): return a", calls("f", [[1]], [1]), "error"),
    # scripts
    ("print(int(input()) ** 2)", script(("3\n", "9\n"), ("4", "16")), "passed"),
    ("print(9)", script(("3\n", "9\n"), ("4", "16")), "wrong"),
    ("import sys\nfor line in sys.stdin: print(line.strip())", script(("a\nb\n", "a\nb")), "passed"),
    ("import os\nos.write(1, os.read(0, 99))", script(("a b\n", "a  b \n\n")), "passed"),
    ("print('1.50 2')", script(("", "1.5 2.0")), "passed"),
    ("print('1.51 2')", script(("", "1.5 2.0")), "wrong"),
    ("import sys\nprint(1)\nsys.exit()", script(("", "1")), "passed"),
    ("import sys\nprint(1)\nsys.exit(3)", script(("", "1")), "error"),
    ("def main():\n    print(input())\nif __name__ == '__main__':\n    main()", script(("x", "x")), "passed"),
    (
        "import threading\nt = threading.Thread(target=lambda: print(1))\nt.start()\nt.join()",
        script(("", "1")),
        "passed",
    ),
    ("print(len(open(0).read()))", script(("x" * 10**6, str(10**6))), "passed"),
    ("print('y' * 10**6)", script(("x" * 10**6, "y" * 10**6)), "passed"),
    ("print(input(), input())", script(("x", "x")), "error"),
    ("while True: pass", script(("", "1")), "timeout"),
    ("x = [0] * 10**10", script(("", "1")), "memory"),
]


def test_the_table_is_long():
    assert len(ROWS) >= 60


@pytest.fixture(scope="module")
def verdicts() -> list[dict]:
    return verdicts_of([(program, unit_tests_of(row)) for program, row, _ in ROWS], BRIEF)


@pytest.mark.parametrize("number", range(len(ROWS)), ids=lambda number: f"{ROWS[number][2]}-{number}")
def test_the_verdict_on_a_program(number, verdicts):
    program, row, expected = ROWS[number]
    assert verdicts[number]["verdict"] == expected, (program, row, verdicts[number]["text"])
