"""Every usable task of reasoning-gym, and a few rows of each."""

from functools import cache

from reasoning_gym.factory import DATASETS

from passk_trl.tasks import reasoning_gym_splits
from passk_trl.tasks.reasoning_process import UNUSABLE


TASKS = sorted(DATASETS.keys() - UNUSABLE)

# Settings with which the slowest tasks make their questions quickly.
QUICK = {"futoshiki": {"max_board_size": 4}, "knight_swap": {"max_nodes": 6}}


@cache
def rows(task: str, count: int | None = None) -> list[dict]:
    """Rows of a task with its default settings, or those of `QUICK`."""
    if count is None:
        count = 1 if task == "knight_swap" else 4  # it takes a second a row
    splits = reasoning_gym_splits(task, QUICK.get(task), train=0, probe=0, test=count)
    return splits["test"].to_list()


def columns(task_rows: list[dict]) -> dict[str, list[str]]:
    """The arguments of the reward besides completions."""
    return {name: [row[name] for row in task_rows] for name in ("solution", "task", "settings", "entry")}
