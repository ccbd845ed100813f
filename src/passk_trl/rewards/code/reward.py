"""The reward: 1 if the program of a completion passes its unit tests."""

import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from ..completions import Completion, last_text, text_of
from .elsewhere import VARIABLE, VERDICTS, Sandbox, sandbox_named, verdicts_elsewhere
from .limits import CodeLimits
from .program_text import head_of, program_of
from .unit_tests import CannotBePosed, UnitTests, check_columns, unit_tests_of
from .workers import verdicts_of


_UNSCORABLE = "unscorable"
_NO_PROGRAM = {"verdict": "error", "text": "the completion has no program"}
_KNOWN_RIGHT = ("def double(x):\n    return 2 * x", {"test_list": ["assert double(4) == 8"]})
_KNOWN_WRONG = ("def double(x):\n    return x", {"test_list": ["assert double(4) == 8"]})


@dataclass(frozen=True)
class CodeReward:
    """
    1 for a completion whose program passes its unit tests, 0 for any other. `code_reward` is one with these defaults.

    The program is in the last block fenced as Python, or it is the whole text, or, as in HumanEval, it goes on from
    the head of a function in the prompt. It runs in a process that is confined by Linux and has no expected result in
    it; the unit tests run in another one, and get plain values from it.

    Args:
        limits ([`CodeLimits`], *optional*):
            What each program may use.
        at_once (`int`, *optional*):
            Programs that run at once; one for each processor if `None`.
        sandbox (`str` or `Callable`, *optional*):
            A sandbox of your own that runs programs instead: a URL, the import path of a function, or a function. If
            `None`, the environment variable `PASSK_TRL_CODE_SANDBOX` if that is set.

    Example:
        ```python
        >>> tests = [["assert double(4) == 8"]] * 2
        >>> code_reward(["def double(x): return 2 * x", "def double(x): return x"], test_list=tests)
        [1.0, 0.0]
        ```
    """

    limits: CodeLimits = field(default_factory=CodeLimits)
    at_once: int | None = None
    sandbox: str | Sandbox | None = None

    __name__ = "code_reward"  # which TRL logs

    def __post_init__(self) -> None:
        if self.at_once is not None and self.at_once < 1:
            raise ValueError(f"at_once is {self.at_once}: set it to at least 1.")

    def __call__(
        self,
        completions: list[Completion],
        prompts: list[Completion] | None = None,
        test_list: list | None = None,
        test_setup_code: list | None = None,
        test_imports: list | None = None,
        test: list | None = None,
        entry_point: list | None = None,
        input_output: list | None = None,
        log_metric: Callable[[str, float], None] | None = None,
        log_extra: Callable[[str, list], None] | None = None,
        **kwargs: Any,
    ) -> list[float | None]:
        """
        Args:
            completions (`list[str]` or `list[list[dict]]`):
                Plain or conversational completions. Of a conversation, the policy's last message is read.
            prompts (`list`, *optional*):
                Their prompts, in which `entry_point` may begin.
            test_list (`list[list[str]]`, *optional*):
                Assert statements, after `test_setup_code` (`list[str]`) and `test_imports` (`list[list[str]]`).
            test (`list[str]`, *optional*):
                Python that defines `check(candidate)`, for the function `entry_point` (`list[str]`).
            input_output (`list[str]`, *optional*):
                JSON with `inputs`, `outputs` and for a function `fn_name`.
            log_metric, log_extra (`Callable`, *optional*):
                TRL's. The share of each verdict is logged as `code/passed` and so on, and each verdict as a column.
            **kwargs:
                Other arguments that TRL passes to a reward function. Not used.

        Returns:
            `list[float | None]`: One reward per completion. It is `None` where the unit tests cannot be read or their
            set-up fails, so that the trainer leaves the completion out. A warning says why.

        Raises:
            `ValueError`: If there is no column of unit tests.
            `RuntimeError`: If programs cannot be confined here, or the sandbox fails.
        """
        columns = {
            "test_list": test_list, "test_setup_code": test_setup_code, "test_imports": test_imports, "test": test,
            "entry_point": entry_point, "input_output": input_output,
        }  # fmt: skip
        given = {name: values for name, values in columns.items() if values is not None}
        check_columns([*given, *kwargs])
        texts = [text_of(completion) for completion in completions]
        asked = [last_text(prompt) for prompt in prompts] if prompts else [""] * len(texts)
        rows = [dict(zip(given, values, strict=True)) for values in zip(*given.values(), strict=True)]
        verdicts = self._verdicts(list(zip(texts, asked, rows, strict=True)))
        _warn_of_unscorable(verdicts)
        names = [verdict["verdict"] for verdict in verdicts]
        if log_metric is not None:
            _log_shares(names, log_metric)
        if log_extra is not None:
            log_extra("verdict", names)
        return [None if name == _UNSCORABLE else float(name == "passed") for name in names]

    def check_before_training(self, columns: Iterable[str]) -> None:
        """
        Checks that a dataset with these columns has unit tests, and runs a program that is right and one that is not.

        Raises:
            `ValueError`: If there is no column of unit tests, programs cannot be confined here, or the sandbox cannot
                be reached or is wrong.
        """
        check_columns(columns)
        try:
            verdicts = self._verdicts([(program, "", row) for program, row in (_KNOWN_RIGHT, _KNOWN_WRONG)])
        except RuntimeError as error:
            raise ValueError(str(error)) from error
        if (said := [verdict["verdict"] for verdict in verdicts]) != ["passed", "wrong"]:
            raise ValueError(
                f"the sandbox for programs says {said[0]!r} of a right program and {said[1]!r} of a wrong one: mend "
                f"what {VARIABLE} or CodeReward(sandbox=...) names, or leave both out."
            )

    def _verdicts(self, attempts: list[tuple[str, str, dict[str, Any]]]) -> list[dict[str, Any]]:
        """The verdicts on texts, each with its prompt and its row. Equal programs of a row are run once."""
        known: list[dict[str, Any] | None] = []
        jobs: dict[str, tuple[str, UnitTests]] = {}
        keys = [repr(attempt) for attempt in attempts]
        for key, attempt in zip(keys, attempts, strict=True):
            verdict = _without_running(*attempt)
            known.append(verdict if isinstance(verdict, dict) else None)
            if isinstance(verdict, tuple):
                jobs[key] = verdict
        found = dict(zip(jobs, self._run(list(jobs.values())), strict=True))
        return [verdict or found[key] for key, verdict in zip(keys, known, strict=True)]

    def _run(self, jobs: list[tuple[str, UnitTests]]) -> list[dict[str, Any]]:
        if not jobs:
            return []
        sandbox = self.sandbox or os.environ.get(VARIABLE)
        if sandbox is None:
            return verdicts_of(jobs, self.limits, self.at_once)
        if isinstance(sandbox, str):
            sandbox = sandbox_named(sandbox)
        return verdicts_elsewhere(sandbox, jobs, self.limits, self.at_once)


