"""The names of Python code."""

import ast

from passk_trl.rewards.code.names import names_defined, names_missing


def test_the_names_that_a_module_defines_are_those_of_its_top_level():
    tree = ast.parse(
        "import a.b, c as d\nx, (y, *z) = 1\ndef f(p):\n    inner = 1\nclass C:\n    field = 1\nfor i in x: j = i"
    )
    assert names_defined(tree) == {"a", "d", "x", "y", "z", "f", "C", "i", "j"}


def test_the_names_that_are_missing_are_not_bound_anywhere():
    trees = [ast.parse("import math\ny = [i for i in range(3)]"), ast.parse("assert f(y, lambda q: q + r) == math.pi")]
    assert names_missing(trees) == {"f", "r"}
    assert names_missing([ast.parse("try: g()\nexcept ValueError as e: print(e)")]) == {"g"}
