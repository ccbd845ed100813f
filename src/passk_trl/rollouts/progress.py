"""Progress bars over prompts, on the main process, and lines of the log beside bars."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from tqdm.auto import tqdm

from passk_trl.distributed.ranks import num_ranks
from passk_trl.rollout_trainer import RolloutTrainer


def progress_bar(trainer: RolloutTrainer, description: str, num_prompts: int, **options: Any) -> tqdm:
    """A bar over prompts. It is silent on the other processes, and if the trainer shows no bars."""
    silent = trainer.args.disable_tqdm or not trainer.accelerator.is_main_process
    return tqdm(desc=description, total=num_prompts, unit="prompt", disable=silent, **options)


def without_bars() -> AbstractContextManager[None]:
    """Clears all bars meanwhile, that of training too, so that what is logged begins a line of its own."""
    return tqdm.external_write_mode()


@contextmanager
def block_progress(trainer: RolloutTrainer, description: str, num_prompts: int) -> Iterator["BlockProgress"]:
    """A bar over all prompts of blocks, some of which may be there already."""
    with progress_bar(trainer, description, num_prompts) as bar:
        yield BlockProgress(bar)


class BlockProgress:
    """A bar over all prompts, whose estimate of the time left does not count the blocks that were there already."""

    def __init__(self, bar: tqdm):
        self._bar = bar
        self._done = 0
        self._started = False

    def add(self, prompts: int) -> None:
        """This rank has done so many more prompts of the present block. The other ranks have likely done as many."""
        if not self._started:
            self._started = True
            self._bar.initial = self._bar.n
        self._bar.update(min(prompts * num_ranks(), self._bar.total - self._bar.n))

    def finish_block(self, prompts: list[int]) -> None:
        """A block is done."""
        self._done += len(prompts)
        self._bar.n = self._done
        self._bar.refresh()