code_reward = CodeReward()
"""1 for a completion whose program passes its unit tests, 0 for any other: [`CodeReward`] with its defaults."""


def _without_running(text: str, prompt: str, row: dict[str, Any]) -> dict[str, Any] | tuple[str, UnitTests]:
    """A program and its unit tests, or the verdict if one of them is missing."""
    try:
        tests = unit_tests_of(row, prompt)
    except CannotBePosed as error:
        return {"verdict": _UNSCORABLE, "text": str(error)}
    name = row.get("entry_point")
    head = head_of(prompt, name) if isinstance(name, str) else None
    program = program_of(text, head, name)
    return _NO_PROGRAM if program is None else (program, tests)


def _warn_of_unscorable(verdicts: list[dict[str, Any]]) -> None:
    reasons = Counter(verdict["text"] for verdict in verdicts if verdict["verdict"] == _UNSCORABLE)
    if reasons:
        reason, _ = reasons.most_common(1)[0]
        others = f", and {len(reasons) - 1} other reasons" if len(reasons) > 1 else ""
        warnings.warn(
            f"code_reward leaves out {reasons.total()} of {len(verdicts)} completions, whose unit tests cannot be "
            f"posed: {reason}{others}.",
            stacklevel=3,
        )


def _log_shares(names: list[str], log_metric: Callable[[str, float], None]) -> None:
    counts = Counter(names)
    for name in VERDICTS:
        log_metric(f"code/{name}", counts[name] / len(names))
