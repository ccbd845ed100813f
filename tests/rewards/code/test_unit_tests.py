"""From columns to unit tests, and what cannot be read."""

import json

import pytest

from passk_trl.rewards.code.unit_tests import COLUMNS, CannotBePosed, check_columns, unit_tests_of


CHECK = "def check(candidate):\n    assert candidate(1) == 1\n"


def test_asserts_call_the_names_that_nothing_else_defines():
    row = {"test_list": ["x = g(1)\nassert isclose(f(A(x)), tau)"], "test_imports": ["from math import isclose, tau"]}
    tests = unit_tests_of(row)
    assert tests["names"] == ["A", "f", "g"]
    assert tests["setup"].startswith("from math import")


def test_a_single_assert_may_be_a_text():
    assert unit_tests_of({"test_list": "assert f(1) == 1"})["asserts"] == ["assert f(1) == 1"]


def test_check_knows_the_functions_of_the_prompt():
    tests = unit_tests_of({"test": CHECK, "entry_point": "f"}, "def g(x): return 1\n\ndef f(x):\n    '''One'''\n")
    assert tests["asserts"] == ["check(f)"]
    assert tests["setup"].startswith("def g(x)")


def test_inputs_and_outputs_in_both_forms():
    def read(given, as_text=True):
        return unit_tests_of({"input_output": json.dumps(given) if as_text else given})

    scripts = {"kind": "scripts", "inputs": ["1\n2"], "outputs": ["3"]}
    assert read({"inputs": ["1\n2"], "outputs": ["3"]}) == scripts
    assert read({"inputs": [["1", "2"]], "outputs": [["3"]]}, as_text=False) == scripts
    called = {"kind": "calls", "name": "f", "inputs": [[1, [2]]], "outputs": ["3"]}
    assert read({"fn_name": "f", "inputs": [[1, [2]]], "outputs": ["3"]}) == called
    assert read({"fn_name": "f", "inputs": ["1\n[2]"], "outputs": ['"3"']}) == called


def test_the_first_column_that_a_row_fills_counts():
    row = {"test_list": None, "test": "", "entry_point": None, "input_output": {"inputs": ["1"], "outputs": ["1"]}}
    assert unit_tests_of(row)["kind"] == "scripts"


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"test_list": []}, "nothing in test_list, test, input_output"),
        ({"test_list": ["assert f(1 == 1"]}, "'assert f\\(1 == 1' is no Python"),
        ({"test_list": ["assert f(1) == 1"], "test_setup_code": "import"}, "is no Python"),
        ({"test_list": ["assert 1 == 1"]}, "calls no function of the program"),
        ({"test_list": ["assert close(f(1), 1)"]}, "gives what f returns to close"),
        ({"test": CHECK, "entry_point": None}, "entry_point is None"),
        ({"test": "x = 1", "entry_point": "f"}, r"no function check"),
        ({"test": "def check(c", "entry_point": "f"}, "is no Python"),
        ({"test": "def check(c): assert near(c(1), 1)", "entry_point": "f"}, "uses near"),
        ({"input_output": "{"}, "cannot be read"),
        ({"input_output": "[]"}, "cannot be read"),
        ({"input_output": '{"inputs": [1]}'}, "cannot be read"),
        ({"input_output": '{"inputs": ["1"], "outputs": []}'}, "1 inputs and 0 outputs"),
        ({"input_output": '{"inputs": [], "outputs": []}'}, "0 inputs"),
        ({"input_output": '{"fn_name": "f", "inputs": ["x y"], "outputs": ["1"]}'}, "cannot be read"),
    ],
)
def test_what_cannot_be_read_is_named(row, words):
    with pytest.raises(CannotBePosed, match=words):
        unit_tests_of(row)


def test_a_dataset_without_unit_tests_is_told_which_columns_are_known():
    for column in COLUMNS:
        check_columns(["prompt", column, "entry_point"])
    with pytest.raises(ValueError, match=r"'tests'\]: rename .* test_list .*, test .* or input_output"):
        check_columns(["prompt", "tests"])
    with pytest.raises(ValueError, match=r"add the name of the function .* as entry_point"):
        check_columns(["prompt", "test"])
