"""The names of Python code."""

import ast
import warnings

import pytest

from passk_trl.rewards.code.names import names_defined, names_missing, parsed


def test_the_names_that_a_module_defines_are_those_of_its_top_level():
    tree = ast.parse(
        "import a.b, c as d\nx, (y, *z) = 1\ndef f(p):\n    inner = 1\nclass C:\n    field = 1\nfor i in x: j = i"
    )
    assert names_defined(tree) == {"a", "d", "x", "y", "z", "f", "C", "i", "j"}


def test_the_names_that_are_missing_are_not_bound_anywhere():
    trees = [ast.parse("import math\ny = [i for i in range(3)]"), ast.parse("assert f(y, lambda q: q + r) == math.pi")]
    assert names_missing(trees) == {"f", "r"}
    assert names_missing([ast.parse("try: g()\nexcept ValueError as e: print(e)")]) == {"g"}


def test_dubious_code_is_read_without_a_warning_and_other_text_is_refused():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        parsed("import re\nre.match('\\d', '1') is 1")
    for text in ("x = (", "x\0", "(" * 10**5, "-" * 10**6 + "1"):
        with pytest.raises(ValueError):
            parsed(text)
