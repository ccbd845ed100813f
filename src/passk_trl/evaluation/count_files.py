"""Files of success counts, a JSON line for each prompt: `{"id": 7, "n": 32, "c": 5}`.

`id` names the prompt, `n` is the number of its rollouts and `c` how many of them are correct. Other keys are ignored.
`n` is 0 for a prompt whose rollouts could not all be scored.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from passk_trl import files

from .evaluation_report import EvaluationReport, report_on
from .pass_at_k import NO_PROMPT


__all__ = ["evaluate_count_files", "read_counts", "write_counts"]

_MOST_ROLLOUTS = 100_000  # a curve over more k takes minutes to resample

CountOf = dict[int | str, tuple[int, int]]
"""By the id of a prompt, its correct rollouts and its rollouts."""


def write_counts(path: str | Path, successes: Mapping[int | str, Sequence[int] | None]) -> None:
    """
    Writes a file of counts.

    Args:
        path (`str` or `Path`):
            The file to write.
        successes (`Mapping[int | str, Sequence[int] | None]`):
            By the id of a prompt, the success of its rollouts, 0 or 1; `None` if a rollout could not be scored.
    """
    lines = [{"id": prompt, "n": len(success or ()), "c": sum(success or ())} for prompt, success in successes.items()]
    files.write(Path(path), "".join(json.dumps(line) + "\n" for line in lines))


def read_counts(path: str | Path) -> CountOf:
    """
    Reads a file of counts.

    Args:
        path (`str` or `Path`):
            The file. Empty lines are skipped.

    Returns:
        `dict[int | str, tuple[int, int]]`: by the id of a prompt, its correct rollouts c and its rollouts n.

    Raises:
        `ValueError`: if a line is not a count, two lines have the same id, or there is no line. The message names file
        and line.
        `OSError`: if the file cannot be read.
    """
    counts: CountOf = {}
    line_of: dict[int | str, int] = {}
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").split("\n")  # Windows puts a mark before the text
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} is not a text file in UTF-8: {error}.") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        prompt, n, c = _parsed(line, where)
        if prompt in counts:
            raise ValueError(f"{where}: id {prompt!r} is on line {line_of[prompt]} too; give each prompt one line.")
        counts[prompt], line_of[prompt] = (c, n), number
    if not counts:
        raise ValueError(f'{path} has no line; give one line a prompt, such as {{"id": 7, "n": 32, "c": 5}}.')
    return counts


def evaluate_count_files(
    path: str | Path,
    against: str | Path | None = None,
    ks: Sequence[int] = (),
    confidence: float = 0.95,
    seed: int = 0,
) -> EvaluationReport:
    """
    Evaluates the counts of one policy, or of two on the same prompts, from anywhere. It needs no model.

    The lines of the two files may be in different orders. A prompt with `n` = 0 in either file is left out.

    Args:
        path (`str` or `Path`):
            File of counts of the policy ([`read_counts`]).
        against (`str` or `Path`, *optional*):
            That of the policy to compare with.
        ks (`Sequence[int]`, *optional*):
            The k in the tables, at most the fewest rollouts. If not given, 1, 2, 4 … up to the fewest.
        confidence (`float`, *optional*, defaults to `0.95`):
            Level of the bands.
        seed (`int`, *optional*, defaults to `0`):
            Seed of the bootstrap.

    Returns:
        [`EvaluationReport`]

    Raises:
        `ValueError`: if a file is wrong, an id is in one file only, no prompt is left, or a k or `confidence` is out
        of range.
        `OSError`: if a file cannot be read.
    """
    paths = [path] if against is None else [path, against]
    policies = [read_counts(each) for each in paths]
    for one, other in ((0, -1), (-1, 0)):
        lacking = [prompt for prompt in policies[one] if prompt not in policies[other]]
        if lacking:
            more = f", and {len(lacking) - 1} more," if len(lacking) > 1 else ""
            raise ValueError(
                f"{paths[one]} has id {lacking[0]!r}{more} and {paths[other]} does not; give both files the same ids."
            )
    # Sorted, so that the order of the lines does not change the draws of the bootstrap.
    ids = sorted(policies[0], key=lambda prompt: (isinstance(prompt, str), prompt))
    is_scored = {prompt: all(of_policy[prompt][1] for of_policy in policies) for prompt in ids}
    scored = [prompt for prompt in ids if is_scored[prompt]]
    counts_MN2 = torch.tensor([[of_policy[prompt] for prompt in scored] for of_policy in policies])
    if not scored:
        raise ValueError(NO_PROMPT)
    return report_on(
        [str(each) for each in paths],
        {"confidence": confidence, "seed": seed},
        scored,
        [(counts_N2[:, 0], counts_N2[:, 1]) for counts_N2 in counts_MN2],
        ks,
        confidence,
        seed,
        [prompt for prompt in ids if not is_scored[prompt]],
    )


def _parsed(line: str, where: str) -> tuple[int | str, int, int]:
    try:
        content = json.loads(line)
    except (ValueError, RecursionError) as error:  # also a number of thousands of digits
        raise ValueError(f"{where} is not JSON: {error}.") from error
    if not isinstance(content, dict):
        raise ValueError(f'{where} is {content!r}; give an object such as {{"id": 7, "n": 32, "c": 5}}.')
    for field in ("id", "n", "c"):
        if field not in content:
            raise ValueError(f"{where} has no {field!r}; give id, n and c.")
    prompt, n, c = content["id"], _whole("n", content["n"], where), _whole("c", content["c"], where)
    if isinstance(prompt, bool) or not isinstance(prompt, int | str):
        raise ValueError(f"{where}: id is {prompt!r}; give a whole number or a text.")
    if c > n:
        raise ValueError(f"{where}: c={c} is more than n={n}; give the correct ones of n rollouts.")
    return prompt, n, c


def _whole(name: str, value: Any, where: str) -> int:
    if type(value) is not int or not 0 <= value <= _MOST_ROLLOUTS:  # not true, which is a whole number too
        raise ValueError(f"{where}: {name} is {value!r}; give a whole number from 0 to {_MOST_ROLLOUTS}.")
    return value
