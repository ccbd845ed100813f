"""What the process that scores answers to reasoning-gym's questions does.

It is a process of its own for two reasons. A scorer that does not end must end without the training. And some scorers
run a completion as Python, by `eval` and by `sympy.parse_expr`: here they read literals and formulas alone.
"""

import ast
import json
import re
import resource
import signal
import sys
import warnings
from functools import lru_cache
from typing import Any

import sympy
from pydantic import TypeAdapter
from reasoning_gym.factory import DATASETS

from passk_trl.child_process import serve


SECONDS = 5
"""Processor time after which a scorer ends the process."""
MEMORY = 4 * 2**30
"""Bytes of address space of the process."""

# They compare with tuples, which JSON does not have.
_WITH_TUPLES = ("arc_agi", "rearc")

# Its scorer runs the question, and only reads the answer.
_EVALUATES_QUESTIONS = "bitwise_arithmetic"

_NAN = re.compile(r"\bnan[ij]?\b", re.IGNORECASE)
_NOT_IN_FORMULAS = re.compile(r"[^\w\s+\-*/^().,=]")
_NAMES = re.compile(r"[^\W\d]\w*")
_FUNCTIONS = re.compile(r"a?(?:sin|cos|tan|sec|csc|cot)h?|exp|log|ln|sqrt|Abs|pi")


def score(task: str, settings: str, entry: str, answers: list[str]) -> dict[str, Any]:
    """
    The best score of several readings of one completion.

    Args:
        task (`str`), settings (`str`), entry (`str`):
            From a row of [`~passk_trl.tasks.reasoning_gym_splits`].
        answers (`list[str]`):
            Readings of a completion.

    Returns:
        `dict`: `score`, which is `None` if the task's own reference answer does not get full score, and `raised`, the
        last error of the scorer, or `None` if there was none or another reading got full score.
    """
    if not _is_scorable(task, settings, entry):
        return {"score": None, "raised": None}
    dataset, scored = _dataset(task, settings), _entry(task, entry)
    best, raised = 0.0, None
    for answer in answers:
        if _NAN.search(answer) and not _NAN.search(scored["answer"] or ""):
            continue  # every comparison of a scorer with NaN may come out as right
        try:
            best = max(best, float(dataset.score_answer(answer, scored)))
        except Exception as error:  # a scorer may raise anything on free text
            raised = f"{type(error).__name__}: {error}"
    return {"score": best, "raised": raised if best < 1 else None}


@lru_cache(maxsize=64)
def _dataset(task: str, settings: str) -> Any:
    make, configure = DATASETS[task]
    return make(TypeAdapter(configure).validate_python(json.loads(settings)))


@lru_cache(maxsize=4096)
def _entry(task: str, entry: str) -> dict[str, Any]:
    read = json.loads(entry)
    return {**read, "metadata": _tuples(read["metadata"])} if task in _WITH_TUPLES else read


@lru_cache(maxsize=65536)
def _is_scorable(task: str, settings: str, entry: str) -> bool:
    """Whether the reference answer gets full score. Where there is none, the scorer judges an answer by itself."""
    scored = _entry(task, entry)
    if scored["answer"] is None:
        return True
    try:
        return _dataset(task, settings).score_answer(scored["answer"], scored) >= 1
    except Exception:
        return False


def _tuples(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _tuples(each) for key, each in value.items()}
    return tuple(map(_tuples, value)) if isinstance(value, list) else value


def run_nothing() -> None:
    """Takes `eval` from the scorers, and gives them a `parse_expr` that reads formulas alone."""
    parse = sympy.parse_expr

    def formula(text: str, *args: Any, **kwargs: Any) -> Any:
        known = all(len(name) == 1 or _FUNCTIONS.fullmatch(name) for name in _NAMES.findall(text))
        if _NOT_IN_FORMULAS.search(text) or not known:
            raise ValueError("the text is no formula.")
        return parse(text, *args, **kwargs)

    sympy.parse_expr = formula
    for name, module in list(sys.modules.items()):
        if name.startswith("reasoning_gym.") and not name.endswith(_EVALUATES_QUESTIONS):
            vars(module)["eval"] = ast.literal_eval
            if vars(module).get("parse_expr") is parse:
                vars(module)["parse_expr"] = formula


def _answer(request: list[Any]) -> dict[str, Any]:
    signal.setitimer(signal.ITIMER_PROF, SECONDS)  # its signal ends the process, whatever is computed
    try:
        return score(*request)
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of completions that Python reads
    run_nothing()
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    serve(_answer)
