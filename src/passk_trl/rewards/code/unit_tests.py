"""From the columns of a dataset to unit tests, in one of three kinds, as plain data for the examiner."""

import ast
import json
from collections.abc import Callable, Iterable
from typing import Any

from .names import names_defined, names_missing, names_read, parsed
from .program_text import head_of


UnitTests = dict[str, Any]
"""Unit tests by `kind`: `"asserts"` with `setup`, `asserts` and `names`; `"calls"` of the function `name` with
`inputs` and `outputs`; `"scripts"` with `inputs` and `outputs`."""

COLUMNS = ("test_list", "test", "input_output")
"""The columns that unit tests may be in, the first of which counts where a row has several. `test_list` has asserts,
with `test_setup_code` and `test_imports` where they need them (MBPP). `test` defines `check(candidate)` and comes with
`entry_point` (HumanEval). `input_output` is JSON with `inputs`, `outputs` and for a function `fn_name` (APPS)."""


class CannotBePosed(ValueError):
    """Unit tests that cannot be read, with the reason."""


def unit_tests_of(row: dict[str, Any], prompt: str = "") -> UnitTests:
    """
    The unit tests of a row.

    Args:
        row (`dict[str, Any]`): its columns of unit tests.
        prompt (`str`, *optional*): its prompt, whose functions the tests of HumanEval may use.

    Raises:
        [`CannotBePosed`]: if they cannot be read.
    """
    for column, read in _READERS.items():
        if row.get(column) not in (None, "", []):
            return read(row, prompt)
    raise CannotBePosed(f"the row has nothing in {', '.join(COLUMNS)}")


def check_columns(names: Iterable[str]) -> None:
    """
    Raises:
        `ValueError`: if a dataset with these columns has no unit tests.
    """
    names = list(names)
    present = [column for column in COLUMNS if column in names]
    if not present:
        raise ValueError(
            f"code_reward finds no unit tests in the columns {names}: rename the column that has them to test_list "
            "(asserts), test (with entry_point: a function check(candidate)) or input_output (JSON with inputs and "
            "outputs)."
        )
    if present == ["test"] and "entry_point" not in names:
        raise ValueError(
            f"code_reward reads test together with entry_point, which is not among the columns {names}: add the name "
            "of the function that each row tests as entry_point."
        )


def _asserts(row: dict[str, Any], prompt: str) -> UnitTests:
    """MBPP's: assert statements. The names that they use and that nothing else defines are the program's."""
    asserts = [row["test_list"]] if isinstance(row["test_list"], str) else list(row["test_list"])
    setup = "\n".join([*(row.get("test_imports") or []), row.get("test_setup_code") or ""])
    trees = [_parsed(each) for each in asserts]
    names = sorted(names_missing([_parsed(setup), *trees])) or _called_builtin(trees)
    if not names:
        raise CannotBePosed(f"the unit test {asserts[0]!r} calls no function of the program")
    for tree, source in zip(trees, asserts, strict=True):
        _check_judges(tree, source, set(names))
    return {"kind": "asserts", "setup": setup, "asserts": asserts, "names": names}


def _called_builtin(trees: list[ast.Module]) -> list[str]:
    """The one function of Python that all asserts call, where nothing else is called: some programs define a `sum`."""
    called = [
        {node.func.id for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
        for tree in trees
    ]
    common = set.intersection(*called)
    return list(common) if len(common) == 1 else []


def _check_judges(tree: ast.Module, source: str, names: set[str]) -> None:
    """No function of the program may be given results of another to judge: it could call anything right."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and names_read([node.func]) & names:
            inside = names_read([*node.args, *node.keywords]) & names
            if judged := sorted(name for name in inside - names_read([node.func]) if not name[:1].isupper()):
                judge = ", ".join(sorted(names_read([node.func]) & names))
                raise CannotBePosed(
                    f"the unit test {source!r} gives what {judged[0]} returns to {judge}, which nothing but the "
                    "program defines: define or import it in test_setup_code"
                )


def _check_function(row: dict[str, Any], prompt: str) -> UnitTests:
    """HumanEval's: a function `check` that is given the program's function."""
    name = row.get("entry_point")
    if not isinstance(name, str) or not name.isidentifier():
        raise CannotBePosed(f"entry_point is {name!r}, which is no name of a function")
    setup = f"{head_of(prompt, name) or ''}\n{row['test']}"
    if "check" not in names_defined(tree := _parsed(setup)):
        raise CannotBePosed("the column test defines no function check(candidate)")
    if missing := sorted(names_missing([tree]) - {name}):
        raise CannotBePosed(f"the column test uses {', '.join(missing)}, which neither it nor the prompt defines")
    return {"kind": "asserts", "setup": setup, "asserts": [f"check({name})"], "names": [name]}


def _inputs_and_outputs(row: dict[str, Any], prompt: str) -> UnitTests:
    """APPS's and LiveCodeBench's: inputs and outputs of a script, or of a function `fn_name`."""
    given = row["input_output"]
    try:
        given = json.loads(given) if isinstance(given, str) else given
        inputs, outputs, name = list(given["inputs"]), list(given["outputs"]), given.get("fn_name")
        if name is not None and inputs and isinstance(inputs[0], str):  # LiveCodeBench: JSON, an argument on each line
            inputs = [[json.loads(line) for line in each.splitlines() if line.strip()] for each in inputs]
            outputs = [json.loads(each) for each in outputs]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise CannotBePosed(f"input_output cannot be read ({type(error).__name__}: {error})") from None
    if not inputs or len(inputs) != len(outputs):
        raise CannotBePosed(f"input_output has {len(inputs)} inputs and {len(outputs)} outputs")
    if name is not None:
        return {"kind": "calls", "name": str(name), "inputs": inputs, "outputs": outputs}
    return {
        "kind": "scripts",
        "inputs": [_text(each) for each in inputs],
        "outputs": [_text(each) for each in outputs],
    }


_READERS: dict[str, Callable[[dict[str, Any], str], UnitTests]] = dict(
    zip(COLUMNS, (_asserts, _check_function, _inputs_and_outputs), strict=True)
)


def _parsed(source: Any) -> ast.Module:
    try:
        return parsed(source)
    except ValueError as error:
        raise CannotBePosed(f"the unit test {str(source)[:200]!r} is no Python ({error})") from None


def _text(lines: Any) -> str:
    """Some rows of APPS have a list of lines."""
    return "\n".join(map(str, lines)) if isinstance(lines, list) else str(lines)
