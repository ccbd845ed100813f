"""Failures of the monitor, which do not end training: each is logged once."""

import logging
import re
import traceback

from passk_trl.rollout_trainer import RolloutTrainer
from passk_trl.rollouts.progress import without_bars
from passk_trl.withheld import text_without_secrets


logger = logging.getLogger(__name__)


class Failures:
    """The failures that were logged, each an error with what it cost."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, str, str]] = set()

    def log(self, trainer: RolloutTrainer, error: Exception, message: str, step: int) -> None:
        """
        Logs a failure with its traceback on the main process, the first time that it occurs. Errors are the same if
        they are of one kind and their texts differ in numbers alone. The text of another rank's error has its kind
        and its traceback.
        """
        failure = (type(error).__name__, _without_numbers(str(error)), message)
        if failure not in self._seen and trainer.accelerator.is_main_process:
            told = "".join(traceback.format_exception(error))
            withheld = text_without_secrets(told)
            with without_bars():
                if withheld == told:
                    logger.error(message, step, exc_info=error)
                else:
                    logger.error(f"{message}\n%s", step, withheld)
        self._seen.add(failure)


def _without_numbers(text: str) -> str:
    """The text without what changes from step to step: sizes, ranks and addresses."""
    return re.sub(r"0x[0-9a-f]+|[-+]?[\d.]*\d(?:e[-+]?\d+)?", "", text)
